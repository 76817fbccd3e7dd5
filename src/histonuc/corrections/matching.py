"""Which nucleus of a table is the one that somebody corrected in an earlier table."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.corrections.operations import Operation
from histonuc.corrections.records import Targets
from histonuc.exports.facts import from_facts, schema_facts
from histonuc.exports.table import BOX
from histonuc.exports.wkb import GEOMETRY, wkb_polygons
from histonuc.files import reading
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    import pyarrow.parquet as pq

SAME_IOU = 0.5
"""Two outlines that overlap so far are of one nucleus."""
SAME_AREA_FACTOR = 2.0
"""So much larger or smaller a nucleus may be that holds the centroid of the one looked for."""
_END_BYTES = 8
"""A Parquet file ends in the size of its footer and four letters."""


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """What corrections have to know of a table.

    Attributes:
        sha256: of its footer, in hex, which holds sizes and statistics of all its pages.
        model_sha256: of the model that made it, in hex; empty where the table does not say.
        num_nuclei: number of its rows.
        label_space: its classes.
    """

    sha256: str
    model_sha256: str
    num_nuclei: int
    label_space: LabelSpace


@dataclass(frozen=True, kw_only=True, eq=False)
class _Wanted:
    """A nucleus of an earlier table.

    Attributes:
        table: SHA-256 of the footer of that table.
        id: its number there, or the reference of a nucleus that an operation made.
        centroid: (x, y) in level-0 pixels.
        ring: float64 (k, 2).
    """

    table: str
    id: int | str
    centroid: tuple[float, float]
    ring: NDArray[np.float64]


def read_table_facts(table: Path) -> TableFacts:
    """Read the end of a table, which takes no longer for many nuclei.

    Raises:
        ValueError: no such file, no Parquet, or not a table of nuclei.
    """
    import pyarrow.parquet as pq

    with reading(table, "table of nuclei"):
        with table.open("rb") as stream:
            stream.seek(-_END_BYTES, os.SEEK_END)
            size = int.from_bytes(stream.read(4), "little")
            stream.seek(-_END_BYTES - size, os.SEEK_END)
            footer = stream.read(size)
        metadata = pq.read_metadata(table)
        facts = schema_facts(metadata.schema.to_arrow_schema())
    return TableFacts(
        sha256=hashlib.sha256(footer).hexdigest(),
        model_sha256=str(facts.get("model_sha256", "")),
        num_nuclei=metadata.num_rows,
        label_space=from_facts(facts)[0],
    )


def find_targets(
    table: Path, operations: Sequence[Operation], facts: TableFacts | None = None
) -> Targets:
    """The table that operations are applied to, with the nuclei of earlier tables found in it.

    The same nucleus is the one whose outline overlaps most, with an IoU of at least `SAME_IOU`;
    where there is none, the one that holds the centroid and whose area is within a factor of
    `SAME_AREA_FACTOR`. Each nucleus is found once.

    Args:
        table: `nuclei.parquet`.
        operations: of the log.
        facts: of the table, where they were read already.

    Raises:
        ValueError: not a table of nuclei.
    """
    facts = facts or read_table_facts(table)
    wanted = list(_list_wanted(operations, facts.sha256))
    matches: dict[tuple[str, int], int] = {}
    replaced: dict[str, int] = {}
    for source in dict.fromkeys(one.table for one in wanted):
        for is_made in (False, True):
            some = [w for w in wanted if w.table == source and isinstance(w.id, str) == is_made]
            for index, number in _match(table, some).items():
                found = some[index].id
                if isinstance(found, str):
                    replaced[found] = number
                else:
                    matches[source, found] = number
    return Targets(
        num_nuclei=facts.num_nuclei,
        label_space=facts.label_space,
        table=facts.sha256,
        matches=matches,
        replaced=replaced,
    )


def _list_wanted(operations: Sequence[Operation], table: str) -> Iterator[_Wanted]:
    """Nuclei of other tables, each once, as the first operation on it saw it."""
    seen: set[tuple[str, int | str]] = set()
    for operation in operations:
        if not operation.is_known or operation.table in ("", table):
            continue
        for target in operation.nuclei:
            if isinstance(target.id, int) and (operation.table, target.id) not in seen:
                seen.add((operation.table, target.id))
                yield _Wanted(
                    table=operation.table,
                    id=target.id,
                    centroid=(target.x, target.y),
                    ring=target.ring,
                )
        for place, ring in enumerate(operation.rings):
            x, y = ring.mean(axis=0).tolist()
            reference = f"{operation.key}:{place}"
            yield _Wanted(table=operation.table, id=reference, centroid=(x, y), ring=ring)


def _match(table: Path, wanted: Sequence[_Wanted]) -> Mapping[int, int]:
    """Place of a wanted nucleus -> number of the same one in the table."""
    if not wanted:
        return {}
    pairs: list[tuple[bool, float, int, int]] = []
    with reading(table, "table of nuclei"):
        for numbers, polygons in _read_near(table, wanted):
            pairs += _compare(numbers, polygons, wanted)
    found: dict[int, int] = {}
    taken: set[int] = set()
    for _, _, place, number in sorted(pairs):
        if place not in found and number not in taken:
            found[place] = number
            taken.add(number)
    return found


def _read_near(
    table: Path, wanted: Sequence[_Wanted]
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Numbers and polygons of the nuclei whose boxes meet those of the wanted ones."""
    import pyarrow.parquet as pq
    import shapely

    boxes = np.array([[*one.ring.min(0), *one.ring.max(0)] for one in wanted])
    tree = shapely.STRtree(shapely.box(*boxes.T))
    with pq.ParquetFile(table, page_checksum_verification=True) as file:
        first = 1
        for group in range(file.num_row_groups):
            num = file.metadata.row_group(group).num_rows
            near = _near_rows(file, group, tree)
            if len(near):
                geometry = file.read_row_group(group, columns=[GEOMETRY]).take(near)[GEOMETRY]
                points, offsets = wkb_polygons(geometry)
                owner = np.repeat(np.arange(len(near)), np.diff(offsets))
                polygons = shapely.polygons(shapely.linearrings(points, indices=owner))
                yield first + near, polygons
            first += num


