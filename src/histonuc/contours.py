"""Outlines and centroids of the nuclei of a label image.

Contours run along pixel edges: the polygon's area equals the pixel count, and filling it gives back
exactly the pixels it came from. Points are (x, y), with (0, 0) at the top-left corner of the
top-left pixel.

Where two pixels of a nucleus touch by their corners only, a contour along the edges would use that
corner twice, and programs refuse such a ring. The upper pixel therefore gives up a small square at
the corner, and gains one of the same size beside it: the ring is simple, its sides are still
upright and level by turns, its area is unchanged, and no pixel's centre changes sides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled

TOUCH_PX = 0.125
"""Side of the squares that keep a contour from touching itself: a power of two, so that areas stay
exact, and more than the 0.01 px that text formats round to, after any scaling of slides."""
_ARRIVING_DOWN = ((0, -2), (1, -2), (1, -1), (-1, -1), (-1, 0))
_ARRIVING_LEFT = ((1, 0), (1, -1), (-1, -1), (-1, -2), (0, -2))
"""What replaces a corner (0, 0) that is used twice, in units of `TOUCH_PX` (x, y), by the direction
in which the contour of the upper pixel comes to it."""


@compiled
def measure_rings(points: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Box and signed area (n, 5) of each ring; positive when clockwise on the screen (y down)."""
    facts = np.zeros((len(offsets) - 1, 5))
    for i in range(len(facts)):
        start, end = offsets[i], offsets[i + 1]
        # Relative to the ring's first point: far from the origin the products would lose digits.
        x0, y0 = points[start, 0], points[start, 1]
        left = right = x_before = points[end - 1, 0]
        top = bottom = y_before = points[end - 1, 1]
        twice = 0.0
        for j in range(start, end):
            x, y = points[j, 0], points[j, 1]
            twice += (x_before - x0) * (y - y0) - (x - x0) * (y_before - y0)
            left, right = min(left, x), max(right, x)
            top, bottom = min(top, y), max(bottom, y)
            x_before, y_before = x, y
        facts[i, 0], facts[i, 1], facts[i, 2], facts[i, 3] = left, top, right, bottom
        facts[i, 4] = twice / 2
    return facts


