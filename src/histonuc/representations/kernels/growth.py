"""The loop of `histonuc.representations.voting` that gives stray pixels away, compiled.

It allocates nothing either, see `histonuc.representations.kernels.voting`.
"""

from __future__ import annotations

import numpy as np

from histonuc.compiled import Whole, compiled_kernel, compiled_part
from histonuc.representations.kernels.voting import Floats, Ints


@compiled_kernel
def grow(labels: Ints, centres: Floats, pixels: Ints, aims: Floats, taken: Ints) -> None:
    """Give pixels, in place, to the nucleus beside them whose centre is nearest to where they aim.

    Pixels that would close a gap of that nucleus are left: what they enclosed would be a hole.

    Args:
        labels: (H, W), written over.
        centres: (num, 2) by nucleus.
        pixels: (n,), flat indices; written over: -1 for those that were given away.
        aims: (n, 2), where their vectors point.
        taken: (n,), any values, written over.
    """
    height, width = labels.shape
    for k in range(len(pixels)):
        taken[k] = 0
        if pixels[k] < 0:
            continue
        y, x = pixels[k] // width, pixels[k] % width
        least = np.inf
        for side in range(4):
            v, u = y + (side == 0) - (side == 1), x + (side == 2) - (side == 3)
            if v < 0 or u < 0 or v >= height or u >= width or labels[v, u] == 0:
                continue
            owner = labels[v, u]
            down, right = centres[owner - 1, 0] - aims[k, 0], centres[owner - 1, 1] - aims[k, 1]
            if down * down + right * right < least:
                least = down * down + right * right
                taken[k] = owner
    for k in range(len(pixels)):
        y, x = pixels[k] // width, pixels[k] % width
        if taken[k] and _parts_around(labels, y, x, taken[k]) <= 1:
            labels[y, x] = taken[k]
            pixels[k] = -1


@compiled_part
def _parts_around(labels: Ints, y: Whole, x: Whole, label: Whole) -> int:
    """How many parts of a nucleus meet at a pixel: Yokoi's connectivity number, 1973."""
    parts, down, right = 0, 0, 1
    for _ in range(4):  # beside it, and the corner and the side that come next around it
        if _is_label(labels, y + down, x + right, label) and not (
            _is_label(labels, y + down + right, x + right - down, label)
            and _is_label(labels, y + right, x - down, label)
        ):
            parts += 1
        down, right = right, -down
    return parts


@compiled_part
def _is_label(labels: Ints, y: Whole, x: Whole, label: Whole) -> bool:
    """Whether a pixel lies in the image and in a nucleus."""
    if y < 0 or x < 0 or y >= labels.shape[0] or x >= labels.shape[1]:
        return False
    return bool(labels[y, x] == label)
