"""The tables of a store: their columns, and how they are made and read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from histonuc.files import reading

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
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
}
"""`tile` numbers the rows; `shard` and `row` say where the arrays are; `background` is the value
that the official background channel has outside nuclei (1; 0 where it is inverted; -1: none)."""

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


def read_table(path: Path, schema: Mapping[str, str]) -> pa.Table:
    """A Parquet file as a table that has the columns of `schema`.

    Raises:
        ValueError: no such table.
    """
    import pyarrow.parquet as pq

    with reading(path, "table of a store"):
        table = pq.read_table(path)
        if missing := [name for name in schema if name not in table.column_names]:
            raise ValueError(f"{path} has no columns {missing}: prepare the store again")
        return table


def to_arrays(table: pa.Table) -> dict[str, NDArray[Any]]:
    """The columns as NumPy arrays; strings become object arrays."""
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
