"""Outlines that a person draws: made valid, split by a line, joined, in level-0 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from histonuc.viewing.errors import RequestError

if TYPE_CHECKING:
    import shapely

Ring = NDArray[np.float64]
"""Outline (k, 2) of a nucleus, open."""
FEW_POINTS = 12
"""An outline of so few points was clicked, not drawn: it is rounded off."""
_STEPS = 6
"""Points of a rounded outline to one that was clicked."""
_TOLERANCE_UM = 0.1
"""How far a drawn outline is smoothed; predicted ones have about so much detail."""
_WIDEST_UM, _SMALLEST_UM2 = 80.0, 1.0
"""Of a nucleus: squares are asked for with a rim, and what is larger could be missed."""
_LARGEST_GAP_UM = 3.0
"""Nuclei that lie farther apart are not joined."""
_LEAST_SHARE = 0.05
"""A part that is smaller, of the whole nucleus, is a slip of the hand."""


def check_outline(
    points: Ring, size_px: tuple[int, int], mpp: float, *, is_clicked: bool | None = None
) -> Ring:
    """The outline that a person meant by some points.

    A few points are the corners of a round outline; many are a line that was drawn by hand.

    Args:
        points: (k, 2).
        size_px: width and height of the slide; what lies outside is cut off.
        mpp: microns per pixel.
        is_clicked: whether the outline is rounded off; None for by the number of points.

    Raises:
        RequestError: it crosses itself, has no area, or is larger than any nucleus.
    """
    import shapely

    if len(points) < 3:
        raise RequestError("An outline needs three points or more.")
    clicked = len(points) <= FEW_POINTS if is_clicked is None else is_clicked
    plain = shapely.Polygon(points)
    polygon = shapely.Polygon(_round_off(points)) if clicked and len(points) > 3 else plain
    if clicked and not polygon.is_valid:
        polygon = plain
    if not clicked:
        polygon = shapely.simplify(polygon, _TOLERANCE_UM / mpp)
    whole = _largest(shapely.make_valid(polygon))
    # A tail where the hand went past the beginning is cut off; a figure of eight is no outline.
    lost = abs(shapely.make_valid(polygon).area - whole.area)
    if lost > _LEAST_SHARE * max(whole.area, 1e-9):
        raise RequestError("The outline crosses itself: draw it once around the nucleus.")
    inside = _largest(shapely.intersection(whole, shapely.box(0, 0, *size_px)))
    return to_ring(_check_size(inside, mpp))


def split_outline(ring: Ring, line: Ring, mpp: float) -> list[Ring]:
    """The parts of a nucleus on both sides of lines; their areas add up to that of the nucleus.

    Args:
        ring: the outline.
        line: (k, 2), drawn across it.
        mpp: microns per pixel.

    Raises:
        RequestError: the line does not cross the nucleus, or cuts off next to nothing.
    """
    import shapely
    import shapely.ops

    if len(line) < 2:
        raise RequestError("A line needs two points or more.")
    whole = _largest(shapely.make_valid(shapely.Polygon(ring)))
    parts = list(shapely.ops.split(whole, shapely.LineString(line)).geoms)
    if len(parts) < 2:
        raise RequestError(
            "The line does not cross the nucleus: begin outside it and end outside, opposite."
        )
    least = min(part.area for part in parts)
    if least < max(_LEAST_SHARE * whole.area, _SMALLEST_UM2 / mpp**2):
        raise RequestError("The line cuts off next to nothing: draw it through the nucleus.")
    return [to_ring(part) for part in sorted(parts, key=lambda part: -part.area)]


def join_outlines(rings: Sequence[Ring], mpp: float) -> Ring:
    """One outline around nuclei that touch, or that a narrow gap parts.

    Where they touch, its area is that of all of them together; holes between them are filled.

    Args:
        rings: two outlines or more.
        mpp: microns per pixel.

    Raises:
        RequestError: they lie too far apart.
    """
    import shapely

    if len(rings) < 2:
        raise RequestError("Choose two nuclei or more to join them: Shift+click adds one.")
    parts = [_largest(shapely.make_valid(shapely.Polygon(ring))) for ring in rings]
    whole = shapely.union_all(parts)
    if whole.geom_type != "Polygon":
        # No wider than it has to be: outlines that nearly touch change by next to nothing.
        for gap_um in (0.1, 0.3, 1.0, _LARGEST_GAP_UM):
            reach = gap_um / mpp / 2 * 1.05
            closed = shapely.buffer(shapely.buffer(whole, reach), -reach)
            closed = shapely.union(closed, whole)
            if closed.geom_type == "Polygon":
                whole = closed
                break
        else:
            raise RequestError("These nuclei lie too far apart to be one.")
    return to_ring(_check_size(shapely.Polygon(whole.exterior), mpp))


def to_ring(polygon: shapely.Polygon) -> Ring:
    """The outer ring of a polygon, open, clockwise on the screen, to a hundredth of a pixel."""
    import shapely

    ring = shapely.get_coordinates(shapely.orient_polygons(polygon, exterior_cw=False).exterior)
    ring = np.round(ring[:-1], 2)
    is_new = (ring != np.roll(ring, 1, axis=0)).any(axis=1)
    return np.asarray(ring[is_new], np.float64)


def _check_size(polygon: shapely.Polygon, mpp: float) -> shapely.Polygon:
    if polygon.is_empty or polygon.area * mpp**2 < _SMALLEST_UM2:
        raise RequestError("The outline is too small to be a nucleus.")
    x0, y0, x1, y1 = polygon.bounds
    if max(x1 - x0, y1 - y0) * mpp > _WIDEST_UM:
        raise RequestError(f"The outline is wider than {_WIDEST_UM:g} µm: draw around one nucleus.")
    return polygon


def _largest(shape: shapely.Geometry) -> shapely.Polygon:
    """The largest polygon of a shape; an empty one where it has none."""
    import shapely

    parts = shapely.get_parts(shapely.get_parts([shape])).tolist()
    polygons = [part for part in parts if part.geom_type == "Polygon"]
    return max(polygons, key=lambda part: part.area, default=shapely.Polygon())


def _round_off(points: Ring) -> Ring:
    """A smooth closed line through some points."""
    from scipy.interpolate import CubicSpline

    closed = np.vstack([points, points[:1]])
    lengths = np.sqrt(np.hypot(*np.diff(closed, axis=0).T))  # centripetal: it makes no loops
    if (lengths == 0).any():
        return points
    at = np.concatenate([[0], np.cumsum(lengths)])
    steps = np.concatenate([np.linspace(a, b, _STEPS, endpoint=False) for a, b in pairwise(at)])
    return np.asarray(CubicSpline(at, closed, bc_type="periodic")(steps), np.float64)
