"""Score what is no model of histonuc: any function of an image, or arrays that are there already.

def segment(image):                       # RGB uint8 (H, W, 3)
    return labels                         # whole numbers (H, W), 0 = background

evaluation = evaluate_function("DATA", segment, folds=[3])
print(summarise(evaluation)["bpq"])
write_scores(evaluation, "SCORES")        # for `histonuc compare` and `histonuc report`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.data.folder_files import majority
from histonuc.data.store import Store
from histonuc.evaluation.classes import NO_TYPES, ScoredClasses, choose_classes
from histonuc.evaluation.evaluate import (
    Progress,
    adapt_to_points,
    pair_with_truth,
    score_tiles,
)
from histonuc.evaluation.predictions import Prediction
from histonuc.evaluation.results import Evaluation
from histonuc.evaluation.selection import TileSelection
from histonuc.evaluation.truth import TileTruth
from histonuc.nuclei import make_consecutive
from histonuc.taxonomy import NUCLEUS, LabelSpace

Labels = NDArray[Any]
"""Label image, whole numbers (H, W), 0 = background; each other number is one nucleus."""
Types = NDArray[Any]
"""Class of each pixel, whole numbers (H, W): ``k`` is the k-th class, 0 is none. A nucleus has the
most frequent class of its pixels."""
Segment = Callable[[NDArray[np.uint8]], Labels | tuple[Labels, Types]]
"""RGB image uint8 (H, W, 3) to the nuclei in it, alone or with their classes."""


def evaluate_function(
    data: str | Path | Store,
    segment: Segment,
    *,
    folds: Sequence[int] = (),
    sources: Sequence[str] = (),
    with_classes: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a function on tiles of a store.

    Args:
        data: store, or where it is.
        segment: called with each tile, one after the other, at the data's own resolution.
        folds: folds to score; all when empty.
        sources: data sets to score; all when empty.
        with_classes: whether `segment` gives classes too, those of the store, as a second array.
        progress: told after each tile.

    Returns:
        What `summarise`, `score_tables` and `write_scores` take.

    Raises:
        ValueError: folds or data sets that the store lacks, or `segment` gives no label image of
            the tile's size.
    """
    store = data if isinstance(data, Store) else Store.open(data)
    tiles = TileSelection(folds=tuple(folds), sources=tuple(sources)).find_tiles(store)
    space = store.label_space

    def predict() -> Iterator[tuple[int, Prediction]]:
        for tile in map(int, tiles):
            image = store.image(tile)
            found = segment(image.copy())
            labels, types = found if isinstance(found, tuple) else (found, None)
            where = f"segment, tile {store.name(tile)}"
            if with_classes and types is None:
                raise ValueError(f"{where}: expected (labels, types), got labels alone")
            kinds = types if with_classes else None
            made = _make_prediction(labels, kinds, image.shape[:2], len(space), where)
            if made.types is not None and not classes.no_classes:
                made = replace(made, types=classes.reorder_types(made.types))
            yield tile, made

    classes = ScoredClasses(label_space=space, no_classes=NO_TYPES)
    if with_classes:
        classes = adapt_to_points(choose_classes(space, space), store, tiles)
    return score_tiles(pair_with_truth(store, predict(), classes), classes, progress)


