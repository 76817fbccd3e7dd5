"""Loops over pixels, compiled by numba on first use and cached beside this file.

Imported inside the functions that call them, so that nothing else waits for numba.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled


@compiled
def count_pairs(
    truth: NDArray[np.integer], prediction: NDArray[np.integer], table: NDArray[np.int64]
) -> None:
    """Add the pixels of every pair of ids of two flat label images to a table.

    Neighbours mostly agree: writing once a run of equal pairs is three times as fast.
    """
    before, before_other, run = truth[0], prediction[0], 0
    for i in range(len(truth)):
        if truth[i] != before or prediction[i] != before_other:
            table[before, before_other] += run
            before, before_other, run = truth[i], prediction[i], 0
        run += 1
    table[before, before_other] += run


@compiled
def paint_channels(
    mask: NDArray[np.generic],
    bits: NDArray[np.unsignedinteger],
    number: NDArray[np.int32],
    types: NDArray[np.int32],
    labels: NDArray[np.int32],
    covered: NDArray[np.int32],
) -> tuple[int, int]:
    """Paint one channel over the other; number nuclei as they come, list what is painted over.

    Reading the mask from memory is most of the time, so all is done in one pass. Most pixels are
    background: one branch a pixel there, not one a channel.

    Args:
        mask: (pixels, C or more), ids.
        bits: the same memory as unsigned integers, which are joined faster than compared.
        number: (C, largest id + 1), zeros; number of each nucleus, written.
        types: (C * (largest id + 1) + 1,), zeros; class + 1 by number, written.
        labels: (pixels,), zeros; written.
        covered: (2, pixels * C); pixel and number in its first columns, written.

    Returns:
        Nuclei and columns written; -1 and 0 when an id is below 0, too large, or no whole number.
    """
    num_classes, stride = number.shape
    num, hidden = 0, 0
    for pixel in range(mask.shape[0]):
        # Two channels a step take half the time; in an odd number the last one stands alone.
        some = np.uint64(bits[pixel, num_classes - 1])
        for pair in range(num_classes // 2):
            some |= bits[pixel, 2 * pair] | bits[pixel, 2 * pair + 1]
        if some == 0:
            continue
        for channel in range(num_classes):
            value = mask[pixel, channel]
            if value != 0:
                if not 0 < value < stride or value != np.floor(value):
                    return -1, 0
                nucleus = number[channel, np.int64(value)]
                if nucleus == 0:
                    num += 1
                    nucleus = num
                    number[channel, np.int64(value)] = num
                    types[num] = channel + 1
                if labels[pixel] != 0:
                    covered[0, hidden], covered[1, hidden] = pixel, labels[pixel]
                    hidden += 1
                labels[pixel] = nucleus
    return num, hidden


@compiled
def measure_hausdorff(
    truth: NDArray[np.int32],
    prediction: NDArray[np.int32],
    pair_of_truth: NDArray[np.int64],
    pair_of_prediction: NDArray[np.int64],
    num_pairs: int,
) -> NDArray[np.float64]:
    """Hausdorff distance (num_pairs,) in pixels of pairs of nuclei.

    Args:
        truth: label image (H, W).
        prediction: label image (H, W) of the prediction.
        pair_of_truth: pair by id, -1 where the nucleus is in none.
        pair_of_prediction: pair by id of the prediction, -1 where the nucleus is in none.
        num_pairs: pairs.
    """
    height, width = truth.shape
    boxes = np.empty((num_pairs, 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = max(height, width), -1
    for y in range(height):
        for x in range(width):
            for k in (pair_of_truth[truth[y, x]], pair_of_prediction[prediction[y, x]]):
                if k >= 0:
                    boxes[k, 0], boxes[k, 1] = min(boxes[k, 0], y), min(boxes[k, 1], x)
                    boxes[k, 2], boxes[k, 3] = max(boxes[k, 2], y), max(boxes[k, 3], x)
    distance = np.zeros(num_pairs)
    for k in range(num_pairs):
        y0, x0, y1, x1 = boxes[k]
        box = (slice(y0, y1 + 1), slice(x0, x1 + 1))
        one, other = pair_of_truth[truth[box]] == k, pair_of_prediction[prediction[box]] == k
        distance[k] = np.sqrt(max(_farthest(one, other), _farthest(other, one)))
    return distance


@compiled
def _farthest(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> int:
    """Largest squared distance from a pixel of `one` to the nearest of `other`.

    Only pixels outside `other` are away from it, and what is nearest to them lies on its edge.
    """
    height, width = other.shape
    edge = np.empty((height * width, 2), np.int64)
    num = 0
    for y in range(height):
        for x in range(width):
            inner = 0 < y < height - 1 and 0 < x < width - 1
            if inner:
                inner = other[y - 1, x] and other[y + 1, x] and other[y, x - 1] and other[y, x + 1]
            if other[y, x] and not inner:
                edge[num, 0], edge[num, 1] = y, x
                num += 1
    farthest = 0
    for y in range(height):
        for x in range(width):
            if one[y, x] and not other[y, x]:
                nearest = height * height + width * width
                for i in range(num):
                    nearest = min(nearest, (edge[i, 0] - y) ** 2 + (edge[i, 1] - x) ** 2)
                    if nearest <= farthest:
                        break
                farthest = max(farthest, nearest)
    return farthest