def trace_contours(
    labels: NDArray[np.int32], num_labels: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pixel-edge contour of every label, in time linear in pixels and edges.

    A pixel side between two labels is a directed edge; the next edge is known from two neighbours,
    so each contour is walked once, from the first of its upper sides that the scan meets.

    Args:
        labels: int32 (H, W), 0 = background, values up to `num_labels`.
        num_labels: n; every label 1..n must occur.

    Returns:
        points float64 (P, 2) corner vertices (x, y), clockwise, collinear ones removed, and
        offsets int64 (n + 1,). A label of several parts is given by its largest part; holes are
        not outlined. No ring touches itself, and the sides of each are level and upright by turns.

    Raises:
        ValueError: a label of 1..n does not occur.

    >>> points, offsets = trace_contours(np.array([[0, 0, 0], [0, 1, 1]], np.int32), 1)
    >>> points.tolist()
    [[1.0, 1.0], [3.0, 1.0], [3.0, 2.0], [1.0, 2.0]]
    """
    height, width = labels.shape
    padded = np.zeros((height + 2, width + 2), np.int32)
    padded[1:-1, 1:-1] = labels
    corners, ring = _largest_rings(padded.ravel(), width + 2, num_labels)
    sizes = ring[:, 1] - ring[:, 0]
    missing = num_labels - int((sizes > 0).sum())
    if missing:
        raise ValueError(
            f"expected labels 1..{num_labels} to occur, got {num_labels - missing} of them"
        )
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    rows = np.repeat(ring[:, 0] - offsets[:-1], sizes) + np.arange(offsets[-1])
    corner = corners[rows]
    y, x = np.divmod(np.abs(corner), np.int32(width + 2))
    points = np.empty((offsets[-1], 2))
    points[:, 0], points[:, 1] = x - 1, y - 1
    touching = np.flatnonzero(corner < 0)
    return _parted(points, offsets, touching) if len(touching) else (points, offsets)


def _parted(
    points: NDArray[np.float64], offsets: NDArray[np.int64], touching: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Contours with five vertices in place of each that is numbered in `touching`."""
    place = touching - offsets[np.searchsorted(offsets, touching, "right") - 1]
    # A contour starts at the left end of an upper side: even vertices are reached by upright sides.
    steps = np.array([_ARRIVING_DOWN, _ARRIVING_LEFT])[place % 2] * TOUCH_PX
    num = np.ones(len(points), np.int64)
    num[touching] = steps.shape[1]
    begin = np.concatenate([[0], np.cumsum(num)])
    parted = np.repeat(points, num, axis=0)
    parted[begin[touching, None] + np.arange(steps.shape[1])] += steps
    return parted, begin[offsets]


@compiled
def _largest_rings(
    padded: NDArray[np.int32], width: int, num_labels: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Vertices of the contours, and where in them each label's ring of largest area is, (n, 2).

    Pixels and corners of the raster go by their flat index; a corner is its pixel's upper left one.
    The index is negative where `_parted` has to replace the corner.
    """
    corners = np.empty(4 * len(padded), np.int32)  # the system gives only the pages that are used
    met = np.zeros(len(padded), np.bool_)
    ring = np.zeros((num_labels, 2), np.int64)
    largest = np.zeros(num_labels, np.int64)
    begin = 0
    for start in range(width, len(padded) - width):
        label = padded[start]
        if label == 0 or padded[start - width] == label or met[start]:
            continue
        end, area = _walk(padded, width, start, met, corners, begin)
        if area > largest[label - 1]:
            largest[label - 1] = area
            ring[label - 1, 0], ring[label - 1, 1] = begin, end
            begin = end
    return corners[:begin], ring


@compiled
def _walk(
    padded: NDArray[np.int32],
    width: int,
    start: int,
    met: NDArray[np.bool_],
    corners: NDArray[np.int32],
    end: int,
) -> tuple[int, int]:
    """Write one ring's vertices from `end` on; their new end, and its area in pixels times `width`.

    Edge directions run clockwise around a pixel on the screen: 0 along its top, then right, bottom
    and left side. `ahead` leads to the next pixel in that direction, the one outside lies a quarter
    turn back, `corner` is where the edge starts. The ring begins with a turn: what is left of the
    first upper side that the scan meets is no upper side of the same ring.
    """
    ahead = np.array((1, width, -1, -width))
    corner = np.array((0, 1, width + 1, width))
    label = padded[start]
    at, direction, area, turned, touches = start, 0, 0, True, False
    while True:
        if turned:
            vertex = at + corner[direction]
            corners[end] = -vertex if touches else vertex
            end += 1
        # The integral of -y dx in flat indices: what x adds to them cancels out.
        if direction == 0:
            met[at] = True
            area -= at
        elif direction == 2:
            area += at + width
        following = at + ahead[direction]
        outside = following + ahead[(direction + 3) & 3]
        turned, touches = True, False
        if padded[following] != label:  # on around the same pixel (4-connected)
            # The pixel across the corner comes to it as well. Parting the upper one's way suffices.
            touches = padded[outside] == label and (direction == 1 or direction == 2)
            direction = (direction + 1) & 3
        elif padded[outside] != label:
            at, turned = following, False
        else:
            at, direction = outside, (direction + 3) & 3
        if at == start and direction == 0:
            return end, area


@compiled
def find_centroids(labels: NDArray[np.int32], num_labels: int) -> NDArray[np.float64]:
    """Mean (x, y) of each label's pixel centres, float64 (n, 2).

    The frame is that of the contours: the centre of the top-left pixel is (0.5, 0.5).

    Args:
        labels: int32 (H, W), 0 = background.
        num_labels: n; the centroid of a label of 1..n that does not occur is (0.5, 0.5).

    >>> find_centroids(np.array([[0, 1, 1]], np.int32), 1).tolist()
    [[2.0, 0.5]]
    """
    sums = np.zeros((num_labels, 3), np.int64)  # pixels, twice x, y
    height, width = labels.shape
    for y in range(height):
        x = 0
        while x < width:
            label = labels[y, x]
            if label == 0:
                x += 1
                continue
            first = x
            while x < width and labels[y, x] == label:
                x += 1
            sums[label - 1, 0] += x - first
            sums[label - 1, 1] += (x - first) * (x + first - 1)
            sums[label - 1, 2] += (x - first) * y
    centroids = np.empty((num_labels, 2))
    for k in range(num_labels):
        count = max(sums[k, 0], 1)
        centroids[k, 0] = sums[k, 1] / 2 / count + 0.5
        centroids[k, 1] = sums[k, 2] / count + 0.5
    return centroids
