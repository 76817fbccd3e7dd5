"""Read the scores of each tile back, and match those of two models tile by tile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.evaluation.folder import SCORES_FILE, TILES_FILE, read_head
from histonuc.evaluation.rotations import CROSSVAL_FILE, SCORES_FOLDER, read_summary
from histonuc.files import reading
from histonuc.metrics.counts import ratio

SCORE_NAMES = {
    "bpq": "bPQ",
    "mpq": "mPQ",
    "f1": "F1 at IoU 0.5",
    "dice": "nucleus Dice",
    "aji": "AJI",
    "aji_plus": "AJI+",
}
"""Scores of a tile that are compared where the table has them, and what people call them."""
CLASS_PREFIX = "pq/"
"""Columns ``pq/<class>`` hold the tile's PQ of a class."""

_SHOWN = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class TileScores:
    """The scores of N tiles, sorted by source and name; each tile is there once.

    Attributes:
        folder: where they were read.
        tiles: source and name.
        tissues: of each tile; empty where unknown.
        num_truth: true nuclei int64 (N,).
        columns: float64 (N,) by name as in the table; NaN where a tile has no such score.
    """

    folder: Path
    tiles: tuple[tuple[str, str], ...]
    tissues: tuple[str, ...]
    num_truth: NDArray[np.int64]
    columns: dict[str, NDArray[np.float64]]


def load_tile_scores(folder: Path) -> TileScores:
    """Read a folder of `histonuc evaluate` or `histonuc crossval`.

    A tile that two rotations test has the mean of its scores, so that it counts once.

    Raises:
        ValueError: the folder is neither, two tiles of one table have the same name, or the
            rotations were scored for different classes.
    """
    file = folder / CROSSVAL_FILE
    if not file.is_file():
        return _collect(folder, [_read_table(folder)])
    rotations = read_summary(file)["rotations"]
    return _collect(
        folder, [_read_table(folder / row["folder"] / SCORES_FOLDER) for row in rotations]
    )


def check_same_tiles(first: TileScores, second: TileScores) -> None:
    """Refuse scores that are not of the same tiles and the same truth.

    Raises:
        ValueError: with what differs.
    """
    only_first = sorted(set(first.tiles) - set(second.tiles))
    only_second = sorted(set(second.tiles) - set(first.tiles))
    if only_first or only_second:
        parts = [
            f"{len(only)} of {len(own.tiles)} tiles are only in {own.folder} ({_shown(only)})"
            for own, only in ((first, only_first), (second, only_second))
            if only
        ]
        raise ValueError(
            f"{'; '.join(parts)}: a paired comparison needs the same tiles; "
            "evaluate both with the same --data, --folds and --sources"
        )
    for name, of_first, of_second in (
        ("tissue", first.tissues, second.tissues),
        ("number of true nuclei", first.num_truth.tolist(), second.num_truth.tolist()),
    ):
        for tile, own, other in zip(first.tiles, of_first, of_second, strict=True):
            if own != other:
                raise ValueError(
                    f"the truth differs: {name} of tile {_shown([tile])} is {own!r} in "
                    f"{first.folder} and {other!r} in {second.folder}; "
                    "evaluate both on the same store"
                )


def _read_table(folder: Path) -> dict[str, list[Any]]:
    import pyarrow.parquet as pq

    if not (folder / SCORES_FILE).is_file() or not (folder / TILES_FILE).is_file():
        raise ValueError(
            f"{folder} holds no {SCORES_FILE} with {TILES_FILE}, and no {CROSSVAL_FILE}: give a "
            "folder of `histonuc evaluate`, or of a `histonuc crossval` that came to its end"
        )
    read_head(folder, [TILES_FILE])
    with reading(folder / TILES_FILE, "table of tiles of `histonuc evaluate`"):
        table: dict[str, list[Any]] = pq.read_table(folder / TILES_FILE).to_pydict()
        tp, fp, fn = (np.array(table[name], np.float64) for name in ("tp", "fp", "fn"))
        table["f1"] = ratio(tp, tp + (fp + fn) / 2).tolist()
    tiles = Counter(zip(table["source"], table["name"], strict=True))
    if twice := sorted(tile for tile, times in tiles.items() if times > 1):
        raise ValueError(
            f"{folder / TILES_FILE} names several tiles {_shown(twice)}: tiles are matched by "
            "source and name; prepare the data with a name for each"
        )
    return table


def _collect(folder: Path, tables: Sequence[dict[str, list[Any]]]) -> TileScores:
    """One row a tile from one table, or from those of several rotations."""
    for table in tables[1:]:
        if other := sorted(set(tables[0]) ^ set(table)):
            raise ValueError(
                f"{folder}: the {TILES_FILE} of only some rotations has {', '.join(other)}; "
                "evaluate all of them anew, on one store"
            )
    joined = {name: [value for table in tables for value in table[name]] for name in tables[0]}
    keys = list(zip(joined["source"], joined["name"], strict=True))
    tiles = sorted(set(keys))
    place = {tile: row for row, tile in enumerate(tiles)}
    rows = np.array([place[key] for key in keys])
    first = np.unique(rows, return_index=True)[1]
    known = [name for name in joined if name in SCORE_NAMES or name.startswith(CLASS_PREFIX)]
    return TileScores(
        folder=folder,
        tiles=tuple(tiles),
        tissues=tuple(joined["tissue"][row] for row in first),
        num_truth=np.array(joined["num_truth"], np.int64)[first],
        columns={
            name: _mean_by_row(np.array(joined[name], np.float64), rows, len(tiles))
            for name in known
        },
    )


def _mean_by_row(values: NDArray[np.float64], rows: NDArray[np.intp], num: int) -> Any:
    """Mean (num,) of the values of each row that are not NaN."""
    known = ~np.isnan(values)
    sums = np.bincount(rows[known], values[known], minlength=num)
    return ratio(sums, np.bincount(rows[known], minlength=num))


def _shown(tiles: Sequence[tuple[str, str]]) -> str:
    names = [f"{source}/{name}" for source, name in tiles[:_SHOWN]]
    return ", ".join(names) + (", ..." if len(tiles) > _SHOWN else "")
