"""Regions of a slide that a person or another program drew: only they are analysed."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.files import find_named, reading
from histonuc.inference.tissue import THUMBNAIL_PX, TissueMask

if TYPE_CHECKING:
    import shapely

SUFFIXES = (".geojson", ".json", ".png")
_SAME_SHAPE = 0.02
"""A mask's sides may differ in proportion from the slide's by this much: it was rounded."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Where to analyse, instead of all tissue.

    Attributes:
        area: all regions in one geometry, in level-0 pixels; None where a picture was given.
        tissue: the same as a mask; a superset of `area`, by less than a pixel of the mask.
        note: which shapes of the file are no regions; empty when all are.
    """

    area: shapely.Geometry | None
    tissue: TissueMask
    note: str = ""

    def hold(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the points (n, 2), in level-0 pixels, lie in a region: bool (n,)."""
        if self.area is not None:
            import shapely

            return np.asarray(shapely.contains_xy(self.area, points), bool).reshape(len(points))
        return self.tissue.hold(points)


def find_regions(path: Path, source: Path) -> Path:
    """The file of regions for an input: `path` itself, or in that folder the one of its name.

    Raises:
        ValueError: there is none.
    """
    if path.is_file():
        return path
    if (found := find_named(path, source.stem, SUFFIXES)) is not None:
        return found
    raise ValueError(
        f"no regions for {source.name} at {path}: expected a file, or a folder with "
        f"{source.stem}.geojson or {source.stem}.png"
    )


def read_regions(path: Path, size: tuple[int, int]) -> Regions:
    """Read regions from GeoJSON polygons (level-0 pixels, as QuPath exports them) or a mask.

    GeoJSON may be features, in a collection or a list or alone, or a bare geometry.

    Shapes outside the slide or without an area are left out, with a note.

    Args:
        path: ``*.geojson`` or ``*.json``; or ``*.png``, a picture of the whole slide at any size
            that is not black in the regions, nor wholly transparent: 0 and labels of 8 or 16 bits,
            black and white, or colours. Suffixes may be in capitals.
        size: width and height of the slide in level-0 pixels.

    Raises:
        ValueError: no such content, no region inside the slide, or a mask of another shape.
    """
    is_mask = path.suffix.lower() == ".png"
    with reading(path, "PNG" if is_mask else "GeoJSON of polygons"):
        regions = _read_mask(path, size) if is_mask else _read_geojson(path, size)
    if not regions.tissue.mask.any():
        raise ValueError(
            f"{path} has no region inside the slide's {size[0]} x {size[1]} pixels: "
            "expected coordinates in level-0 pixels"
        )
    return regions


def _read_mask(path: Path, size: tuple[int, int]) -> Regions:
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise ValueError(f"{path} is damaged or no PNG")
    height, width = picture.shape[:2]
    if abs(math.log(width / height * size[1] / size[0])) > _SAME_SHAPE:
        raise ValueError(
            f"{path} is {width} x {height} pixels, expected the proportions of the slide's "
            f"{size[0]} x {size[1]}"
        )
    # Not turned into grey: that drops small labels of 16 bits and dark colours.
    inside = np.atleast_3d(picture) != 0
    colours, opacity = inside[..., :3], inside[..., 3:]
    return Regions(None, TissueMask(colours.any(-1) & opacity.all(-1), size))


def _read_geojson(path: Path, size: tuple[int, int]) -> Regions:
    import shapely

    content = json.loads(path.read_text(encoding="utf-8-sig"))
    shapes = [
        shapely.make_valid(shapely.from_geojson(json.dumps(one))) for one in _geometries(content)
    ]
    inside = shapely.intersection(shapes, shapely.box(0, 0, *size))
    area = shapely.union_all(inside)
    scale = min(1.0, THUMBNAIL_PX / max(size))
    shape = max(1, round(size[1] * scale)), max(1, round(size[0] * scale))
    factor = np.array([shape[1] / size[0], shape[0] / size[1]])
    mask = np.zeros(shape, np.uint8)
    parts = shapely.get_parts(area).tolist()
    polygons = [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]
    for polygon in polygons:
        rings = [
            np.round(shapely.get_coordinates(ring) * factor - 0.5).astype(np.int32)
            for ring in (polygon.exterior, *polygon.interiors)
        ]
        part = np.zeros(shape, np.uint8)
        cv2.fillPoly(part, rings, 1)
        cv2.polylines(part, rings, isClosed=True, color=1, thickness=2)
        mask |= part
    covered = shapely.union_all(polygons)
    shapely.prepare(covered)
    note = _left_out(path, shapely.area(shapes) > 0, shapely.area(inside) > 0)
    return Regions(covered, TissueMask(mask.astype(bool), size, covered.area), note)


def _geometries(content: Any) -> list[Any]:
    """The geometries of a GeoJSON collection, feature or geometry, or of a bare list of them.

    >>> point = {"type": "Point", "coordinates": [1, 2]}
    >>> features = [{"geometry": point}, {"geometry": None}]
    >>> _geometries({"features": features}) == _geometries([point]) == [point]
    True
    """
    if isinstance(content, list):
        return [geometry for part in content for geometry in _geometries(part)]
    if "features" in content:
        return _geometries(content["features"])
    geometry = content.get("geometry", content)
    return [] if geometry is None else [geometry]  # a feature may have no place


def _left_out(path: Path, has_area: NDArray[np.bool_], is_inside: NDArray[np.bool_]) -> str:
    """How many shapes are no regions: a slip in the drawing, or the file of another slide.

    Args:
        path: the file.
        has_area: bool (n,), for each shape whether it has one: points and lines have none.
        is_inside: bool (n,), whether any of its area lies inside the slide.
    """
    counts = {
        "without an area": (~has_area).sum(),
        "outside the slide": (has_area & ~is_inside).sum(),
    }
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
    return f"{path}: of {len(has_area)} shapes left out: {reasons}" if reasons else ""
