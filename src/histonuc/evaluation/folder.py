"""An evaluation as a folder: scores.json, tiles.parquet, counts.npz and panels.npz."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from histonuc._version import __version__
from histonuc.evaluation.counts_file import load_counts, save_counts
from histonuc.evaluation.panels import load_panels, save_panels
from histonuc.evaluation.results import Evaluation
from histonuc.evaluation.tile_table import BY_CLASS, TileScore, TileTable, number_dtype
from histonuc.files import (
    check_seal,
    file_sha256,
    read_json,
    reading,
    replacing,
    seal,
    write_json,
)
from histonuc.taxonomy import LabelSpace

SCORES_FILE = "scores.json"
TILES_FILE = "tiles.parquet"
COUNTS_FILE = "counts.npz"
PANELS_FILE = "panels.npz"

_FORMAT = 3
_SUMS = "files_sha256"
"""Key of the checksums of the files beside scores.json."""
_KIND = "scores of `histonuc evaluate`"


def write_scores(
    evaluation: Evaluation,
    out_dir: Path,
    *,
    model: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write ``scores.json``, a table of the tiles, the sums and the pictures into a folder.

    Args:
        evaluation: what to write.
        out_dir: created when missing; files of an earlier evaluation are replaced.
        model: facts about the model, written as they are.
        data: facts about the data, written beside the folds and sources that were scored.

    Returns:
        The content of ``scores.json``, which appears last and at once: where it is, the other
        files are those that belong to it, and it has their checksums and its own.
    """
    folds = np.unique(evaluation.records.numbers["fold"]).tolist()
    sources = sorted(set(evaluation.records.texts["source"]))
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
        **evaluation.scores(),
    }
    (out_dir / SCORES_FILE).unlink(missing_ok=True)
    with replacing(out_dir / COUNTS_FILE) as draft:
        save_counts(evaluation.groups, draft)
    with replacing(out_dir / PANELS_FILE) as draft:
        save_panels(evaluation.panels, draft)
    with replacing(out_dir / TILES_FILE) as draft:
        _write_tiles(evaluation, draft)
    return write_head(scores, out_dir)


def write_head(scores: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write ``scores.json`` with the checksums of the files beside it and of itself.

    Returns:
        Its content.
    """
    beside = [folder / name for name in (COUNTS_FILE, PANELS_FILE, TILES_FILE)]
    sums = {file.name: file_sha256(file) for file in beside if file.is_file()}
    sealed = seal({**scores, _SUMS: sums})
    write_json(sealed, folder / SCORES_FILE)
    return sealed


def read_head(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Content of ``scores.json``, if it and the files beside it are as they were written.

    Args:
        folder: of the scores.
        names: of the files beside it that are going to be read.

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
    return scores


def load_scores(folder: Path) -> tuple[Evaluation, dict[str, Any]]:
    """Read what `write_scores` wrote: the evaluation, exactly, and the content of scores.json.

    Raises:
        ValueError: as `read_head`.
    """
    scores = read_head(folder, (COUNTS_FILE, TILES_FILE, PANELS_FILE))
    with reading(folder / SCORES_FILE, _KIND):
        space = LabelSpace.from_dict(scores["label_space"])
        no_classes = str(scores["no_classes"] or "")
    evaluation = Evaluation(
        label_space=space,
        no_classes=no_classes,
        groups=load_counts(folder / COUNTS_FILE, len(space)),
        records=_read_tiles(folder / TILES_FILE, space),
        panels=load_panels(folder / PANELS_FILE),
    )
    return evaluation, scores


def _write_tiles(evaluation: Evaluation, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = evaluation.records
    names = [field.name for field in fields(TileScore) if field.name not in BY_CLASS]
    columns = {name: records.column(name) for name in names}
    for field, title in BY_CLASS.items():
        for j, name in enumerate(evaluation.label_space.classes):
            columns[f"{title}/{name}"] = records.numbers[field][:, j]
    # NaN becomes null.
    table = {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
    pq.write_table(pa.table(table), path)


def _read_tiles(path: Path, label_space: LabelSpace) -> TileTable:
    import pyarrow.parquet as pq

    dtype = number_dtype(len(label_space))
    with reading(path, "table of tiles of `histonuc evaluate`"):
        table = pq.read_table(path)
        numbers = np.zeros(table.num_rows, dtype)
        for name in dtype.names or ():
            if name not in BY_CLASS:
                numbers[name] = table.column(name).to_numpy()  # null becomes NaN
        for field, title in BY_CLASS.items():
            for j, name in enumerate(label_space.classes):
                numbers[field][:, j] = table.column(f"{title}/{name}").to_numpy()
        texts = {name: table.column(name).to_pylist() for name in ("name", "source", "tissue")}
    return TileTable(texts=texts, numbers=numbers)
