"""Predict the tiles of a store, decode, and count."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.data.resampling import at_mpp, model_size, resample_labels
from histonuc.evaluation.panels import Panel, choose_panels, keep_chosen
from histonuc.evaluation.results import Evaluation, GroupCounts
from histonuc.evaluation.scorer import Prediction, TileScorer
from histonuc.evaluation.tile_table import TileScore, TileTable
from histonuc.nuclei import Instances
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    from histonuc.data.store import Store
    from histonuc.representations import Representation

_BATCH_PX = 8 * 256 * 256
"""Pixels a forward pass; one tile at a time when tiles are larger."""
_ROWS = 1000
"""Tiles whose scores are held as objects before they become arrays."""
_POOL = 200
"""Pictures held before those that no report will show are dropped."""


def evaluate(
    store: Store,
    tiles: NDArray[np.integer] | Sequence[int],
    predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    *,
    representation: Representation,
    label_space: LabelSpace,
    mpp: float,
    binary_only: bool = False,
    panels: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score a model on tiles of a store.

    Tiles of another resolution than the model's are resampled to it, decoded there, as a slide is,
    and the labels are resampled back, so scores are at the data's own resolution. Tiles go through
    `predict` whole.

    Args:
        store: truth.
        tiles: rows of `store.tiles`.
        predict: images uint8 (B, H, W, 3) at the model's resolution to activated maps float32
            (B, C, H, W); padding is its business.
        representation: decodes the maps.
        label_space: the model's classes; must be the store's, in any order.
        mpp: microns per pixel the model works at; tiles that state none are taken to have it.
        binary_only: leave classes out, so that any model can be scored on any store.
        panels: keep pictures for the report.
        progress: called with the tiles done and their number.

    Raises:
        ValueError: no tiles, or classes that differ without `binary_only`.
    """
    if len(tiles) == 0:
        raise ValueError("no tiles to evaluate: `histonuc info DATA` lists its folds and sources")
    order = _class_order(store.label_space, label_space, binary_only)
    reason = "" if order is not None else _difference(store.label_space, label_space)
    stream = _decode(store, tiles, predict, representation=representation, order=order, mpp=mpp)
    return score_predictions(
        store, stream, len(tiles), no_classes=reason, panels=panels, progress=progress
    )


def score_predictions(
    store: Store,
    predictions: Iterable[tuple[int, Prediction]],
    num_tiles: int,
    *,
    no_classes: str,
    panels: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score predictions of tiles as they come; none is kept.

    Args:
        store: truth.
        predictions: tiles (rows of `store.tiles`) and what is predicted there.
        num_tiles: how many come, for `progress`.
        no_classes: why classes are left out; empty when they are scored.
        panels: keep pictures for the report.
        progress: called with the tiles done and their number.
    """
    scorer = TileScorer(store, with_classes=not no_classes, keep_pictures=panels)
    groups: dict[tuple[str, str], GroupCounts] = {}
    tables: list[TileTable] = []
    rows: list[TileScore] = []
    num_classes = len(store.label_space)
    pictures: dict[int, Panel] = {}
    for done, (tile, prediction) in enumerate(predictions, 1):
        scored = scorer.score(tile, prediction)
        key = (scored.record.source, scored.record.tissue)
        groups[key] = groups[key] + scored.counts if key in groups else scored.counts
        rows.append(scored.record)
        if len(rows) == _ROWS:
            tables.append(TileTable.of(rows, num_classes))
            rows.clear()
        if scored.panel is not None:
            pictures[tile] = scored.panel
        if len(pictures) > _POOL:
            held = choose_panels([panel.record for panel in pictures.values()])
            pictures = {tile: pictures[tile] for tile in held}
        if progress is not None:
            progress(done, num_tiles)
    return Evaluation(
        label_space=store.label_space,
        no_classes=no_classes,
        groups=groups,
        records=TileTable.concat([*tables, TileTable.of(rows, num_classes)]),
        panels=keep_chosen(tuple(pictures.values())),
    )


def _decode(
    store: Store,
    tiles: NDArray[np.integer] | Sequence[int],
    predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    *,
    representation: Representation,
    order: list[int] | None,
    mpp: float,
) -> Iterator[tuple[int, Prediction]]:
    """Run the network over the tiles and decode its maps."""
    for batch in _batches(store, tiles, mpp):
        maps = predict(np.stack([at_mpp(store, tile, mpp) for tile in batch]))
        for tile, tile_maps in zip(batch, maps, strict=True):
            height, width = store.image(tile).shape[:2]
            found = representation.decode(tile_maps)
            found = replace(found, labels=resample_labels(found.labels, width, height))
            pixels = representation.pixel_probabilities(tile_maps)
            yield tile, _in_store_order(found, _resize(pixels, width, height), order)


def _in_store_order(
    found: Instances, pixel_probabilities: NDArray[np.float32], order: list[int] | None
) -> Prediction:
    """The prediction with classes in the store's order; without classes when `order` is None."""
    if order is None:
        return Prediction(
            labels=found.labels, score=found.score, pixel_probabilities=pixel_probabilities
        )
    types, class_probabilities = found.types, found.class_probabilities
    if order != sorted(order):
        place = np.zeros(len(order) + 1, np.int32)
        place[1 + np.array(order)] = np.arange(1, len(order) + 1)
        types, class_probabilities = place[types], class_probabilities[:, order]
        pixel_probabilities = pixel_probabilities[[0, *(1 + j for j in order)]]
    return Prediction(
        labels=found.labels,
        types=types,
        class_probabilities=class_probabilities,
        score=found.score,
        pixel_probabilities=pixel_probabilities,
    )


def _class_order(store: LabelSpace, model: LabelSpace, binary_only: bool) -> list[int] | None:
    """Channel of the model for each class of the store; None when classes are left out."""
    if set(store.classes) == set(model.classes):
        return None if binary_only else [model.classes.index(name) for name in store.classes]
    if not binary_only:
        raise ValueError(
            f"{_difference(store, model)}. Prepare the data with --label-space {model.name}, "
            "or score the nuclei without their classes with --binary-only"
        )
    return None


def _difference(store: LabelSpace, model: LabelSpace) -> str:
    if set(store.classes) == set(model.classes):
        return "left out by --binary-only"
    return (
        f"the model knows {', '.join(model.classes)} ({model.name}), "
        f"the store {', '.join(store.classes)} ({store.name})"
    )


def _batches(
    store: Store, tiles: NDArray[np.integer] | Sequence[int], mpp: float
) -> Iterator[list[int]]:
    """Runs of tiles of one size at the model's resolution, as many as fit a forward pass."""
    batch: list[int] = []
    size: tuple[int, int] = (0, 0)
    for tile in map(int, tiles):
        own = model_size(store, tile, mpp)
        if batch and (own != size or (len(batch) + 1) * own[0] * own[1] > _BATCH_PX):
            yield batch
            batch = []
        batch.append(tile)
        size = own
    yield batch


def _resize(probabilities: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Maps (C, h, w) on the tile's own grid."""
    if probabilities.shape[1:] == (height, width):
        return probabilities
    return np.stack([cv2.resize(channel, (width, height)) for channel in probabilities])
