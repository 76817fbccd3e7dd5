"""Everything that the page has to know of one slide before it draws."""

from __future__ import annotations

from typing import Any

from histonuc._version import __version__
from histonuc.viewing.density import count_classes
from histonuc.viewing.opened import OpenResult
from histonuc.viewing.palette import describe_classes
from histonuc.viewing.pictures import TILE_PX
from histonuc.viewing.squares import OVERHANG_UM, USUAL_MPP
from histonuc.viewing.table import NucleusTable

_AREAS = ("tissue_mm2", "left_out_mm2", "ink_mm2", "image_mm2")


def describe_slide(opened: OpenResult) -> dict[str, Any]:
    """All facts of a result or a slide: JSON-able, see ``docs/reference/viewer-protocol.md``.

    Args:
        opened: the result.
    """
    table, record, facts = opened.table, opened.record, opened.facts
    areas = {name: record.fact(name, (int, float)) for name in _AREAS}
    if areas["tissue_mm2"] is not None and areas["left_out_mm2"] is not None:
        areas["analysed_mm2"] = areas["tissue_mm2"] - areas["left_out_mm2"]
    return {
        "number": opened.entry.number,
        "name": opened.name,
        "folder": opened.entry.folder_name,
        **{"state": opened.state, "message": opened.message, "has_nuclei": table is not None},
        "picture": opened.picture_word,
        "size_px": list(facts.size_px),
        "mpp": facts.mpp,
        "mpp_xy": None if facts.mpp_xy is None else list(facts.mpp_xy),
        "num_nuclei": opened.num_nuclei,
        "density_per_mm2": record.fact("density_per_mm2", float),
        "classes": [] if table is None else _describe_classes(opened, table),
        "columns": [] if table is None else _describe_columns(table),
        **_describe_grids(opened),
        "overhang_px": OVERHANG_UM / (facts.mpp or USUAL_MPP),
        "picture_levels": _describe_picture(opened),
        "bounds_xyxy": list(opened.bounds_xyxy),
        "objective": None if opened.picture is None else opened.picture.slide.objective,
        "warnings": [str(text) for text in record.fact("warnings", list) or []],
        "num_warnings": len(record.fact("warnings", list) or []),
        "class_note": record.fact("class_note", str) or "",
        "summary": areas,
        "provenance": _describe_origin(opened),
        "command": opened.command,
    }


def _describe_classes(opened: OpenResult, table: NucleusTable) -> list[dict[str, Any]]:
    space, found = table.label_space, opened.record.fact("classes", dict) or {}
    counts = [found[name].get("num_nuclei") if name in found else None for name in space.classes]
    if None in counts:
        counts = list(count_classes(table))
    space = opened.correcting().corrections.label_space
    counts += [0] * (len(space) - len(counts))  # the page counts anew with the corrections
    return describe_classes(space.classes, space.colours, counts)


def _describe_columns(table: NucleusTable) -> list[dict[str, Any]]:
    ranges = table.ranges
    described = []
    for column in table.columns:
        low, high = ranges.get(column.name, (0.0, 1.0) if column.type == "u8" else (None, None))
        described.append(
            {
                **{"name": column.name, "title": column.title, "unit": column.unit},
                **{"kind": column.kind, "type": column.type, "step": column.step},
                **{"low": low, "high": high},
            }
        )
    return described


def _describe_grids(opened: OpenResult) -> dict[str, Any]:
    if opened.table is None:
        return {"squares": [], "density": None}
    cells = opened.density_grid
    squares = [
        {
            **{"side_px": grid.side_px, "outlines": grid.outlines},
            **{"columns": grid.columns, "rows": grid.rows},
        }
        for grid in opened.grids
    ]
    density = {"cell_px": cells.cell_px, "columns": cells.columns, "rows": cells.rows}
    return {"squares": squares, "density": density}


def _describe_picture(opened: OpenResult) -> dict[str, Any] | None:
    if opened.picture is None:
        return None
    return {"tile_px": TILE_PX, "count": opened.picture.num_levels, "format": "image/jpeg"}


def _describe_origin(opened: OpenResult) -> dict[str, Any]:
    """What a snapshot says of where it comes from; no path is among it."""
    record = opened.record
    facts: dict[str, Any] = {} if opened.table is None else dict(opened.table.facts)
    found = {name: record.fact(name, str) or facts.get(name) for name in ("model", "version")}
    return {
        "slide": opened.name,
        **found,
        "model_sha256": facts.get("model_sha256"),
        "viewer_version": __version__,
        "content_sha256": record.fact("content_sha256", str),
        "mpp_source": record.fact("mpp_source", str),
    }
