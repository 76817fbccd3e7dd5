"""The scores of every tile: what `tiles.parquet` holds and what intervals are drawn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

BY_CLASS = {"pq": "pq", "class_tp": "tp", "class_fp": "fp", "class_fn": "fn"}
"""Fields with a value for each class, and what their columns ``.../<class>`` are called."""
_TEXTS = ("name", "source", "tissue")


@dataclass(frozen=True, kw_only=True)
class TileScore:
    """How one tile did.

    Attributes:
        tile: row in the store.
        name, source, tissue, fold: as in the store.
        num_truth, num_predicted: nuclei.
        tp, fp, fn: nuclei matched at IoU > 0.5, spurious, missed, classes ignored.
        tp_centroid: nuclei paired by centroid distance, classes ignored.
        bpq: binary PQ of the tile; NaN without true nuclei.
        mpq: mean PQ over the classes it holds; NaN without nuclei of known class.
        bpq_strict, mpq_strict: the same, 0 instead of NaN where only the prediction has nuclei (of
            the class).
        dice: Dice of nucleus against background; NaN when neither has any.
        aji, aji_plus, dice_ensemble: NaN when there is nothing to score.
        pq: PQ of each class of the store; NaN where the tile lacks it.
        class_tp, class_fp, class_fn: nuclei of each class, matched, spurious and missed.
    """

    tile: int
    name: str
    source: str
    tissue: str
    fold: int
    num_truth: int
    num_predicted: int
    tp: int
    fp: int
    fn: int
    tp_centroid: int
    bpq: float
    mpq: float
    bpq_strict: float
    mpq_strict: float
    dice: float
    aji: float
    aji_plus: float
    dice_ensemble: float
    pq: tuple[float, ...]
    class_tp: tuple[int, ...]
    class_fp: tuple[int, ...]
    class_fn: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class TileTable:
    """Rows are `TileScore`, held as arrays: a quarter of the memory of as many objects.

    Attributes:
        texts: ``name``, ``source`` and ``tissue`` of each tile.
        numbers: structured (N,), int64 and float64, all other fields; those of `BY_CLASS` are (C,).
    """

    texts: Mapping[str, list[str]]
    numbers: NDArray[np.void]

    @staticmethod
    def of(rows: Sequence[TileScore], num_classes: int) -> TileTable:
        """The table of some rows."""
        dtype = number_dtype(num_classes)
        names = dtype.names or ()
        values = [tuple(getattr(row, name) for name in names) for row in rows]
        return TileTable(
            texts={name: [getattr(row, name) for row in rows] for name in _TEXTS},
            numbers=np.array(values, dtype),
        )

    @staticmethod
    def concat(parts: Sequence[TileTable]) -> TileTable:
        """The rows of several tables, one or more, one after the other."""
        return TileTable(
            texts={name: [text for part in parts for text in part.texts[name]] for name in _TEXTS},
            numbers=np.concatenate([part.numbers for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row: int) -> TileScore:
        values: dict[str, Any] = dict(
            zip(self.numbers.dtype.names or (), self.numbers[row].item(), strict=True)
        )
        values |= {name: self.texts[name][row] for name in _TEXTS}
        return TileScore(**values | {name: tuple(values[name].tolist()) for name in BY_CLASS})

    def __iter__(self) -> Iterator[TileScore]:
        return (self[row] for row in range(len(self)))

    def column(self, name: str) -> Sequence[str] | NDArray[Any]:
        """All values of a field, (N,); (N, C) of those of `BY_CLASS`."""
        return self.texts[name] if name in _TEXTS else self.numbers[name]

    def sorted_by_tile(self) -> TileTable:
        """The same rows, by row of the store."""
        order = np.argsort(self.numbers["tile"], kind="stable")
        return TileTable(
            texts={name: [texts[i] for i in order] for name, texts in self.texts.items()},
            numbers=self.numbers[order],
        )


def number_dtype(num_classes: int) -> np.dtype[np.void]:
    """Of `TileTable.numbers`, in the order of the fields."""
    kinds = {  # annotations are text in this module
        "int": (np.int64, ()),
        "float": (np.float64, ()),
        "tuple[int, ...]": (np.int64, (num_classes,)),
        "tuple[float, ...]": (np.float64, (num_classes,)),
    }
    return np.dtype(
        [(own.name, *kinds[str(own.type)]) for own in fields(TileScore) if own.type in kinds]
    )