def evaluate_arrays(
    truth: Sequence[Labels] | Labels,
    predictions: Sequence[Labels] | Labels,
    *,
    truth_types: Sequence[Types] | Types | None = None,
    prediction_types: Sequence[Types] | Types | None = None,
    classes: Sequence[str] = (),
    tissues: Sequence[str] = (),
    mpp: float = float("nan"),
) -> Evaluation:
    """Score label images against label images, without a store.

    Args:
        truth: N label images, as one array (N, H, W) or each of a size of its own.
        predictions: as many label images, of the same sizes.
        truth_types: N images with the class of each pixel; classes are left out without them.
        prediction_types: N images with the predicted class of each pixel.
        classes: names of the classes 1, 2 and so on; needed where there are types.
        tissues: tissue of each image; one and the same when empty. bPQ and mPQ are means over
            tissues.
        mpp: microns per pixel; NaN where unknown, centroids are then paired within 12 px.

    Returns:
        What `summarise`, `score_tables` and `write_scores` take. Tiles are called 0, 1, ....

    Raises:
        ValueError: arrays of different number or size, no whole numbers from 0, or classes without
            a name.

    >>> from histonuc.evaluation import summarise
    >>> truth = np.zeros((1, 8, 8), int)
    >>> truth[0, 2:6, 2:6] = 1
    >>> summarise(evaluate_arrays(truth, truth))["foreground_dice"]
    1.0
    """
    typed = truth_types is not None and prediction_types is not None
    if typed and not classes:
        raise ValueError("classes: expected the names of the classes 1, 2, ..., got none")
    space = LabelSpace(name="own", classes=tuple(classes)) if typed else NUCLEUS
    true = _make_all(truth, truth_types if typed else None, len(space), "truth")
    found = _make_all(predictions, prediction_types if typed else None, len(space), "predictions")
    for name, length in (("predictions", len(found)), ("tissues", len(tissues) or len(true))):
        if length != len(true):
            raise ValueError(f"{name}: expected {len(true)}, as many as in truth, got {length}")
    pairs = [
        (_make_truth(i, *pair, tissues[i] if tissues else "", mpp), pair[1])
        for i, pair in enumerate(zip(true, found, strict=True))
    ]
    return score_tiles(
        pairs, ScoredClasses(label_space=space, no_classes="" if typed else NO_TYPES)
    )


def _make_all(
    labels: Sequence[Labels] | Labels,
    types: Sequence[Types] | Types | None,
    num_classes: int,
    name: str,
) -> list[Prediction]:
    """Label images with the class of each nucleus, where there are types."""
    if len(labels) == 0 or (types is not None and len(types) != len(labels)):
        given = "" if types is None else f" and {len(types)} of their types"
        raise ValueError(
            f"{name}: expected as many label images as types, got {len(labels)}{given}"
        )
    return [
        _make_prediction(
            image, None if types is None else types[i], np.shape(image), num_classes, f"{name} {i}"
        )
        for i, image in enumerate(labels)
    ]


def _make_truth(
    number: int, labelled: Prediction, predicted: Prediction, tissue: str, mpp: float
) -> TileTruth:
    """The truth of one image of `evaluate_arrays`; there is no picture of it."""
    labels, types = labelled.labels, labelled.types
    if labels.shape != predicted.labels.shape:
        raise ValueError(
            f"predictions {number}: expected an array {labels.shape}, as in truth, got "
            f"{predicted.labels.shape}"
        )
    if types is None:
        types = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    return TileTruth(
        tile=number,
        name=str(number),
        source="arrays",
        tissue=tissue,
        fold=0,
        mpp=mpp,
        image=np.full((*labels.shape, 3), 255, np.uint8),
        labels=labels,
        types=types,
    )


def _make_prediction(
    labels: Labels, types: Types | None, shape: tuple[int, ...], num_classes: int, where: str
) -> Prediction:
    """Labels numbered 1..n, and the class of each; refuses what is no label image."""
    dense, ids = make_consecutive(_check(labels, shape, where))
    if types is None:
        return Prediction(labels=dense)
    kinds = majority(dense, _check(types, shape, f"types of {where}"), len(ids))
    if kinds.max(initial=0) > num_classes:
        raise ValueError(f"types of {where}: expected 0 to {num_classes}, got {kinds.max()}")
    return Prediction(labels=dense, types=np.concatenate([[0], kinds]).astype(np.int32))


def _check(array: NDArray[Any], shape: tuple[int, ...], where: str) -> NDArray[np.integer]:
    pixels = np.asarray(array)
    if pixels.shape != tuple(shape) or pixels.ndim != 2:
        raise ValueError(f"{where}: expected an array {tuple(shape)}, got {pixels.shape}")
    if pixels.dtype.kind == "b":
        raise ValueError(
            f"{where}: expected a number for each nucleus, got True and False: number the nuclei, "
            "for instance with scipy.ndimage.label"
        )
    if pixels.dtype.kind not in "iu" or pixels.min(initial=0) < 0:
        raise ValueError(f"{where}: expected whole numbers from 0, got {pixels.dtype}")
    return pixels
