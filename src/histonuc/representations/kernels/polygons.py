"""Star polygons: where rays balance, drawing, and the choice among overlapping ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled

RAYS = 32


def _make_directions() -> NDArray[np.float32]:
    """Unit vectors (32, 2), (y, x), that quarter turns and mirrors map onto each other bit for bit.

    Ray ``k`` is at the angle ``k / 32`` of a turn, from +x towards +y.
    """
    cosine = np.cos(np.arange(RAYS // 4 + 1) * 2 * np.pi / RAYS)
    cosine[-1] = 0
    vectors = np.empty((RAYS, 2), np.float32)
    for ray in range(RAYS):
        turns, rest = divmod(ray, RAYS // 4)
        y, x = cosine[RAYS // 4 - rest], cosine[rest]
        for _ in range(turns):
            y, x = x, -y
        vectors[ray] = y, x
    return vectors


DIRECTIONS = _make_directions()


def balance(rays: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where the rays of each pixel balance, and how near to it the pixel is.

    The first moment of the lengths is linear in them, so that their errors average out, which those
    of the shortest ray do not. For a disc it leads from any pixel to about the centre.

    Args:
        rays: float32 (32, H, W).

    Returns:
        float32 (2, H, W), the way (y, x) to that point in px; and float32 (H, W), centrality: 1
        there, about 0 at the boundary (a disc's boundary is pi / 2 mean ray lengths away).
    """
    return _balance(rays, DIRECTIONS)


