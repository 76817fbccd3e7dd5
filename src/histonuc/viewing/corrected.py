"""A table of nuclei as people corrected it: a view over the predicted one, which stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from histonuc.corrections.shapes import measure_shape
from histonuc.taxonomy import LabelSpace
from histonuc.viewing.columns import Column
from histonuc.viewing.edits import Edit, Prediction
from histonuc.viewing.index import DELETED, NucleusIndex, to_fixed
from histonuc.viewing.kernels import FIXED
from histonuc.viewing.rings import Rings, pack_rings, to_fixed_ring
from histonuc.viewing.table import NucleusTable

SURE = 255
"""Probability of a class that a person gave, and score of a nucleus that a person drew."""


class CorrectedTable(NucleusTable):
    """A table and what people corrected in it; everything is counted and shown as corrected.

    It shares files, caches and the index's memory with the table it is made of, and takes a few
    milliseconds for ten million nuclei. Who reads it while another takes its place reads on in this
    one: classes and outlines stay, positions, areas and probabilities are those of the new one.

    Args:
        table: the predicted one, or the same as it was corrected until now.
        edits: what was done, by row. Rows behind those of the table are nuclei that people made.
        label_space: classes of the table, and behind them those that people defined.
        prediction: classes that are shown where no person gave one; None for those of the table.

    Attributes:
        changed: int64 (n,), rows whose nucleus differs from the table that it was made of; None
            where all may.
        centres: float64 (m, 2), centroids of these nuclei as they were and as they are.
    """

    changed: NDArray[np.int64] | None
    centres: NDArray[np.float64]

    def __init__(
        self,
        table: NucleusTable,
        edits: Mapping[int, Edit],
        label_space: LabelSpace,
        prediction: Prediction | None = None,
    ) -> None:
        before: NucleusIndex = table.index()
        vars(self).update(vars(table))
        past = table if isinstance(table, CorrectedTable) else None
        self._raw: NucleusIndex = past._raw if past else before
        self._originals: dict[int, tuple[Any, ...]] = past._originals if past else {}
        self._versions: dict[int, int] = dict(past._versions) if past else {}
        self._edits, self.label_space, self._prediction = edits, label_space, prediction
        self._rows = np.array(sorted(edits), np.int64)
        self._marks = np.array([int(edits[row].mark) for row in self._rows.tolist()], np.uint8)
        is_new_base = (past._prediction if past else None) is not prediction
        old: Mapping[int, Edit] = past._edits if past else {}
        rows = np.array(sorted(_differing(old, edits)), np.int64)
        redrawn = [
            row for row in rows.tolist() if not _have_same_ring(old.get(row), edits.get(row))
        ]
        index = self._grow(before, is_new_base)
        places = _centres(before, rows)
        # What was corrected once is SURE in the shared memory that a new base is copied from.
        written = np.array([*self._originals], np.int64) if is_new_base else rows
        self._write(
            index, np.union1d(np.union1d(rows, written), self._rows) if is_new_base else rows
        )
        self._take_in(index, np.array(redrawn, np.int64))
        self._index = index
        self.centres = np.concatenate([places, _centres(index, rows)])
        self.changed = None if is_new_base else rows

    def edit(self, row: int) -> Edit | None:
        """What was done to a nucleus; None for nothing."""
        return self._edits.get(row)

    @property
    def predicted(self) -> Prediction:
        """Classes of the table, without corrections.

        Probabilities of corrected nuclei may be those of the correction.
        """
        num = self.num_nuclei
        return Prediction(kind=self._raw.kind[:num], probability=self._raw.probability[:num])

    def index(self) -> NucleusIndex:
        """The index as corrected."""
        assert self._index is not None
        return self._index

    def rings(self, group: int) -> Rings:
        """Outlines of a row group as corrected."""
        key = (group, self._versions.get(group, 0))
        if key[1] == 0:
            return super().rings(group)
        return self._rings.get(key, lambda: self._corrected_rings(group))

    def values(self, column: Column) -> NDArray[Any]:
        """Values of all nuclei as corrected."""
        values = super().values(column)
        if column.kind == "fixed":
            return values
        out = np.full(len(self.index()), np.nan, np.float32)
        out[: len(values)] = values
        self._correct_values(column, self._rows, out, self._rows)
        return out

    def rows_values(self, column: Column, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Values of some nuclei, in rising order, as corrected."""
        if column.kind == "fixed":
            return super().rows_values(column, rows)
        out = np.full(len(rows), np.nan, np.float32)
        of_table = rows < self.num_nuclei
        out[of_table] = super().rows_values(column, rows[of_table])
        places = np.flatnonzero(np.isin(rows, self._rows, assume_unique=True))
        self._correct_values(column, rows[places], out, places)
        return out

    def marks(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """What was done to some nuclei, uint8 (n,)."""
        if len(self._rows) == 0:
            return super().marks(rows)
        places = np.minimum(np.searchsorted(self._rows, rows), len(self._rows) - 1)
        return np.where(self._rows[places] == rows, self._marks[places], 0).astype(np.uint8)

    def positions(self, group: int) -> NDArray[np.float64]:
        """Centroids of a row group in level-0 pixels as corrected."""
        first, last = self.index().starts[group : group + 2].tolist()
        if group < len(self.starts) - 1:
            positions = super().positions(group).copy()
        else:
            positions = np.zeros((last - first, 2))
        for row in self._rows_within(first, last):
            ring = self._edits[row].ring
            if ring is not None:
                positions[row - first] = find_centre(ring)
        return positions

    def _rows_within(self, first: int, last: int) -> list[int]:
        """Corrected rows from `first` up to `last`, which is left out."""
        ends = np.searchsorted(self._rows, [first, last])
        return [int(row) for row in self._rows[ends[0] : ends[1]]]

    def _grow(self, before: NucleusIndex, is_new_base: bool) -> NucleusIndex:
        """The index with rows for all nuclei; classes lie in memory of their own."""
        num_made = int(self._rows[-1]) + 1 - self.num_nuclei if len(self._rows) else 0
        index = before.grown(self.starts, max(num_made, len(before) - self.num_nuclei))
        kind, probability = index.kind.copy(), index.probability
        if is_new_base:
            base = self._prediction or self._raw
            probability = probability.copy()
            kind[: self.num_nuclei] = base.kind[: self.num_nuclei]
            probability[: self.num_nuclei] = base.probability[: self.num_nuclei]
        return replace(index, kind=kind, probability=probability)

    def _write(self, index: NucleusIndex, rows: NDArray[np.int64]) -> None:
        """Write some rows of the index anew."""
        base = self._prediction
        for row in rows.tolist():
            edit = self._edits.get(row, Edit())
            if row < self.num_nuclei:
                if row not in self._originals:
                    raw = self._raw
                    self._originals[row] = tuple(
                        values[row]
                        for values in (raw.x, raw.y, raw.kind, raw.probability, raw.score, raw.area)
                    )
                x, y, kind, probability, score, area = self._originals[row]
                if base is not None:
                    kind, probability = base.kind[row], base.probability[row]
            else:
                x = y = area = 0
                kind, probability, score = DELETED, SURE, SURE
            if edit.kind is not None:
                kind, probability = edit.kind, SURE
            if edit.ring is not None:
                x, y = to_fixed(find_centre(edit.ring)).tolist()
                area = abs(measure_area(edit.ring)) * self._area_scale()
            index.x[row], index.y[row], index.kind[row] = x, y, kind
            index.probability[row], index.score[row], index.area[row] = probability, score, area

    def _area_scale(self) -> float:
        """Of the column of areas to a square pixel."""
        mpp = self.facts["mpp"]
        return 1.0 if mpp is None else float(mpp) ** 2

    def _take_in(self, index: NucleusIndex, rows: NDArray[np.int64]) -> None:
        """Let the boxes of the row groups hold redrawn nuclei, and forget the groups' outlines."""
        groups = np.searchsorted(index.starts, rows, "right") - 1
        for group in np.unique(groups).tolist():
            self._versions[group] = self._versions.get(group, 0) + 1
            within = rows[groups == group]
            within = within[index.kind[within] != DELETED]
            if len(within) == 0:
                continue
            x, y, box = index.x[within], index.y[within], index.boxes[group]
            if not box.any():
                box[:] = x[0], y[0], x[0], y[0]
            box[:2] = np.minimum(box[:2], [x.min(), y.min()])
            box[2:] = np.maximum(box[2:], [x.max(), y.max()])

    def _corrected_rings(self, group: int) -> Rings:
        first, last = self.index().starts[group : group + 2].tolist()
        drawn = {
            row - first: ring
            for row in self._rows_within(first, last)
            if (ring := self._edits[row].ring) is not None
        }
        if group == len(self.starts) - 1:
            rings = [drawn.get(place, np.zeros((0, 2))) for place in range(last - first)]
            return pack_rings([to_fixed_ring(ring) for ring in rings])
        whole = super().rings(group)
        if not drawn:
            return whole
        split = np.split(whole.vertices, whole.offsets[1:-1])
        for place, ring in drawn.items():
            split[place] = to_fixed_ring(ring)
        return pack_rings(split)

    def _correct_values(
        self,
        column: Column,
        rows: NDArray[np.int64],
        out: NDArray[np.float32],
        places: NDArray[np.int64],
    ) -> None:
        """Put the values of corrected nuclei over those of the table.

        Args:
            column: of the values.
            rows: of corrected nuclei.
            out: written to.
            places: of these nuclei in `out`.
        """
        names = self.label_space.classes
        own = column.name.removeprefix("p_")
        number = names.index(own) if column.name.startswith("p_") and own in names else None
        for row, place in zip(rows.tolist(), places.tolist(), strict=True):
            edit = self._edits[row]
            if number is not None:
                if edit.kind is not None:
                    out[place] = edit.kind == number
            elif edit.ring is not None:
                mpp = self.facts["mpp"]
                shape = measure_shape(edit.ring, np.nan if mpp is None else mpp)
                out[place] = shape.get(column.name, np.nan)


def find_centre(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centroid (2,) of the area in an outline."""
    centre = shapely.get_coordinates(shapely.centroid(shapely.Polygon(ring)))
    return np.asarray(centre[0], np.float64)


def measure_area(ring: NDArray[np.float64]) -> float:
    """Area in an outline, in square pixels."""
    return float(shapely.area(shapely.Polygon(ring)))


def _differing(old: Mapping[int, Edit], new: Mapping[int, Edit]) -> set[int]:
    """Rows that two accounts of edits do not agree on."""
    changed = {row for row, edit in new.items() if not edit.is_like(old.get(row))}
    return changed | (old.keys() - new.keys())


def _have_same_ring(one: Edit | None, other: Edit | None) -> bool:
    first, second = (None if edit is None else edit.ring for edit in (one, other))
    return first is second or (
        first is not None and second is not None and np.array_equal(first, second)
    )


def _centres(index: NucleusIndex, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Centroids (n, 2) of those of some rows whose nuclei are, or were, somewhere."""
    rows = rows[rows < len(index)]
    rows = rows[(index.kind[rows] != DELETED) | (index.area[rows] > 0)]
    return np.stack([index.x[rows], index.y[rows]], axis=1) / FIXED
