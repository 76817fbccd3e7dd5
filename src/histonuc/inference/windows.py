"""Windows fitted to the tissue: what goes through the network is little more than the tissue.

The rows of the slide that hold tissue are cut into bands of about equal height, each band into the
runs of tissue in it, and each run into windows of about equal width. A window is no higher than the
tissue in it needs. Neighbouring windows overlap by twice the margin, and the border between their
cores runs through the middle of the overlap; beyond the tissue's ends a window goes on for a
margin, and its core with it. Cores do not overlap, and every pixel of tissue lies in one of them.

Windows begin at multiples of the network's strides: it sees the same pixels in the same phase
whatever the windows, or its maps would differ a little from window to window.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from histonuc.inference.tiles import Box, Tile
from histonuc.inference.tissue import TissueMask

STEP_PX = 32
"""Borders of windows are multiples of this, in pixels of the network's input: the largest stride of
a network, and few shapes. The engine prepares for each new shape once, which takes it as long as a
sixth of a megapixel. Windows of less than `LEAST_STEPS` steps have smaller steps."""
LEAST_STEPS = 8
MAX_HEIGHT = 1.4
"""Height of the highest window in widths of the widest one. Higher windows have less margin, wider
ones fit worse, and both take more memory."""


class _Piece(NamedTuple):
    """A piece of an axis of the slide: half-open core, and the window around it."""

    core: tuple[int, int]
    window: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class _Axis:
    """An axis of the slide as the network sees it.

    Attributes:
        length: in level-0 pixels.
        scale: level-0 pixels per pixel of the network's input.
        most_px: length of the longest window, in pixels of the input, as all that follows.
        margin_px: of a window around its core.
        step_px: see `STEP_PX`.
    """

    length: int
    scale: float
    most_px: int
    margin_px: int
    step_px: int

    @property
    def overlap_px(self) -> int:
        """Of two neighbouring windows: two margins, in whole steps."""
        return math.ceil(2 * self.margin_px / self.step_px) * self.step_px

    @property
    def room_px(self) -> int:
        """What the longest window has room for beside the overlap, in whole steps."""
        return (self.most_px - self.overlap_px) // self.step_px * self.step_px

    def widen(self, start: float, stop: float) -> tuple[int, int]:
        """A stretch of level-0 pixels with margins, in whole steps of pixels of the input."""
        first = math.floor((start / self.scale - self.margin_px) / self.step_px) * self.step_px
        last = math.ceil((stop / self.scale + self.margin_px) / self.step_px) * self.step_px
        return max(0, first), min(last, math.ceil(self.length / self.scale))

    def place(self, border_px: int) -> int:
        """A border in level-0 pixels."""
        return min(self.length, round(border_px * self.scale))

    def size_px(self, first_px: int, last_px: int) -> int:
        """Size of the input for a window, whose end may be the slide's."""
        if self.place(last_px) < self.length:
            return last_px - first_px
        return max(1, round((self.length - self.place(first_px)) / self.scale))


def lay_tiles(
    tissue: TissueMask, tile_px: int, scale_xy: tuple[float, float], margin_px: int
) -> tuple[Tile, ...]:
    """Cover the tissue of a slide with tiles, row by row from the top and from left to right.

    Args:
        tissue: of the slide.
        tile_px: width of the widest input of the network; the highest is `MAX_HEIGHT` times as
            high.
        scale_xy: level-0 pixels per pixel of the input along x and y.
        margin_px: least distance from a core's border to its window's, in pixels of the input, but
            at the slide's border and where no tissue is beyond.

    Raises:
        ValueError: windows too small for their margins.
    """
    step_px = max(1, min(STEP_PX, tile_px // LEAST_STEPS))
    along_x, along_y = (
        _Axis(length=length, scale=scale, most_px=most, margin_px=margin_px, step_px=step_px)
        for length, scale, most in zip(
            tissue.size, scale_xy, (tile_px, math.floor(MAX_HEIGHT * tile_px)), strict=True
        )
    )
    if margin_px < 0 or along_x.room_px <= 0:
        raise ValueError(
            f"tiles of {tile_px} pixels leave nothing between margins of {margin_px}: "
            "raise --tile-px or lower --margin-um"
        )
    laid: list[list[Tile]] = []
    for band in _cut(tissue.mask.any(axis=1), along_y):
        top, bottom = map(along_y.place, band.core)
        row: list[Tile] = []
        inside = tissue.within(Box(0, top, along_x.length, bottom))
        for run in _cut(inside.any(axis=0), along_x):
            left, right = map(along_x.place, run.core)
            found = tissue.bounds(Box(left, top, right, bottom))
            if found is None:
                continue
            fitted = along_y.widen(found[1], found[3])
            rows = max(band.window[0], fitted[0]), min(band.window[1], fitted[1])
            (x0, x1), (y0, y1) = map(along_x.place, run.window), map(along_y.place, rows)
            window = Box(x0, y0, x1, y1)
            row.append(
                Tile(
                    row=len(laid),
                    column=len(row),
                    core=Box(left, max(top, y0), right, min(bottom, y1)),
                    window=window,
                    input_px=(along_x.size_px(*run.window), along_y.size_px(*rows)),
                    alone=window,
                )
            )
        if row:
            laid.append(row)
    return _find_alone(laid, tissue.size)


def _cut(tissue: ArrayLike, axis: _Axis) -> Iterator[_Piece]:
    """Cover the tissue along an axis, from its start to its end.

    Args:
        tissue: bool (n,), of n stretches that make up the axis.
        axis: of the slide.
    """
    holds = np.asarray(tissue, bool)
    stretch, step = axis.length / len(holds), axis.step_px
    edges = np.flatnonzero(np.diff(holds, prepend=False, append=False)).reshape(-1, 2)
    runs: list[tuple[int, int]] = []
    for start, stop in edges.tolist():
        first, last = axis.widen(start * stretch, stop * stretch)
        if runs and first <= runs[-1][1]:
            first, _ = runs.pop()
        runs.append((first, last))
    for first, last in runs:
        steps = max(0, math.ceil((last - first - axis.overlap_px) / step))
        num = max(1, math.ceil(steps * step / axis.room_px))
        starts = [first + i * steps // num * step for i in range(num)]
        seams = [first, *(start + axis.overlap_px // 2 for start in starts[1:]), last]
        ends = [*(start + axis.overlap_px for start in starts[1:]), last]
        for core, window in zip(pairwise(seams), zip(starts, ends, strict=True), strict=True):
            yield _Piece(core, window)


def _find_alone(rows: Sequence[Sequence[Tile]], size: tuple[int, int]) -> tuple[Tile, ...]:
    """The tiles of all rows, each with the part of its window that no other window touches."""
    width, height = size
    bottoms = [0, *accumulate((max(tile.window.y1 for tile in row) for row in rows), max)]
    tops = [min(tile.window.y0 for tile in row) for row in rows]
    below = [*accumulate(reversed(tops), min)][::-1]
    tiles = []
    for row, bottom, top in zip(rows, bottoms, [*below[1:], height], strict=False):
        rights = [0, *(tile.window.x1 for tile in row)]
        lefts = [*(tile.window.x0 for tile in row[1:]), width]
        for tile, right, left in zip(row, rights, lefts, strict=False):
            box = tile.window
            alone = Box(
                max(box.x0, right), max(box.y0, bottom), min(box.x1, left), min(box.y1, top)
            )
            tiles.append(replace(tile, alone=alone))
    return tuple(tiles)
