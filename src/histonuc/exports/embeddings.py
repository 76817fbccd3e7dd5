"""The network's features of each nucleus, beside the table: `embeddings.parquet`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.facts import METADATA_KEY, SlideFacts, schema_facts
from histonuc.files import reading, replacing

if TYPE_CHECKING:
    import pyarrow as pa

EMBEDDINGS_FILE = "embeddings.parquet"
"""Name of the file in a prediction's folder."""
LARGEST_SIZE = 128
"""Most features of a nucleus: a million nuclei of so many take 256 MB."""
_ROWS = 8_192
"""Rows of a row group."""
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, kw_only=True, eq=False)
class Embeddings:
    """What `embeddings.parquet` holds.

    Attributes:
        values: float16 (n, D), row i belongs to row i of the table of nuclei.
        model_sha256: hex SHA-256 of the model that made them: those of two models say nothing to
            each other.
        model: its name.
    """

    values: NDArray[np.float16]
    model_sha256: str
    model: str


def to_embedding(pooled: NDArray[np.float32]) -> NDArray[np.float16]:
    """Features (n, D) in the precision that is kept of them: three digits, up to 65,504."""
    return np.clip(pooled, -_LARGEST, _LARGEST).astype(np.float16)


def empty_embedding(size: int) -> NDArray[np.float16] | None:
    """Features (0, `size`) of no nuclei; None where `size` is 0 and nuclei have none."""
    return np.zeros((0, size), np.float16) if size else None


@contextmanager
def open_embeddings(
    path: Path, size: int, facts: SlideFacts
) -> Iterator[Callable[[NDArray[np.float16]], None]]:
    """A function that appends features (n, `size`); the file appears when the block ends well.

    Args:
        path: ``*.parquet``.
        size: D, the number of features of a nucleus.
        facts: of the table that the rows belong to; the model's are among them.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        {"id": pa.uint32(), "embedding": pa.list_(pa.float16(), size)},
        metadata={METADATA_KEY: json.dumps(dict(facts))},
    )
    encoding: dict[str, Any] = {
        "compression": "zstd",
        "write_page_checksum": True,
        "use_dictionary": False,
        # Halves of like numbers side by side: smaller, and read four times as fast.
        "column_encoding": {"embedding.list.element": "BYTE_STREAM_SPLIT"},
        "write_statistics": ["id"],  # of 128 numbers a nucleus they take half of the time
    }
    next_id = 1
    with (
        replacing(path) as draft,
        pq.ParquetWriter(draft, schema, **encoding) as writer,
    ):

        def append(values: NDArray[np.float16]) -> None:
            nonlocal next_id
            if not len(values):
                return
            ids = np.arange(next_id, next_id + len(values), dtype=np.uint32)
            flat = pa.array(np.ascontiguousarray(values).ravel(), pa.float16())
            lists = pa.FixedSizeListArray.from_arrays(flat, size)
            table = pa.table([pa.array(ids), lists], schema=schema)
            writer.write_table(table, row_group_size=_ROWS)
            next_id += len(values)

        yield append


def read_embeddings(path: Path, num_nuclei: int) -> Embeddings:
    """Read what `open_embeddings` wrote.

    Args:
        path: of the file.
        num_nuclei: number of rows of the table that they belong to.

    Raises:
        ValueError: no such file, another number of rows, or values that no network gives.
    """
    import pyarrow.parquet as pq

    with (
        reading(path, "file of embeddings"),
        pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as file,
    ):
        schema = file.schema_arrow
        facts = json.loads((schema.metadata or {})[METADATA_KEY])
        size, num_rows = schema.field("embedding").type.list_size, file.metadata.num_rows
        if num_rows != num_nuclei:
            raise ValueError(f"expected {num_nuclei} rows, as the table of nuclei has: {num_rows}")
        if not 1 <= size <= LARGEST_SIZE:
            raise ValueError(f"expected 1 to {LARGEST_SIZE} features of a nucleus, got {size}")
        values = np.empty((num_rows, size), np.float16)
        at = 0
        for record in file.iter_batches(columns=["embedding"], use_threads=False):
            part = _values(record.column(0), size)
            values[at : at + len(part)] = part
            at += len(part)
        if not np.isfinite(values).all():
            raise ValueError("expected finite values")
        return Embeddings(
            values=values, model_sha256=str(facts["model_sha256"]), model=str(facts["model"])
        )


def read_beside(table: Path) -> Embeddings | None:
    """Those of a table of nuclei; None where it was predicted without.

    Raises:
        ValueError: a damaged file, or one that belongs to another table.
    """
    import pyarrow.parquet as pq

    path = table.with_name(EMBEDDINGS_FILE)
    if not path.is_file():
        return None
    with reading(table, "table of nuclei"):
        found, metadata = schema_facts(pq.read_schema(table)), pq.read_metadata(table)
    embeddings = read_embeddings(path, metadata.num_rows)
    if embeddings.model_sha256 != found.get("model_sha256"):
        raise ValueError(f"{path} is of another model than {table}: predict again")
    return embeddings


def _values(column: pa.Array, size: int) -> NDArray[np.float16]:
    """The lists of a column as an array (n, `size`)."""
    if column.null_count:
        raise ValueError("expected features of every nucleus")
    flat: NDArray[np.float16] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, size)
