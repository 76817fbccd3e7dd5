"""Shape of a nucleus, measured on its outline alone: for outlines that a person drew."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

SHAPES = (
    "perimeter_um",
    "major_axis_um",
    "minor_axis_um",
    "orientation_deg",
    "eccentricity",
    "circularity",
    "solidity",
)
"""Columns that an outline tells; those of stain and texture need the slide."""


def measure_shape(ring: NDArray[np.float64], mpp: float) -> Mapping[str, float]:
    """The columns of an outline, by name, as ``docs/reference/columns.md`` describes them.

    Args:
        ring: float64 (k, 2), open, clockwise on the screen, in level-0 pixels.
        mpp: microns per level-0 pixel; where it is NaN, lengths are too.

    >>> square = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
    >>> {name: round(value, 3) for name, value in measure_shape(square, 0.5).items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'perimeter_um': 20.0, 'major_axis_um': 5.774, 'minor_axis_um': 5.774, 'orientation_deg': 0.0,
     'eccentricity': 0.0, 'circularity': 0.785, 'solidity': 1.0}
    """
    import shapely

    x, y = (ring - ring[0]).T
    x2, y2 = np.roll(x, -1), np.roll(y, -1)
    cross = x * y2 - x2 * y
    area = cross.sum() / 2
    centre_x, centre_y = ((x + x2) * cross).sum() / 6 / area, ((y + y2) * cross).sum() / 6 / area
    x_var = (cross * (x * x + x * x2 + x2 * x2)).sum() / 12 / area - centre_x**2
    y_var = (cross * (y * y + y * y2 + y2 * y2)).sum() / 12 / area - centre_y**2
    mixed = cross * (x * y2 + 2 * x * y + 2 * x2 * y2 + x2 * y)
    covariance = mixed.sum() / 24 / area - centre_x * centre_y
    mean, half = (x_var + y_var) / 2, (x_var - y_var) / 2
    spread = np.hypot(half, covariance)
    large, small = mean + spread, max(mean - spread, 0.0)
    polygon = shapely.Polygon(ring)
    values = (
        polygon.length * mpp,
        4 * np.sqrt(large) * mpp,
        4 * np.sqrt(small) * mpp,
        np.degrees(np.arctan2(covariance, half)) / 2,
        np.sqrt(max(1 - small / large, 0.0)),
        min(4 * np.pi * polygon.area / polygon.length**2, 1.0),
        polygon.area / polygon.convex_hull.area,
    )
    return {name: float(value) for name, value in zip(SHAPES, values, strict=True)}


def measure_area(ring: NDArray[np.float64]) -> float:
    """Area of an outline in square pixels; 0 for fewer than three points."""
    import shapely

    return float(shapely.Polygon(ring).area) if len(ring) > 2 else 0.0
