"""The result itself: `nuclei.parquet`, GeoParquet with one row a nucleus."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.facts import (
    METADATA_KEY,
    Facts,
    SlideFacts,
    from_facts,
    mpp_xy,
    schema_facts,
    to_facts,
)
from histonuc.exports.wkb import GEO_KEY, GEOMETRY, geo_metadata, wkb_column, wkb_polygons
from histonuc.files import reading, replacing
from histonuc.nuclei import Nuclei

if TYPE_CHECKING:
    import pyarrow as pa

TABLE_FILE = "nuclei.parquet"
"""Name of the table in a prediction's folder."""
ROWS = 65_536
"""Rows of a row group: what a streaming reader holds at a time."""
_LOCAL_ROWS = 8_192
"""The same of a slide's table: some tiles side by side, so that their statistics tell where."""
_ENCODING: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
"""Readers that know checksums, as ours do, notice a flipped bit."""
BOX = ("x_min", "y_min", "x_max", "y_max")
_NUMBERS = ("id", "class_index", "score", "x", "y", "x_um", "y_um", *BOX, "area_px", "area_um2")
_TEXTS = ("slide", "class")


def to_table(nuclei: Nuclei, metadata: SlideFacts | None = None, *, first_id: int = 1) -> pa.Table:
    """One row a nucleus; ``docs/reference/columns.md`` describes the columns.

    Args:
        nuclei: what to write, level-0 pixels.
        metadata: JSON-able facts for the schema (name of the slide, image size, model, version).
        first_id: of the first row.
    """
    facts: Facts = {**(metadata or SlideFacts()), **to_facts(nuclei.label_space, nuclei.mpp)}
    ids = np.arange(first_id, first_id + len(nuclei), dtype=np.uint32)
    table = plain_table(nuclei, ids, facts).append_column(GEOMETRY, wkb_column(nuclei))
    return table.replace_schema_metadata({METADATA_KEY: json.dumps(facts), GEO_KEY: geo_metadata()})


def plain_table(nuclei: Nuclei, ids: NDArray[np.uint32], facts: Facts) -> pa.Table:
    """The columns of `to_table` but the outlines.

    Args:
        nuclei: n of them, in level-0 pixels.
        ids: uint32 (n,).
        facts: what the table says of itself.
    """
    import pyarrow as pa

    box, classes = nuclei.box, np.array(nuclei.label_space.classes)
    columns: dict[str, Any] = {
        "id": pa.array(ids),
        "slide": pa.repeat(pa.scalar(facts.get("source"), pa.string()), len(nuclei)),
        "class": pa.array(classes[nuclei.class_index].tolist(), pa.string()),
        "class_index": pa.array(nuclei.class_index, pa.int8()),
    }
    columns |= {name: pa.array(text.tolist(), pa.string()) for name, text in nuclei.texts.items()}
    for j, name in enumerate(nuclei.label_space.classes):
        columns[f"p_{name}"] = pa.array(nuclei.class_probabilities[:, j], pa.float32())
    columns["score"] = pa.array(nuclei.score, pa.float32())
    columns |= {axis: pa.array(nuclei.centroid[:, j]) for j, axis in enumerate("xy")}
    centroid_um = nuclei.centroid * mpp_xy(facts)
    for j, axis in enumerate("xy"):
        columns[f"{axis}_um"] = pa.array(centroid_um[:, j], pa.float64(), from_pandas=True)
    columns |= {name: pa.array(box[:, j]) for j, name in enumerate(BOX)}
    columns["area_px"] = pa.array(nuclei.area_px)
    columns["area_um2"] = pa.array(nuclei.area_um2, pa.float64(), from_pandas=True)
    columns |= {name: pa.array(values) for name, values in nuclei.features.items()}
    return pa.table(columns)


def from_table(table: pa.Table) -> Nuclei:
    """Inverse of `to_table`; columns that it does not write itself are features and texts, too.

    Raises:
        ValueError: not a table of nuclei.
    """
    space, mpp = from_facts(schema_facts(table.schema))
    points, offsets = wkb_polygons(table[GEOMETRY])
    probabilities = [table[f"p_{name}"].to_numpy() for name in space.classes]
    return Nuclei(
        points=points,
        offsets=offsets,
        centroid=np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1),
        class_probabilities=np.stack(probabilities, axis=1),
        score=table["score"].to_numpy(),
        label_space=space,
        mpp=mpp,
        features=read_features(table, feature_names(table.schema, space.classes)),
        texts=read_texts(table, text_names(table.schema)),
    )


