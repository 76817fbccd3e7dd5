"""Parts of a slide: what has to be looked at with care, and where tissue is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.files import file_sha256
from histonuc.inference.drawn_reader import find_regions, read_regions
from histonuc.inference.quality import REASONS
from histonuc.viewing.opened import OpenResult

_MAX_RINGS = 2000
"""Rings of tissue, or of ink, that are sent, the largest."""


def describe_areas(opened: OpenResult) -> list[dict[str, Any]]:
    """All such parts of a slide, JSON-able: kind, text and rings of each.

    Args:
        opened: the result. Ink is looked for anew in its slide, where the result left ink out.
    """
    record = opened.record
    areas = [
        _box_area("skipped", f"Not read: {part['reason']}", part["box_xyxy"])
        for part in record.fact("skipped_regions", list) or []
    ]
    for part in record.fact("flagged_regions", list) or []:
        text = REASONS.get(part["flag"], part["flag"])
        areas.append(_box_area("flagged", text[:1].upper() + text[1:], part["box_xyxy"]))
    ink_mm2 = record.fact("ink_mm2", float)
    if opened.picture is not None and ink_mm2:
        ink = opened.picture.tissue().ink
        if ink is not None:
            polygons = _trace(ink, opened.facts.size_px)
            areas.append({"kind": "ink", "text": "Under ink; left out", "polygons": polygons})
    return areas + _drawn(opened)


def describe_tissue(opened: OpenResult) -> list[dict[str, Any]]:
    """Where the slide has tissue, as the run looked for it: JSON-able, one area or none.

    Args:
        opened: the result or slide. The tissue is looked for anew, which takes a second or two.

    Raises:
        ShownError: the slide cannot be shown.
    """
    settings: Mapping[str, Any] = opened.record.fact("settings", dict) or {}
    tissue = opened.shown_picture().tissue(without_ink=settings.get("ink") is not False)
    polygons = _trace(tissue.mask, opened.facts.size_px)
    return [{"kind": "tissue", "text": "", "polygons": polygons}] if polygons else []


def _box_area(kind: str, text: str, box: Sequence[float]) -> dict[str, Any]:
    x0, y0, x1, y1 = box
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    return {"kind": kind, "text": text, "polygons": [[ring]]}


def _trace(mask: NDArray[np.bool_], size_px: tuple[int, int]) -> list[list[list[list[float]]]]:
    """Polygons around the parts of a mask of the whole slide: outer ring, then holes."""
    found, order = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_L1)
    sizes = [cv2.contourArea(contour) for contour in found]
    scale = np.array(size_px) / mask.shape[::-1]
    polygons: dict[int, list[list[list[float]]]] = {}
    for i in sorted(range(len(found)), key=lambda i: (-sizes[i], i))[:_MAX_RINGS]:
        if len(found[i]) > 2:
            ring = np.round((found[i][:, 0] + 0.5) * scale, 1).tolist()
            outer = int(order[0, i, 3])
            if outer < 0:  # this is an outer ring itself; holes are smaller and come later
                polygons[i] = [ring]
            elif outer in polygons:
                polygons[outer].append(ring)
    return list(polygons.values())


def _drawn(opened: OpenResult) -> list[dict[str, Any]]:
    """Regions that the prediction was asked for, where their file is still there, unchanged."""
    import shapely

    record = opened.record
    key, settings = record.fact("fingerprint", dict) or {}, record.fact("settings", dict) or {}
    path, wanted = settings.get("regions"), key.get("regions_sha256")
    if not isinstance(path, str) or not isinstance(wanted, str):
        return []
    try:
        file = _find_file(Path(path), opened.name, wanted)
        origin = (0, 0)
        if settings.get("frame") == "qupath":
            bounds = record.fact("bounds_xyxy", list) or [0, 0]
            origin = int(bounds[0]), int(bounds[1])
        regions = [] if file is None else read_regions(file, opened.facts.size_px, origin).named
    except (OSError, ValueError):
        return []
    return [
        {
            **{"kind": "drawn", "text": region.name},
            "polygons": [
                [shapely.get_coordinates(ring).tolist() for ring in (one.exterior, *one.interiors)]
                for one in shapely.get_parts(region.area).tolist()
            ],
        }
        for region in regions
    ]


def _find_file(path: Path, name: str, wanted: str) -> Path | None:
    """The file of regions: `path`, or in that folder the one of the slide's name."""
    file = find_regions(path, Path(name))
    return file if file_sha256(file) == wanted else None
