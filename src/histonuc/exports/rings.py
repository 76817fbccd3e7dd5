"""Outlines of other programs as the rings that `Nuclei` holds: open, clockwise and simple."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DIGITS = 2
"""Decimals of the coordinates in text formats: rings have to be simple when they are rounded so."""


def to_ring(coordinates: Any) -> NDArray[np.float64]:
    """Vertices (k, 2) of a JSON list of points; a third coordinate is dropped.

    Raises:
        TypeError: no such list.
    """
    try:
        points = np.array(coordinates, np.float64)
        if points.ndim == 3 and points.shape[1] == 1:  # as OpenCV gives contours
            points = points[:, 0]
        return points[:, :2].reshape(-1, 2)
    except (IndexError, TypeError, ValueError):
        raise TypeError("an outline is no list of points [x, y]") from None


def largest(rings: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The ring of the largest area; of an object in several parts one outline is kept."""
    rings = [ring for ring in rings if len(ring)]
    if len(rings) < 2:
        return rings[0] if rings else np.zeros((0, 2))
    offsets = np.cumsum([0, *map(len, rings)]).astype(np.int64)
    areas = np.abs(ring_moments(np.concatenate(rings), offsets)[0])
    return rings[int(areas.argmax())]


def open_ring(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """A ring without the repetition of its first vertex at the end, if it has one."""
    is_closed = len(ring) > 1 and bool((ring[0] == ring[-1]).all())
    return ring[:-1] if is_closed else ring


def make_simple(
    points: NDArray[np.float64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rings that neither touch nor cross themselves, also when they are rounded to 0.01 px.

    A ring that does is cut where it does, and its largest part is kept; all others stay as they
    are.

    Args:
        points: float64 (P, 2), open rings of three or more vertices, one after the other.
        offsets: int64 (n + 1,), where each begins.

    Returns:
        The same of the simple rings; a ring without any area becomes one without vertices.
    """
    import shapely

    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    rounded = shapely.polygons(shapely.linearrings(np.round(points, _DIGITS), indices=owner))
    bad = np.flatnonzero(~shapely.is_valid(rounded) | ~(shapely.area(rounded) > 0))
    if not len(bad):
        return points, offsets
    rings = np.split(points, offsets[1:-1])
    for i in bad.tolist():
        whole = shapely.make_valid(shapely.Polygon(rings[i]))
        snapped = shapely.set_precision(whole, 10.0**-_DIGITS)
        parts = [p for p in shapely.get_parts(snapped) if p.geom_type == "Polygon" and p.area > 0]
        rings[i] = open_ring(largest([shapely.get_coordinates(p.exterior) for p in parts]))
    return np.concatenate(rings), np.cumsum([0, *map(len, rings)]).astype(np.int64)


def make_clockwise(points: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rings turned to run clockwise on the screen; those that do so are left as they are."""
    for i in np.flatnonzero(ring_moments(points, offsets)[0] < 0):
        start, end = offsets[i], offsets[i + 1]
        points[start + 1 : end] = points[start + 1 : end][::-1].copy()
    return points


def ring_moments(
    points: NDArray[np.float64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Signed area (n,), positive when clockwise on the screen, and centroid (n, 2) of each ring."""
    if len(offsets) == 1:
        return np.zeros(0), np.zeros((0, 2))
    starts = offsets[:-1]
    following = np.arange(1, len(points) + 1)
    following[offsets[1:] - 1] = starts
    first = points[starts]
    local = points - np.repeat(first, np.diff(offsets), axis=0)
    after = local[following]
    cross = local[:, 0] * after[:, 1] - after[:, 0] * local[:, 1]
    area = np.add.reduceat(cross, starts) / 2
    weighted = np.add.reduceat((local + after) * cross[:, None], starts)
    flat = np.add.reduceat(local, starts) / np.diff(offsets)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        centroid = weighted / (6 * area[:, None])
    return area, first + np.where(area[:, None] != 0, centroid, flat)