def suppress(
    order: NDArray[np.int32],
    rays: NDArray[np.float32],
    nuclear: NDArray[np.bool_],
    overlap: float,
    labels: NDArray[np.int32] | None = None,
    area: NDArray[np.int32] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Greedy non-maximum suppression of polygons, cut to the nuclear pixels.

    Without `labels`, each proposal is accepted or left out. With labels that follow from an earlier
    call's, and its `area`, which are both updated in place, proposals that are covered by now are
    skipped, and those that are suppressed give their free pixels to the nucleus they overlap most.

    Args:
        order: int32 (n,), flat indices of the proposals, the best first.
        rays: float32 (32, H, W), px.
        nuclear: bool (H, W).
        overlap: see `Star`.
        labels: int32 (H, W), owner of each pixel.
        area: int32 (H * W + 1,), pixels of each accepted polygon; entry 0 counts the nuclei.

    Returns:
        `labels` and `area`.
    """
    late = labels is not None
    if labels is None or area is None:
        labels, area = np.zeros(nuclear.shape, np.int32), np.zeros(nuclear.size + 1, np.int32)
    _suppress(order, labels, area, rays, nuclear, DIRECTIONS, overlap, late)
    return labels, area


@compiled
def _balance(
    rays: NDArray[np.float32], directions: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    _, height, width = rays.shape
    shift = np.zeros((2, height, width), np.float32)
    total = np.zeros((height, width), np.float32)
    for y in range(height):
        for ray in range(RAYS):
            down, right = directions[ray, 0], directions[ray, 1]
            for x in range(width):
                total[y, x] += rays[ray, y, x]
                shift[0, y, x] += rays[ray, y, x] * down
                shift[1, y, x] += rays[ray, y, x] * right
        for x in range(width):
            shift[0, y, x] *= np.float32(2 / RAYS)
            shift[1, y, x] *= np.float32(2 / RAYS)
            mean = max(total[y, x] / np.float32(RAYS), np.float32(0.5))
            away = np.sqrt(shift[0, y, x] ** 2 + shift[1, y, x] ** 2) / mean
            # Not quite 0 at the boundary: what the blur leaves there still has an order.
            total[y, x] = max(np.float32(0.01), 1 - away * np.float32(2 / np.pi))
    return shift, total


@compiled
def find_maxima(score: NDArray[np.float32], nuclear: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Flat indices of the nuclear pixels whose score no neighbour's exceeds; of ties the first."""
    height, width = score.shape
    cells = np.empty(height * width, np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            if not nuclear[y, x]:
                continue
            here = score[y, x]
            top = True
            for v in range(max(y - 1, 0), min(y + 2, height)):
                for u in range(max(x - 1, 0), min(x + 2, width)):
                    before = v < y or (v == y and u < x)
                    if score[v, u] > here or (before and score[v, u] == here):
                        top = False
            if top:
                cells[count] = y * width + x
                count += 1
    return cells[:count]


@compiled
def _trace(
    y: int,
    x: int,
    rays: NDArray[np.float32],
    nuclear: NDArray[np.bool_],
    directions: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Closed polygon (33 vertices, y and x) of the mean rays of a pixel and its neighbours."""
    _, height, width = rays.shape
    down, right = np.empty(RAYS + 1, np.float32), np.empty(RAYS + 1, np.float32)
    for ray in range(RAYS):
        total = np.float32(0)
        count = 0
        for v in range(max(y - 1, 0), min(y + 2, height)):
            for u in range(max(x - 1, 0), min(x + 2, width)):
                if nuclear[v, u]:
                    total += rays[ray, v, u]
                    count += 1
        # At least half a pixel, so that the polygon holds the pixel itself.
        away = min(max(total / np.float32(count), np.float32(0.5)), np.float32(height + width))
        down[ray] = y + away * directions[ray, 0]
        right[ray] = x + away * directions[ray, 1]
    down[RAYS], right[RAYS] = down[0], right[0]
    return down, right


@compiled
def _fill(
    down: NDArray[np.float32],
    right: NDArray[np.float32],
    nuclear: NDArray[np.bool_],
    parity: NDArray[np.uint8],
    pixels: NDArray[np.int32],
) -> int:
    """Write the flat indices of the nuclear pixels in a polygon to `pixels`; their number.

    Even-odd rule on pixel centres. `parity` is zeros (H, W + 1), and is so again afterwards.
    """
    height, width = nuclear.shape
    first, last = max(int(np.ceil(right.min())), 0), min(int(np.floor(right.max())), width - 1)
    for k in range(RAYS):
        a, b = (k, k + 1) if down[k] <= down[k + 1] else (k + 1, k)
        low, high = max(int(np.ceil(down[a])), 0), min(int(np.ceil(down[b])), height)
        for row in range(low, high):
            slope = (right[b] - right[a]) / (down[b] - down[a])
            at = int(np.ceil(right[a] + (row - down[a]) * slope))
            parity[row, min(max(at, first), last + 1)] ^= 1
    count = 0
    for row in range(max(int(np.ceil(down.min())), 0), min(int(np.ceil(down.max())), height)):
        inside = 0
        for column in range(first, last + 2):
            inside ^= parity[row, column]
            parity[row, column] = 0
            if inside and nuclear[row, column]:
                pixels[count] = row * width + column
                count += 1
    return count


@compiled
def _suppress(
    order: NDArray[np.int32],
    labels: NDArray[np.int32],
    area: NDArray[np.int32],
    rays: NDArray[np.float32],
    nuclear: NDArray[np.bool_],
    directions: NDArray[np.float32],
    overlap: float,
    late: bool,
) -> None:
    height, width = nuclear.shape
    owner = labels.ravel()
    parity = np.zeros((height, width + 1), np.uint8)
    pixels = np.empty(height * width, np.int32)
    shared = np.zeros(len(area), np.int32)  # pixels in common with each nucleus
    for cell in order:
        if late and owner[cell]:
            continue
        down, right = _trace(cell // width, cell % width, rays, nuclear, directions)
        size = _fill(down, right, nuclear, parity, pixels)
        most = 0
        crowded = False
        for pixel in pixels[:size]:
            other = owner[pixel]
            shared[other] += 1
            if other:
                crowded |= shared[other] > overlap * area[other]
                if most == 0 or shared[other] > shared[most]:
                    most = other
        crowded |= size - shared[0] > overlap * size
        for pixel in pixels[:size]:
            shared[owner[pixel]] = 0
        if crowded and not late:
            continue
        if not crowded:
            area[0] += 1
            most = area[0]
            area[most] = size
        for pixel in pixels[:size]:
            if owner[pixel] == 0:
                owner[pixel] = most


@compiled
def settle(
    labels: NDArray[np.int32], shift: NDArray[np.float32], nuclear: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Owner (H, W) of every nuclear pixel: that of the pixel where its rays balance, else its own.

    Args:
        labels: int32 (H, W).
        shift: float32 (2, H, W), of `balance`.
        nuclear: bool (H, W).
    """
    height, width = labels.shape
    half = np.float32(0.5)
    settled = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            if nuclear[y, x]:
                v = int(min(max(y + shift[0, y, x] + half, half), np.float32(height - 1)))
                u = int(min(max(x + shift[1, y, x] + half, half), np.float32(width - 1)))
                settled[y, x] = labels[v, u] if labels[v, u] else labels[y, x]
    return settled
