"""What is predicted of one tile, and how a network's maps become it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.data.resampling import at_mpp, model_size, resample_labels
from histonuc.evaluation.classes import ScoredClasses
from histonuc.nuclei import CoveredPixels, Instances

if TYPE_CHECKING:
    from histonuc.data.store import Store
    from histonuc.representations import Representation

PredictMaps = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Images uint8 (B, H, W, 3) at the model's resolution to activated maps float32 (B, C, H, W)."""

_BATCH_PX = 8 * 256 * 256
"""Pixels a forward pass; one tile at a time when tiles are larger."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What a model, of here or elsewhere, says about one tile, in the classes that are scored.

    Attributes:
        labels: label image int32 (H, W), 0 = background.
        types: int32, class + 1 by id (entry 0: background), 0 where unknown; None without classes.
        class_probabilities: float32 (m, C), row ``i`` of id ``i + 1``; None where not known.
        score: float32 (m,), detection score; None where not known.
        pixel_probabilities: float32 (1 + C, H, W), background first; None where not known.
        pixel_types: class + 1 of each pixel (H, W), 0 = background, as decided from probabilities
            that are not known any more; None where the label image is all that is known.
        covered: pixels that `labels` cannot show; None for none.
    """

    labels: NDArray[np.int32]
    types: NDArray[np.int32] | None = None
    class_probabilities: NDArray[np.float32] | None = None
    score: NDArray[np.float32] | None = None
    pixel_probabilities: NDArray[np.float32] | None = None
    pixel_types: NDArray[np.integer] | None = None
    covered: CoveredPixels | None = None


def leave_out_unknown(prediction: Prediction, ignore: NDArray[np.bool_] | None) -> Prediction:
    """The prediction without what lies where the truth is not known.

    Nuclei that lie there with more than half of their pixels are left out, and the others count
    with their pixels elsewhere: they are neither right nor wrong.

    Args:
        prediction: of a tile.
        ignore: bool (H, W); None where all is known.
    """
    if ignore is None:
        return prediction
    labels = prediction.labels
    area, hidden = np.bincount(labels.ravel()), np.bincount(labels[ignore], minlength=1)
    hidden = np.pad(hidden, (0, len(area) - len(hidden)))
    dropped = ignore | (2 * hidden > area)[labels]
    return replace(prediction, labels=np.where(dropped, 0, labels))


def predict_tiles(
    store: Store,
    tiles: NDArray[np.integer] | Sequence[int],
    predict: PredictMaps,
    *,
    representation: Representation,
    classes: ScoredClasses,
    mpp: float,
) -> Iterator[tuple[int, Prediction]]:
    """Run a network over tiles of a store and decode its maps.

    Args:
        store: where the tiles are.
        tiles: rows of `store.tiles`.
        predict: the network.
        representation: decodes its maps.
        classes: the classes that are scored.
        mpp: microns per pixel that the network works at.

    Yields:
        A tile and the prediction for it, at the tile's own resolution.
    """
    for tile, maps in _predict_maps(store, tiles, predict, mpp):
        height, width = store.size(tile)
        pixels = _resize(representation.pixel_probabilities(maps), width, height)
        yield tile, _reorder(_decode(store, tile, maps, representation), pixels, classes)


def outline_tiles(
    store: Store,
    tiles: NDArray[np.integer] | Sequence[int],
    predict: PredictMaps,
    *,
    representation: Representation,
    mpp: float,
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """As `predict_tiles`, but only the label image int32 (H, W) of each tile, 0 = background."""
    for tile, maps in _predict_maps(store, tiles, predict, mpp):
        yield tile, _decode(store, tile, maps, representation).labels


def _predict_maps(
    store: Store,
    tiles: NDArray[np.integer] | Sequence[int],
    predict: PredictMaps,
    mpp: float,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for batch in _make_batches(store, tiles, mpp):
        maps = predict(np.stack([at_mpp(store, tile, mpp) for tile in batch]))
        yield from zip(batch, maps, strict=True)


def _decode(
    store: Store, tile: int, maps: NDArray[np.float32], representation: Representation
) -> Instances:
    """The nuclei of a tile, at its own resolution."""
    height, width = store.size(tile)
    found = representation.decode(maps)
    return replace(found, labels=resample_labels(found.labels, width, height))


def _reorder(
    found: Instances, pixel_probabilities: NDArray[np.float32], classes: ScoredClasses
) -> Prediction:
    """The prediction with its classes in the order of those scored, or without classes."""
    if classes.no_classes:
        return Prediction(
            labels=found.labels, score=found.score, pixel_probabilities=pixel_probabilities
        )
    types, class_probabilities = found.types, found.class_probabilities
    if classes.order != tuple((j,) for j in range(len(classes.order))):
        types = classes.reorder_types(types)
        class_probabilities = classes.reorder_probabilities(class_probabilities, 1)
        background, by_class = pixel_probabilities[:1], pixel_probabilities[1:]
        by_class = classes.reorder_probabilities(by_class, 0)
        pixel_probabilities = np.concatenate([background, by_class])
    return Prediction(
        labels=found.labels,
        types=types,
        class_probabilities=class_probabilities,
        score=found.score,
        pixel_probabilities=pixel_probabilities,
    )


def _make_batches(
    store: Store, tiles: NDArray[np.integer] | Sequence[int], mpp: float
) -> Iterator[list[int]]:
    """Runs of tiles of one size at the model's resolution, as many as fit a forward pass."""
    batch: list[int] = []
    batch_size: tuple[int, int] = (0, 0)
    for tile in map(int, tiles):
        size = model_size(store, tile, mpp)
        if batch and (size != batch_size or (len(batch) + 1) * size[0] * size[1] > _BATCH_PX):
            yield batch
            batch = []
        batch.append(tile)
        batch_size = size
    yield batch


def _resize(probabilities: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Maps (C, h, w) on the tile's own grid."""
    if probabilities.shape[1:] == (height, width):
        return probabilities
    return np.stack([cv2.resize(channel, (width, height)) for channel in probabilities])
