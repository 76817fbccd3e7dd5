"""The result itself: `nuclei.parquet`, GeoParquet with one row a nucleus."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.wkb import GEO_KEY, GEOMETRY, geo_metadata, wkb_column, wkb_polygons
from histonuc.files import reading, replacing
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"histonuc"
"""Key of the JSON text in the table's schema metadata: label space, mpp, image size, model."""
TABLE_FILE = "nuclei.parquet"
"""Name of the table in a prediction's folder."""
ROWS = 65_536
"""Rows of a row group: what a streaming reader holds at a time."""
_LOCAL_ROWS = 8_192
"""The same of a slide's table: some tiles side by side, so that their statistics tell where."""

_ENCODING: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["class"],
    "write_page_checksum": True,
}
"""Dictionaries of measurements hold each value once: twice the time, and larger files. Readers that
know checksums, as ours do, notice a flipped bit."""


def to_table(
    nuclei: Nuclei, metadata: Mapping[str, Any] | None = None, *, first_id: int = 1
) -> pa.Table:
    """One row a nucleus; the columns are described in docs.

    Args:
        nuclei: what to write, level-0 pixels.
        metadata: JSON-able facts for the schema (image size, model, version).
        first_id: of the first row.
    """
    table = plain_table(nuclei, first_id=first_id).append_column(GEOMETRY, wkb_column(nuclei))
    facts = dict(metadata or {}) | to_facts(nuclei.label_space, nuclei.mpp)
    return table.replace_schema_metadata({METADATA_KEY: json.dumps(facts), GEO_KEY: geo_metadata()})


def plain_table(nuclei: Nuclei, *, first_id: int = 1) -> pa.Table:
    """The columns of `to_table` but the outlines."""
    import pyarrow as pa

    n, box = len(nuclei), nuclei.box
    classes = np.array(nuclei.label_space.classes)
    columns: dict[str, Any] = {
        "id": pa.array(np.arange(first_id, first_id + n), pa.uint32()),
        "class": pa.array(classes[nuclei.class_index].tolist(), pa.string()),
        "class_index": pa.array(nuclei.class_index, pa.int8()),
    }
    for j, name in enumerate(nuclei.label_space.classes):
        columns[f"p_{name}"] = pa.array(nuclei.class_probabilities[:, j], pa.float32())
    columns["score"] = pa.array(nuclei.score, pa.float32())
    columns |= {axis: pa.array(nuclei.centroid[:, j]) for j, axis in enumerate("xy")}
    for j, name in enumerate(("x_min", "y_min", "x_max", "y_max")):
        columns[name] = pa.array(box[:, j])
    columns["area_px"] = pa.array(nuclei.area_px)
    columns["area_um2"] = pa.array(nuclei.area_um2, pa.float64(), from_pandas=True)
    columns |= {name: pa.array(values) for name, values in nuclei.features.items()}
    return pa.table(columns)


def to_facts(label_space: LabelSpace, mpp: float) -> dict[str, Any]:
    """Label space and mpp as JSON-able facts; an unknown mpp (NaN) is None."""
    return {"label_space": label_space.to_dict(), "mpp": None if math.isnan(mpp) else mpp}


def from_facts(facts: Mapping[str, Any]) -> tuple[LabelSpace, float]:
    """Inverse of `to_facts`."""
    mpp = facts["mpp"]
    return LabelSpace.from_dict(facts["label_space"]), float("nan") if mpp is None else float(mpp)


def from_table(table: pa.Table) -> Nuclei:
    """Inverse of `to_table`; numeric columns that it does not write itself are features, too.

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
    )


def feature_names(schema: pa.Schema, classes: Iterable[str]) -> tuple[str, ...]:
    """Numeric columns beyond those that every table of nuclei has.

    Args:
        schema: of the table.
        classes: names whose ``p_`` columns are probabilities.
    """
    import pyarrow as pa

    own = {"id", "class_index", "score", "x", "y", "x_min", "y_min", "x_max", "y_max"}
    own |= {"area_px", "area_um2", *(f"p_{name}" for name in classes)}
    return tuple(
        field.name
        for field in schema
        if field.name not in own
        and not field.name.startswith("__index_level_")  # row numbers that pandas left
        and (pa.types.is_integer(field.type) or pa.types.is_floating(field.type))
    )


def read_features(table: pa.Table, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Columns as float32 (n,), NaN where there is no value."""
    import pyarrow as pa

    # A safe cast would refuse whole numbers that float32 has to round.
    return {name: table[name].cast(pa.float32(), safe=False).to_numpy() for name in names}


def schema_facts(schema: pa.Schema) -> dict[str, Any]:
    """The JSON in the schema metadata of a table of nuclei.

    Raises:
        ValueError: no table of nuclei.
    """
    metadata = schema.metadata or {}
    if METADATA_KEY not in metadata:
        raise ValueError("the schema has no metadata 'histonuc'")
    facts: dict[str, Any] = json.loads(metadata[METADATA_KEY])
    return facts


def write_table(nuclei: Nuclei, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write Parquet; the file appears whole or not at all."""
    import pyarrow.parquet as pq

    with replacing(path) as partial:
        pq.write_table(to_table(nuclei, metadata), partial, row_group_size=ROWS, **_ENCODING)


@contextmanager
def open_table(
    path: Path, empty: Nuclei, metadata: Mapping[str, Any] | None = None
) -> Iterator[Callable[[Nuclei], None]]:
    """A function that appends nuclei to a table; the file appears when the block ends well.

    Each call makes its own row groups, whose statistics tell a reader where its nuclei lie.

    Args:
        path: ``*.parquet``.
        empty: no nuclei, with the label space, mpp and features of those to come.
        metadata: see `to_table`.
    """
    import pyarrow.parquet as pq

    first_id = 1
    schema = to_table(empty, metadata).schema
    with (
        replacing(path) as partial,
        pq.ParquetWriter(partial, schema, **_ENCODING) as writer,
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
