"""Answers about slides, their pictures and their nuclei."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from histonuc.viewing.calls import Call
from histonuc.viewing.columns import PROBABILITY, Column
from histonuc.viewing.density import (
    count_classes,
    count_density,
    count_histogram,
    density_arrays,
    sum_density,
)
from histonuc.viewing.describing import describe_slide
from histonuc.viewing.errors import NotFoundError, RequestError
from histonuc.viewing.filters import parse_filters, to_number
from histonuc.viewing.pictures import draw_counts, encode_jpeg, encode_png
from histonuc.viewing.squares import DETAILS, read_square
from histonuc.viewing.table import NucleusTable
from histonuc.viewing.wire import pack

_MAX_COLUMNS, _MAX_BINS, _MAX_SQUARES = 8, 256, 64
_MAX_CROP_PX, _MAX_CROP_AREA = 4096, 1 << 23
_LARGEST_PX = 2.0**21
BINARY = "application/octet-stream"


def answer_ping(call: Call) -> Response:
    """Nothing but that the server is there."""
    return JSONResponse({"ok": True})


def answer_list(call: Call) -> Response:
    """All results and slides."""
    return JSONResponse(call.library.list_entries())


def answer_slide(call: Call) -> Response:
    """One of them."""
    opened = call.opened
    opened.prepare()
    return JSONResponse(describe_slide(opened))


def answer_thumbnail(call: Call) -> Response:
    """A small picture of the slide, or of the nuclei where there is no slide."""
    opened = call.opened
    if opened.picture is None:
        counts = count_density(opened.nuclei(), opened.density_grid).sum(axis=0)
        return Response(encode_jpeg(draw_counts(counts)), media_type="image/jpeg")
    return Response(opened.picture.thumbnail(), media_type="image/jpeg")


def answer_tile(call: Call) -> Response:
    """A tile of the slide."""
    picture = call.opened.shown_picture()
    place = call.params["level"], call.params["column"], call.params["row"]
    if not picture.has_tile(*place):
        raise NotFoundError("no such tile")
    return Response(picture.tile(*place), media_type="image/jpeg")


def answer_square(call: Call) -> Response:
    """The nuclei of a square."""
    return _pack_squares(call, [(call.params["column"], call.params["row"])])


def answer_squares(call: Call) -> Response:
    """The nuclei of several squares, one packed after the other."""
    try:
        words = [word.split(",") for word in call.query["places"].split(";")]
        places = [(int(column), int(row)) for column, row in words]
    except (KeyError, ValueError):
        raise RequestError("Expected places as in 3,5;4,5.") from None
    if len(places) > _MAX_SQUARES:
        raise RequestError(f"Expected at most {_MAX_SQUARES} places.")
    return _pack_squares(call, places)


def _pack_squares(call: Call, places: list[tuple[int, int]]) -> Response:
    opened = call.opened
    table, level = opened.nuclei(), call.params["level"]
    if level >= len(opened.grids):
        raise NotFoundError("no such square")
    grid = opened.grids[level]
    if not all(0 <= x < grid.columns and 0 <= y < grid.rows for x, y in places):
        raise NotFoundError("no such square")
    detail = call.query.get("detail", "points")
    if detail not in DETAILS:
        raise RequestError(f"Expected detail to be one of {', '.join(DETAILS)}.")
    columns = _chosen_columns(call, table)
    parts = [read_square(table, grid, place, detail, columns, opened.facts.mpp) for place in places]
    return Response(b"".join(parts), media_type=BINARY)


def _chosen_columns(call: Call, table: NucleusTable) -> list[Column]:
    """Further columns that are asked for: names with commas between, or one a parameter."""
    known = {column.name for column in table.columns}
    names: list[str] = []
    for text in call.query.getlist("columns"):
        names += [text] if text in known else [name for name in text.split(",") if name]
    if len(names) > _MAX_COLUMNS:
        raise RequestError(f"Expected at most {_MAX_COLUMNS} columns.")
    return [table.column(name) for name in dict.fromkeys(names) if name != PROBABILITY]


def answer_density(call: Call) -> Response:
    """Counts of nuclei over the slide."""
    opened = call.opened
    table, grid = opened.nuclei(), opened.density_grid
    body = call.json()
    filters, mean = parse_filters(body, table.columns, len(table.label_space)), body.get("mean")
    facts, arrays = density_arrays(count_density(table, grid, filters), grid)
    if mean is not None:
        valued, sums = sum_density(table, grid, table.column(str(mean)), filters)
        arrays = {**arrays, "valued": valued.astype(arrays["counts"].dtype), "sums": sums}
    return Response(pack(facts, arrays), media_type=BINARY)


def answer_counts(call: Call) -> Response:
    """How many nuclei of each class pass filters."""
    table = call.opened.nuclei()
    counts = count_classes(table, parse_filters(call.json(), table.columns, len(table.label_space)))
    return JSONResponse({"total": sum(counts), "by_class": counts})


def answer_histogram(call: Call) -> Response:
    """How many nuclei of each class have which values of a column."""
    table, body = call.opened.nuclei(), call.json()
    column, bins = table.column(str(body.get("column"))), body.get("bins", 64)
    if type(bins) is not int or not 1 <= bins <= _MAX_BINS:
        raise RequestError(f"Expected 1 to {_MAX_BINS} bins.")
    known = table.ranges.get(column.name, (0.0, 1.0))
    low, high = (
        known[k] if body.get(name) is None else to_number(body[name])
        for k, name in enumerate(("low", "high"))
    )
    if high < low:
        raise RequestError("Expected low to be at most high.")
    filters = parse_filters(body, table.columns, len(table.label_space))
    counts = count_histogram(table, column, bins, (low, high), filters)
    below, above, missing = counts[:, bins:].sum(axis=0).tolist()
    return JSONResponse(
        {
            **{"low": low, "high": high, "counts": counts[:, :bins].tolist()},
            **{"below": below, "above": above, "missing": missing},
        }
    )


def answer_crop(call: Call) -> Response:
    """A window of the slide at any scale."""
    picture, query = call.opened.shown_picture(), call.query
    try:
        x, y, w, h = (float(query[name]) for name in ("x", "y", "w", "h"))
        width, height = (int(query[name]) for name in ("width", "height"))
    except (KeyError, ValueError):
        raise RequestError("Expected numbers x, y, w, h, width and height.") from None
    is_inside = all(abs(value) <= _LARGEST_PX for value in (x, y, w, h)) and min(w, h) > 0
    is_small = min(width, height) > 0 and max(width, height) <= _MAX_CROP_PX
    if not (is_inside and is_small and width * height <= _MAX_CROP_AREA):
        raise RequestError(f"Expected a window of 1 to {_MAX_CROP_PX} pixels a side.")
    image = picture.crop((x, y, w, h), width, height)
    if query.get("format") == "png":
        return Response(encode_png(image), media_type="image/png")
    return Response(encode_jpeg(image), media_type="image/jpeg")
