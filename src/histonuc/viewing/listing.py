"""Nuclei in order, a page at a time, and everything that is known of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.corrections.shapes import measure_shape
from histonuc.exports.wkb import GEOMETRY, wkb_polygons
from histonuc.viewing.columns import Column
from histonuc.viewing.edits import Edit
from histonuc.viewing.errors import NotFoundError
from histonuc.viewing.filters import ALL, Filters, find_passing
from histonuc.viewing.index import DELETED
from histonuc.viewing.kernels import FIXED
from histonuc.viewing.table import NucleusTable

_LAST = float(np.finfo(np.float32).max)
"""Sorts nuclei without a value behind all others; those that are not shown are infinite."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some nuclei of a list.

    Attributes:
        total: nuclei in the whole list.
        offset: how many come before the page.
        rows: int64 (n,), their rows in the table, in order.
    """

    total: int
    offset: int
    rows: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a list is sorted by; ties by the row in the table.

    Attributes:
        sort: ``id``, ``class``, or the name of a numeric column.
        descending: largest values first; nuclei without a value are last either way.
    """

    sort: str = "id"
    descending: bool = False


def list_nuclei(
    table: NucleusTable,
    order: Order,
    limit: int,
    *,
    offset: int = 0,
    around: int | None = None,
    filters: Filters = ALL,
) -> Page:
    """A page of the list of the nuclei that pass filters.

    Args:
        table: of the nuclei.
        order: of the list.
        limit: most nuclei of the page.
        offset: how many come before it.
        around: the page that holds this row of the table is given instead, `offset` being the
            multiple of `limit` before it.
        filters: which nuclei are listed.

    Raises:
        NotFoundError: `around` is not in the list.
        RequestError: a column that the table lacks.
        ShownError: the table is damaged.
    """
    keys, hidden = _sort_keys(table, order, filters)
    total = int((keys < hidden).sum())
    if around is not None:
        if not 0 <= around < len(keys) or not keys[around] < hidden:
            raise NotFoundError("this nucleus is not in the list")
        key = keys[around]
        before = int((keys < key).sum() + (keys[:around] == key).sum())
        offset = before // limit * limit
    end = min(offset + limit, total)
    if offset >= end:
        return Page(total=total, offset=offset, rows=np.zeros(0, np.int64))
    low, high = np.partition(keys, [offset, end - 1])[[offset, end - 1]]
    chosen = np.flatnonzero((keys >= low) & (keys <= high))
    chosen = chosen[np.argsort(keys[chosen], kind="stable")]
    skipped = offset - int((keys < low).sum())
    return Page(total=total, offset=offset, rows=chosen[skipped : skipped + end - offset])


def _sort_keys(table: NucleusTable, order: Order, filters: Filters) -> tuple[NDArray[Any], Any]:
    """What the list is sorted by, (n,), rising, and the key of what is not listed, the largest."""
    index = table.index()
    keys: NDArray[Any]
    hidden: Any
    if order.sort == "id":
        keys, hidden = np.arange(len(index), dtype=np.uint32), np.iinfo(np.uint32).max
        keys = keys[::-1].copy() if order.descending else keys
    else:
        by_class, hidden = order.sort == "class", np.inf
        column = None if by_class else table.column(order.sort)
        keys = index.kind.astype(np.float32) if column is None else list_values(table, column)
        if order.descending:
            np.negative(keys, out=keys)
        np.nan_to_num(keys, copy=False, nan=_LAST, posinf=_LAST, neginf=-_LAST)
    for rows, passes in find_passing(table, filters):
        keys[rows][~passes] = hidden
    return keys, hidden


def list_values(
    table: NucleusTable, column: Column, rows: NDArray[np.int64] | slice = slice(None)
) -> NDArray[np.float32]:
    """Values of a column for people, as near as the index has them: float32 of new memory."""
    if column.type == "u16":
        return table.index().area[rows].astype(np.float32)
    return column.plain(table.values(column)[rows])


