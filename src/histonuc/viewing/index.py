"""What is held in memory of every nucleus of a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.viewing.columns import quantise
from histonuc.viewing.kernels import FIXED

DELETED = 255
"""In place of the number of a class: of what a person says is no nucleus. It is never shown."""
_ROOM = 1 << 16
"""Rows that the memory has room for beyond those of the table: for nuclei that a person adds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NucleusIndex:
    """What is held in memory of every nucleus, in the order of the table: 15 bytes each.

    Attributes:
        x: uint32 (n,), centroid, fixed (see `kernels`).
        y: uint32 (n,), the same along y.
        kind: uint8 (n,), number of the class, or `DELETED`.
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

    def xy(self, row: int) -> NDArray[np.float64]:
        """Centroid (2,) of a nucleus in level-0 pixels."""
        return np.array([self.x[row], self.y[row]]) / FIXED

    def groups_in(self, box: tuple[int, int, int, int]) -> NDArray[np.int64]:
        """Row groups with nuclei in a half-open box x0, y0, x1, y1 (fixed), or close by."""
        x0, y0, x1, y1 = box
        left, top, right, bottom = self.boxes.astype(np.int64).T
        touches = (right >= x0) & (left < x1) & (bottom >= y0) & (top < y1)
        return np.flatnonzero(touches).astype(np.int64)

    def rows_in(self, group: int, box: tuple[int, int, int, int]) -> NDArray[np.int64]:
        """Rows of a row group whose centroid lies in a half-open box x0, y0, x1, y1 (fixed).

        Those of deleted nuclei are left out.
        """
        x0, y0, x1, y1 = box
        rows = slice(self.starts[group], self.starts[group + 1])
        x, y = self.x[rows], self.y[rows]
        inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1) & (self.kind[rows] != DELETED)
        return np.flatnonzero(inside).astype(np.int64) + int(self.starts[group])

    def fill(self, rows: slice, columns: Sequence[NDArray[Any]]) -> None:
        """Put some rows of a table into the index.

        Args:
            rows: of the table.
            columns: ``x``, ``y``, ``class_index``, ``score`` and the area of these rows, then the
                probability of each class.

        Raises:
            ValueError: a class that there is not, or a position that is no number.
        """
        x, y, kind, score, area, *probabilities = columns
        if len(kind) and not (kind.min() >= 0 and kind.max() < len(probabilities)):
            raise ValueError(f"expected classes 0 to {len(probabilities) - 1} in class_index")
        self.x[rows], self.y[rows], self.kind[rows] = to_fixed(x), to_fixed(y), kind
        self.probability[rows] = quantise(np.choose(kind, probabilities), 1 / 255, np.uint8)
        self.score[rows] = quantise(score, 1 / 255, np.uint8)
        self.area[rows] = area

    def find_boxes(self) -> None:
        """Find the boxes of the row groups, when all rows are there."""
        for group in range(len(self.boxes)):
            rows = slice(self.starts[group], self.starts[group + 1])
            if rows.stop > rows.start:
                x, y = self.x[rows], self.y[rows]
                self.boxes[group] = x.min(), y.min(), x.max(), y.max()

    def grown(self, starts: NDArray[np.int64], count: int) -> NucleusIndex:
        """The same with rows at the end for nuclei that people made, in a row group of their own.

        Rows are shared, not copied, while there is room for more; boxes are copied.

        Args:
            starts: int64 (groups + 1,), first row of each row group of the table.
            count: of such rows, as many as there are already or more.
        """
        size, groups = int(starts[-1]) + count, len(starts) - 1
        names = ("x", "y", "kind", "probability", "score", "area")
        return replace(
            self,
            **{name: _with_room(getattr(self, name), size) for name in names},
            starts=np.append(starts, size),
            boxes=np.vstack([self.boxes, np.zeros((1, 4), np.uint32)])[: groups + 1],
        )


def empty_index(num_nuclei: int, starts: NDArray[np.int64]) -> NucleusIndex:
    """An index to be filled.

    Args:
        num_nuclei: number of rows of the table.
        starts: int64 (groups + 1,), first row of each row group.
    """
    size = num_nuclei + _ROOM
    return NucleusIndex(
        x=np.empty(size, np.uint32)[:num_nuclei],
        y=np.empty(size, np.uint32)[:num_nuclei],
        kind=np.empty(size, np.uint8)[:num_nuclei],
        probability=np.empty(size, np.uint8)[:num_nuclei],
        score=np.empty(size, np.uint8)[:num_nuclei],
        area=np.empty(size, np.float32)[:num_nuclei],
        starts=starts,
        boxes=np.zeros((len(starts) - 1, 4), np.uint32),
    )


def to_fixed(positions: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Positions in level-0 pixels as the index holds them: uint32 of the same shape.

    Raises:
        ValueError: one of them is no number.
    """
    if not np.isfinite(positions).all():
        raise ValueError("expected finite positions, got others")
    largest = np.iinfo(np.int32).max
    return np.clip(np.floor(positions * FIXED + 0.5), 0, largest).astype(np.uint32)


def _with_room(values: NDArray[Any], size: int) -> NDArray[Any]:
    """The values and what comes behind them in memory, up to a size; copied where it is too far."""
    whole = values.base
    if whole is None or whole.ndim != 1 or len(whole) < size:
        whole = np.concatenate([values, np.empty(size - len(values) + _ROOM, values.dtype)])
    return whole[:size]
