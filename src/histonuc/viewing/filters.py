"""Which nuclei are shown: the same rule as in the page, so that counts match the picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.viewing.columns import Column
from histonuc.viewing.errors import RequestError
from histonuc.viewing.index import DELETED
from histonuc.viewing.kernels import FIXED
from histonuc.viewing.table import NucleusTable

CHUNK = 1 << 18
"""Nuclei that are judged together."""
Range = tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What a nucleus must be to be shown.

    Attributes:
        classes: numbers of the classes that are shown; None for all.
        ranges: least and largest value by column, both included, None for no bound. A nucleus
            without a value passes no range.
        box_xyxy: x0, y0, x1, y1 in level-0 pixels, half-open, that the centroid must lie in; None
            for the whole slide.
        corners: of a convex polygon in level-0 pixels, one after the other, that the centroid must
            lie in, such as a view that is turned; None for the whole slide.
    """

    classes: frozenset[int] | None = None
    ranges: Mapping[str, Range] = field(default_factory=dict)
    box_xyxy: tuple[float, float, float, float] | None = None
    corners: tuple[tuple[float, float], ...] | None = None


ALL = Filters()


def find_passing(
    table: NucleusTable, filters: Filters
) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Which nuclei pass, chunk by chunk, in the order of the table.

    Args:
        table: of the nuclei.
        filters: what they must be.

    Yields:
        The rows of a chunk, and bool (rows,) for each whether it passes.

    Raises:
        RequestError: a column that the table lacks.
        ShownError: the table is damaged.
    """
    index = table.index()
    tests = []
    for name, (low, high) in filters.ranges.items():
        column = table.column(name)
        values = index.area if column.type == "u16" else table.values(column)
        tests.append((column, values, column.bounds(low, high)))
    shown = np.ones(256, bool)
    if filters.classes is not None:
        shown[:] = False
        shown[list(filters.classes)] = True
    shown[DELETED] = False
    for start in range(0, len(index), CHUNK):
        rows = slice(start, min(start + CHUNK, len(index)))
        passes = shown[index.kind[rows]]
        for column, values, bounds in tests:
            passes &= in_range(column, values[rows], *bounds)
        if filters.box_xyxy is not None:
            passes &= _in_box(index.x[rows], index.y[rows], filters.box_xyxy)
        if filters.corners is not None:
            passes &= _in_corners(index.x[rows], index.y[rows], filters.corners)
        yield rows, passes


def in_range(column: Column, values: NDArray[Any], least: float, most: float) -> NDArray[np.bool_]:
    """Which values lie in a range of stored values, both ends included.

    Args:
        column: of the values.
        values: as stored; areas as the index has them.
        least: stored value.
        most: stored value.
    """
    if column.type != "u16" or column.step is None:
        return np.asarray((values >= least) & (values <= most))
    # The same without rounding every area: steps are powers of two, so this is exact.
    largest = np.iinfo(np.uint16).max
    passes = np.full(len(values), least <= largest)
    if least > 0:
        passes &= values >= np.float32((least - 0.5) * column.step)
    if most < largest:
        passes &= ~(values >= np.float32((most + 0.5) * column.step))
    return passes


def _in_box(
    x: NDArray[np.uint32], y: NDArray[np.uint32], box: tuple[float, float, float, float]
) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = (round(value * FIXED) for value in box)
    inside: NDArray[np.bool_] = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
    return inside


def _in_corners(
    x: NDArray[np.uint32], y: NDArray[np.uint32], corners: tuple[tuple[float, float], ...]
) -> NDArray[np.bool_]:
    ring = np.array(corners)
    inside = _in_box(x, y, (*ring.min(axis=0), *ring.max(axis=0)))
    near = np.flatnonzero(inside)
    ring, px, py = ring * FIXED, x[near].astype(np.float64), y[near].astype(np.float64)
    sides = [
        (x1 - x0) * (py - y0) - (y1 - y0) * (px - x0)
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True)
    ]
    # Inside lies to the same side of every edge, whichever way round the corners are given.
    inside[near] = (np.min(sides, axis=0) >= 0) | (np.max(sides, axis=0) <= 0)
    return inside


def parse_filters(body: Mapping[str, Any], columns: tuple[Column, ...], classes: int) -> Filters:
    """Filters out of a request's JSON.

    Args:
        body: the request; ``filters``, ``box_xyxy`` and ``corners`` are read, all may be absent.
        columns: that the table has.
        classes: number of classes.

    Raises:
        RequestError: anything else than the protocol says.
    """
    given = body.get("filters", {})
    if not isinstance(given, dict) or set(given) - {"classes", "ranges"}:
        raise RequestError("Expected filters with classes and ranges")
    chosen, ranges = given.get("classes"), given.get("ranges", {})
    if chosen is not None and not (
        isinstance(chosen, list) and all(type(k) is int and 0 <= k < classes for k in chosen)
    ):
        raise RequestError(f"Expected classes to be a list of numbers 0 to {classes - 1}")
    known = {column.name for column in columns}
    if not isinstance(ranges, dict) or len(ranges) > 16 or set(ranges) - known:
        raise RequestError("Expected ranges of at most 16 numeric columns of the table")
    box, corners = body.get("box_xyxy"), body.get("corners")
    return Filters(
        classes=None if chosen is None else frozenset(chosen),
        ranges={name: _parse_range(ends) for name, ends in ranges.items()},
        box_xyxy=None if box is None else _parse_box(box),
        corners=None if corners is None else _parse_corners(corners),
    )


def _parse_range(ends: Any) -> Range:
    if not isinstance(ends, list) or len(ends) != 2:
        raise RequestError("Expected a range to be [low, high], null for no bound")
    low, high = (None if end is None else to_number(end) for end in ends)
    return low, high


def _parse_box(box: Any) -> tuple[float, float, float, float]:
    if not isinstance(box, list) or len(box) != 4:
        raise RequestError("Expected box_xyxy to be [x0, y0, x1, y1] in level-0 pixels")
    x0, y0, x1, y1 = (min(max(to_number(value), -1.0), 2.0**20) for value in box)
    return x0, y0, x1, y1


def _parse_corners(corners: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(corners, list) or not 3 <= len(corners) <= 8:
        raise RequestError("Expected 3 to 8 corners [x, y] in level-0 pixels")
    if not all(isinstance(corner, list) and len(corner) == 2 for corner in corners):
        raise RequestError("Expected each corner to be [x, y] in level-0 pixels")
    return tuple((to_number(x), to_number(y)) for x, y in corners)


def to_number(value: Any) -> float:
    """A finite number out of JSON.

    Raises:
        RequestError: something else.
    """
    if type(value) not in (int, float) or not abs(value) < 1e15:
        raise RequestError("Expected a finite number")
    return float(value)