def feature_names(schema: pa.Schema, classes: Iterable[str]) -> tuple[str, ...]:
    """Numeric columns beyond those that every table of nuclei has.

    Args:
        schema: of the table.
        classes: names whose ``p_`` columns are probabilities.
    """
    import pyarrow as pa

    ours = {*_NUMBERS, *(f"p_{name}" for name in classes)}
    return tuple(
        field.name
        for field in schema
        if field.name not in ours
        and not field.name.startswith("__index_level_")  # row numbers that pandas left
        and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type))
    )


def text_names(schema: pa.Schema) -> tuple[str, ...]:
    """Columns of text beyond those that every table of nuclei has."""
    import pyarrow as pa

    def is_text(kind: pa.DataType) -> bool:
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    return tuple(f.name for f in schema if f.name not in _TEXTS and is_text(f.type))


def read_features(table: pa.Table, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Columns as float32 (n,), NaN where there is no value."""
    import pyarrow as pa

    # A safe cast would refuse whole numbers that float32 has to round.
    return {name: table[name].cast(pa.float32(), safe=False).to_numpy() for name in names}


def read_texts(table: pa.Table, names: Sequence[str]) -> dict[str, NDArray[np.str_]]:
    """Columns as text (n,), empty where there is none."""
    return {
        name: np.array([text or "" for text in table[name].to_pylist()], np.str_) for name in names
    }


def write_table(nuclei: Nuclei, path: Path, metadata: SlideFacts | None = None) -> None:
    """Write Parquet; the file appears whole or not at all."""
    import pyarrow.parquet as pq

    table = to_table(nuclei, metadata)
    with replacing(path) as partial:
        pq.write_table(
            table,
            partial,
            row_group_size=ROWS,
            **_ENCODING,
            use_dictionary=_list_repeated(table.schema),
        )


def _list_repeated(schema: pa.Schema) -> list[str]:
    """Names of the columns whose values occur again and again, and are written once.

    Dictionaries of measurements hold each value once: twice the time, and larger files.
    """
    return [*_TEXTS, *text_names(schema)]


@contextmanager
def open_table(
    path: Path, empty: Nuclei, metadata: SlideFacts | None = None
) -> Iterator[Callable[[Nuclei], None]]:
    """A function that appends nuclei to a table; the file appears when the block ends well.

    Each call makes its own row groups, whose statistics tell a reader where its nuclei lie.

    Args:
        path: ``*.parquet``.
        empty: no nuclei, with the label space, mpp, features and texts of those to come.
        metadata: see `to_table`.
    """
    import pyarrow.parquet as pq

    first_id = 1
    schema = to_table(empty, metadata).schema
    with (
        replacing(path) as partial,
        pq.ParquetWriter(
            partial, schema, **_ENCODING, use_dictionary=_list_repeated(schema)
        ) as writer,
    ):

        def append(nuclei: Nuclei) -> None:
            nonlocal first_id
            if len(nuclei):
                table = to_table(nuclei, metadata, first_id=first_id)
                writer.write_table(table, row_group_size=_LOCAL_ROWS)
                first_id += len(nuclei)

        yield append


def read_window(path: Path, box: tuple[float, float, float, float]) -> Nuclei:
    """Nuclei of a table whose centroid lies in a box; row groups elsewhere are not read.

    Args:
        path: what `write_table` or `open_table` wrote.
        box: x0, y0, x1, y1 in level-0 pixels, half open.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    x, y = pc.field("x"), pc.field("y")
    inside = (x >= box[0]) & (y >= box[1]) & (x < box[2]) & (y < box[3])
    with reading(path, "table of nuclei"):
        return from_table(pq.read_table(path, filters=inside, page_checksum_verification=True))


def read_table(path: Path) -> Nuclei:
    """Read what `write_table` wrote.

    Raises:
        ValueError: no such file, no Parquet, or not a table of nuclei.
    """
    import pyarrow.parquet as pq

    if not path.is_file():
        raise ValueError(f"no nuclei at {path}: run `histonuc predict` first")
    with reading(path, "table of nuclei"):
        return from_table(pq.read_table(path, page_checksum_verification=True))
