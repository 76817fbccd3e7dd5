"""A table of nuclei that stays open: its facts, its row groups, and the index made of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.facts import Facts, from_facts, schema_facts
from histonuc.exports.wkb import GEOMETRY
from histonuc.files import reading
from histonuc.taxonomy import LabelSpace
from histonuc.viewing.caches import BoundedCache
from histonuc.viewing.columns import Column, find_ranges, list_columns
from histonuc.viewing.edits import Edit
from histonuc.viewing.errors import RequestError, ShownError
from histonuc.viewing.index import NucleusIndex, empty_index
from histonuc.viewing.kernels import FIXED, fixed_rings
from histonuc.viewing.rings import Rings

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

log = logging.getLogger(__name__)

_HANDLES = 2
"""Readers of one file: each serves one thread at a time."""
_GROUPS_AT_ONCE = 16
"""Row groups that are decoded together while the index is made."""
_RINGS_BYTES = 32 << 20
"""Memory for decoded outlines."""
_VALUES_BYTES = 84 << 20
"""Memory for columns of all nuclei: two of ten million."""
_WKB_HEADER = 13
_INDEXED = ("x", "y", "class_index", "score")


class NucleusTable:
    """An open `nuclei.parquet`; any number of threads may read it.

    The file that was there when it was opened is read to the end, also where another has taken its
    place since.

    Attributes:
        num_nuclei: number of rows.
        facts: what the table says of itself.
        label_space: its classes.
        columns: its numeric columns.

    Raises:
        ShownError: no such file, a damaged one, or no table of nuclei.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._path = path
        self._files: SimpleQueue[pq.ParquetFile] = SimpleQueue()
        with _judging(path):
            before = _identity(path)
            self.metadata: pq.FileMetaData = pq.read_metadata(path)
            for _ in range(_HANDLES):
                file = pq.ParquetFile(
                    path, metadata=self.metadata, pre_buffer=False, page_checksum_verification=True
                )
                self._files.put(file)
            if _identity(path) != before:
                raise ValueError(f"{path} was replaced while it was opened")
            self.schema: pa.Schema = self.metadata.schema.to_arrow_schema()
            self.facts: Facts = schema_facts(self.schema)
            self.label_space: LabelSpace = from_facts(self.facts)[0]
            self._area = "area_px" if self.facts["mpp"] is None else "area_um2"
            self.columns = list_columns(self.schema, self.label_space.classes, self._area)
            missing = {*_INDEXED, self._area, GEOMETRY} - {*self.schema.names}
            if missing:
                raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}")
        self.num_nuclei: int = self.metadata.num_rows
        groups = map(self.metadata.row_group, range(self.metadata.num_row_groups))
        counts = [group.num_rows for group in groups]
        self.starts: NDArray[np.int64] = np.cumsum([0, *counts]).astype(np.int64)
        self._rings: BoundedCache[int | tuple[int, int], Rings] = BoundedCache(
            _RINGS_BYTES, lambda rings: rings.num_bytes
        )
        self._values: BoundedCache[str, NDArray[np.float32]] = BoundedCache(
            _VALUES_BYTES, lambda values: values.nbytes
        )
        self._index: NucleusIndex | None = None
        self._index_lock = threading.Lock()

    def column(self, name: str) -> Column:
        """A column by its name.

        Raises:
            RequestError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise RequestError("There is no such numeric column in the table.")

    @cached_property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Least and largest value of each column, as far as the file's statistics say them."""
        return find_ranges(self.metadata, self.columns)

    @property
    def has_index(self) -> bool:
        """Whether the index is made."""
        return self._index is not None

    def index(self) -> NucleusIndex:
        """The index; made by the first who asks, while others wait.

        Raises:
            ShownError: the table is damaged.
        """
        with self._index_lock:
            if self._index is None:
                self._index = self._make_index()
            return self._index

    def rings(self, group: int) -> Rings:
        """Outlines of a row group.

        Raises:
            ShownError: they are damaged.
        """
        return self._rings.get(group, lambda: self._read_rings(group))

    def values(self, column: Column) -> NDArray[Any]:
        """Values (n,) of all nuclei: uint8 or uint16 steps, or float32, NaN where there is none.

        Raises:
            ShownError: they are damaged.
        """
        index = self.index()
        if column.kind == "table":
            return self._whole_column(column)
        if column.type == "u16":
            return column.quantised(index.area)
        return index.score if column.source else index.probability

    def rows_values(self, column: Column, rows: NDArray[np.int64]) -> NDArray[Any]:
        """The same of some rows, in rising order: only what is needed is read."""
        index = self.index()
        if column.kind == "fixed":
            if column.type == "u16":
                return column.quantised(index.area[rows])
            return (index.score if column.source else index.probability)[rows]
        if column.name in self._values:
            return self._whole_column(column)[rows]
        groups = np.searchsorted(self.starts, rows, "right") - 1
        parts = [np.zeros(0, np.float32)]
        for group in np.unique(groups):
            with self._decoding() as file:
                table = file.read_row_group(int(group), [column.source], use_threads=False)
            parts.append(_floats(table[column.source])[rows[groups == group] - self.starts[group]])
        return np.concatenate(parts)

    def outline(self, row: int) -> NDArray[np.float64]:
        """Outline (k, 2) of one nucleus in level-0 pixels, open, to 1 / 2048 of a pixel.

        Raises:
            ShownError: it is damaged.
        """
        starts = self.index().starts
        group = int(np.searchsorted(starts, row, "right")) - 1
        rings, place = self.rings(group), row - int(starts[group])
        return rings.vertices[rings.offsets[place] : rings.offsets[place + 1]] / FIXED

    def edit(self, row: int) -> Edit | None:
        """What a person did to a nucleus; None for nothing."""
        return None

    def marks(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """What a person did to some nuclei, uint8 (n,): nothing, 0; see `edits.Mark`."""
        return np.zeros(len(rows), np.uint8)

    def positions(self, group: int) -> NDArray[np.float64]:
        """Centroids (n, 2) of a row group in level-0 pixels, exactly as the table has them.

        Raises:
            ShownError: they are damaged.
        """
        with self._decoding() as file:
            table = file.read_row_group(group, ["x", "y"], use_threads=False)
        return np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)

    def read_row(self, row: int) -> pa.Table:
        """One row of the table with all columns.

        Raises:
            ShownError: it is damaged.
        """
        group = int(np.searchsorted(self.starts, row, "right")) - 1
        with self._decoding() as file:
            table = file.read_row_group(group, use_threads=False)
        return table.slice(row - int(self.starts[group]), 1)

    @contextmanager
    def _decoding(self) -> Iterator[pq.ParquetFile]:
        """A reader of the file that no other thread uses; whatever fails means damage."""
        file = self._files.get()
        try:
            with _judging(self._path):
                yield file
        finally:
            self._files.put(file)

    def _read_rings(self, group: int) -> Rings:
        with self._decoding() as file:
            table = file.read_row_group(group, [GEOMETRY], use_threads=False)
            column = table[GEOMETRY].combine_chunks()
            if len(column) == 0:
                return Rings(vertices=np.zeros((0, 2), np.int32), offsets=np.zeros(1, np.int32))
            _, offsets, data = column.buffers()
            starts = np.frombuffer(offsets, np.int32)[column.offset :][: len(column) + 1]
            vertices, ends = fixed_rings(np.frombuffer(data, np.uint8), starts, _WKB_HEADER)
            if len(ends) == 0:
                raise ValueError("expected polygons of one ring, got something else")
            return Rings(vertices=vertices, offsets=ends)

    def _whole_column(self, column: Column) -> NDArray[np.float32]:
        return self._values.get(column.name, lambda: self._read_values(column.source))

    def _read_values(self, source: str) -> NDArray[np.float32]:
        out = np.empty(self.num_nuclei, np.float32)
        for first, last in self._spans():
            with self._decoding() as file:
                table = file.read_row_groups(range(first, last), [source])
            out[self.starts[first] : self.starts[last]] = _floats(table[source])
        return out

    def _spans(self) -> Iterator[tuple[int, int]]:
        """First and last row group, half-open, of what is decoded together."""
        num = len(self.starts) - 1
        for first in range(0, num, _GROUPS_AT_ONCE):
            yield first, min(first + _GROUPS_AT_ONCE, num)

    def _make_index(self) -> NucleusIndex:
        probabilities = [f"p_{name}" for name in self.label_space.classes]
        names = [*_INDEXED, self._area, *probabilities]
        index = empty_index(self.num_nuclei, self.starts)

        def fill(span: tuple[int, int]) -> None:
            first, last = span
            with self._decoding() as file:
                table = file.read_row_groups(range(first, last), names, use_threads=False)
                columns = [table[name].to_numpy() for name in names]
                index.fill(slice(self.starts[first], self.starts[last]), columns)

        with ThreadPoolExecutor(_HANDLES) as pool:  # one fills while another decodes or reads
            for _ in pool.map(fill, self._spans()):
                pass
        index.find_boxes()
        return index


def _identity(path: Path) -> tuple[int, ...]:
    """What tells a file from another that takes its place."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def _judging(path: Path) -> Iterator[None]:
    """Whatever fails means that the file is damaged."""
    try:
        with reading(path, "table of nuclei"):
            yield
    except ValueError as error:
        log.warning("%s", error)
        raise ShownError("damaged", "The table of nuclei is damaged.") from error


def _floats(column: pa.ChunkedArray) -> NDArray[np.float32]:
    import pyarrow as pa

    values: NDArray[np.float32] = column.cast(pa.float32(), safe=False).to_numpy()
    return values
