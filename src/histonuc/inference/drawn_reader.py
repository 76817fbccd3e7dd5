"""Reads regions that a person or another program drew, from GeoJSON or a mask."""

from __future__ import annotations

import json
import math
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.exports.reading import to_class_name
from histonuc.files import find_named, reading
from histonuc.inference.drawn import Region, Regions, fill_polygons
from histonuc.inference.tissue import THUMBNAIL_PX, TissueMask

if TYPE_CHECKING:
    import shapely

SUFFIXES = (".geojson", ".json", ".png")
IGNORED = "ignore"
"""Regions whose class, or name where they have none, begins with this word, in any case, are taken
away from the others: QuPath's own class for it is ``Ignore*``."""
MAX_BYTES = 128 << 20
"""A larger file of regions is refused: reading it takes ten times as much memory."""
MAX_SHAPES = 10_000
"""A file of more shapes is no file of regions but of nuclei."""
MAX_MASK_PIXELS = 1 << 27
"""A mask of more pixels is refused: a byte a pixel and channel, and as much again, adds up."""
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
    number. Regions whose class, or name where they have none, begins with "Ignore" are taken away
    from the others. Shapes outside the slide or without an area are left out, with a warning.

    Args:
        path: ``*.geojson`` or ``*.json``; or ``*.png``, a picture of the whole slide at any size
            that is not black in the regions, nor wholly transparent: 0 and labels of 8 or 16 bits,
            black and white, or colours. Suffixes may be in capitals.
        size: width and height of the slide in level-0 pixels.
        origin: level-0 pixel (x, y) that the positions of GeoJSON are measured from.

    Raises:
        ValueError: no such content, no region inside the slide, a mask of another shape, or more
            than `MAX_BYTES`, `MAX_SHAPES` or `MAX_MASK_PIXELS`.
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
    width, height = _png_size(path)
    if width * height > MAX_MASK_PIXELS:
        raise ValueError(
            f"{path} is {width:,} x {height:,} pixels, at most "
            f"{MAX_MASK_PIXELS:,} are read: make it smaller, a mask may have any scale"
        )
    if abs(math.log(width / height * size[1] / size[0])) > _SAME_SHAPE:
        raise ValueError(
            f"{path} is {width} x {height} pixels, expected the proportions of the slide's "
            f"{size[0]} x {size[1]}"
        )
    picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.shape[:2] != (height, width):
        raise ValueError(f"{path} is damaged or no PNG")
    # Not turned into grey: that drops small labels of 16 bits and dark colours.
    inside = np.atleast_3d(picture) != 0
    colours, opacity = inside[..., :3], inside[..., 3:]
    return Regions(named=(), tissue=TissueMask(colours.any(-1) & opacity.all(-1), size))


def _png_size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG by its header."""
    with path.open("rb") as stream:
        header = stream.read(24)
    if len(header) < 24 or not header.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError(f"{path} is damaged or no PNG")
    width, height = struct.unpack(">II", header[16:])
    if width == 0 or height == 0:
        raise ValueError(f"{path} is damaged: {width} x {height} pixels")
    return width, height


def _read_geojson(path: Path, size: tuple[int, int], origin: tuple[int, int]) -> Regions:
    return to_regions(json.loads(path.read_text(encoding="utf-8-sig")), size, origin, str(path))


def to_regions(content: Any, size: tuple[int, int], origin: tuple[int, int], title: str) -> Regions:
    """Regions out of GeoJSON, as `read_regions` reads them.

    Args:
        content: the parsed JSON.
        size: width and height of the slide in level-0 pixels.
        origin: level-0 pixel (x, y) that the positions are measured from.
        title: what the GeoJSON is called in warnings and errors.

    Raises:
        ValueError: more than `MAX_SHAPES`.
        Exception: whatever comes of what is no GeoJSON of polygons.
    """
    import shapely
    from shapely import affinity

    features = _features(content)
    if len(features) > MAX_SHAPES:
        raise ValueError(
            f"{title} has {len(features):,} shapes, expected at most {MAX_SHAPES:,} regions: "
            "is it a file of nuclei?"
        )
    drawn = [shapely.from_geojson(json.dumps(feature["geometry"])) for feature in features]
    shapes = [affinity.translate(shapely.make_valid(shape), *origin) for shape in drawn]
    classes = [_class_name(feature) for feature in features]
    called = [name or _given_name(one) for name, one in zip(classes, features, strict=True)]
    ignored = np.array([name.lower().startswith(IGNORED) for name in called], bool)
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
        warnings=_left_out(title, shapely.area(shapes) > 0, shapely.area(inside) > 0),
    )


def _polygons(area: shapely.Geometry) -> shapely.Geometry:
    """The parts of a geometry that have an area."""
    import shapely

    parts = shapely.get_parts(shapely.get_parts([area])).tolist()
    return shapely.union_all([part for part in parts if part.geom_type.endswith("Polygon")])


def _rasterise(area: shapely.Geometry, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Polygons as a mask of the whole slide: bool (h, w), with every pixel that they touch."""
    scale = min(1.0, THUMBNAIL_PX / max(size))
    mask = np.zeros((max(1, round(size[1] * scale)), max(1, round(size[0] * scale))), bool)
    if not area.is_empty:
        place, inside = fill_polygons(area, mask.shape, size, with_rim=True)
        mask[place] = inside
    return mask


def _class_name(feature: Mapping[str, Any]) -> str:
    """The class of a feature; empty where it has none."""
    return to_class_name((feature.get("properties") or {}).get("classification"))


def _given_name(feature: Mapping[str, Any]) -> str:
    """The name that somebody gave a feature; empty where nobody did."""
    return str((feature.get("properties") or {}).get("name") or "")


def _unique_names(features: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[str]:
    """A name for each feature, all different.

    >>> _unique_names([{"properties": {"name": "core"}}, {}, {}, {}], ["", "Tumor", "Tumor", ""])
    ['core', 'Tumor', 'Tumor 2', 'region 4']
    """
    names: dict[str, None] = {}
    times: defaultdict[str, int] = defaultdict(lambda: 1)
    for number, (feature, class_name) in enumerate(zip(features, classes, strict=True), 1):
        given = _given_name(feature) or class_name
        name = given or f"region {number}"
        while name in names:
            times[given] += 1
            name = f"{given or 'region'} {times[given]}"
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
    title: str, has_area: NDArray[np.bool_], is_inside: NDArray[np.bool_]
) -> tuple[str, ...]:
    """How many shapes are no regions: a slip in the drawing, or the file of another slide.

    Args:
        title: what the file is called.
        has_area: bool (n,), for each shape whether it has one: points and lines have none.
        is_inside: bool (n,), whether any of its area lies inside the slide.
    """
    counts = {
        "without an area": (~has_area).sum(),
        "outside the slide": (has_area & ~is_inside).sum(),
    }
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.items() if count)
    return (f"{title}: of {len(has_area)} shapes left out: {reasons}",) if reasons else ()