def describe_page(
    table: NucleusTable, page: Page, order: Order, columns: Sequence[Column]
) -> dict[str, Any]:
    """A page of a list, JSON-able.

    Args:
        table: of the nuclei.
        page: of the list.
        order: of the list.
        columns: whose values are told of each nucleus.
    """
    index, rows = table.index(), page.rows
    score, area = table.column("score"), table.column("area_um2")
    values: dict[str, list[Any]] = {
        "id": (rows + 1).tolist(),
        "x": np.round(index.x[rows] / FIXED, 2).tolist(),
        "y": np.round(index.y[rows] / FIXED, 2).tolist(),
        "class": index.kind[rows].tolist(),
        "probability": _plain(index.probability[rows] / 255),
        "score": _plain(list_values(table, score, rows)),
        "area_um2": _plain(list_values(table, area, rows)),
    }
    values |= {column.name: _plain(list_values(table, column, rows)) for column in columns}
    if order.sort not in values:
        values[order.sort] = _plain(list_values(table, table.column(order.sort), rows))
    values["value"] = values[order.sort]
    listed = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return {"total": page.total, "offset": page.offset, "rows": listed}


def describe_nucleus(table: NucleusTable, row: int) -> dict[str, Any]:
    """Everything that the table says of one nucleus, and its outline: JSON-able.

    Args:
        table: of the nuclei.
        row: of the table, from 0.

    Raises:
        NotFoundError: there is no such row.
        ShownError: the table is damaged.
    """
    index, edit = table.index(), table.edit(row)
    if not 0 <= row < len(index) or index.kind[row] == DELETED:
        raise NotFoundError(f"no nucleus in row {row}")
    facts: dict[str, Any] = {"id": row + 1}
    points = table.outline(row)
    if row < table.num_nuclei:
        record = table.read_row(row)
        facts = record.drop_columns([GEOMETRY]).to_pylist()[0]
        if edit is None or edit.ring is None:
            points, _ = wkb_polygons(record[GEOMETRY])
    if edit is not None:
        facts = _correct_facts(table, row, edit, facts)
    facts = {name: _json_able(value) for name, value in facts.items()}
    classes, kind = table.label_space.classes, int(index.kind[row])
    return {
        "id": row + 1,
        **{axis: facts[axis] for axis in "xy"},
        "class": kind,
        "class_name": classes[kind],
        "probabilities": [facts.get(f"p_{name}") or 0.0 for name in classes],
        "score": facts["score"],
        "mark": 0 if edit is None else int(edit.mark),
        "box_xyxy": [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()],
        "outline": points.tolist(),
        "row": facts,
    }


def _correct_facts(
    table: NucleusTable, row: int, edit: Edit, facts: dict[str, Any]
) -> dict[str, Any]:
    """The columns of one nucleus as a person corrected it.

    Args:
        table: of the nuclei.
        row: of the nucleus.
        edit: what was done to it.
        facts: its columns in the table; of a nucleus that a person made its number alone.
    """
    index, classes = table.index(), table.label_space.classes
    if edit.ring is not None:
        first = ("id", "slide", "class", "class_index", "score", *(f"p_{name}" for name in classes))
        facts = {name: facts[name] for name in first if name in facts} | {
            **dict(zip("xy", (index.xy(row)).tolist(), strict=True)),
            "area_um2" if table.facts["mpp"] is not None else "area_px": float(index.area[row]),
            **measure_shape(edit.ring, table.facts["mpp"] or np.nan),
        }
    if edit.kind is not None:
        facts |= {"class": classes[edit.kind], "class_index": edit.kind}
        facts |= {f"p_{name}": float(j == edit.kind) for j, name in enumerate(classes)}
    return {"score": index.score[row] / 255} | facts


def _plain(values: NDArray[np.floating[Any]]) -> list[float | None]:
    """Numbers of six digits for JSON, None where there is none."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]


def _json_able(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, int | str | bool) else str(value)
