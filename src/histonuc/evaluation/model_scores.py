"""The scores of each tile by two models, matched tile by tile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.data.selection import LabelKind
from histonuc.evaluation.folder import SCORES_FILE, read_head, read_label_space
from histonuc.evaluation.glossary import (
    COMPARE,
    COMPARE_CLASS,
    COMPARE_POINTS,
    COMPARE_POINTS_CLASS,
    COMPARE_SPARSE,
)
from histonuc.evaluation.rotations import CROSSVAL_FILE, SCORES_FOLDER, read_summary
from histonuc.evaluation.tile_scores import TILES_FILE, TileScores, read_tile_scores
from histonuc.metrics.counts import ratio
from histonuc.taxonomy import LabelSpace

_SCORES = {"outlines": COMPARE, "points": COMPARE_POINTS, "sparse points": COMPARE_SPARSE}
_NUM_NAMED = 3
"""Tiles that an error names."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelScores:
    """The scores of one model on N tiles, sorted by source and name; each tile is there once.

    Attributes:
        folder: where they were read.
        tiles: source and name of each tile.
        tissues: tissue of each tile; empty where unknown.
        num_truth: true nuclei of each tile, int64 (N,).
        class_score: the score of each class, `COMPARE_CLASS` or that of points.
        columns: float64 (N,) by name, those in `COMPARE`, or in `COMPARE_POINTS` where the truth
            has points, and ``SCORE/CLASS``; NaN where a tile has no such score.
    """

    folder: Path
    tiles: tuple[tuple[str, str], ...]
    tissues: tuple[str, ...]
    num_truth: NDArray[np.int64]
    class_score: str
    columns: dict[str, NDArray[np.float64]]


def load_model_scores(folder: str | Path) -> ModelScores:
    """Read a folder of `histonuc evaluate` or `histonuc crossval`.

    A tile that two rotations test has the mean of its scores, so that it counts once.

    Raises:
        ValueError: the folder is neither, two tiles of one table have the same name, or the
            rotations were scored for different classes.
    """
    folder = Path(folder)
    folders = [folder]
    if (folder / CROSSVAL_FILE).is_file():
        rotations = read_summary(folder / CROSSVAL_FILE)["rotations"]
        folders = [folder / row["folder"] / SCORES_FOLDER for row in rotations]
    spaces, tables, kinds = zip(*map(_read_folder, folders), strict=True)
    if len(set(kinds)) > 1:
        raise ValueError(
            f"{folder}: expected rotations that were scored on labels of one kind, got some on "
            f"{' and some on '.join(sorted(set(kinds)))}"
        )
    for space in spaces:
        if space.classes != spaces[0].classes:
            raise ValueError(
                f"{folder}: one rotation was scored for {', '.join(spaces[0].classes)}, another "
                f"for {', '.join(space.classes)}; evaluate all of them anew, on one store"
            )
    return _merge_rows(folder, TileScores.concat(tables), spaces[0].classes, kinds[0])


def check_same_tiles(first: ModelScores, second: ModelScores) -> None:
    """Refuse scores that are not of the same tiles and the same truth.

    Raises:
        ValueError: with what differs.
    """
    only_first = sorted(set(first.tiles) - set(second.tiles))
    only_second = sorted(set(second.tiles) - set(first.tiles))
    if only_first or only_second:
        parts = [
            f"{len(only)} of {len(scores.tiles)} tiles are only in {scores.folder} "
            f"({_name_some(only)})"
            for scores, only in ((first, only_first), (second, only_second))
            if only
        ]
        raise ValueError(
            f"{'; '.join(parts)}: a paired comparison needs the same tiles; "
            "evaluate both with the same --data, --folds and --sources"
        )
    for name, first_values, second_values in (
        ("tissue", first.tissues, second.tissues),
        ("number of true nuclei", first.num_truth.tolist(), second.num_truth.tolist()),
    ):
        for tile, one, other in zip(first.tiles, first_values, second_values, strict=True):
            if one != other:
                raise ValueError(
                    f"the truth differs: {name} of tile {_name_some([tile])} is {one!r} in "
                    f"{first.folder} and {other!r} in {second.folder}; "
                    "evaluate both on the same store"
                )


def _read_folder(folder: Path) -> tuple[LabelSpace, TileScores, LabelKind]:
    """Classes, table and kind of labels of a folder of `histonuc evaluate`."""
    if not (folder / SCORES_FILE).is_file() or not (folder / TILES_FILE).is_file():
        raise ValueError(
            f"{folder} holds no {SCORES_FILE} with {TILES_FILE}, and no {CROSSVAL_FILE}: give a "
            "folder of `histonuc evaluate`, or of a `histonuc crossval` that came to its end"
        )
    head = read_head(folder, [TILES_FILE])
    space = read_label_space(head, folder)
    table = read_tile_scores(folder, space)
    tiles = Counter(zip(table.texts["source"], table.texts["name"], strict=True))
    if twice := sorted(tile for tile, times in tiles.items() if times > 1):
        raise ValueError(
            f"{folder / TILES_FILE} names several tiles {_name_some(twice)}: tiles are matched by "
            "source and name; prepare the data with a name for each"
        )
    return space, table, head["labels"]


def _merge_rows(
    folder: Path, table: TileScores, classes: Sequence[str], kind: LabelKind
) -> ModelScores:
    """One row a tile, sorted, from a table that has some tiles several times."""
    keys = list(zip(table.texts["source"], table.texts["name"], strict=True))
    tiles = sorted(set(keys))
    place = {tile: row for row, tile in enumerate(tiles)}
    rows = np.array([place[key] for key in keys])
    first = np.unique(rows, return_index=True)[1]
    scores = {**{name: table.numbers[name] for name in ("bpq", "mpq")}, **table.image_scores()}
    if kind == "outlines":
        class_score, by_class = COMPARE_CLASS, table.numbers["pq"]
    else:
        class_score, by_class = COMPARE_POINTS_CLASS, table.class_f1()
    columns = {name: scores[name] for name in _SCORES[kind]}
    if kind != "sparse points":  # those define no score of a class of one tile
        columns |= {f"{class_score}/{name}": by_class[:, j] for j, name in enumerate(classes)}
    return ModelScores(
        folder=folder,
        tiles=tuple(tiles),
        tissues=tuple(table.texts["tissue"][row] for row in first),
        num_truth=table.numbers["num_truth"][first],
        class_score=class_score,
        columns={name: _average_rows(values, rows, len(tiles)) for name, values in columns.items()},
    )


def _average_rows(
    values: NDArray[np.float64], rows: NDArray[np.intp], num: int
) -> NDArray[np.float64]:
    """Mean (num,) of the values of each row that are not NaN."""
    known = ~np.isnan(values)
    sums = np.bincount(rows[known], values[known], minlength=num)
    return ratio(sums, np.bincount(rows[known], minlength=num))


def _name_some(tiles: Sequence[tuple[str, str]]) -> str:
    names = [f"{source}/{name}" for source, name in tiles[:_NUM_NAMED]]
    return ", ".join(names) + (", ..." if len(tiles) > _NUM_NAMED else "")
