"""Reads regions that a person or another program drew, from GeoJSON or a mask."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.exports.reading import to_class_name
from histonuc.files import find_named, reading
from histonuc.inference.drawn import Region, Regions
from histonuc.inference.tissue import THUMBNAIL_PX, TissueMask

if TYPE_CHECKING:
    import shapely

SUFFIXES = (".geojson", ".json", ".png")
IGNORED = "ignore"
"""Regions whose class begins with this word, in any case, are taken away from the others: QuPath's
own class for it is ``Ignore*``."""
MAX_BYTES = 256 << 20
"""A larger file of regions is refused: it would take many times as much memory."""
_SAME_SHAPE = 0.02
"""A mask's sides may differ in proportion from the slide's by this much: it was rounded."""


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


def read_regions(path: Path, size: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> Regions:
    """Read regions from GeoJSON polygons, as QuPath exports them, or from a mask.

    GeoJSON may be features, in a collection or a list or alone, or a bare geometry. A region is
    called by its own name, else by its class, else by its number; names that occur again get a
    number. Regions of a class that begins with "Ignore" are taken away from the others. Shapes
    outside the slide or without an area are left out, with a warning.

    Args:
        path: ``*.geojson`` or ``*.json``; or ``*.png``, a picture of the whole slide at any size
            that is not black in the regions, nor wholly transparent: 0 and labels of 8 or 16 bits,
            black and white, or colours. Suffixes may be in capitals.
        size: width and height of the slide in level-0 pixels.
        origin: level-0 pixel (x, y) that the positions of GeoJSON are measured from.

    Raises:
        ValueError: no such content, no region inside the slide, a mask of another shape, or a file
            of more than `MAX_BYTES`.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(
            f"{path} has {path.stat().st_size >> 20} MB, expected at most {MAX_BYTES >> 20} MB of "
            "regions: is it a file of nuclei?"
        )
    is_mask = path.suffix.lower() == ".png"
    with reading(path, "PNG" if is_mask else "GeoJSON of polygons"):
        regions = _read_mask(path, size) if is_mask else _read_geojson(path, size, origin)
    if not regions.tissue.mask.any():
        raise ValueError(
            f"{path} has no region inside the slide's {size[0]} x {size[1]} pixels: "
            "expected polygons in level-0 pixels, not all of a class that is ignored"
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
    return Regions(named=(), tissue=TissueMask(colours.any(-1) & opacity.all(-1), size))


def _read_geojson(path: Path, size: tuple[int, int], origin: tuple[int, int]) -> Regions:
    import shapely
    from shapely import affinity

    features = _features(json.loads(path.read_text(encoding="utf-8-sig")))
    drawn = [shapely.from_geojson(json.dumps(feature["geometry"])) for feature in features]
    shapes = [affinity.translate(shapely.make_valid(shape), *origin) for shape in drawn]
    classes = [_class_name(feature) for feature in features]
    ignored = np.array([name.lower().startswith(IGNORED) for name in classes], bool)
    slide = shapely.box(0, 0, *size)
    taken_away = shapely.union_all([s for s, gone in zip(shapes, ignored, strict=True) if gone])
    inside = shapely.intersection(shapes, slide)
    names = _unique_names(features, classes)
    named = [
        Region(name=name, class_name=class_name, area=polygons)
        for name, class_name, area, gone in zip(names, classes, inside, ignored, strict=True)
        if not gone and (polygons := _polygons(shapely.difference(area, taken_away))).area > 0
    ]
    covered = shapely.union_all([region.area for region in named])
    return Regions(
        named=tuple(named),
        tissue=TissueMask(_rasterise(covered, size), size, covered.area),
        warnings=_left_out(path, shapely.area(shapes) > 0, shapely.area(inside) > 0),
    )


def _polygons(area: shapely.Geometry) -> shapely.Geometry:
    """The parts of a geometry that have an area."""
    import shapely

    parts = shapely.get_parts(shapely.get_parts([area])).tolist()
    return shapely.union_all([part for part in parts if part.geom_type.endswith("Polygon")])


def _rasterise(area: shapely.Geometry, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Polygons as a mask of the whole slide: bool (h, w), with every pixel that they touch."""
    import shapely

    scale = min(1.0, THUMBNAIL_PX / max(size))
    shape = max(1, round(size[1] * scale)), max(1, round(size[0] * scale))
    factor = np.array([shape[1] / size[0], shape[0] / size[1]])
    mask = np.zeros(shape, np.uint8)
    for polygon in (part for part in shapely.get_parts(area).tolist() if not part.is_empty):
        rings = [
            np.round(shapely.get_coordinates(ring) * factor - 0.5).astype(np.int32)
            for ring in (polygon.exterior, *polygon.interiors)
        ]
        part = np.zeros(shape, np.uint8)
        cv2.fillPoly(part, rings, 1)
        cv2.polylines(part, rings, isClosed=True, color=1, thickness=2)
        mask |= part
    return mask.astype(bool)


def _class_name(feature: Mapping[str, Any]) -> str:
    """The class of a feature; empty where it has none."""
    return to_class_name((feature.get("properties") or {}).get("classification"))


def _unique_names(features: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[str]:
    """A name for each feature, all different.

    >>> _unique_names([{"properties": {"name": "core"}}, {}, {}, {}], ["", "Tumor", "Tumor", ""])
    ['core', 'Tumor', 'Tumor 2', 'region 4']
    """
    names: dict[str, None] = {}
    for number, (feature, class_name) in enumerate(zip(features, classes, strict=True), 1):
        given = str((feature.get("properties") or {}).get("name") or class_name)
        name, again = given or f"region {number}", 1
        while name in names:
            again += 1
            name = f"{given or 'region'} {again}"
        names[name] = None
    return list(names)


def _features(content: Any) -> list[dict[str, Any]]:
    """The features with a geometry of a GeoJSON collection, feature or geometry, or of a list.

    >>> point = {"type": "Point", "coordinates": [1, 2]}
    >>> features = [{"geometry": point}, {"geometry": None}]
    >>> _features({"features": features}) == _features([point]) == [{"geometry": point}]
    True
    """
    if isinstance(content, list):
        return [feature for part in content for feature in _features(part)]
    if "features" in content:
        return _features(content["features"])
    if "geometry" not in content:
        return [{"geometry": content}]
    return [] if content["geometry"] is None else [content]  # a feature may have no place


def _left_out(
    path: Path, has_area: NDArray[np.bool_], is_inside: NDArray[np.bool_]
) -> tuple[str, ...]:
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
    return (f"{path}: of {len(has_area)} shapes left out: {reasons}",) if reasons else ()