def _near_rows(file: pq.ParquetFile, group: int, tree: Any) -> NDArray[np.int64]:
    """Rows of a row group whose boxes meet those of a tree."""
    import shapely

    columns = file.read_row_group(group, columns=list(BOX))
    boxes = shapely.box(*(columns[name].to_numpy() for name in BOX))
    rows: NDArray[np.int64] = np.unique(tree.query(boxes)[0]).astype(np.int64)
    return rows


def _compare(
    numbers: NDArray[np.int64], polygons: NDArray[Any], wanted: Sequence[_Wanted]
) -> Iterator[tuple[bool, float, int, int]]:
    """Pairs that may be one nucleus, the best first when sorted.

    Yields:
        Whether it is by the centroid only, 1 - IoU, the place among the wanted, and the number.
    """
    import shapely

    tree = shapely.STRtree(polygons)
    rings = [shapely.make_valid(shapely.Polygon(one.ring)) for one in wanted]
    for place, row in zip(*tree.query(np.array(rings, object)).tolist(), strict=True):
        ring, polygon = rings[place], polygons[row]
        overlap = shapely.intersection(ring, polygon).area
        iou = overlap / max(ring.area + polygon.area - overlap, 1e-9)
        if iou >= SAME_IOU:
            yield False, 1 - iou, place, int(numbers[row])
        elif (
            1 / SAME_AREA_FACTOR <= polygon.area / max(ring.area, 1e-9) <= SAME_AREA_FACTOR
            and isinstance(wanted[place].id, int)
            and shapely.contains_xy(polygon, *wanted[place].centroid)
        ):
            yield True, 1 - iou, place, int(numbers[row])
