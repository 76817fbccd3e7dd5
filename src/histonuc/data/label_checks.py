"""Whether a label image numbers its nuclei, or lost the numbers on its way to the disk."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_MANY_PARTS = 10
"""Parts from which on their number alone tells that ids were lost."""
_PARTS_A_NUCLEUS = 2.0
"""Parts a nucleus from which on it tells the same: real label images have 1.0, and at most 1.57 in
755 images of nine data sets."""
_SPECK_PX = 15
"""Mean area of a part below which the parts are the halo that lossy compression leaves."""
_LAST_8_BIT_ID = 255


def find_doubt(
    raw: NDArray[np.integer],
    ids: NDArray[np.integer],
    instances: NDArray[np.int32],
    stated: int | None,
) -> str:
    """What is wrong with a label image, as the end of a sentence; empty where nothing seems to be.

    Args:
        raw: (H, W), the label image as it is on disk; 0 is background.
        ids: (n,), its values above 0.
        instances: (H, W), the same numbered 1..n.
        stated: number of nuclei that the index states; None where it states none.
    """
    num, parts = len(ids), count_parts(instances)
    total = int(parts.sum())
    if num == stated and not _many_parts(num, total):
        return ""
    reason = _name_loss(raw, ids, parts)
    if stated is not None and num != stated:
        return f"{num} nuclei where index.csv states {stated}{reason and ', ' + reason}"
    return reason


def _many_parts(num: int, total: int) -> bool:
    return total >= max(_MANY_PARTS, _PARTS_A_NUCLEUS * num)


def _name_loss(raw: NDArray[np.integer], ids: NDArray[np.integer], parts: NDArray[np.int64]) -> str:
    """How the numbers may have been lost; empty where it does not look as if they were."""
    num, total = len(ids), int(parts.sum())
    if num == 1 and total > 1:
        return f"one value ({ids[0]}) in {total:,} parts: this is a mask of nuclei, not one nucleus"
    if _many_parts(num, total) and np.count_nonzero(raw) < _SPECK_PX * total:
        return (
            f"{num} values in {total:,} specks: numbers were mixed at the edges, as JPEG or "
            "resizing does"
        )
    if ids.max(initial=0) == _LAST_8_BIT_ID and num >= _LAST_8_BIT_ID - 5 and total > num:
        return (
            f"{num} values in {total:,} parts: 8 bits hold 255 numbers, and those of further "
            "nuclei began again at 0"
        )
    if _many_parts(num, total):
        return f"{num} values in {total:,} parts: these look like classes, not like nuclei"
    return ""


def count_parts(instances: NDArray[np.int32]) -> NDArray[np.int64]:
    """Number of 4-connected parts of each nucleus (n,).

    Args:
        instances: (H, W), 0 = background, 1..n consecutive.

    >>> count_parts(np.array([[1, 2, 1], [0, 2, 2]], np.int32)).tolist()
    [2, 1]
    """
    count, part = _label_parts(instances)
    num = int(instances.max(initial=0))
    if count - 1 == num:
        return np.ones(num, np.int64)
    nucleus_of_part = np.zeros(count, np.int64)
    nucleus_of_part[part] = instances
    return np.bincount(nucleus_of_part[1:], minlength=num + 1)[1:]


def number_parts(instances: NDArray[np.int32]) -> NDArray[np.int32]:
    """Label image (H, W) in which every 4-connected part of equal values has a number of its own.

    >>> number_parts(np.array([[1, 2, 1], [0, 2, 2]], np.int32)).tolist()
    [[1, 2, 3], [0, 2, 2]]
    """
    return _label_parts(instances)[1]


def _label_parts(instances: NDArray[np.int32]) -> tuple[int, NDArray[np.int32]]:
    """Number of parts, background included, and the part (0: background) of every pixel."""
    height, width = instances.shape
    # Pixels and the links between equal neighbours, on a grid of twice the resolution.
    grid = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    inside = instances > 0
    grid[::2, ::2] = inside
    grid[1::2, ::2] = (instances[1:] == instances[:-1]) & inside[1:]
    grid[::2, 1::2] = (instances[:, 1:] == instances[:, :-1]) & inside[:, 1:]
    count, part = cv2.connectedComponents(grid, connectivity=4)
    return count, np.ascontiguousarray(part[::2, ::2], np.int32)
