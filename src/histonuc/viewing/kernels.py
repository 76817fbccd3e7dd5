"""Compiled loops over nuclei.

Positions are *fixed*: whole multiples of `1 / FIXED` level-0 pixels. Squares and cells have sides
of powers of two, so that which one a nucleus lies in is a shift of bits, the same everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import Whole, compiled, compiled_kernel, compiled_part

FIXED_BITS = 11
FIXED = 1 << FIXED_BITS
"""Steps of a position to a level-0 pixel: the widest slide has 2 ** 31 of them."""


@compiled_kernel
def count_cells(
    x: NDArray[np.uint32],
    y: NDArray[np.uint32],
    kind: NDArray[np.uint8],
    passes: NDArray[np.bool_],
    shift: Whole,
    counts: NDArray[np.uint32],
) -> None:
    """Add nuclei to the counts of the cells that they lie in.

    Args:
        x: uint32 (n,), fixed.
        y: uint32 (n,), fixed.
        kind: uint8 (n,), number of the class.
        passes: bool (n,), which nuclei count.
        shift: bits from a fixed position to a cell.
        counts: uint32 (classes, rows, columns); those outside count in the nearest cell.
    """
    last_row, last_column = counts.shape[1] - 1, counts.shape[2] - 1
    for i in range(len(x)):
        if passes[i]:
            column, row = np.int64(x[i]) >> shift, np.int64(y[i]) >> shift
            counts[kind[i], min(row, last_row), min(column, last_column)] += 1


@compiled_kernel
def sum_cells(
    x: NDArray[np.uint32],
    y: NDArray[np.uint32],
    kind: NDArray[np.uint8],
    values: NDArray[np.float32],
    passes: NDArray[np.bool_],
    shift: Whole,
    valued: NDArray[np.uint32],
    sums: NDArray[np.float32],
) -> None:
    """Add the values of nuclei to the sums of the cells that they lie in.

    Args:
        x: uint32 (n,), fixed.
        y: uint32 (n,), fixed.
        kind: uint8 (n,), number of the class.
        values: float32 (n,), NaN where there is none.
        passes: bool (n,), which nuclei count.
        shift: bits from a fixed position to a cell.
        valued: uint32 (classes, rows, columns), how many nuclei have a value.
        sums: float32 (classes, rows, columns); those outside count in the nearest cell.
    """
    last_row, last_column = sums.shape[1] - 1, sums.shape[2] - 1
    for i in range(len(x)):
        if passes[i] and not np.isnan(values[i]):
            column, row = np.int64(x[i]) >> shift, np.int64(y[i]) >> shift
            row, column = min(row, last_row), min(column, last_column)
            valued[kind[i], row, column] += 1
            sums[kind[i], row, column] += values[i]


@compiled_kernel
def count_bins(
    values: NDArray[np.float32],
    kind: NDArray[np.uint8],
    passes: NDArray[np.bool_],
    low: float,
    high: float,
    counts: NDArray[np.int64],
) -> None:
    """Add nuclei to the bins of a histogram.

    Args:
        values: float32 (n,).
        kind: uint8 (n,), number of the class.
        passes: bool (n,), which nuclei count.
        low: left end of the first bin.
        high: right end of the last bin, which belongs to it.
        counts: int64 (classes, bins + 3): the bins, then how many are below, above and missing.
    """
    bins = counts.shape[1] - 3
    scale = bins / (high - low) if high > low else 0.0
    for i in range(len(values)):
        if not passes[i]:
            continue
        value = values[i]
        if np.isnan(value):
            counts[kind[i], bins + 2] += 1
        elif value < low:
            counts[kind[i], bins] += 1
        elif value > high:
            counts[kind[i], bins + 1] += 1
        else:
            counts[kind[i], min(int((value - low) * scale), bins - 1)] += 1


@compiled
def fixed_rings(
    data: NDArray[np.uint8], starts: NDArray[np.int32], header: Whole
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Rings out of polygons in well-known binary, little-endian, of one ring each.

    Args:
        data: uint8 (B,), the polygons one after the other, read-only.
        starts: int32 (n + 1,), where each begins.
        header: bytes before the points of each.

    Returns:
        int32 (P, 2), the vertices, fixed, rings open; int32 (n + 1,), where each ring begins.
        No rings (0,) where one of the polygons is something else.
    """
    n = len(starts) - 1
    offsets = np.zeros(n + 1, np.int32)
    for i in range(n):
        at = starts[i]
        length = starts[i + 1] - at
        if length < header + 16 or data[at] != 1 or data[at + 1] != 3 or data[at + 5] != 1:
            return np.zeros((0, 2), np.int32), np.zeros(0, np.int32)
        points = (length - header) // 16
        if points * 16 + header != length:
            return np.zeros((0, 2), np.int32), np.zeros(0, np.int32)
        offsets[i + 1] = offsets[i] + max(points - 1, 1)
    numbers = np.empty(2 * offsets[n], np.float64)
    raw = numbers.view(np.uint8)  # the polygons lie at odd addresses: they are moved first
    for i in range(n):
        at, size = starts[i] + header, 16 * (offsets[i + 1] - offsets[i])
        raw[16 * offsets[i] : 16 * offsets[i] + size] = data[at : at + size]
    vertices = np.empty(2 * offsets[n], np.int32)
    for j in range(len(vertices)):
        value = min(max(numbers[j], -1e6), 1e6) * FIXED  # NaN becomes -1e6
        vertices[j] = int(np.floor(value + 0.5))
    return vertices.reshape((-1, 2)), offsets


