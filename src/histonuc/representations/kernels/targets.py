"""The loops that make dense targets of label images, compiled: one function a representation.

In each, `instances` is int32 (H, W) with ids 0..num - 1, 0 being the background, and `num` counts
the background.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled
from histonuc.representations.kernels.polygons import DIRECTIONS, RAYS

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


@compiled
def to_centres(instances: Ints, num: int) -> Floats:
    """Way (y, x) in pixels from each nuclear pixel to its nucleus's centre.

    The centre is the mean of the nucleus's pixels or, where that lies outside of the nucleus, the
    pixel of the nucleus that is nearest to the mean.

    Returns:
        float32 (2, H, W), 0 in the background.
    """
    height, width = instances.shape
    count = np.zeros(num)
    centre = np.zeros((num, 2))
    for y in range(height):
        for x in range(width):
            owner = instances[y, x]
            count[owner] += 1
            centre[owner, 0] += y
            centre[owner, 1] += x
    nearest = np.full(num, np.inf)
    inside = np.zeros((num, 2), np.float32)
    for owner in range(num):
        centre[owner] /= max(count[owner], 1)
    for y in range(height):
        for x in range(width):
            owner = instances[y, x]
            if owner:
                away = (y - centre[owner, 0]) ** 2 + (x - centre[owner, 1]) ** 2
                if away < nearest[owner]:
                    nearest[owner] = away
                    inside[owner, 0] = y
                    inside[owner, 1] = x
    for owner in range(num):
        if nearest[owner] < 0.6:  # the mean lies in the nucleus: it need not be a pixel's centre
            inside[owner, 0] = centre[owner, 0]
            inside[owner, 1] = centre[owner, 1]
    out = np.zeros((2, height, width), np.float32)
    for y in range(height):
        for x in range(width):
            owner = instances[y, x]
            if owner:
                out[0, y, x] = inside[owner, 0] - y
                out[1, y, x] = inside[owner, 1] - x
    return out


@compiled
def to_distances(instances: Ints, num: int) -> Floats:
    """Way (x, y) from its nucleus's centre of mass to each pixel, scaled to -1..1 on each side.

    Returns:
        float32 (2, H, W), 0 in the background.
    """
    height, width = instances.shape
    count = np.zeros(num)
    centre = np.zeros((2, num))
    for y in range(height):
        for x in range(width):
            owner = instances[y, x]
            if owner:
                count[owner] += 1
                centre[0, owner] += x
                centre[1, owner] += y
    centre /= np.maximum(count, 1)
    side = np.zeros((4, num))  # largest way to the left, right, up and down
    for y in range(height):
        for x in range(width):
            owner = instances[y, x]
            if owner:
                right, down = x - centre[0, owner], y - centre[1, owner]
                side[0, owner] = max(side[0, owner], -right)
                side[1, owner] = max(side[1, owner], right)
                side[2, owner] = max(side[2, owner], -down)
                side[3, owner] = max(side[3, owner], down)
    out = np.zeros((2, height, width), np.float32)
    for y in range(height):
        for x in range(width):
            owner = instances[y, x]
            if owner:
                right, down = x - centre[0, owner], y - centre[1, owner]
                if right != 0:
                    out[0, y, x] = right / side[1 if right > 0 else 0, owner]
                if down != 0:
                    out[1, y, x] = down / side[3 if down > 0 else 2, owner]
    return out


def march_rays(instances: Ints, num: int) -> tuple[Floats, Floats]:
    """Ray lengths of every nuclear pixel, and how deep inside its nucleus it lies.

    A ray is sampled at the nearest pixels, one a pixel of its main axis; it ends halfway between
    the last sample in the nucleus and the first outside.

    Returns:
        float32 (32, H, W), px, 0 in the background; and float32 (H, W), the shortest ray divided by
        the largest such of the nucleus.
    """
    return _march_padded(np.pad(instances, 1), num, DIRECTIONS)


@compiled
def _march_padded(padded: Ints, num: int, directions: Floats) -> tuple[Floats, Floats]:
    height, width = padded.shape[0] - 2, padded.shape[1] - 2
    flat = padded.ravel()
    reach = max(height, width) + 1
    step = np.empty((RAYS, reach), np.int32)
    length = np.empty(RAYS, np.float32)
    for ray in range(RAYS):
        length[ray] = 1 / max(abs(directions[ray, 0]), abs(directions[ray, 1]))
        for n in range(reach):
            down = round(n * directions[ray, 0] * length[ray])
            right = round(n * directions[ray, 1] * length[ray])
            step[ray, n] = down * (width + 2) + right
    rays = np.zeros((RAYS, height, width), np.float32)
    depth = np.zeros((height, width), np.float32)
    deepest = np.zeros(num, np.float32)
    for y in range(height):
        for ray in range(RAYS):
            for x in range(width):
                here = (y + 1) * (width + 2) + x + 1
                owner = flat[here]
                if owner == 0:
                    continue
                n = 1
                while flat[here + step[ray, n]] == owner:  # the padding ends every ray
                    n += 1
                away = np.float32(n - 0.5) * length[ray]
                rays[ray, y, x] = away
                if ray == 0 or away < depth[y, x]:
                    depth[y, x] = away
        for x in range(width):
            owner = padded[y + 1, x + 1]
            deepest[owner] = max(deepest[owner], depth[y, x])
    for y in range(height):
        for x in range(width):
            if depth[y, x] > 0:
                depth[y, x] /= deepest[padded[y + 1, x + 1]]
    return rays, depth
