"""The tables of a store: their columns, and how they are made and read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.files import reading

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 2
"""Version of the layout; a reader refuses any other."""

TILE_COLUMNS = {
    "tile": "int32",
    "fold": "int16",
    "shard": "string",
    "row": "int32",
    "height": "int32",
    "width": "int32",
    "name": "string",
    "tissue": "string",
    "source": "string",
    "patient": "string",
    "mpp": "float64",
    "num_nuclei": "int32",
    "background": "int8",
    "labels": "string",
    "image_crc32": "uint32",
    "instances_crc32": "uint32",
}
"""`tile` numbers the rows; `fold` is 0 for what no training may take; `shard` and `row` say where
the arrays are; `background` is the value that the official background channel has outside nuclei
(1; 0 where it is inverted; -1: none); `labels` is "outlines", "points", which mark all nuclei,
"sparse points", which mark some of them (what lies beside these is not known), or "none" where
nothing is known; the checksums are those of the tile's bytes in the arrays, 0 where it has no
instance map."""

IGNORE_COLUMN = {"ignore_crc32": "uint32"}
"""One more column of tiles in stores with ignore masks: checksum of the mask, 0 where there is
none."""

NUCLEUS_COLUMNS = {
    "tile": "int32",
    "instance": "int32",
    "type": "int8",
    "candidates": "uint32",
    "original_id": "int64",
    "channel": "int8",
    "area_px": "int32",
    "x": "float64",
    "y": "float64",
    "x_min": "int32",
    "y_min": "int32",
    "x_max": "int32",
    "y_max": "int32",
}
"""`type` is class + 1 or 0; `channel` the official mask channel or -1; `x`, `y` the mean pixel
centre; the box is half-open."""

POINT_COLUMNS = {
    "tile": "int32",
    "type": "int8",
    "candidates": "uint32",
    "x": "float64",
    "y": "float64",
}
"""Points that mark nuclei of tiles without outlines. `type` is class + 1 or 0; `x`, `y` are in
pixels, (0, 0) at the top-left corner of the top-left pixel."""

OVERLAP_COLUMNS = {
    "tile": "int32",
    "y": "int16",
    "x": "int16",
    "channel": "int8",
    "value": "int64",
}
"""Official mask pixels that the instance map and the nuclei do not say."""


def make_table(columns: Mapping[str, Any], schema: Mapping[str, str]) -> pa.Table:
    """A table of exactly the columns of `schema`, which names an Arrow type for each."""
    import pyarrow as pa

    return pa.table(
        {
            name: pa.array(columns[name]).cast(getattr(pa, kind)())
            if len(columns[name])
            else pa.array([], getattr(pa, kind)())
            for name, kind in schema.items()
        }
    )


def read_table(path: Path, sha256: str) -> pa.Table:
    """A Parquet file as a table, if it is the one that was written.

    Args:
        path: the file.
        sha256: checksum that store.json states of it.

    Raises:
        ValueError: no such table, or another one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with reading(path, "table of a store"):
        # Arrow's memory, not Python's: a thread of Arrow may let go of it after the table was
        # returned, and one that wants the interpreter while the program ends aborts it.
        # https://github.com/apache/arrow/issues/33975
        with pa.OSFile(str(path)) as file:
            content = file.read_buffer()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(
                "it is not as it was written (its checksum differs): prepare the store again"
            )
        return pq.read_table(pa.BufferReader(content))


def single_class(candidates: NDArray[np.integer]) -> NDArray[np.int64]:
    """Class + 1 of candidate sets (n,) that hold one class, 0 of all others.

    >>> single_class(np.array([4, 5, 1])).tolist()
    [3, 0, 1]
    """
    sets = candidates.astype(np.int64)
    is_one = (sets & (sets - 1)) == 0
    return np.where(is_one, np.log2(np.maximum(sets, 1)).astype(np.int64) + 1, 0)


def to_arrays(table: pa.Table) -> dict[str, NDArray[Any]]:
    """The columns as NumPy arrays; strings become object arrays."""
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def find_rows(columns: Mapping[str, NDArray[Any]], tile: int) -> slice:
    """Rows of one tile in a table that is sorted by tile."""
    ends = np.array([tile, tile + 1], columns["tile"].dtype)  # another type would copy the column
    return slice(*np.searchsorted(columns["tile"], ends).tolist())
