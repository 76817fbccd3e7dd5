"""Ownership at seams: every nucleus is kept by exactly one tile.

A nucleus belongs to the core that holds its centroid. Neighbouring tiles see it with different
context, so their outlines differ a little: two tiles may both own it, or each may leave it to the
other. Nuclei that another tile's window can also see are therefore compared with that tile's; the
rest (most) pass untouched.

Tiles come in rows, top to bottom, and what no later row can touch is settled and leaves: the result
is that of all tiles at once, but only the nuclei at the last seam are held.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled
from histonuc.inference.tiles import Box, Tile, TileResult
from histonuc.nuclei import Nuclei

SAME_OVERLAP = 0.5
"""Two outlines are one nucleus when they share over this part of the smaller one's area.

Two outlines of IoU > 0.5 always do, so no two survivors of different tiles have that IoU.
"""


def claim_nuclei(nuclei: Nuclei, core: Box, band_px: float) -> tuple[Nuclei, NDArray[np.bool_]]:
    """Drop the nuclei that surely belong to another tile.

    Args:
        nuclei: all that were found in a tile, in level-0 pixels.
        core: of the tile.
        band_px: how far outside the core a centroid may be for the nucleus to be remembered, in
            level-0 pixels: at least the disagreement of two tiles about one centroid.

    Returns:
        The n nuclei that are left, and bool (n,), whether the centroid lies in the core.
    """
    x, y = nuclei.centroid.T
    owned = (x >= core.x0) & (x < core.x1) & (y >= core.y0) & (y < core.y1)
    near = (x >= core.x0 - band_px) & (x < core.x1 + band_px)
    near &= (y >= core.y0 - band_px) & (y < core.y1 + band_px)
    return nuclei.select(near), owned[near]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Contested:
    """Nuclei that more than one tile may claim.

    Attributes:
        nuclei: n of them.
        owned: bool (n,), as in `TileResult`.
        tile: int64 (n,), number of the tile that found each.
    """

    nuclei: Nuclei
    owned: NDArray[np.bool_]
    tile: NDArray[np.int64]

    def select(self, index: NDArray[np.bool_]) -> _Contested:
        return _Contested(
            nuclei=self.nuclei.select(index),
            owned=self.owned[index],
            tile=self.tile[index],
        )

    def followed_by(self, other: _Contested) -> _Contested:
        return _Contested(
            nuclei=Nuclei.concat([self.nuclei, other.nuclei]),
            owned=np.concatenate([self.owned, other.owned]),
            tile=np.concatenate([self.tile, other.tile]),
        )


class Seams:
    """Joins the nuclei of tiles that come row by row, each nucleus once.

    Args:
        tiles: all of them, analysed or not, row by row and from left to right.
        empty: no nuclei, with the label space, mpp and features of those to come.
    """

    def __init__(self, tiles: Sequence[Tile], empty: Nuclei) -> None:
        self._number = {(tile.row, tile.column): i for i, tile in enumerate(tiles)}
        self._cores = np.array([tile.core for tile in tiles], np.int64).reshape(-1, 4)
        self._first = np.array([i for i, tile in enumerate(tiles) if tile.column == 0], np.int64)
        self._analysed = np.zeros(len(tiles), bool)
        self._empty = empty
        self._waiting = _Contested(
            nuclei=empty,
            owned=np.zeros(0, bool),
            tile=np.zeros(0, np.int64),
        )

    def add(self, results: Sequence[TileResult], next_top: float = math.inf) -> Nuclei:
        """Take the next rows of tiles and give what is settled by now.

        Args:
            results: of all tiles of one or more rows, in any order. Those that were not analysed
                own nothing.
            next_top: upper border, in level-0 pixels, of the first window that is still to come;
                infinity when these were the last.

        Returns:
            Nuclei that no later tile can change, sorted by the left border of the core at their
            centroid, and then by centroid (y, then x), so that neighbours in the table are
            neighbours on the slide. The same whatever the order of the results.
        """
        analysed = [result for result in results if result.is_analysed]
        analysed.sort(key=lambda result: (result.tile.row, result.tile.column))
        tiles = [result.tile for result in analysed]
        numbers = np.array([self._number[tile.row, tile.column] for tile in tiles], np.int64)
        self._analysed[numbers] = True
        nuclei = Nuclei.concat([self._empty, *(result.nuclei for result in analysed)])
        owned = np.concatenate([np.zeros(0, bool), *(result.owned for result in analysed)])
        index = np.repeat(np.arange(len(analysed)), [len(result.owned) for result in analysed])
        shared = ~owned | _seen_by_others(tiles, nuclei.box, index)
        new = _Contested(
            nuclei=nuclei.select(shared), owned=owned[shared], tile=numbers[index[shared]]
        )
        settled = self._settle(self._waiting.followed_by(new), next_top)
        # Outlines are most of the bytes: they are moved once.
        everything = Nuclei.concat([nuclei, settled])
        index = np.flatnonzero(np.concatenate([~shared, np.ones(len(settled), bool)]))
        left = self._cores[self._nearest_tile(everything.centroid), 0]
        keys = everything.score, everything.area_px, *everything.centroid.T, left
        return everything.select(index[np.lexsort([key[index] for key in keys])])

    def _settle(self, some: _Contested, next_top: float) -> Nuclei:
        """Decide what no later tile can touch; the rest waits."""
        first, second = _overlaps(some.nuclei, some.tile)
        waits = some.nuclei.box[:, 3] > next_top
        num_waiting = -1
        while num_waiting != (num_waiting := int(waits.sum())):  # they hold up what they touch
            waits[first[waits[second]]] = True
            waits[second[waits[first]]] = True
        stays = self._choose(some, first, second) & ~waits
        self._waiting = some.select(waits)
        return some.nuclei.select(stays)

    def _choose(
        self, some: _Contested, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which of the contested nuclei (n,) stay, given the pairs that are the same nucleus.

        In order of rank (owned ones first, then those deepest inside their core) a nucleus stays
        unless it is the same as one that stays already. One that its own tile disowned needs a
        reason beside: another tile saw it and disowned it too, or the tile whose core holds it was
        never analysed.
        """
        centroid = some.nuclei.centroid
        core = self._cores[some.tile]
        sides = np.concatenate([centroid - core[:, :2], core[:, 2:] - centroid], axis=1)
        depth = sides.min(1, initial=np.inf)
        x, y = centroid.T
        order = np.lexsort((x, y, some.nuclei.area_px, -depth, ~some.owned))
        rivals: dict[int, list[int]] = {}
        for i, j in zip(first.tolist(), second.tolist(), strict=True):
            rivals.setdefault(i, []).append(j)
            rivals.setdefault(j, []).append(i)
        orphan = ~some.owned & ~self._in_analysed_core(centroid)
        stays = some.owned | orphan  # what has no rival is done
        contended = np.zeros(len(stays), bool)
        contended[list(rivals)] = True
        stays[contended] = False
        for i in order[contended[order]].tolist():
            others = rivals[i]
            wanted = some.owned[i] or orphan[i] or any(not some.owned[j] for j in others)
            stays[i] = wanted and not any(stays[j] for j in others)
        return stays

    def _in_analysed_core(self, centroid: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each centroid (n, 2) lies in the core of a tile that was analysed."""
        tile = self._nearest_tile(centroid)
        core = self._cores[tile]
        inside = (centroid >= core[:, :2]) & (centroid < core[:, 2:])
        return np.asarray(inside.all(1) & self._analysed[tile])

    def _nearest_tile(self, centroid: NDArray[np.float64]) -> NDArray[np.int64]:
        """Number of the tile whose core alone may hold each centroid (n, 2)."""
        cores, first = self._cores, self._first
        tops = np.minimum.reduceat(cores[:, 1], first)
        row = (np.searchsorted(tops, centroid[:, 1], "right") - 1).clip(0)
        # Left borders rise within a row of tiles: a stride for each row makes them rise throughout.
        stride = float(cores[:, 2].max() + 1)
        lefts = (
            np.repeat(np.arange(len(first)), np.diff([*first, len(cores)])) * stride + cores[:, 0]
        )
        places = row * stride + centroid[:, 0].clip(0, stride - 1)
        tile: NDArray[np.int64] = np.maximum(
            np.searchsorted(lefts, places, "right") - 1, first[row]
        )
        return tile


def _seen_by_others(
    tiles: Sequence[Tile], box: NDArray[np.float64], tile_index: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Nuclei (n,) whose box leaves the part of its window that no other window touches."""
    alone = np.array([tile.alone for tile in tiles]).reshape(-1, 4)[tile_index]
    return np.asarray((box[:, :2] < alone[:, :2]).any(1) | (box[:, 2:] > alone[:, 2:]).any(1))


def _overlaps(
    nuclei: Nuclei, tile: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of nuclei of different tiles that are the same nucleus, by rising index in a pair."""
    if not (tile != tile[:1]).any():  # one tile has no seams, and spares their compilation
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    box, area = nuclei.box, nuclei.area_px
    pairs = _same_outlines(
        np.argsort(box[:, 0]), box, area, tile, nuclei.points, nuclei.offsets, SAME_OVERLAP
    )
    return pairs[:, 0], pairs[:, 1]


@compiled
def _same_outlines(
    order: NDArray[np.int64],
    box: NDArray[np.float64],
    area: NDArray[np.float64],
    tile: NDArray[np.int64],
    points: NDArray[np.float64],
    offsets: NDArray[np.int64],
    overlap: float,
) -> NDArray[np.int64]:
    """Pairs (k, 2) of rings that share over `overlap` of the smaller one's area.

    `order` sorts the boxes by their left side. Outlines share no more than their boxes do, which
    spares most of the pairs.
    """
    pairs = np.empty((64, 2), np.int64)
    num = 0
    for at in range(len(order)):
        i = order[at]
        for later in range(at + 1, len(order)):
            j = order[later]
            if box[j, 0] >= box[i, 2]:
                break
            if tile[i] == tile[j]:
                continue
            enough = overlap * min(area[i], area[j])
            width = min(box[i, 2], box[j, 2]) - box[j, 0]
            height = min(box[i, 3], box[j, 3]) - max(box[i, 1], box[j, 1])
            if height <= 0 or width * height <= enough:
                continue
            one, other = points[offsets[i] : offsets[i + 1]], points[offsets[j] : offsets[j + 1]]
            if _shared_area(one, other) <= enough:
                continue
            if num == len(pairs):
                pairs = np.concatenate((pairs, np.empty_like(pairs)))
            pairs[num, 0], pairs[num, 1] = min(i, j), max(i, j)
            num += 1
    return pairs[:num]


@compiled
def _shared_area(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Area that two rings share whose sides are upright and level by turns, as pixels' sides are.

    Such a ring is a sum of quadrants, one right of and below each vertex, added and taken away by
    turns: two rings share the sum over pairs of vertices of what their quadrants share, up to any
    corner beyond both.
    """
    right, bottom = one[0, 0], one[0, 1]
    for a in range(1, len(one)):
        right, bottom = max(right, one[a, 0]), max(bottom, one[a, 1])
    area, sign = 0.0, 1.0
    for a in range(len(one)):
        x, y = one[a, 0], one[a, 1]
        for b in range(len(other)):
            width, height = right - max(x, other[b, 0]), bottom - max(y, other[b, 1])
            if width > 0 and height > 0:
                area += sign * width * height
            sign = -sign
        sign = -sign
    return abs(area)
