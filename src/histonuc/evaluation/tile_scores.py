"""The scores of every tile: one row a tile, and the file ``tiles.parquet`` that holds them.

`TileScore` is one row and `TileScores` is the table. Everything that looks at single tiles reads
the table through `read_tile_scores`: the intervals of scores.json, `merge-scores` and `compare`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.files import reading, replacing
from histonuc.metrics.counts import ratio
from histonuc.metrics.formulas import compute_score, nucleus_sums
from histonuc.taxonomy import LabelSpace

TILES_FILE = "tiles.parquet"

TEXTS = ("name", "source", "tissue")
"""Fields of `TileScore` that are text."""
NUMBERS: Mapping[str, type[np.generic]] = {
    "tile": np.int64,
    "fold": np.int64,
    "num_truth": np.int64,
    "num_predicted": np.int64,
    "tp": np.int64,
    "fp": np.int64,
    "fn": np.int64,
    "tp_centroid": np.int64,
    "class_known": np.int64,
    "bpq": np.float64,
    "mpq": np.float64,
    "bpq_strict": np.float64,
    "mpq_strict": np.float64,
    "foreground_dice": np.float64,
    "aji": np.float64,
    "aji_plus": np.float64,
    "dice_ensemble": np.float64,
}
"""Fields of `TileScore` that are a number, and how the table holds them."""
BY_CLASS: Mapping[str, tuple[str, type[np.generic]]] = {
    "pq": ("pq", np.float64),
    "class_tp": ("tp", np.int64),
    "class_fp": ("fp", np.int64),
    "class_fn": ("fn", np.int64),
    "centroid_tp": ("tp_centroid", np.int64),
    "centroid_fp": ("fp_centroid", np.int64),
    "centroid_fn": ("fn_centroid", np.int64),
}
"""Fields of `TileScore` with a value for each class: the first part of their columns in
tiles.parquet, which are called ``pq/<class>`` and so on, and how the table holds them."""


@dataclass(frozen=True, kw_only=True)
class TileScore:
    """How one tile did.

    Attributes:
        tile: row in the store.
        name: name of the tile in its source.
        source: data set that the tile comes from.
        tissue: tissue of the tile; empty where unknown.
        fold: fold of the tile.
        num_truth: number of true nuclei.
        num_predicted: number of predicted nuclei.
        tp: nuclei matched at IoU > 0.5, whatever their classes.
        fp: predicted nuclei that match none, whatever their classes.
        fn: true nuclei that match none, whatever their classes.
        tp_centroid: nuclei paired by the distance of their centroids, whatever their classes.
        class_known: such nuclei whose true class is known.
        bpq: binary PQ of the tile; NaN without true nuclei.
        mpq: mean PQ over the classes that the tile holds; NaN without nuclei of known class.
        bpq_strict: as `bpq`, but 0 where only the prediction has nuclei.
        mpq_strict: as `mpq`, but a class that only the prediction has counts as 0.
        foreground_dice: Dice of nucleus against background; NaN when neither side has a nucleus.
        aji: aggregated Jaccard index; NaN when neither side has a nucleus.
        aji_plus: AJI with one-to-one pairs; NaN when neither side has a nucleus.
        dice_ensemble: ensemble Dice; NaN when no two nuclei overlap.
        pq: PQ of each class; NaN where the tile has no true nucleus of the class.
        class_tp: matched nuclei of each class.
        class_fp: spurious nuclei of each class.
        class_fn: missed nuclei of each class.
        centroid_tp, centroid_fp, centroid_fn: `DetectionCounts.class_sums` of each class.
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
    class_known: int
    bpq: float
    mpq: float
    bpq_strict: float
    mpq_strict: float
    foreground_dice: float
    aji: float
    aji_plus: float
    dice_ensemble: float
    pq: tuple[float, ...]
    class_tp: tuple[int, ...]
    class_fp: tuple[int, ...]
    class_fn: tuple[int, ...]
    centroid_tp: tuple[int, ...]
    centroid_fp: tuple[int, ...]
    centroid_fn: tuple[int, ...]

    @property
    def quality(self) -> float:
        """How well the nuclei were found, 0..1: binary PQ, or F1 by centroid where that is NaN."""
        if not math.isnan(self.bpq):
            return self.bpq
        return float(ratio(2 * self.tp_centroid, self.num_truth + self.num_predicted))

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> TileScore:
        """Inverse of `dataclasses.asdict`, also where JSON made lists of the tuples."""
        return cls(**{**record, **{name: tuple(record[name]) for name in BY_CLASS}})


