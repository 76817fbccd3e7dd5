"""What lies in the regions that a person draws: counted over the whole slide, exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.inference.drawn import Region
from histonuc.viewing.errors import RequestError
from histonuc.viewing.filters import ALL, Filters, find_passing
from histonuc.viewing.index import DELETED
from histonuc.viewing.inside import add_found, mark_inside
from histonuc.viewing.kernels import FIXED
from histonuc.viewing.table import NucleusTable

if TYPE_CHECKING:
    import shapely

MAX_REGIONS, MAX_VERTICES = 200, 100_000
"""Of one request."""
_MAX_NAME = 200
_MAX_BANDS = 4096
_MAX_CELLS, _NUCLEI_A_CELL = 512, 16
"""Cells along a side of a region's box, at most; and nuclei that are worth a cell."""
_NEAR_PX = 1 / FIXED
"""A position in the index is rounded by less than this: what is so near to an edge is looked up."""
_FARTHEST_PX = 2.0**21


@dataclass(frozen=True, kw_only=True)
class RegionCounts:
    """What lies in one region.

    Attributes:
        region: its outline, inside the slide, in level-0 pixels.
        counts: number of nuclei by class.
        area_sums: sum of the areas of the nuclei by class, in µm²; px² where no scale is known.
        area_mm2: area of the region; None where no scale is known.
    """

    region: Region
    counts: tuple[int, ...]
    area_sums: tuple[float, ...]
    area_mm2: float | None

    @property
    def num_nuclei(self) -> int:
        """Number of nuclei of all classes."""
        return sum(self.counts)

    def to_dict(self) -> dict[str, Any]:
        """Counts, densities and mean areas: JSON-able."""
        total = self.num_nuclei
        by_class = [
            {**self._facts(count, area), "share": count / total if total else None}
            for count, area in zip(self.counts, self.area_sums, strict=True)
        ]
        return {
            **{"name": self.region.name, "class_name": self.region.class_name},
            "area_mm2": self.area_mm2,
            **self._facts(total, sum(self.area_sums)),
            "classes": by_class,
        }

    def _facts(self, count: int, area: float) -> dict[str, Any]:
        return {
            "num_nuclei": count,
            "density_per_mm2": count / self.area_mm2 if self.area_mm2 else None,
            "mean_area_um2": area / count if count else None,
        }


def count_regions(
    table: NucleusTable,
    regions: Sequence[Region],
    mpp_xy: tuple[float, float] | None = None,
    filters: Filters = ALL,
) -> list[RegionCounts]:
    """Count the nuclei whose centroid lies in each region, over the whole slide.

    A centroid on an outline lies outside, as for `shapely.contains_xy`.

    Args:
        table: of the nuclei.
        regions: valid polygons in level-0 pixels; they may overlap.
        mpp_xy: microns per level-0 pixel along x and y; None where unknown.
        filters: which nuclei count.

    Raises:
        RequestError: a column that the table lacks.
        ShownError: the table is damaged.
    """
    passes = None
    if filters != ALL:
        parts = [part for _, part in find_passing(table, filters)]
        passes = np.concatenate([np.zeros(0, bool), *parts])
    return [_count_region(table, region, mpp_xy, passes) for region in regions]


def _count_region(
    table: NucleusTable,
    region: Region,
    mpp_xy: tuple[float, float] | None,
    passes: NDArray[np.bool_] | None,
) -> RegionCounts:
    import shapely

    index, num = table.index(), len(table.label_space)
    counts, sums = np.zeros(num, np.int64), np.zeros(num)
    x0, y0, x1, y1 = region.area.bounds
    x0, y0 = math.floor(x0 * FIXED), math.floor(y0 * FIXED)
    x1, y1 = math.ceil(x1 * FIXED) + 1, math.ceil(y1 * FIXED) + 1
    groups = index.groups_in((x0, y0, x1, y1))
    corners = index.boxes[groups] / FIXED + np.array([-1, -1, 1, 1])  # a pixel more to each side
    shapely.prepare(region.area)
    whole = shapely.contains_properly(region.area, shapely.box(*corners.T))
    num_near = int((index.starts[groups + 1] - index.starts[groups])[~whole].sum())
    banded = _sort_edges(region.area, _NEAR_PX)
    cells = _mark_cells(region.area, num_near)
    for group, is_whole in zip(groups.tolist(), whole.tolist(), strict=True):
        rows = slice(int(index.starts[group]), int(index.starts[group + 1]))
        found = np.ones(rows.stop - rows.start, np.uint8)
        if not is_whole:
            mark_inside(index.x[rows], index.y[rows], *banded, cells, found)
            doubtful = np.flatnonzero(found == 2)
            if len(doubtful):
                points = table.positions(group)[doubtful]
                found[doubtful] = shapely.contains_xy(region.area, points)
        if passes is not None:
            found[~passes[rows]] = 0
        found[index.kind[rows] == DELETED] = 0
        add_found(index.kind[rows], index.area[rows], found, counts, sums)
    area_mm2 = None if mpp_xy is None else region.area.area * math.prod(mpp_xy) / 1e6
    return RegionCounts(
        region=region,
        counts=tuple(int(count) for count in counts),
        area_sums=tuple(float(area) for area in sums),
        area_mm2=area_mm2,
    )


Banded = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


