"""Which nucleus of a label image each point marks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.contours import find_centroids


@dataclass(frozen=True, kw_only=True, eq=False)
class PointMatches:
    """The nuclei that k points mark, one to one.

    Attributes:
        nucleus: int64 (k,), id of the nucleus; 0 where a point marks none.
        is_inside: bool (k,), whether the point lies in it.
    """

    nucleus: NDArray[np.int64]
    is_inside: NDArray[np.bool_]


def match_points(
    labels: NDArray[np.int32], position: NDArray[np.float64], radius: float
) -> PointMatches:
    """Match each point to the nucleus that holds it, or else to the nearest one.

    One to one: of several points in a nucleus the nearest to its centroid marks it. Those left over
    take the nuclei left over, nearest first, by the distance to the nucleus's nearest pixel centre.

    Args:
        labels: (H, W), 0 = background.
        position: (k, 2), (x, y) in pixels, (0, 0) at the top-left corner of the image.
        radius: largest distance in pixels to a nucleus that does not hold the point.

    >>> labels = np.array([[1, 1, 0, 0, 0, 2]], np.int32)
    >>> match_points(labels, np.array([[1.0, 0.5], [3.0, 0.5], [0.5, 0.5]]), 2.5).nucleus.tolist()
    [1, 2, 0]
    """
    nucleus = np.zeros(len(position), np.int64)
    held = _find_holders(labels, position)
    centroid = find_centroids(labels, int(labels.max(initial=0)))
    inside = np.flatnonzero(held)
    away = np.linalg.norm(position[inside] - centroid[held[inside] - 1], axis=1)
    _match_nearest(nucleus, inside, held[inside], away)
    is_inside = nucleus > 0
    left = np.flatnonzero(~is_inside)
    found = [_find_near(labels, position[point], radius) for point in left]
    points = np.repeat(left, [len(ids) for ids, _ in found])
    ids = np.concatenate([np.zeros(0, np.int64), *(ids for ids, _ in found)])
    distance = np.concatenate([np.zeros(0), *(distance for _, distance in found)])
    _match_nearest(nucleus, points, ids, distance)
    return PointMatches(nucleus=nucleus, is_inside=is_inside)


def _find_holders(labels: NDArray[np.int32], position: NDArray[np.float64]) -> NDArray[np.int64]:
    """Id of the nucleus (k,) that each point lies in; points outside count as those at the rim."""
    corner = np.floor(position).astype(np.int64)
    x = corner[:, 0].clip(0, labels.shape[1] - 1)
    y = corner[:, 1].clip(0, labels.shape[0] - 1)
    return np.asarray(labels[y, x], np.int64)


def _match_nearest(
    nucleus: NDArray[np.int64],
    points: NDArray[np.int64],
    ids: NDArray[np.int64],
    distance: NDArray[np.float64],
) -> None:
    """Write pairs of points and nuclei into `nucleus`, nearest first, each of them once."""
    taken = set(nucleus.tolist())
    for pair in np.lexsort((ids, points, distance)).tolist():
        if nucleus[points[pair]] == 0 and int(ids[pair]) not in taken:
            nucleus[points[pair]] = ids[pair]
            taken.add(int(ids[pair]))


def _find_near(
    labels: NDArray[np.int32], place: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Ids of the nuclei within `radius` of a point, and the distances of their nearest pixels."""
    x, y = place.tolist()
    top, left = max(math.floor(y - radius), 0), max(math.floor(x - radius), 0)
    window = labels[top : max(math.ceil(y + radius), 0), left : max(math.ceil(x + radius), 0)]
    rows, columns = np.nonzero(window)
    away = np.hypot(rows + top + 0.5 - y, columns + left + 0.5 - x)
    ids, which = np.unique(window[rows, columns], return_inverse=True)
    nearest = np.full(len(ids), np.inf)
    np.minimum.at(nearest, which, away)
    near = nearest <= radius
    return ids[near].astype(np.int64), nearest[near]
