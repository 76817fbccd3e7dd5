"""Write an evaluation: scores.json, tiles.parquet and panels.npz."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from histonuc import __version__
from histonuc.evaluation.panels import TileScore, save_panels
from histonuc.evaluation.results import Evaluation
from histonuc.files import replacing, write_text

SCORES_FILE = "scores.json"
TILES_FILE = "tiles.parquet"
PANELS_FILE = "panels.npz"


def write_scores(
    evaluation: Evaluation,
    out_dir: Path,
    *,
    model: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write ``scores.json``, a table of the tiles and the pictures for the report into a folder.

    Args:
        evaluation: what to write.
        out_dir: created when missing; files of an earlier evaluation are replaced.
        model: facts about the model, written as they are.
        data: facts about the data, written beside the folds and sources that were scored.

    Returns:
        The content of ``scores.json``, which appears last and at once.
    """
    folds = sorted({record.fold for record in evaluation.records})
    sources = sorted({record.source for record in evaluation.records})
    scores = {
        "format": 1,
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
    text = json.dumps(scores, indent=2, allow_nan=False)
    with replacing(out_dir / PANELS_FILE) as draft:
        save_panels(evaluation.panels, draft)
    with replacing(out_dir / TILES_FILE) as draft:
        _write_tiles(evaluation, draft)
    write_text(out_dir / SCORES_FILE, text + "\n")
    return scores


def _write_tiles(evaluation: Evaluation, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {
        field.name: [getattr(record, field.name) for record in evaluation.records]
        for field in fields(TileScore)
    }
    by_class = np.array(columns.pop("pq"), np.float64)
    columns |= {
        f"pq/{name}": by_class[:, j].tolist()
        for j, name in enumerate(evaluation.label_space.classes)
    }
    # NaN becomes null.
    table = {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
    pq.write_table(pa.table(table), path)
