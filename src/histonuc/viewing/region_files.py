"""Regions from and to files: QuPath's GeoJSON, and a table."""

from __future__ import annotations

import csv
import io
import json
import uuid
from collections.abc import Sequence
from typing import Any

from histonuc.inference.drawn_reader import to_regions
from histonuc.viewing.errors import RequestError
from histonuc.viewing.regions import RegionCounts

_COLUMNS = ("num_nuclei", "density_per_mm2", "mean_area_um2")


def read_regions(
    text: bytes, size_px: tuple[int, int], origin: tuple[int, int]
) -> tuple[list[dict[str, Any]], str]:
    """Regions of a GeoJSON file as the page takes them, and a note about what is none.

    Args:
        text: content of the file.
        size_px: width and height of the slide in level-0 pixels.
        origin: level-0 pixel (x, y) that the positions are measured from.

    Raises:
        RequestError: no GeoJSON of polygons.
    """
    import shapely

    try:
        regions = to_regions(json.loads(text.decode("utf-8-sig")), size_px, origin, "the file")
    except Exception:  # what others wrote may fail in any way
        raise RequestError("This file is damaged, or no GeoJSON of polygons.") from None
    if not regions.named:
        raise RequestError("This file has no region inside the slide.")
    listed = [
        {
            **{"name": region.name, "class_name": region.class_name},
            "polygons": [
                [shapely.get_coordinates(ring).tolist()[:-1] for ring in _rings(polygon)]
                for polygon in shapely.get_parts(region.area).tolist()
            ],
        }
        for region in regions.named
    ]
    return listed, " ".join(regions.warnings)


def _rings(polygon: Any) -> list[Any]:
    return [polygon.exterior, *polygon.interiors]


def to_geojson(
    counted: Sequence[RegionCounts], classes: Sequence[str], origin: tuple[int, int]
) -> str:
    """Regions as annotations of QuPath with their counts as measurements.

    Args:
        counted: the regions and what lies in them.
        classes: names of the classes of nuclei.
        origin: level-0 pixel (x, y) that positions are measured from.
    """
    from shapely import affinity
    from shapely.geometry import mapping

    features = []
    for one in counted:
        area = affinity.translate(one.region.area, -origin[0], -origin[1])
        parts = list(area.geoms)
        properties: dict[str, Any] = {"objectType": "annotation", "name": one.region.name}
        if one.region.class_name:
            properties["classification"] = {"name": one.region.class_name}
        features.append(
            {
                "type": "Feature",
                "id": str(uuid.uuid4()),
                "geometry": mapping(parts[0] if len(parts) == 1 else area),
                "properties": {**properties, "measurements": _measurements(one, classes)},
            }
        )
    return json.dumps({"type": "FeatureCollection", "features": features}, allow_nan=False)


def _measurements(one: RegionCounts, classes: Sequence[str]) -> dict[str, float]:
    facts = one.to_dict()
    named = {"Area mm^2": facts["area_mm2"], **_named(facts, "Nuclei")}
    for name, found in zip(classes, facts["classes"], strict=True):
        named |= _named(found, name)
    return {name: value for name, value in named.items() if value is not None}


def _named(facts: dict[str, Any], title: str) -> dict[str, Any]:
    return {
        f"Num {title}": facts["num_nuclei"],
        f"{title} per mm^2": facts["density_per_mm2"],
        f"{title}: mean area µm^2": facts["mean_area_um2"],
    }


def to_csv(counted: Sequence[RegionCounts], classes: Sequence[str]) -> str:
    """Regions as a table with a row a region, see ``docs/reference/columns.md``.

    Args:
        counted: the regions and what lies in them.
        classes: names of the classes of nuclei.
    """
    text = io.StringIO()
    head = ["region", "region_class", "area_mm2", *_COLUMNS]
    of_class = (*_COLUMNS, "share")
    head += [f"{column}_{name}" for name in classes for column in of_class]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for one in counted:
        facts = one.to_dict()
        row = [facts["name"], facts["class_name"], facts["area_mm2"]]
        row += [facts[column] for column in _COLUMNS]
        row += [found[column] for found in facts["classes"] for column in of_class]
        writer.writerow(row)
    return text.getvalue()


def parse_frame(value: Any, bounds_xyxy: Sequence[int]) -> tuple[int, int]:
    """Level-0 pixel that positions are measured from.

    Args:
        value: ``qupath`` or ``slide``; None for ``qupath``.
        bounds_xyxy: of the part that the scanner visited.

    Raises:
        RequestError: anything else.
    """
    frames: dict[Any, tuple[int, int]] = {
        None: (int(bounds_xyxy[0]), int(bounds_xyxy[1])),
        "slide": (0, 0),
    }
    frames["qupath"] = frames[None]
    if not (value is None or isinstance(value, str)) or value not in frames:
        raise RequestError("Expected frame to be qupath or slide.")
    return frames[value]
