"""Score what the user names, a model or files: `histonuc evaluate`, and each rotation's end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.data.store import Store
from histonuc.evaluation.classes import ScoredClasses, choose_classes, join_open_classes
from histonuc.evaluation.counting import GroupCounts, count_tile, summarise_tile
from histonuc.evaluation.folder import write_scores
from histonuc.evaluation.input_checks import warn_of_stain
from histonuc.evaluation.panels import Panel, choose_panels, keep_chosen, make_panel
from histonuc.evaluation.point_counting import count_points
from histonuc.evaluation.prediction_files import PredictionFiles
from histonuc.evaluation.prediction_manifest import SaveAs
from histonuc.evaluation.prediction_writers import save_while_scoring
from histonuc.evaluation.predictions import (
    Prediction,
    PredictMaps,
    leave_out_unknown,
    predict_tiles,
)
from histonuc.evaluation.records import DataFacts, Scores
from histonuc.evaluation.results import Evaluation
from histonuc.evaluation.selection import TileSelection
from histonuc.evaluation.tile_scores import TileScore, TileScores
from histonuc.evaluation.truth import TileTruth, TruthReader
from histonuc.models.model import Model
from histonuc.representations import Representation
from histonuc.taxonomy import LabelSpace

Progress = Callable[[TileScore, float], None]
"""Takes the scores of each tile and its area in mm², 0 where its resolution is unknown."""

_ROWS = 1000
"""Tiles whose scores are held as objects before they become arrays."""
_POOL = 200
"""Pictures held before those that no report will show are dropped."""


def score_model(
    model: Model,
    store: Store,
    selection: TileSelection,
    out: Path,
    *,
    binary_only: bool = False,
    flips: bool = False,
    save: tuple[Path, SaveAs] | None = None,
    progress: Progress | None = None,
) -> tuple[Evaluation, Scores]:
    """Score a model on tiles of a store and write its score folder.

    Args:
        model: ready to predict.
        store: where the tiles and their truth are.
        selection: which of its tiles to score.
        out: folder to write.
        binary_only: leave classes out.
        flips: whether the model averages over mirrorings, for the record.
        save: folder and format to save the predictions in; None saves none.
        progress: told after each tile.

    Returns:
        The evaluation, and the content of its ``scores.json``.

    Raises:
        ValueError: see `choose_classes` and `TileSelection.find_tiles`.
    """
    tiles, every = selection.find_tiles(store), selection.find_all_parts(store, say=True)
    warn_of_stain(store, tiles)
    spec = model.spec
    classes = choose_classes(store.label_space, spec.label_space, binary_only=binary_only)
    classes = adapt_to_points(classes, store, every)
    predictions = predict_tiles(
        store,
        tiles,
        model.maps,
        representation=model.representation,
        classes=classes,
        mpp=spec.mpp,
    )
    if save is not None:
        space = None if classes.no_classes else classes.label_space
        predictions = save_while_scoring(predictions, store, tiles.tolist(), space, *save)
    evaluation = score_tiles(pair_with_truth(store, predictions, classes), classes, progress)
    facts = {
        "name": model.name,
        "precision": model.precision,
        "flips": flips,
        "classes": list(spec.label_space.classes),
    }
    return evaluation, write_scores(
        evaluation, out, model=facts, data=_describe_data(store, selection, classes)
    )


def score_files(
    predictions: Path,
    store: Store,
    selection: TileSelection,
    out: Path,
    *,
    type_map: Mapping[str, str] | None = None,
    binary_only: bool = False,
    progress: Progress | None = None,
) -> tuple[Evaluation, Scores]:
    """As `score_model`, for predictions made elsewhere.

    Args:
        predictions: files, see `histonuc.evaluation.prediction_files`.
        store: where the truth is.
        selection: which of its tiles to score.
        out: folder to write.
        type_map: the store's class by type of the predictions.
        binary_only: leave classes out.
        progress: told after each tile.

    Returns:
        The evaluation, and the content of its ``scores.json``.

    Raises:
        ValueError: see `evaluate_predictions` and `TileSelection.find_tiles`.
    """
    files, mapped = PredictionFiles(predictions), type_map or {}
    classes = files.choose_classes(store.label_space, mapped, binary_only=binary_only)
    tiles, predicted = selection.find_tiles(store), selection.find_all_parts(store, say=True)
    classes = adapt_to_points(classes, store, predicted)
    warn_of_stain(store, tiles)
    found = files.read(store, tiles, classes, mapped, predicted)
    evaluation = score_tiles(pair_with_truth(store, found, classes), classes, progress)
    facts = {"name": predictions.name, "predictions": str(predictions)}
    return evaluation, write_scores(
        evaluation, out, model=facts, data=_describe_data(store, selection, classes)
    )


def evaluate_maps(
    store: Store,
    tiles: NDArray[np.integer] | Sequence[int],
    predict: PredictMaps,
    *,
    representation: Representation,
    label_space: LabelSpace,
    mpp: float,
    binary_only: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a network on tiles of a store.

    Tiles of another resolution than the network's are resampled to it, decoded there, as a slide
    is, and the labels are resampled back, so scores are at the data's own resolution. Tiles go
    through `predict` whole.

    Args:
        store: where the tiles and their truth are.
        tiles: rows of `store.tiles`.
        predict: images uint8 (B, H, W, 3) at the network's resolution to activated maps float32
            (B, C, H, W); padding is its business.
        representation: decodes the maps.
        label_space: the network's classes; see `choose_classes` for those that can be scored.
        mpp: microns per pixel the network works at; tiles that state none are taken to have it.
        binary_only: leave classes out, so that any network can be scored on any store.
        progress: told after each tile.

    Raises:
        ValueError: no tiles, or classes that cannot be compared, without `binary_only`.
    """
    _refuse_none(tiles)
    classes = choose_classes(store.label_space, label_space, binary_only=binary_only)
    classes = adapt_to_points(classes, store, tiles)
    predictions = predict_tiles(
        store, tiles, predict, representation=representation, classes=classes, mpp=mpp
    )
    return score_tiles(pair_with_truth(store, predictions, classes), classes, progress)


