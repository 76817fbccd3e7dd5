"""The loops over the pixels of labels, compiled: sums of maps by nucleus, and new numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled_kernel

Ints = NDArray[np.int32]


@compiled_kernel
def renumber(labels: Ints, number: Ints) -> None:
    """Give each label of labels (H, W), in place, its new number; a third of the time of an index.

    Args:
        labels: (H, W), ids 0..num, written over.
        number: (num + 1,), the new number of each id; that of 0 is not read.
    """
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label and number[label] != label:
                labels[y, x] = number[label]


@compiled_kernel
def add_rows(
    labels: Ints,
    maps: NDArray[np.float32],
    channels: NDArray[np.intp],
    rows: tuple[int, int],
    sums: NDArray[np.float64],
    area: NDArray[np.int64],
) -> None:
    """Add to each label's sums and area what its pixels in some rows hold.

    Run by run, so that sums are not read from memory and written there pixel by pixel.

    Args:
        labels: (H, W), ids 0..num.
        maps: (K, H, W).
        channels: (k,), the maps to sum.
        rows: the first one and one past the last one to read.
        sums: (num + 1, k), added to; row 0 (the background) is left alone.
        area: (num + 1,), in pixels, added to in the same way.
    """
    width = labels.shape[1]
    for y in range(rows[0], rows[1]):
        start, before = 0, np.int32(0)
        for x in range(width + 1):
            label = labels[y, x] if x < width else np.int32(0)
            if label == before:
                continue
            if before:
                area[before] += x - start
                for column in range(len(channels)):
                    channel = channels[column]
                    total = 0.0
                    for u in range(start, x):
                        total += maps[channel, y, u]
                    sums[before, column] += total
            start, before = x, label


@compiled_kernel
def add_cells(
    labels: Ints,
    cells: NDArray[np.float32],
    stride: int,
    sums: NDArray[np.float64],
    area: NDArray[np.int64],
) -> None:
    """Add to each label's sums and area what the cells under its pixels hold, pixel by pixel.

    Args:
        labels: (H, W), ids 0..num.
        cells: (h, w, C), one value for each square of `stride` by `stride` pixels.
        stride: in pixels.
        sums: (num + 1, C), added to; row 0 (the background) is left alone.
        area: (num + 1,), in pixels, added to in the same way.
    """
    height, width = labels.shape
    for y in range(height):
        row = y // stride
        for column in range(cells.shape[1]):
            x, end = column * stride, min((column + 1) * stride, width)
            while x < end:
                label = labels[y, x]
                start = x
                while x < end and labels[y, x] == label:
                    x += 1
                if label:
                    area[label] += x - start
                    for channel in range(cells.shape[2]):
                        sums[label, channel] += (x - start) * cells[row, column, channel]
