"""What a nucleus's pixels say together: sums of maps over labels, and labels given new numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled_kernel
from histonuc.representations.bands import bands, check_finite

Ints = NDArray[np.int32]


def pool(
    labels: NDArray[np.int32], num: int, maps: NDArray[np.float32], channels: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sums of maps over each label; refuses NaN and infinite values in them.

    Args:
        labels: int32 (H, W), ids 0..num.
        num: number of labels.
        maps: float32 (K, H, W).
        channels: the maps to sum (k,).

    Returns:
        float64 (num, k), the sums, and int64 (num,), the areas in pixels.
    """
    sums, area = np.zeros((num + 1, len(channels))), np.zeros(num + 1, np.int64)
    maps = np.ascontiguousarray(maps)
    for rows in bands(*labels.shape):
        for channel in channels:
            check_finite(maps[channel : channel + 1, rows[0] : rows[1]])
        _pool(labels, maps, channels, rows, sums, area)
    return sums[1:], area[1:]


@compiled_kernel
def renumber(labels: Ints, number: Ints) -> None:
    """Give each label, in place, its new number (num + 1,); a third of the time of an index."""
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label and number[label] != label:
                labels[y, x] = number[label]


@compiled_kernel
def _pool(
    labels: Ints,
    maps: NDArray[np.float32],
    channels: NDArray[np.intp],
    rows: tuple[int, int],
    sums: NDArray[np.float64],
    area: NDArray[np.int64],
) -> None:
    """Run by run, so that sums are not read from memory and written there pixel by pixel."""
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
