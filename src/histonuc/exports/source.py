"""What every writer reads: the nuclei of a result, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.facts import Facts, SlideFacts, from_facts, mpp_xy, schema_facts, to_facts
from histonuc.exports.table import feature_names, from_table, plain_table, text_names
from histonuc.files import reading
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BATCH = 8_192
"""Nuclei a batch: some 6 MB of contours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Consecutive nuclei of a result.

    Attributes:
        ids: uint32 (n,), as in the table; 1..N in a result of `histonuc predict`.
        nuclei: the n nuclei, level-0 pixels, without features.
        extra: float64 (n, M), the features and what other numeric columns the table has, NaN where
            there is no value.
    """

    ids: NDArray[np.uint32]
    nuclei: Nuclei
    extra: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """Nuclei to export, read as often as a writer needs and never all at once.

    Attributes:
        num_nuclei: N.
        label_space: names and colours of the classes.
        mpp: microns per level-0 pixel, NaN when unknown.
        extra_names: names of the M further numeric columns.
        text_names: names of the further columns of text.
        facts: what the result says of itself, see `histonuc.exports.facts`.
        read: starts a new pass over the nuclei in the order of the table, so many a batch.
    """

    num_nuclei: int
    label_space: LabelSpace
    mpp: float
    extra_names: tuple[str, ...]
    text_names: tuple[str, ...]
    facts: Facts
    read: Callable[[int], Iterator[Batch]]

    def batches(self, rows: int = BATCH) -> Iterator[Batch]:
        """All nuclei in the order of the table, `rows` a batch."""
        return self.read(rows)

    def empty_batch(self) -> Batch:
        """No nuclei, for the schema of a table."""
        return Batch(
            ids=np.zeros(0, np.uint32),
            nuclei=Nuclei.empty(self.label_space, self.mpp, texts=self.text_names),
            extra=np.zeros((0, len(self.extra_names))),
        )

    def with_facts(self, facts: SlideFacts) -> Source:
        """The same nuclei of a result that says more of itself."""
        return replace(self, facts={**facts, **self.facts})

    @property
    def mpp_xy(self) -> tuple[float, float]:
        """Microns per level-0 pixel along x and y: both are `mpp` where nothing else is known."""
        return mpp_xy(self.facts)

    @property
    def origin(self) -> tuple[int, int]:
        """Level-0 pixel (x, y) that QuPath counts from: where what the scanner visited begins."""
        x, y = self.facts.get("bounds_xyxy", (0, 0))[:2]
        return int(x), int(y)

    @property
    def slide(self) -> str:
        """Name of the slide's file; empty where it is unknown."""
        return str(self.facts.get("source", ""))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image in level-0 pixels; of the nuclei's extent if unknown."""
        if "image_size" in self.facts:
            width, height = self.facts["image_size"]
            return int(width), int(height)
        corners = [b.nuclei.box[:, 2:].max(axis=0) for b in self.batches() if len(b.ids)]
        width, height = np.ceil(np.max([np.ones(2), *corners], axis=0)).astype(int).tolist()
        return width, height


def open_source(nuclei: Nuclei | Source | Path) -> Source:
    """Nuclei in memory, or the path of a `nuclei.parquet`, as a source.

    Raises:
        ValueError: no such file, no Parquet, or not a table of nuclei.
    """
    if isinstance(nuclei, Source):
        return nuclei
    return _open_table(nuclei) if isinstance(nuclei, Path) else _wrap_nuclei(nuclei)


def split_batches(nuclei: Nuclei, rows: int = BATCH, first_id: int = 1) -> Iterator[Batch]:
    """Nuclei in memory, numbered from `first_id` on, `rows` a batch."""
    for start in range(0, len(nuclei), rows):
        part = nuclei.select(np.arange(start, min(start + rows, len(nuclei))))
        ids = np.arange(len(part), dtype=np.uint32) + np.uint32(first_id + start)
        extra = _side_by_side(list(part.features.values()), len(part))
        yield Batch(ids=ids, nuclei=replace(part, features={}), extra=extra)


def plain_columns(batch: Batch, source: Source) -> pa.Table:
    """The columns of `plain_table`, with the table's own ids and further columns."""
    import pyarrow as pa

    table = plain_table(batch.nuclei, batch.ids, source.facts)
    for name, values in zip(source.extra_names, batch.extra.T, strict=True):
        table = table.append_column(name, pa.array(values, from_pandas=True))
    return table


def _wrap_nuclei(nuclei: Nuclei) -> Source:
    return Source(
        num_nuclei=len(nuclei),
        label_space=nuclei.label_space,
        mpp=nuclei.mpp,
        extra_names=tuple(nuclei.features),
        text_names=tuple(nuclei.texts),
        facts=to_facts(nuclei.label_space, nuclei.mpp),
        read=partial(split_batches, nuclei),
    )


def _open_table(path: Path) -> Source:
    with _parquet(path) as file:
        facts, num_nuclei = schema_facts(file.schema_arrow), file.metadata.num_rows
        space, mpp = from_facts(facts)
        extra_names = feature_names(file.schema_arrow, space.classes)
        texts = text_names(file.schema_arrow)

    def read(rows: int) -> Iterator[Batch]:
        with _parquet(path) as file:
            for record in file.iter_batches(batch_size=rows, use_threads=False):
                yield _read_batch(record, file.schema_arrow, extra_names)

    return Source(
        num_nuclei=num_nuclei,
        label_space=space,
        mpp=mpp,
        extra_names=extra_names,
        text_names=texts,
        facts=facts,
        read=read,
    )


def _read_batch(record: pa.RecordBatch, schema: pa.Schema, extra_names: tuple[str, ...]) -> Batch:
    import pyarrow as pa

    table = pa.Table.from_batches([record]).replace_schema_metadata(schema.metadata)
    # A safe cast would refuse whole numbers that float64 has to round.
    columns = [table[name].cast(pa.float64(), safe=False).to_numpy() for name in extra_names]
    return Batch(
        ids=table["id"].to_numpy(),
        nuclei=from_table(table.drop_columns(list(extra_names))),
        extra=_side_by_side(columns, len(table)),
    )


def _side_by_side(columns: list[NDArray[Any]], n: int) -> NDArray[np.float64]:
    return np.stack(columns, axis=1, dtype=np.float64) if columns else np.zeros((n, 0))


@contextmanager
def _parquet(path: Path) -> Iterator[pq.ParquetFile]:
    import pyarrow.parquet as pq

    if not path.is_file():
        raise ValueError(f"no nuclei at {path}: run `histonuc predict` first")
    with (
        reading(path, "table of nuclei"),
        pq.ParquetFile(path, pre_buffer=False, page_checksum_verification=True) as file,
    ):
        yield file
