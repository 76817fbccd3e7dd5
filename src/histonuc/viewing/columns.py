"""The numeric columns of a table of nuclei, as the viewer colours and filters by them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.table import feature_names
from histonuc.nuclei import CLASS_TRUST

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

PROBABILITY, SCORE = "probability", "score"
_TITLES = {SCORE: "Detection score", CLASS_TRUST: "Trust in the class"}
AREA_STEP = 1 / 16
"""Areas are sent and filtered in steps of this, in µm² (px² without a scale), up to 4,095.9."""
_UNITS = {"_um2": "µm²", "_um": "µm", "_px": "px", "_deg": "°", "_od": "OD", "_bits": "bits"}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One numeric column.

    Attributes:
        name: as in the table; `PROBABILITY` is that of the nucleus's class.
        kind: ``fixed`` where the index holds it, ``table`` where it is read when it is needed.
        type: of a value in the buffers: ``u8``, ``u16`` or ``f32``.
        step: a stored value of ``u8`` and ``u16`` counts steps of this; None for ``f32``.
        source: its name in the table; empty for `PROBABILITY`.
    """

    name: str
    kind: Literal["fixed", "table"]
    type: Literal["u8", "u16", "f32"]
    step: float | None
    source: str

    @property
    def title(self) -> str:
        """For people."""
        if self.name in _TITLES:
            return _TITLES[self.name]
        if self.name.startswith("p_"):
            return f"Probability: {self.name[2:]}"
        stem = self.name
        for ending in _UNITS:
            stem = stem.removesuffix(ending)
        return stem.replace("_", " ").capitalize()

    @property
    def unit(self) -> str:
        """Of its values; empty where they have none."""
        if self.source == "area_px":
            return "px²"
        return next((unit for end, unit in _UNITS.items() if self.name.endswith(end)), "")

    def quantised(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values as the buffers hold them: uint8, uint16 or float32 of the same shape."""
        if self.step is None:
            return values.astype(np.float32, copy=False)
        kind = np.uint8 if self.type == "u8" else np.uint16
        return quantise(values, self.step, kind)

    def plain(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Values as they are meant: float32 of the same shape."""
        values = stored.astype(np.float32)
        return values if self.step is None else values * np.float32(self.step)

    def widened(self, low: float, high: float) -> tuple[float, float]:
        """A range that holds the values between two others also when they are rounded."""
        if self.step is None:
            return float(np.float32(low)), float(np.float32(high))
        most = np.iinfo(np.uint8 if self.type == "u8" else np.uint16).max
        steps = np.array([math.floor(low / self.step), math.ceil(high / self.step)])
        first, last = self.plain(np.clip(steps, 0, most)).tolist()
        return first, last

    def bounds(self, low: float | None, high: float | None) -> tuple[float, float]:
        """The least and largest stored value of a range, both included.

        Args:
            low: least value, None for no bound.
            high: largest value, None for no bound.
        """
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        if self.step is None:
            return float(np.float32(low)), float(np.float32(high))
        least = math.ceil(low / self.step - 1e-6) if math.isfinite(low) else low
        most = math.floor(high / self.step + 1e-6) if math.isfinite(high) else high
        return least, most


def quantise(
    values: NDArray[Any], step: float, kind: type[np.unsignedinteger[Any]]
) -> NDArray[Any]:
    """Values counted in steps, as unsigned integers; what is larger than they go is the largest.

    >>> quantise(np.array([0.0, 0.5, 2.0]), 1 / 255, np.uint8).tolist()
    [0, 128, 255]
    """
    steps = np.nan_to_num(np.asarray(values, np.float64) / step, nan=0.0)
    return np.clip(np.floor(steps + 0.5), 0, np.iinfo(kind).max).astype(kind)


def list_columns(schema: pa.Schema, classes: Sequence[str], area: str) -> tuple[Column, ...]:
    """The columns of a table, those that the index holds first, then the trust in the class.

    Args:
        schema: of the table.
        classes: names whose ``p_`` columns are probabilities.
        area: name of the column of areas.
    """
    fixed = [
        Column(name=PROBABILITY, kind="fixed", type="u8", step=1 / 255, source=""),
        Column(name=SCORE, kind="fixed", type="u8", step=1 / 255, source=SCORE),
        Column(name="area_um2", kind="fixed", type="u16", step=AREA_STEP, source=area),
    ]
    present = [name for name in (f"p_{label}" for label in classes) if name in schema.names]
    taken = {column.name for column in fixed}
    further = [n for n in feature_names(schema, classes) if n not in taken]
    first = [CLASS_TRUST] if CLASS_TRUST in further else []
    names = [*first, *present, *(n for n in further if n not in first)]
    others = [Column(name=n, kind="table", type="f32", step=None, source=n) for n in names]
    return (*fixed, *others)


def find_ranges(
    metadata: pq.FileMetaData, columns: Sequence[Column]
) -> dict[str, tuple[float, float]]:
    """Least and largest value of columns, as the file's statistics say; without those unknown.

    Args:
        metadata: of the table's file.
        columns: whose ranges are wanted.
    """
    places = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    found: dict[str, tuple[float, float]] = {}
    for column in columns:
        place = places.get(column.source)
        if place is None:
            continue
        ends = [_ends(metadata.row_group(g).column(place)) for g in range(metadata.num_row_groups)]
        known = [end for end in ends if end is not None]
        if known and len(known) == len(ends):
            low, high = min(low for low, _ in known), max(high for _, high in known)
            if math.isfinite(low) and math.isfinite(high):
                found[column.name] = column.widened(low, high)
    return found


def _ends(chunk: Any) -> tuple[float, float] | None:
    statistics = chunk.statistics
    if statistics is None or not statistics.has_min_max:
        return None
    return statistics.min, statistics.max