@dataclass(frozen=True, kw_only=True, eq=False)
class TileScores:
    """The scores of N tiles, held as arrays: a quarter of the memory of as many objects.

    Attributes:
        texts: the fields in `TEXTS`, one text a tile.
        numbers: structured array (N,) with all other fields of `TileScore`, int64 and float64;
            those in `BY_CLASS` have the shape (C,).
    """

    texts: Mapping[str, list[str]]
    numbers: NDArray[np.void]

    @classmethod
    def from_rows(cls, rows: Sequence[TileScore], num_classes: int) -> TileScores:
        """The table of some rows.

        Args:
            rows: any number of them.
            num_classes: C, the length of the fields in `BY_CLASS`.
        """
        names = [*NUMBERS, *BY_CLASS]
        values = [tuple(getattr(row, name) for name in names) for row in rows]
        return cls(
            texts={name: [getattr(row, name) for row in rows] for name in TEXTS},
            numbers=np.array(values, _number_dtype(num_classes)),
        )

    @classmethod
    def concat(cls, parts: Sequence[TileScores]) -> TileScores:
        """The rows of several tables, one or more, one after the other."""
        return cls(
            texts={name: [text for part in parts for text in part.texts[name]] for name in TEXTS},
            numbers=np.concatenate([part.numbers for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, row: int) -> TileScore:
        names = [*NUMBERS, *BY_CLASS]
        values = dict(zip(names, self.numbers[row].item(), strict=True))
        return TileScore.from_dict(values | {name: self.texts[name][row] for name in TEXTS})

    def __iter__(self) -> Iterator[TileScore]:
        return (self[row] for row in range(len(self)))

    def sorted_by_tile(self) -> TileScores:
        """The same rows in the order of the store's rows."""
        order = np.argsort(self.numbers["tile"], kind="stable")
        return TileScores(
            texts={name: [texts[i] for i in order] for name, texts in self.texts.items()},
            numbers=self.numbers[order],
        )

    def image_scores(self) -> dict[str, NDArray[np.float64]]:
        """Scores of single images (N,) by what their mean over images is called.

        NaN where an image has no such score.
        """
        return {
            "foreground_dice_images": self.numbers["foreground_dice"],
            "f1_images": compute_score("f1", self.sums_by_overlap()[:, 0]),
            "f1_centroid_images": compute_score("f1", self.sums_by_centroid()[:, 0]),
            "class_accuracy_centroid_images": ratio(*self.class_sums().T),
            "aji": self.numbers["aji"],
            "aji_plus": self.numbers["aji_plus"],
            "dice_ensemble": self.numbers["dice_ensemble"],
        }

    def sums_by_overlap(self) -> NDArray[np.float64]:
        """What the formulas take, of nuclei matched by overlap, float64 (N, 1 + C, 4).

        Entry 0 along the second axis is for nuclei of any class, ``1 + j`` for class ``j``. The
        IoU of the matched nuclei is what the tile's PQ says that it is.
        """
        n = self.numbers
        tp, fp, fn = (
            np.concatenate([n[name][:, None], n[f"class_{name}"]], axis=1)
            for name in ("tp", "fp", "fn")
        )
        pq = np.nan_to_num(np.concatenate([n["bpq"][:, None], n["pq"]], axis=1))
        return nucleus_sums(tp, fp, fn, pq * (tp + (fp + fn) / 2))

    def sums_by_centroid(self) -> NDArray[np.float64]:
        """The same of nuclei that are paired by centroid, float64 (N, 1 + C, 4).

        Those of a class are `DetectionCounts.class_sums`, of which only the F1 means something.
        """
        n = self.numbers
        paired = n["tp_centroid"]
        of_any = (paired, n["num_predicted"] - paired, n["num_truth"] - paired)
        return nucleus_sums(
            *(
                np.concatenate([any_class[:, None], n[f"centroid_{name}"]], axis=1)
                for any_class, name in zip(of_any, ("tp", "fp", "fn"), strict=True)
            )
        )

    def class_f1(self) -> NDArray[np.float64]:
        """F1 by centroid of each class (N, C), NaN where a tile has no true nucleus of it."""
        sums = self.sums_by_centroid()[:, 1:]
        occurs = ~np.isnan(compute_score("recall", sums))
        return np.where(occurs, compute_score("f1", sums), np.nan)

    def class_sums(self) -> NDArray[np.float64]:
        """Nuclei paired by centroid whose class is right, and is known, float64 (N, 2)."""
        n = self.numbers
        return np.stack([n["centroid_tp"].sum(1), n["class_known"]], axis=1).astype(np.float64)


def write_tile_scores(tiles: TileScores, classes: Sequence[str], folder: Path) -> None:
    """Write ``tiles.parquet`` into a folder of scores.

    Args:
        tiles: the table to write.
        classes: names of the classes of its fields in `BY_CLASS`.
        folder: where the file goes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"tile": tiles.numbers["tile"], **tiles.texts}
    columns |= {name: tiles.numbers[name] for name in NUMBERS}
    for field, (title, _) in BY_CLASS.items():
        for j, name in enumerate(classes):
            columns[f"{title}/{name}"] = tiles.numbers[field][:, j]
    # NaN becomes null.
    arrays = {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
    with replacing(folder / TILES_FILE) as draft:
        pq.write_table(pa.table(arrays), draft)


def read_tile_scores(folder: Path, label_space: LabelSpace) -> TileScores:
    """Read ``tiles.parquet`` of a folder of scores.

    Args:
        folder: folder of `histonuc evaluate`.
        label_space: the classes that were scored.

    Raises:
        ValueError: the file is missing, damaged, or of other classes.
    """
    import pyarrow.parquet as pq

    path = folder / TILES_FILE
    with reading(path, "table of tiles of `histonuc evaluate`"):
        table = pq.read_table(path)
        numbers = np.zeros(table.num_rows, _number_dtype(len(label_space)))
        for name in NUMBERS:
            numbers[name] = table.column(name).to_numpy()  # null becomes NaN
        for field, (title, _) in BY_CLASS.items():
            for j, name in enumerate(label_space.classes):
                numbers[field][:, j] = table.column(f"{title}/{name}").to_numpy()
        texts = {name: table.column(name).to_pylist() for name in TEXTS}
    return TileScores(texts=texts, numbers=numbers)


def _number_dtype(num_classes: int) -> np.dtype[np.void]:
    """Type of `TileScores.numbers`."""
    by_class = [(name, kind, (num_classes,)) for name, (_, kind) in BY_CLASS.items()]
    return np.dtype([*NUMBERS.items(), *by_class])
