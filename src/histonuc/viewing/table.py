"""A table of nuclei that stays open: its facts, its row groups, and the index made of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from histonuc.viewing.errors import RequestError, ShownError
from histonuc.viewing.kernels import FIXED, fixed_rings

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

log = logging.getLogger(__name__)

_HANDLES = 2
"""Readers of one file: each serves one thread at a time."""
_GROUPS_AT_ONCE = 16
"""Row groups that are decoded together while the index is made."""
_RINGS_BYTES = 96 << 20
"""Memory for decoded outlines."""
_VALUES_BYTES = 96 << 20
"""Memory for columns of all nuclei: two of ten million."""
_WKB_HEADER = 13
_INDEXED = ("x", "y", "class_index", "score")


@dataclass(frozen=True, kw_only=True, eq=False)
class NucleusIndex:
    """What is held in memory of every nucleus, in the order of the table: 15 bytes each.

    Attributes:
        x: uint32 (n,), centroid, fixed (see `kernels`).
        y: uint32 (n,), the same along y.
        kind: uint8 (n,), number of the class.
        probability: uint8 (n,), of that class, in steps of 1 / 255.
        score: uint8 (n,), in steps of 1 / 255.
        area: float32 (n,), in µm², or px² where no scale is known.
        starts: int64 (groups + 1,), first row of each row group.
        boxes: uint32 (groups, 4), least x and y, largest x and y in each row group, fixed.
    """

    x: NDArray[np.uint32]
    y: NDArray[np.uint32]
    kind: NDArray[np.uint8]
    probability: NDArray[np.uint8]
    score: NDArray[np.uint8]
    area: NDArray[np.float32]
    starts: NDArray[np.int64]
    boxes: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def num_bytes(self) -> int:
        """Memory that it takes."""
        arrays = (self.x, self.y, self.kind, self.probability, self.score, self.area)
        return sum(array.nbytes for array in arrays)

    def groups_in(self, box: tuple[int, int, int, int]) -> NDArray[np.int64]:
        """Row groups with nuclei in a half-open box x0, y0, x1, y1 (fixed), or close by."""
        x0, y0, x1, y1 = box
        left, top, right, bottom = self.boxes.astype(np.int64).T
        touches = (right >= x0) & (left < x1) & (bottom >= y0) & (top < y1)
        return np.flatnonzero(touches).astype(np.int64)

    def rows_in(self, group: int, box: tuple[int, int, int, int]) -> NDArray[np.int64]:
        """Rows of a row group whose centroid lies in a half-open box x0, y0, x1, y1 (fixed)."""
        x0, y0, x1, y1 = box
        rows = slice(self.starts[group], self.starts[group + 1])
        x, y = self.x[rows], self.y[rows]
        inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
        return np.flatnonzero(inside).astype(np.int64) + int(self.starts[group])


@dataclass(frozen=True, kw_only=True, eq=False)
class Rings:
    """The outlines of one row group.

    Attributes:
        vertices: int32 (P, 2), fixed, rings open.
        offsets: int32 (n + 1,), where each ring begins.
    """

    vertices: NDArray[np.int32]
    offsets: NDArray[np.int32]


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
        self._rings: BoundedCache[int, Rings] = BoundedCache(_RINGS_BYTES, _rings_bytes)
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
            return self._values.get(column.name, lambda: self._read_values(column.source))
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
            return self.values(column)[rows]
        groups = np.searchsorted(self.starts, rows, "right") - 1
        parts = [np.zeros(0, np.float32)]
        for group in np.unique(groups):
            with self._decoding() as file:
                table = file.read_row_group(int(group), [column.source], use_threads=False)
            parts.append(_floats(table[column.source])[rows[groups == group] - self.starts[group]])
        return np.concatenate(parts)

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
        n, classes = self.num_nuclei, self.label_space.classes
        index = NucleusIndex(
            x=np.empty(n, np.uint32),
            y=np.empty(n, np.uint32),
            kind=np.empty(n, np.uint8),
            probability=np.empty(n, np.uint8),
            score=np.empty(n, np.uint8),
            area=np.empty(n, np.float32),
            starts=self.starts,
            boxes=np.zeros((len(self.starts) - 1, 4), np.uint32),
        )
        names = [*_INDEXED, self._area, *(f"p_{name}" for name in classes)]
        for first, last in self._spans():
            with self._decoding() as file:
                table = file.read_row_groups(range(first, last), names)
                _fill(index, slice(self.starts[first], self.starts[last]), table, names)
        for group in range(len(index.boxes)):
            rows = slice(index.starts[group], index.starts[group + 1])
            if rows.stop > rows.start:
                x, y = index.x[rows], index.y[rows]
                index.boxes[group] = x.min(), y.min(), x.max(), y.max()
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


def _fill(index: NucleusIndex, rows: slice, table: pa.Table, names: Sequence[str]) -> None:
    """Put some rows of a table into the index.

    Raises:
        ValueError: there is no such class.
    """
    x, y, kind, score, area = (table[name].to_numpy() for name in names[:5])
    probabilities = [table[name].to_numpy() for name in names[5:]]
    if len(kind) and not (kind.min() >= 0 and kind.max() < len(probabilities)):
        raise ValueError(f"expected classes 0 to {len(probabilities) - 1} in class_index")
    index.x[rows], index.y[rows] = _fixed(x), _fixed(y)
    index.kind[rows] = kind
    best = np.choose(kind, probabilities) if probabilities else np.zeros(len(kind))
    index.probability[rows] = np.clip(np.floor(best * 255 + 0.5), 0, 255)
    index.score[rows] = np.clip(np.floor(score.astype(np.float64) * 255 + 0.5), 0, 255)
    index.area[rows] = area


def _fixed(positions: NDArray[np.float64]) -> NDArray[np.uint32]:
    if not np.isfinite(positions).all():
        raise ValueError("expected finite positions, got others")
    largest = np.iinfo(np.int32).max
    return np.clip(np.floor(positions * FIXED + 0.5), 0, largest).astype(np.uint32)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float32]:
    import pyarrow as pa

    values: NDArray[np.float32] = column.cast(pa.float32(), safe=False).to_numpy()
    return values


def _rings_bytes(rings: Rings) -> int:
    return rings.vertices.nbytes + rings.offsets.nbytes
