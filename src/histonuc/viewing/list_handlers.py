"""Answers about lists of nuclei, single ones, regions, and parts to be looked at with care."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from histonuc.viewing.areas import describe_areas, describe_tissue
from histonuc.viewing.calls import Call
from histonuc.viewing.errors import RequestError
from histonuc.viewing.filters import parse_filters
from histonuc.viewing.listing import Order, describe_nucleus, describe_page, list_nuclei
from histonuc.viewing.region_files import parse_frame, read_regions, to_csv, to_geojson
from histonuc.viewing.regions import RegionCounts, count_regions, parse_regions

_MAX_ROWS, _MAX_COLUMNS = 500, 8


def answer_page(call: Call) -> Response:
    """Nuclei in order."""
    table, body = call.opened.nuclei(), call.json()
    order = Order(sort=str(body.get("sort", "id")), descending=body.get("descending") is True)
    limit, offset = _whole(body, "limit", 100, 1, _MAX_ROWS), _whole(body, "offset", 0, 0, 1 << 40)
    around = body.get("around")
    names = body.get("columns") or []
    if not isinstance(names, list) or len(names) > _MAX_COLUMNS:
        raise RequestError(f"Expected columns to be a list of at most {_MAX_COLUMNS}.")
    columns = [table.column(str(name)) for name in names]
    page = list_nuclei(
        table,
        order,
        limit,
        offset=offset,
        around=None if around is None else _whole(body, "around", 1, 1, 1 << 32) - 1,
        filters=parse_filters(body, table.columns, len(table.label_space)),
    )
    return JSONResponse(describe_page(table, page, order, columns))


def answer_nucleus(call: Call) -> Response:
    """One nucleus."""
    return JSONResponse(describe_nucleus(call.opened.nuclei(), call.params["nucleus"] - 1))


def answer_areas(call: Call) -> Response:
    """Parts that were not read, are unlike H&E, or lie under ink; or where tissue is."""
    kind = call.query.get("kind")
    if kind not in (None, "tissue"):
        raise RequestError("Expected kind to be tissue, or nothing.")
    areas = describe_areas(call.opened) if kind is None else describe_tissue(call.opened)
    return JSONResponse({"areas": areas})


def answer_region_counts(call: Call) -> Response:
    """What lies in regions."""
    counted = _count(call)
    return JSONResponse({"regions": [one.to_dict() for one in counted]})


def answer_region_export(call: Call) -> Response:
    """Regions, with what lies in them, as a file."""
    opened, body = call.opened, call.json()
    classes = opened.nuclei().label_space.classes
    kind = call.query.get("format", "geojson")
    if kind not in ("geojson", "csv"):
        raise RequestError("Expected format to be geojson or csv.")
    if kind == "csv":
        text, media = to_csv(_count(call), classes), "text/csv; charset=utf-8"
    else:
        origin = parse_frame(body.get("frame"), opened.bounds_xyxy)
        text, media = to_geojson(_count(call), classes, origin), "application/geo+json"
    headers = {"Content-Disposition": f'attachment; filename="regions.{kind}"'}
    return Response(text, media_type=media, headers=headers)


def answer_region_import(call: Call) -> Response:
    """Regions of a file."""
    opened = call.opened
    origin = parse_frame(call.query.get("frame"), opened.bounds_xyxy)
    regions, note = read_regions(call.body, opened.facts.size_px, origin)
    return JSONResponse({"regions": regions, "note": note})


def _count(call: Call) -> list[RegionCounts]:
    opened, body = call.opened, call.json()
    table = opened.nuclei()
    regions = parse_regions(body, opened.facts.size_px)
    filters = parse_filters(body, table.columns, len(table.label_space))
    return count_regions(table, regions, opened.facts.mpp_xy, filters)


def _whole(body: dict[str, Any], name: str, usual: int, least: int, most: int) -> int:
    value = body.get(name, usual)
    if type(value) is not int or not least <= value <= most:
        raise RequestError(f"Expected {name} to be a whole number from {least} to {most}.")
    return value
