"""An evaluation as a folder: scores.json, tiles.parquet, counts.npz and panels.npz."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc._version import __version__
from histonuc.evaluation.counting import GroupCounts
from histonuc.evaluation.panels import load_panels, opening_npz, save_panels
from histonuc.evaluation.printed import list_tables
from histonuc.evaluation.records import DataFacts, Scores
from histonuc.evaluation.results import Evaluation
from histonuc.evaluation.table_files import write_tables
from histonuc.evaluation.tables import score_tables
from histonuc.evaluation.tile_scores import TILES_FILE, read_tile_scores, write_tile_scores
from histonuc.files import (
    check_seal,
    file_sha256,
    read_json,
    reading,
    replacing,
    seal,
    write_json,
)
from histonuc.metrics.counts import Counts
from histonuc.taxonomy import LabelSpace

SCORES_FILE = "scores.json"
COUNTS_FILE = "counts.npz"
PANELS_FILE = "panels.npz"

_FORMAT = 5
_COUNTS_FORMAT = 1
_SUMS = "files_sha256"
"""Key of the checksums of the files beside scores.json."""
_KIND = "scores of `histonuc evaluate`"


def write_scores(
    evaluation: Evaluation,
    out_dir: str | Path,
    *,
    model: Mapping[str, Any] | None = None,
    data: DataFacts | None = None,
) -> Scores:
    """Write ``scores.json``, tables, the sums and the pictures into a folder.

    Args:
        evaluation: what to write.
        out_dir: created when missing; files of an earlier evaluation are replaced.
        model: facts about the model, written as they are.
        data: facts about the data, written beside the folds and sources that were scored.

    Returns:
        The content of ``scores.json``, which appears last and at once: where it is, the other
        files are those that belong to it, and it has their checksums and its own.
    """
    out_dir = Path(out_dir)
    folds = np.unique(evaluation.tiles.numbers["fold"]).tolist()
    sources = sorted(set(evaluation.tiles.texts["source"]))
    tables = score_tables(evaluation)
    scores = {
        "format": _FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "histonuc": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
        "model": dict(model or {}),
        "data": {**(data or {}), "folds": folds, "sources": sources},
        **tables,
    }
    (out_dir / SCORES_FILE).unlink(missing_ok=True)
    with replacing(out_dir / COUNTS_FILE) as draft:
        _save_counts(evaluation.groups, draft)
    with replacing(out_dir / PANELS_FILE) as draft:
        save_panels(evaluation.panels, draft)
    write_tile_scores(evaluation.tiles, evaluation.label_space.classes, out_dir)
    write_tables(list_tables(tables), out_dir)
    return write_head(scores, out_dir)


def write_head(scores: Mapping[str, Any], folder: Path) -> Scores:
    """Write ``scores.json`` with the checksums of the files beside it and of itself.

    Returns:
        Its content.
    """
    beside = [folder / name for name in (COUNTS_FILE, PANELS_FILE, TILES_FILE)]
    sums = {file.name: file_sha256(file) for file in beside if file.is_file()}
    sealed = seal({**scores, _SUMS: sums})
    write_json(sealed, folder / SCORES_FILE)
    return cast(Scores, sealed)


def read_head(folder: Path, names: Iterable[str]) -> Scores:
    """Content of ``scores.json``, if it and the files beside it are as they were written.

    Args:
        folder: folder of the scores.
        names: names of the files beside scores.json that are going to be read.

    Raises:
        ValueError: a file is missing, damaged, changed or of another format.
    """
    missing = [name for name in (SCORES_FILE, *names) if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{folder} holds no {missing[0]}: give a folder of `histonuc evaluate`; one of an "
            "older version needs to be evaluated again"
        )
    file = folder / SCORES_FILE
    scores = read_json(file, _KIND)
    if (found := scores.get("format")) != _FORMAT:
        raise ValueError(
            f"{file} has format {found}, this version reads {_FORMAT}: "
            "run `histonuc evaluate` again"
        )
    check_seal(scores, file)
    for name in names:
        if scores[_SUMS].get(name) != file_sha256(folder / name):
            raise ValueError(
                f"{folder / name} was changed or damaged since {SCORES_FILE} was written: "
                "run `histonuc evaluate` again"
            )
    return cast(Scores, scores)  # as this version wrote it, by its format and its seal


def read_label_space(scores: Scores, folder: Path) -> LabelSpace:
    """The classes that were scored.

    Args:
        scores: content of ``scores.json``.
        folder: where it lies, for the error.

    Raises:
        ValueError: there are none.
    """
    with reading(folder / SCORES_FILE, _KIND):
        return LabelSpace.from_dict(scores["label_space"])


def load_scores(folder: str | Path) -> tuple[Evaluation, Scores]:
    """Read what `write_scores` wrote: the evaluation, exactly, and the content of scores.json.

    Raises:
        ValueError: a file is missing, damaged, changed or of another format.
    """
    folder = Path(folder)
    scores = read_head(folder, (COUNTS_FILE, TILES_FILE, PANELS_FILE))
    space = read_label_space(scores, folder)
    with reading(folder / SCORES_FILE, _KIND):
        no_classes = str(scores["no_classes"] or "")
    evaluation = Evaluation(
        label_space=space,
        no_classes=no_classes,
        groups=_load_counts(folder / COUNTS_FILE, len(space)),
        tiles=read_tile_scores(folder, space),
        panels=load_panels(folder / PANELS_FILE),
    )
    return evaluation, scores


def _save_counts(groups: Mapping[tuple[str, str], GroupCounts], path: Path) -> None:
    """Write counts by (source, tissue) into one npz.

    It has an int64 array ``PART.FIELD`` (G, ...) for every field of every part of `GroupCounts`,
    ``num_tiles`` and ``num_sparse`` (G,), and ``about``: JSON text of the format and of the names
    of the G groups.
    """
    keys = sorted(groups)
    rows = [groups[key] for key in keys]
    about = json.dumps({"format": _COUNTS_FORMAT, "groups": keys})
    arrays = {
        name: np.array([getattr(row, name) for row in rows], np.int64)
        for name in ("num_tiles", "num_sparse")
    }
    for part in _parts(rows[0]):
        by_group = [getattr(row, part).to_dict() for row in rows]
        arrays |= {
            f"{part}.{name}": np.array([record[name] for record in by_group], np.int64)
            for name in by_group[0]
        }
    with path.open("wb") as stream:
        np.savez_compressed(stream, about=np.array(about), **arrays)  # type: ignore[arg-type]


def _load_counts(path: Path, num_classes: int) -> dict[tuple[str, str], GroupCounts]:
    """Read what `_save_counts` wrote.

    Args:
        path: the file.
        num_classes: C of the label space that was scored.

    Raises:
        ValueError: no file there, a damaged one, or one of another format or number of classes.
    """
    zero = GroupCounts.zero(num_classes)
    with opening_npz(path, "counts of `histonuc evaluate`") as archive:
        about = json.loads(str(archive["about"]))
        if about["format"] != _COUNTS_FORMAT:
            raise ValueError(
                f"{path} has format {about['format']}, this version reads {_COUNTS_FORMAT}: "
                "run `histonuc evaluate` again"
            )
        keys = [(str(source), str(tissue)) for source, tissue in about["groups"]]
        num_tiles = _take(archive["num_tiles"], (len(keys),))
        num_sparse = np.zeros(len(keys), np.int64)  # of folders that an earlier version wrote
        if "num_sparse" in archive:
            num_sparse = _take(archive["num_sparse"], (len(keys),))
        arrays = {
            part: {
                name: _take(archive[f"{part}.{name}"], (len(keys), *np.shape(values)))
                for name, values in counts.to_dict().items()
            }
            for part, counts in _parts(zero).items()
        }
    groups = {}
    for row, key in enumerate(keys):
        parts: dict[str, Any] = {
            part: type(counts).from_dict({name: array[row] for name, array in arrays[part].items()})
            for part, counts in _parts(zero).items()
        }
        groups[key] = GroupCounts(
            **parts, num_tiles=int(num_tiles[row]), num_sparse=int(num_sparse[row])
        )
    return groups


def _parts(counts: GroupCounts) -> dict[str, Counts]:
    """All that adds up field by field, by name."""
    values = {field.name: getattr(counts, field.name) for field in fields(counts)}
    return {name: value for name, value in values.items() if isinstance(value, Counts)}


def _take(array: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.int64]:
    if array.dtype != np.int64 or array.shape != shape:
        raise ValueError(f"expected int64 {shape}, got {array.dtype} {array.shape}")
    return np.asarray(array, np.int64)
