"""Score what the user names, a model or files: `histonuc evaluate`, and each rotation's end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.data.store import Store
from histonuc.evaluation import Evaluation, evaluate, evaluate_predictions, take_part, write_scores
from histonuc.models.engines import Precision
from histonuc.models.loading import load_runtime


def score_model(
    model: str,
    data: Path,
    out: Path,
    *,
    folds: Sequence[int] = (),
    sources: Sequence[str] = (),
    part: str = "",
    binary_only: bool = False,
    device: str = "auto",
    precision: Precision = "auto",
    flips: bool = False,
) -> tuple[Evaluation, dict[str, Any]]:
    """Score a model on folds of a store and write its score folder.

    Args:
        model: as `load_runtime` takes it.
        data: store.
        out: folder to write.
        folds: to score; all when empty.
        sources: data sets to score; all when empty.
        part: ``K/N``, which N-th of these tiles to score; all when empty.
        binary_only: leave classes out.
        device: as `load_runtime` takes it.
        precision: as `load_runtime` takes it.
        flips: as `load_runtime` takes it.

    Returns:
        The evaluation, and the content of its ``scores.json``.
    """
    runtime = load_runtime(model, device, precision, flips=flips)
    store = Store.open(data)
    evaluation = evaluate(
        store,
        _select(store, folds, sources, part),
        runtime.maps,
        representation=runtime.representation,
        label_space=runtime.label_space,
        mpp=runtime.mpp,
        binary_only=binary_only,
    )
    scores = write_scores(
        evaluation,
        out,
        model={
            "name": runtime.name,
            "precision": runtime.precision,
            "flips": flips,
            "classes": list(runtime.label_space.classes),
        },
        data={"store": str(data)} | ({"part": part} if part else {}),
    )
    return evaluation, scores


def score_files(
    predictions: Path,
    data: Path,
    out: Path,
    *,
    folds: Sequence[int] = (),
    sources: Sequence[str] = (),
    part: str = "",
    type_map: Mapping[str, str] | None = None,
    binary_only: bool = False,
) -> tuple[Evaluation, dict[str, Any]]:
    """As `score_model`, for predictions made elsewhere.

    Args:
        predictions: files, see `histonuc.evaluation.external`.
        data: store.
        out: folder to write.
        folds: to score; all when empty.
        sources: data sets to score; all when empty.
        part: ``K/N``, which N-th of these tiles to score; all when empty.
        type_map: the store's class by type of the predictions.
        binary_only: leave classes out.
    """
    store = Store.open(data)
    evaluation = evaluate_predictions(
        store,
        _select(store, folds, sources, part),
        predictions,
        type_map=type_map,
        binary_only=binary_only,
        predicted=_select(store, folds, sources, ""),
    )
    scores = write_scores(
        evaluation,
        out,
        model={"name": predictions.name, "predictions": str(predictions)},
        data={"store": str(data)} | ({"part": part} if part else {}),
    )
    return evaluation, scores


def _select(
    store: Store, folds: Sequence[int], sources: Sequence[str], part: str
) -> NDArray[np.int64]:
    tiles = store.select(folds or None, sources or None)
    return take_part(tiles, part) if part else tiles