def _mark_cells(area: shapely.Geometry, num_nuclei: int) -> NDArray[np.uint8]:
    """Cells over the box around polygons that lie wholly inside (1), outside (0), or neither (2).

    Args:
        area: the polygons.
        num_nuclei: that are looked up in the cells: for few of them few cells are worth it.
    """
    unknown = np.full((1, 1), 2, np.uint8)
    side = min(int((num_nuclei / _NUCLEI_A_CELL) ** 0.5), _MAX_CELLS)
    x0, y0, x1, y1 = area.bounds
    if side == 0 or min(x0, y0) < 0:  # fixed positions have no sign
        return unknown
    width, height = (x1 - x0) / side, (y1 - y0) / side
    centre_x, centre_y = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    x = np.rint((x0 + centre_x.ravel() * width) * FIXED).astype(np.uint32)
    y = np.rint((y0 + centre_y.ravel() * height) * FIXED).astype(np.uint32)
    # A whole cell lies to one side of an edge that is farther from its centre than its corners.
    banded = _sort_edges(area, math.hypot(width, height) / 2 + 2 * _NEAR_PX)
    cells = np.empty(side * side, np.uint8)
    mark_inside(x, y, *banded, unknown, cells)
    return cells.reshape(side, side)


def _sort_edges(area: shapely.Geometry, near: float) -> Banded:
    """Edges of polygons, sorted into bands, as `mark_inside` takes them.

    Args:
        area: the polygons, in level-0 pixels.
        near: how near to an edge a point is left to others, in level-0 pixels.
    """
    import shapely

    polygons = shapely.get_parts(area).tolist()
    rings = [ring for polygon in polygons for ring in (polygon.exterior, *polygon.interiors)]
    lines = [shapely.get_coordinates(ring) for ring in rings]
    edges = np.concatenate([np.hstack([line[:-1], line[1:]]) for line in lines])
    x0, y0, x1, y1 = area.bounds
    bands = min(len(edges), _MAX_BANDS)
    height = (y1 - y0) / bands
    tops = np.minimum(edges[:, 1], edges[:, 3]) - near - _NEAR_PX
    bottoms = np.maximum(edges[:, 1], edges[:, 3]) + near + _NEAR_PX
    first = np.clip((tops - y0) // height, 0, bands - 1).astype(np.int64)
    last = np.clip((bottoms - y0) // height, 0, bands - 1).astype(np.int64)
    sizes = last - first + 1
    numbers = np.repeat(np.arange(len(edges)), sizes)
    starts = np.cumsum(sizes) - sizes
    band = np.repeat(first, sizes) + np.arange(sizes.sum()) - np.repeat(starts, sizes)
    order = np.argsort(band, kind="stable")
    ends = np.searchsorted(band[order], np.arange(bands + 1))
    frame = np.array([x0, y0, x1, y1, height, near])
    return edges, ends.astype(np.int64), numbers[order].astype(np.int64), frame


def parse_regions(body: dict[str, Any], size_px: tuple[int, int]) -> list[Region]:
    """Regions out of a request's JSON, valid and inside the slide.

    Args:
        body: the request; ``regions`` is read.
        size_px: width and height of the slide in level-0 pixels.

    Raises:
        RequestError: anything else than the protocol says, or a region without an area in the
            slide.
    """
    listed = body.get("regions")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_REGIONS:
        raise RequestError(f"Expected 1 to {MAX_REGIONS} regions.")
    if _count_vertices(listed) > MAX_VERTICES:
        raise RequestError(f"Expected regions of at most {MAX_VERTICES:,} vertices together.")
    return [_parse_region(one, number, size_px) for number, one in enumerate(listed, 1)]


def _parse_region(record: Any, number: int, size_px: tuple[int, int]) -> Region:
    import shapely

    if not isinstance(record, dict):
        raise RequestError("Expected a region to be an object.")
    rings = record.get("rings")
    polygons = record.get("polygons") if rings is None else [rings]
    if not isinstance(polygons, list) or not polygons:
        raise RequestError("Expected a region to have rings or polygons.")
    parts = [_parse_polygon(polygon) for polygon in polygons]
    area = shapely.union_all([shapely.make_valid(part) for part in parts])
    slide = shapely.box(0, 0, *size_px)
    area = area if slide.covers(area) else shapely.intersection(area, slide)
    pieces = shapely.get_parts(shapely.get_parts([area])).tolist()
    area = shapely.MultiPolygon([piece for piece in pieces if piece.geom_type == "Polygon"])
    if not area.area > 0:
        raise RequestError(f"Region {number} has no area inside the slide.")
    name, class_name = (_parse_name(record.get(key)) for key in ("name", "class_name"))
    return Region(name=name or f"region {number}", class_name=class_name, area=area)


def _parse_polygon(rings: Any) -> shapely.Polygon:
    import shapely

    if not isinstance(rings, list) or not rings:
        raise RequestError("Expected a polygon to be a list of rings.")
    lines = []
    for ring in rings:
        try:
            line = np.array(ring, np.float64)
        except (TypeError, ValueError, OverflowError):
            line = np.zeros(0)
        if line.ndim != 2 or line.shape[1] != 2 or len(line) < 3:
            raise RequestError("Expected a ring of three or more points [x, y].")
        if not (np.abs(line) <= _FARTHEST_PX).all():
            raise RequestError("Expected finite positions in pixels of the slide.")
        lines.append(line)
    return shapely.Polygon(lines[0], lines[1:])


def _parse_name(name: Any) -> str:
    if name is None:
        return ""
    if not isinstance(name, str) or len(name) > _MAX_NAME:
        raise RequestError(f"Expected names of at most {_MAX_NAME} letters.")
    return name.encode("utf-8", "replace").decode()


def _count_vertices(listed: list[Any]) -> int:
    """Number of points in nested lists of JSON: pairs of numbers."""
    total, stack = 0, [listed]
    while stack:
        for item in stack.pop():
            if isinstance(item, dict):
                stack.append([item.get("rings"), item.get("polygons")])
            elif isinstance(item, list):
                if item and not isinstance(item[0], list | dict):
                    total += 1
                else:
                    stack.append(item)
    return total