def evaluate_predictions(
    store: Store,
    tiles: NDArray[np.integer],
    path: Path,
    *,
    type_map: Mapping[str, str] | None = None,
    binary_only: bool = False,
) -> Evaluation:
    """Score predictions made elsewhere; scores of probabilities are left out.

    Args:
        store: where the truth is.
        tiles: rows of `store.tiles`, ascending.
        path: files, see `histonuc.evaluation.prediction_files`.
        type_map: see `PredictionFiles.read`.
        binary_only: leave classes out.

    Raises:
        ValueError: no tiles; see `PredictionFiles` as well.
    """
    _refuse_none(tiles)
    files, mapped = PredictionFiles(path), type_map or {}
    classes = files.choose_classes(store.label_space, mapped, binary_only=binary_only)
    classes = adapt_to_points(classes, store, tiles)
    predictions = files.read(store, tiles, classes, mapped, tiles)
    return score_tiles(pair_with_truth(store, predictions, classes), classes)


def adapt_to_points(
    classes: ScoredClasses, store: Store, tiles: NDArray[np.integer] | Sequence[int]
) -> ScoredClasses:
    """The classes that points leave open joined into one; the same where there are outlines.

    Args:
        classes: as chosen for outlines.
        store: where the truth is.
        tiles: all tiles that are scored, whatever the part.
    """
    marks = [store.points(int(tile)).candidates for tile in tiles if not store.has_outlines(tile)]
    return (
        join_open_classes(classes, store.label_space, np.concatenate(marks)) if marks else classes
    )


def pair_with_truth(
    store: Store, predictions: Iterable[tuple[int, Prediction]], classes: ScoredClasses
) -> Iterator[tuple[TileTruth, Prediction]]:
    """Put the truth of its tile beside each prediction.

    Args:
        store: where the truth is.
        predictions: tiles (rows of `store.tiles`) and what is predicted there.
        classes: the classes that are scored.
    """
    truths = TruthReader(store, classes)
    for tile, prediction in predictions:
        truth = truths.read(tile)
        yield truth, leave_out_unknown(prediction, truth.ignore)


def score_tiles(
    pairs: Iterable[tuple[TileTruth, Prediction]],
    classes: ScoredClasses,
    progress: Progress | None = None,
) -> Evaluation:
    """Score predictions of tiles as they come; none is held.

    Args:
        pairs: truth and prediction of each tile.
        classes: the classes that are scored.
        progress: told after each tile.
    """
    num_classes, with_classes = len(classes.label_space), not classes.no_classes
    groups: dict[tuple[str, str], GroupCounts] = {}
    tables: list[TileScores] = []
    rows: list[TileScore] = []
    pictures: dict[int, Panel] = {}
    for truth, prediction in pairs:
        count = count_tile if truth.points is None else count_points
        counts = count(truth, prediction, num_classes, with_classes=with_classes)
        row = summarise_tile(truth, counts)
        key = (row.source, row.tissue)
        groups[key] = groups[key] + counts if key in groups else counts
        rows.append(row)
        if len(rows) == _ROWS:
            tables.append(TileScores.from_rows(rows, num_classes))
            rows.clear()
        if (panel := make_panel(row, truth, prediction)) is not None:
            pictures[row.tile] = panel
        if len(pictures) > _POOL:
            chosen = choose_panels([panel.record for panel in pictures.values()])
            pictures = {tile: pictures[tile] for tile in chosen}
        if progress is not None:
            area_mm2 = truth.labels.size * truth.mpp**2 / 1e6
            progress(row, area_mm2 if math.isfinite(area_mm2) else 0.0)
    return Evaluation(
        label_space=classes.label_space,
        no_classes=classes.no_classes,
        groups=groups,
        tiles=TileScores.concat([*tables, TileScores.from_rows(rows, num_classes)]),
        panels=keep_chosen(tuple(pictures.values())),
    )


def _refuse_none(tiles: NDArray[np.integer] | Sequence[int]) -> None:
    if len(tiles) == 0:
        raise ValueError("no tiles to evaluate: `histonuc info DATA` lists its folds and sources")


def _describe_data(store: Store, selection: TileSelection, classes: ScoredClasses) -> DataFacts:
    """What scores.json tells of the data beside the folds and sources."""
    merged = classes.describe_merging(store.label_space)
    facts: DataFacts = {"store": str(store.path)}
    if selection.part:
        facts["part"] = selection.part
    if merged:
        facts["merged_classes"] = merged
    return facts