@compiled_part
def _farthest(ring: NDArray[np.int32], first: Whole, last: Whole, size: Whole) -> tuple[int, float]:
    """The vertex between two others that lies farthest from the line through them.

    Args:
        ring: int32 (size, 2).
        first: number of a vertex.
        last: number of a later one, which may go round the end: `size` is vertex 0.
        size: number of vertices.

    Returns:
        Its number, and its squared distance; -1 where there is none between.
    """
    ax, ay = float(ring[first, 0]), float(ring[first, 1])
    dx, dy = ring[last % size, 0] - ax, ring[last % size, 1] - ay
    squared = dx * dx + dy * dy
    found, most = -1, -1.0
    for i in range(first + 1, last):
        px, py = ring[i, 0] - ax, ring[i, 1] - ay
        along = 0.0
        if squared > 0:
            along = min(max((px * dx + py * dy) / squared, 0.0), 1.0)
        ox, oy = px - along * dx, py - along * dy
        away = ox * ox + oy * oy
        if away > most:
            found, most = i, away
    return found, most


@compiled
def simplify_rings(
    vertices: NDArray[np.int32],
    offsets: NDArray[np.int32],
    rows: NDArray[np.int64],
    tolerance: float,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Rings without the vertices that lie near the line between their neighbours (Douglas-Peucker).

    Args:
        vertices: int32 (P, 2), fixed.
        offsets: int32 (n + 1,), where each ring begins.
        rows: int64 (m,), which rings are wanted.
        tolerance: how far the line may leave a vertex that goes, fixed; below 0 for all vertices.

    Returns:
        int32 (Q, 2) and int32 (m + 1,), in the order of `rows`; a ring keeps three vertices or more
        where it has them.
    """
    total, longest = 0, 0
    for row in rows:
        size = offsets[row + 1] - offsets[row]
        total += size
        longest = max(longest, size)
    out, ends = np.empty((total, 2), np.int32), np.zeros(len(rows) + 1, np.int32)
    stays, stack = np.zeros(longest, np.bool_), np.zeros((longest + 2, 2), np.int64)
    at = 0
    for number, row in enumerate(rows):
        ring = vertices[offsets[row] : offsets[row + 1]]
        size = len(ring)
        stays[:size] = tolerance < 0 or size <= 3
        if tolerance >= 0 and size > 3:
            _mark_vertices(ring, size, tolerance * tolerance, stays, stack)
        for i in range(size):
            if stays[i]:
                out[at, 0], out[at, 1] = ring[i, 0], ring[i, 1]
                at += 1
        ends[number + 1] = at
    return out[:at], ends


@compiled_part
def _mark_vertices(
    ring: NDArray[np.int32],
    size: Whole,
    squared: float,
    stays: NDArray[np.bool_],
    stack: NDArray[np.int64],
) -> None:
    """Mark the vertices of one ring that stay, three or more of them."""
    opposite, _ = _farthest(ring, 0, size, size)
    stays[0] = stays[opposite] = True
    third, third_away = -1, -1.0
    stack[0, 0], stack[0, 1] = 0, opposite
    stack[1, 0], stack[1, 1] = opposite, size
    depth = 2
    while depth:
        depth -= 1
        first, last = stack[depth, 0], stack[depth, 1]
        found, away = _farthest(ring, first, last, size)
        if found < 0:
            continue
        if away > squared:
            stays[found] = True
            stack[depth, 0], stack[depth, 1] = first, found
            stack[depth + 1, 0], stack[depth + 1, 1] = found, last
            depth += 2
        elif away > third_away:
            third, third_away = found, away
    if third >= 0 and stays[:size].sum() < 3:
        stays[third] = True
