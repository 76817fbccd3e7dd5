"""Ownership at seams: every nucleus is kept by exactly one tile.

A nucleus belongs to the core that holds its centroid. Neighbouring tiles see it with different
context, so their outlines differ a little: two tiles may both own it, or each may leave it to the
other. Nuclei that another tile's window can also see are therefore compared with that tile's; the
rest (most) pass untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.inference.tiles import Tile
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import LabelSpace

SAME_OVERLAP = 0.5
"""Two outlines are one nucleus when they share over this part of the smaller one's area.

Two outlines of IoU > 0.5 always do, so no two survivors of different tiles have that IoU.
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class TileNuclei:
    """What one tile found that may concern the result.

    Attributes:
        tile: where.
        nuclei: in level-0 pixels.
        owned: bool (n,), centroid in the tile's core; the others lie in the band around it.
    """

    tile: Tile
    nuclei: Nuclei
    owned: NDArray[np.bool_]


def own(tile: Tile, nuclei: Nuclei, band_px: float) -> TileNuclei:
    """Drop the nuclei that surely belong to another tile.

    Args:
        tile: the tile they were found in.
        nuclei: all of them, in level-0 pixels.
        band_px: how far outside the core a centroid may be for the nucleus to be remembered, in
            level-0 pixels: at least the disagreement of two tiles about one centroid.
    """
    x, y = nuclei.centroid.T
    core = tile.core
    owned = (x >= core.x0) & (x < core.x1) & (y >= core.y0) & (y < core.y1)
    near = (x >= core.x0 - band_px) & (x < core.x1 + band_px)
    near &= (y >= core.y0 - band_px) & (y < core.y1 + band_px)
    return TileNuclei(tile=tile, nuclei=nuclei.select(near), owned=owned[near])


def stitch(parts: Sequence[TileNuclei], label_space: LabelSpace, mpp: float) -> Nuclei:
    """Join the nuclei of all tiles that were analysed, each nucleus once.

    Args:
        parts: one a tile, in any order.
        label_space: of the result, should it be empty.
        mpp: of the result, should it be empty.

    Returns:
        Nuclei sorted by centroid (y, then x): the same whatever the order of the parts.
    """
    if not parts:
        return Nuclei.empty(label_space, mpp)
    parts = sorted(parts, key=lambda part: (part.tile.row, part.tile.column))
    nuclei = Nuclei.concat([part.nuclei for part in parts])
    owned = np.concatenate([part.owned for part in parts])
    sizes = [len(part.owned) for part in parts]
    tile_index = np.repeat(np.arange(len(parts)), sizes)
    shared = ~owned | _seen_by_others(parts, nuclei.box, tile_index)
    keep = owned.copy()
    contested = np.flatnonzero(shared)
    keep[contested] = _settle(
        parts, nuclei.select(contested), owned[contested], tile_index[contested]
    )
    kept = np.flatnonzero(keep)
    x, y = nuclei.centroid[kept].T
    order = np.lexsort((nuclei.score[kept], nuclei.area_px[kept], x, y))
    return nuclei.select(kept[order])


def _seen_by_others(
    parts: Sequence[TileNuclei], box: NDArray[np.float64], tile_index: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Nuclei (n,) whose box leaves the part of its window that no other window touches."""
    alone = np.array([part.tile.alone for part in parts])[tile_index]
    return np.asarray((box[:, :2] < alone[:, :2]).any(1) | (box[:, 2:] > alone[:, 2:]).any(1))


def _settle(
    parts: Sequence[TileNuclei],
    nuclei: Nuclei,
    owned: NDArray[np.bool_],
    tile_index: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which of the contested nuclei (n,) stay.

    In order of rank (owned ones first, then those deepest inside their core) a nucleus stays unless
    it is the same as one that stays already. One that its own tile disowned needs a reason beside:
    another tile saw it and disowned it too, or the tile whose core holds it was never analysed.
    """
    depth = _depth([parts[i].tile for i in tile_index], nuclei.centroid)
    x, y = nuclei.centroid.T
    order = np.lexsort((x, y, nuclei.area_px, -depth, ~owned))
    first, second = _overlaps(nuclei, tile_index)
    rivals: list[list[int]] = [[] for _ in range(len(nuclei))]
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        rivals[i].append(j)
        rivals[j].append(i)
    orphan = ~owned & ~_in_any_core(parts, nuclei.centroid)
    keep = np.zeros(len(nuclei), bool)
    for i in order.tolist():
        wanted = owned[i] or orphan[i] or any(not owned[j] for j in rivals[i])
        keep[i] = wanted and not any(keep[j] for j in rivals[i])
    return keep


def _depth(tiles: Sequence[Tile], centroid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance (n,) of each centroid to its tile's core border; negative outside."""
    cores = np.array([tile.core for tile in tiles], np.float64).reshape(-1, 4)
    sides = np.concatenate([centroid - cores[:, :2], cores[:, 2:] - centroid], axis=1)
    return np.asarray(sides.min(1, initial=np.inf))


def _in_any_core(parts: Sequence[TileNuclei], centroid: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each centroid (n, 2) lies in the core of a tile that was analysed."""
    import shapely

    if len(centroid) == 0:
        return np.zeros(0, bool)
    tree = shapely.STRtree(shapely.box(*np.array([part.tile.core for part in parts]).T))
    cores = np.array([part.tile.core for part in parts])
    point, core = tree.query(shapely.points(centroid))
    low, high = cores[core, :2], cores[core, 2:]
    inside = ((centroid[point] >= low) & (centroid[point] < high)).all(1)
    result = np.zeros(len(centroid), bool)
    result[point[inside]] = True
    return result


def _overlaps(
    nuclei: Nuclei, tile_index: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of nuclei of different tiles that are the same nucleus."""
    import shapely

    if len(nuclei) == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first, second = _likely_pairs(nuclei, tile_index)
    involved, index = np.unique(np.concatenate([first, second]), return_inverse=True)
    some = nuclei.select(involved)
    rings = np.repeat(np.arange(len(some)), np.diff(some.offsets))
    polygons = shapely.polygons(shapely.linearrings(some.points, indices=rings))
    # Pixel-edge contours may touch themselves at a corner, which overlay operations refuse.
    broken = ~shapely.is_valid(polygons)
    polygons[broken] = shapely.make_valid(polygons[broken])
    left, right = polygons[index[: len(first)]], polygons[index[len(first) :]]
    smaller = np.minimum(shapely.area(left), shapely.area(right))
    same = shapely.area(shapely.intersection(left, right)) > SAME_OVERLAP * smaller
    return first[same], second[same]


def _likely_pairs(
    nuclei: Nuclei, tile_index: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of nuclei of different tiles whose boxes share enough for the outlines to be the same.

    Outlines share no more than their boxes do: this drops no pair, but spares most intersections.
    """
    import shapely

    box, area = nuclei.box, nuclei.area_px
    boxes = shapely.box(*box.T)
    first, second = shapely.STRtree(boxes).query(boxes)
    pair = (first < second) & (tile_index[first] != tile_index[second])
    first, second = first[pair], second[pair]
    size = np.minimum(box[first, 2:], box[second, 2:]) - np.maximum(box[first, :2], box[second, :2])
    enough = size.clip(0).prod(1) > SAME_OVERLAP * np.minimum(area[first], area[second])
    return first[enough], second[enough]
