"""Label images of any size, a row of tiles at a time.

Pixel ``[row, column]`` of a level that is `step` times coarser holds the id of the nucleus that its
centre ``((column + 0.5) * step, (row + 0.5) * step)`` lies in; where nuclei overlap the last one of
the table wins, as in `Nuclei.to_labels`. Coarser levels are painted anew: nothing is kept of finer
ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled
from histonuc.exports.source import Source

_MAX_VERTICES = 16_000_000
"""Vertices held at a time (256 MB): the table is read once for so many, at each level."""
LEVEL_STEP = 4
SMALLEST_PX = 1024
"""The coarsest level is no longer than this."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Extents:
    """Where the nuclei of a source lie, to know which of them a row of tiles needs.

    Attributes:
        y_min: float64 (N,), top of each contour.
        y_max: float64 (N,), bottom of each contour.
        num_vertices: int64 (N,), length of each contour.
    """

    y_min: NDArray[np.float64]
    y_max: NDArray[np.float64]
    num_vertices: NDArray[np.int64]

    @classmethod
    def of(cls, source: Source) -> Extents:
        """One pass over the source."""
        y_min, y_max = np.empty((2, source.num_nuclei))
        num_vertices, at = np.empty(source.num_nuclei, np.int64), 0
        for batch in source.batches():
            rows = slice(at, at := at + len(batch.ids))
            y_min[rows], y_max[rows] = batch.nuclei.box[:, [1, 3]].T
            num_vertices[rows] = np.diff(batch.nuclei.offsets)
        return cls(y_min=y_min, y_max=y_max, num_vertices=num_vertices)


def level_steps(width: int, height: int) -> list[int]:
    """How many times coarser than the full image each level is: 1, 4, 16, ...

    >>> level_steps(20_000, 9_000)
    [1, 4, 16, 64]
    """
    steps = [1]
    while max(width, height) > SMALLEST_PX * steps[-1]:
        steps.append(steps[-1] * LEVEL_STEP)
    return steps


def paint_rows(
    source: Source, extents: Extents, *, step: int, size: tuple[int, int], tile_px: int
) -> Iterator[NDArray[np.uint32]]:
    """Rows of tiles of one level, top to bottom.

    Args:
        source: nuclei.
        extents: of the same source.
        step: how many times coarser than level 0.
        size: width and height of the level in its own pixels.
        tile_px: side of a tile.

    Yields:
        Ids uint32 (tile_px, width), 0 where there is no nucleus; the width is rounded up to whole
        tiles. The same array each time: copy what is to be kept.
    """
    num_rows, canvas = -(-size[1] // tile_px), None
    columns = -(-size[0] // tile_px) * tile_px
    canvas = np.zeros((tile_px, columns), np.uint32)
    tall = tile_px * step
    first = 0
    while first < num_rows:
        last = _last_row(extents, first, num_rows, tall)
        inside = (extents.y_max > first * tall) & (extents.y_min < last * tall)
        points, offsets, ids = _collect(source, extents, inside)
        y_min, y_max = extents.y_min[inside], extents.y_max[inside]
        for row in range(first, last):
            wanted = np.flatnonzero((y_max > row * tall) & (y_min < (row + 1) * tall))
            canvas[:] = 0
            _paint(canvas, row * tile_px, size, float(step), points, offsets, ids, wanted)
            yield canvas
        first = last


def _last_row(extents: Extents, first: int, num_rows: int, tall: int) -> int:
    """End of the rows from `first` on whose nuclei fit into memory together."""
    row = np.clip((extents.y_max // tall).astype(np.int64), 0, num_rows - 1)
    begun = extents.y_min < num_rows * tall
    total = np.bincount(row[begun], extents.num_vertices[begun], minlength=num_rows)
    fitting = int(np.searchsorted(np.cumsum(total[first:]), _MAX_VERTICES, side="right"))
    return first + max(1, fitting)


def _collect(
    source: Source, extents: Extents, inside: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.uint32]]:
    """Contours and ids of the nuclei marked in `inside`."""
    offsets = np.concatenate([[0], np.cumsum(extents.num_vertices[inside])]).astype(np.int64)
    points = np.empty((offsets[-1], 2))
    ids = np.empty(len(offsets) - 1, np.uint32)
    row, kept = 0, 0
    for batch in source.batches():
        keep = inside[row : row + len(batch.ids)]
        row += len(batch.ids)
        if not keep.any():
            continue
        part = batch.nuclei.select(keep)
        points[offsets[kept] : offsets[kept + len(part)]] = part.points
        ids[kept : kept + len(part)] = batch.ids[keep]
        kept += len(part)
    return points, offsets, ids


@compiled
def _paint(
    canvas: NDArray[np.uint32],
    top: int,
    size: tuple[int, int],
    step: float,
    points: NDArray[np.float64],
    offsets: NDArray[np.int64],
    ids: NDArray[np.uint32],
    wanted: NDArray[np.int64],
) -> None:
    """Fill polygons row by row, by the even-odd rule."""
    width, height = size
    bottom = min(len(canvas), height - top)
    for i in wanted:
        start, end = offsets[i], offsets[i + 1]
        low, high = points[start:end, 1].min(), points[start:end, 1].max()
        crossings = np.empty(end - start)
        first = max(0, int(math.ceil(low / step - 0.5)) - top)
        last = min(bottom, int(math.ceil(high / step - 0.5)) - top)
        for row in range(first, last):
            num = _crossings(crossings, points[start:end], (top + row + 0.5) * step)
            for k in range(0, num - 1, 2):
                left = max(0, int(math.ceil(crossings[k] / step - 0.5)))
                right = min(width, int(math.ceil(crossings[k + 1] / step - 0.5)))
                for column in range(left, right):
                    canvas[row, column] = ids[i]


@compiled
def _crossings(crossings: NDArray[np.float64], ring: NDArray[np.float64], y: float) -> int:
    """Where a ring crosses a horizontal line, sorted; returns how often."""
    num = 0
    for j in range(len(ring)):
        x0, y0 = ring[j - 1]
        x1, y1 = ring[j]
        if (y0 <= y) == (y1 <= y):
            continue
        x = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
        k = num
        while k > 0 and crossings[k - 1] > x:
            crossings[k] = crossings[k - 1]
            k -= 1
        crossings[k] = x
        num += 1
    return num
