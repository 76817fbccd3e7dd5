"""Label images of any size and their pyramids, a row of tiles at a time.

Pixel ``[row, column]`` holds the id of the nucleus that its centre lies in; where nuclei overlap
the last one of the table wins, as in `Nuclei.to_labels`. A coarser level takes the pixel next to
the centre of each 4 x 4 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled
from histonuc.exports.source import Source

_MAX_VERTICES = 12_000_000
"""Vertices held at a time (192 MB): the table is read once for so many."""
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


def measure_extents(source: Source) -> Extents:
    """Where the nuclei of a source lie, in one pass over them."""
    y_min, y_max = np.empty((2, source.num_nuclei))
    num_vertices, at = np.empty(source.num_nuclei, np.int64), 0
    for batch in source.batches():
        rows = slice(at, at := at + len(batch.ids))
        y_min[rows], y_max[rows] = batch.nuclei.box[:, [1, 3]].T
        num_vertices[rows] = np.diff(batch.nuclei.offsets)
    return Extents(y_min=y_min, y_max=y_max, num_vertices=num_vertices)


def level_sizes(width: int, height: int) -> list[tuple[int, int]]:
    """Width and height of each level, the full image first.

    >>> level_sizes(20_000, 9_000)
    [(20000, 9000), (5000, 2250), (1250, 562), (312, 140)]
    """
    sizes = [(width, height)]
    while max(sizes[-1]) > SMALLEST_PX:
        width, height = (max(1, side // LEVEL_STEP) for side in sizes[-1])
        sizes.append((width, height))
    return sizes


def paint_levels(source: Source, tile_px: int) -> Iterator[Iterator[NDArray[np.uint32]]]:
    """Rows of tiles of each level, top to bottom; each level is to be used up before the next.

    A coarser level waits in a temporary file of a sixteenth of the finer one's pixels.

    Args:
        source: nuclei.
        tile_px: side of a tile, a multiple of `LEVEL_STEP`.

    Yields:
        For each of `level_sizes`, ids uint32 (tile_px, width), 0 where there is no nucleus; the
        width is rounded up to whole tiles. An array is overwritten by the next: copy what is to be
        kept.
    """
    sizes = level_sizes(*source.size)
    with ExitStack() as files:
        rows = paint_rows(source, sizes[0], tile_px)
        for coarser in sizes[1:]:
            file = files.enter_context(TemporaryFile())
            yield _thinning(rows, coarser, tile_px, file)
            file.seek(0)
            rows = _stored_rows(file, coarser, tile_px)
        yield rows


def _thinning(
    rows: Iterator[NDArray[np.uint32]], coarser: tuple[int, int], tile_px: int, file: IO[bytes]
) -> Iterator[NDArray[np.uint32]]:
    """The same rows, while the next level goes into a file."""
    width, height = coarser
    for index, row in enumerate(rows):
        thin = row[LEVEL_STEP // 2 :: LEVEL_STEP, LEVEL_STEP // 2 :: LEVEL_STEP]
        thin = thin[: max(0, height - index * tile_px // LEVEL_STEP), :width]
        file.write(np.ascontiguousarray(thin).data)
        yield row  # last: who takes the last row need not come back


def _stored_rows(
    file: IO[bytes], size: tuple[int, int], tile_px: int
) -> Iterator[NDArray[np.uint32]]:
    width, height = size
    canvas = np.zeros((tile_px, -(-width // tile_px) * tile_px), np.uint32)
    for top in range(0, height, tile_px):
        num = min(tile_px, height - top)
        stored = np.frombuffer(file.read(4 * num * width), np.uint32)
        canvas[:num, :width] = stored.reshape(num, width)
        canvas[num:] = 0
        yield canvas


def paint_rows(source: Source, size: tuple[int, int], tile_px: int) -> Iterator[NDArray[np.uint32]]:
    """Rows of tiles of the full image; see `paint_levels`."""
    extents = measure_extents(source)
    num_rows = -(-size[1] // tile_px)
    canvas = np.zeros((tile_px, -(-size[0] // tile_px) * tile_px), np.uint32)
    first = 0
    while first < num_rows:
        last = _last_row(extents, first, num_rows, tile_px)
        inside = (extents.y_max > first * tile_px) & (extents.y_min < last * tile_px)
        points, offsets, ids = _collect(source, extents, inside)
        y_min, y_max = extents.y_min[inside], extents.y_max[inside]
        for row in range(first, last):
            top = row * tile_px
            wanted = np.flatnonzero((y_max > top) & (y_min < top + tile_px))
            canvas[:] = 0
            _paint(canvas, top, size, points, offsets, ids, wanted)
            yield canvas
        del points  # before the next are gathered
        first = last


def _last_row(extents: Extents, first: int, num_rows: int, tile_px: int) -> int:
    """End of the rows from `first` on whose nuclei fit into memory together."""
    row = np.clip(extents.y_max // tile_px, 0, num_rows - 1).astype(np.int64)
    total = np.bincount(row, extents.num_vertices, minlength=num_rows)
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
    points: NDArray[np.float64],
    offsets: NDArray[np.int64],
    ids: NDArray[np.uint32],
    wanted: NDArray[np.int64],
) -> None:
    """Fill polygons row by row, by the even-odd rule."""
    width, height = size
    bottom = min(len(canvas), height - top)
    crossings = np.empty(np.diff(offsets).max() if len(ids) else 0)
    for i in wanted:
        start, end = offsets[i], offsets[i + 1]
        low = high = points[start, 1]
        for j in range(start + 1, end):
            low, high = min(low, points[j, 1]), max(high, points[j, 1])
        first = max(0, math.ceil(low - 0.5) - top)
        last = min(bottom, math.ceil(high - 0.5) - top)
        for row in range(first, last):
            num = _crossings(crossings, points, start, end, top + row + 0.5)
            for k in range(0, num - 1, 2):
                left = max(0, math.ceil(crossings[k] - 0.5))
                right = min(width, math.ceil(crossings[k + 1] - 0.5))
                for column in range(left, right):
                    canvas[row, column] = ids[i]


@compiled
def _crossings(
    crossings: NDArray[np.float64], points: NDArray[np.float64], start: int, end: int, y: float
) -> int:
    """Where a ring crosses a horizontal line, sorted; returns how often."""
    num = 0
    before = end - 1
    for j in range(start, end):
        y0, y1 = points[before, 1], points[j, 1]
        if (y0 <= y) != (y1 <= y):
            x0, x1 = points[before, 0], points[j, 0]
            x = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
            k = num
            while k > 0 and crossings[k - 1] > x:
                crossings[k] = crossings[k - 1]
                k -= 1
            crossings[k] = x
            num += 1
        before = j
    return num
