"""Compiled loops that tell which nuclei lie inside a region."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import Whole, compiled_kernel, compiled_part
from histonuc.viewing.kernels import FIXED


@compiled_kernel
def mark_inside(
    x: NDArray[np.uint32],
    y: NDArray[np.uint32],
    edges: NDArray[np.float64],
    starts: NDArray[np.int64],
    numbers: NDArray[np.int64],
    frame: NDArray[np.float64],
    cells: NDArray[np.uint8],
    found: NDArray[np.uint8],
) -> None:
    """Tell which points lie inside rings, by how many edges a line to the right crosses.

    The edges are sorted into bands of equal height, so that few are looked at for a point, and none
    in cells that no edge crosses.

    Args:
        x: uint32 (n,), fixed.
        y: uint32 (n,), fixed.
        edges: float64 (E, 4), x0, y0, x1, y1 in level-0 pixels.
        starts: int64 (bands + 1,), where the edges of each band begin in `numbers`.
        numbers: int64, which edges reach into each band.
        frame: float64 (6,), x0, y0, x1, y1 of the box around the rings, the height of a band, and
            how near to an edge a point is left to others; all in level-0 pixels.
        cells: uint8 (rows, columns) over that box: 0 outside, 1 inside, 2 where an edge is near.
        found: uint8 (n,), written to: 0 outside, 1 inside, 2 near an edge.
    """
    bands, near = len(starts) - 1, frame[5]
    rows, columns = cells.shape
    scale_x = columns / (frame[2] - frame[0])
    scale_y, scale_band = rows / (frame[3] - frame[1]), 1 / frame[4]
    for i in range(len(x)):
        found[i] = 0
        at_x, at_y = x[i] / FIXED, y[i] / FIXED
        if at_x < frame[0] - near or at_x > frame[2] + near:
            continue
        if at_y < frame[1] - near or at_y > frame[3] + near:
            continue
        column = min(max(int((at_x - frame[0]) * scale_x), 0), columns - 1)
        row = min(max(int((at_y - frame[1]) * scale_y), 0), rows - 1)
        if cells[row, column] != 2:
            found[i] = cells[row, column]
            continue
        band = min(max(int((at_y - frame[1]) * scale_band), 0), bands - 1)
        inside = 0
        for place in range(starts[band], starts[band + 1]):
            state = _cross(at_x, at_y, edges, numbers[place], near)
            if state == 2:
                inside = 2
                break
            inside ^= state
        found[i] = inside


@compiled_part
def _cross(x: float, y: float, edges: NDArray[Any], edge: Whole, near: float) -> int:
    """Whether a line from a point to the right crosses an edge; 2 where the point is near it."""
    x0, y0, x1, y1 = edges[edge, 0], edges[edge, 1], edges[edge, 2], edges[edge, 3]
    if y < min(y0, y1) - near or y > max(y0, y1) + near or x > max(x0, x1) + near:
        return 0
    if x < min(x0, x1) - near:
        return int((y0 > y) != (y1 > y))
    dx, dy = x1 - x0, y1 - y0
    squared = dx * dx + dy * dy
    along = 0.0
    if squared > 0:
        along = min(max(((x - x0) * dx + (y - y0) * dy) / squared, 0.0), 1.0)
    ox, oy = x0 + along * dx - x, y0 + along * dy - y
    if ox * ox + oy * oy <= near * near:
        return 2
    if (y0 > y) == (y1 > y):
        return 0
    return 1 if x < x0 + (y - y0) / dy * dx else 0


@compiled_kernel
def add_found(
    kind: NDArray[np.uint8],
    area: NDArray[np.float32],
    found: NDArray[np.uint8],
    counts: NDArray[np.int64],
    sums: NDArray[np.float64],
) -> None:
    """Add nuclei that were found to counts and sums of areas by class.

    Args:
        kind: uint8 (n,), number of the class.
        area: float32 (n,).
        found: uint8 (n,), 1 for those that count.
        counts: int64 (classes,).
        sums: float64 (classes,).
    """
    for i in range(len(kind)):
        if found[i] == 1:
            counts[kind[i]] += 1
            sums[kind[i]] += area[i]
