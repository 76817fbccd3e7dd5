"""Predict the tiles of a store, decode, and count."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.evaluation.panels import Panel, TileScore, choose_panels, crop_to_panel, keep_chosen
from histonuc.evaluation.results import Evaluation, GroupCounts
from histonuc.metrics.panoptic import panoptic_counts
from histonuc.metrics.pixels import pixel_counts
from histonuc.nuclei import Instances
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    from histonuc.data.store import Store
    from histonuc.representations import Representation

_BATCH_PX = 8 * 256 * 256
"""Pixels a forward pass; one tile at a time when tiles are larger."""
_SAME_MPP = 0.02
"""Relative difference of resolutions below which resampling would only blur."""
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

    Tiles of another resolution than the model's are resampled to it and the maps are resampled
    back, so scores are at the data's own resolution. Tiles go through `predict` whole.

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
    scorer = _Scorer(store, representation, order, keep_pictures=panels)
    groups: dict[tuple[str, str], GroupCounts] = {}
    records: list[TileScore] = []
    pictures: dict[int, Panel] = {}
    for batch in _batches(store, tiles, mpp):
        maps = predict(np.stack([_to_model(store, tile, mpp) for tile in batch]))
        for tile, tile_maps in zip(batch, maps, strict=True):
            scored = scorer.score(tile, tile_maps)
            key = (scored.record.source, scored.record.tissue)
            groups[key] = groups[key] + scored.counts if key in groups else scored.counts
            records.append(scored.record)
            if scored.panel is not None:
                pictures[tile] = scored.panel
        if len(pictures) > _POOL:
            pictures = {tile: pictures[tile] for tile in choose_panels(records)}
        if progress is not None:
            progress(len(records), len(tiles))
    return Evaluation(
        label_space=store.label_space,
        no_classes=reason,
        groups=groups,
        records=tuple(records),
        panels=keep_chosen(tuple(pictures.values())),
    )


@dataclass(frozen=True)
class _ScoredTile:
    record: TileScore
    counts: GroupCounts
    panel: Panel | None


class _Scorer:
    """Scores one tile at a time; holds the columns of the store's table as plain lists."""

    def __init__(
        self,
        store: Store,
        representation: Representation,
        order: list[int] | None,
        *,
        keep_pictures: bool,
    ) -> None:
        self._store = store
        self._representation = representation
        self._order = order
        self._keep_pictures = keep_pictures
        names = ("name", "source", "tissue", "fold")
        self._columns: dict[str, list[Any]] = {
            name: store.tiles.column(name).to_pylist() for name in names
        }

    def score(self, tile: int, maps: NDArray[np.float32]) -> _ScoredTile:
        truth = self._store.instances(tile)
        maps = _resize_maps(maps, *truth.shape)
        found = self._representation.decode(maps)
        counts = self._count(tile, truth, maps, found)
        nuclei = counts.panoptic
        record = TileScore(
            tile=tile,
            **{name: values[tile] for name, values in self._columns.items()},
            num_truth=int(nuclei.tp[0] + nuclei.fn[0]),
            num_predicted=int(nuclei.tp[0] + nuclei.fp[0]),
            tp=int(nuclei.tp[0]),
            fp=int(nuclei.fp[0]),
            fn=int(nuclei.fn[0]),
            bpq=float(nuclei.image_pq[0]),
            mpq=nuclei.image_mpq,
            dice=counts.pixels.foreground_dice,
        )
        panel = self._picture(record, truth, found) if self._keep_pictures else None
        return _ScoredTile(record, counts, panel)

    def _count(
        self, tile: int, truth: NDArray[np.int32], maps: NDArray[np.float32], found: Instances
    ) -> GroupCounts:
        num_classes = len(self._store.label_space)
        truth_types = self._store.types(tile) if self._order is not None else None
        probabilities = self._representation.pixel_probabilities(maps)
        if self._order is not None and self._order != sorted(self._order):
            probabilities = probabilities[[0, *(1 + j for j in self._order)]]
        return GroupCounts(
            panoptic=panoptic_counts(
                truth,
                found.labels,
                truth_types,
                self._types(found) if self._order is not None else None,
                num_classes=num_classes,
            ),
            pixels=pixel_counts(truth, truth_types, probabilities, num_classes=num_classes),
            num_tiles=1,
        )

    def _types(self, found: Instances) -> NDArray[np.int32]:
        """Class + 1 in the store's order, by label; all 0 when classes are left out."""
        if self._order is None:
            return np.zeros(len(found.score) + 1, np.int32)
        place = np.zeros(len(self._order) + 1, np.int32)
        place[1 + np.array(self._order)] = np.arange(1, len(self._order) + 1)
        return place[found.types]

    def _picture(
        self, record: TileScore, truth: NDArray[np.int32], found: Instances
    ) -> Panel | None:
        if record.num_truth == 0:
            return None
        return Panel(
            record=record,
            reason="",
            image=crop_to_panel(self._store.image(record.tile)),
            truth=crop_to_panel(truth),
            truth_types=self._store.types(record.tile).astype(np.int32),
            prediction=crop_to_panel(found.labels),
            prediction_types=self._types(found),
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
        own = _model_size(store, tile, mpp)
        if batch and (own != size or (len(batch) + 1) * own[0] * own[1] > _BATCH_PX):
            yield batch
            batch = []
        batch.append(tile)
        size = own
    yield batch


def _model_size(store: Store, tile: int, mpp: float) -> tuple[int, int]:
    """Height and width of a tile at the model's resolution."""
    height, width = store.image(tile).shape[:2]
    own = store.mpp(tile)
    scale = own / mpp if math.isfinite(own) else 1.0
    if abs(scale - 1) <= _SAME_MPP:
        return height, width
    return max(round(height * scale), 1), max(round(width * scale), 1)


def _to_model(store: Store, tile: int, mpp: float) -> NDArray[np.uint8]:
    image = np.ascontiguousarray(store.image(tile))
    height, width = _model_size(store, tile, mpp)
    if (height, width) == image.shape[:2]:
        return image
    smaller = height < image.shape[0]
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def _resize_maps(maps: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Maps (C, h, w) on the tile's own grid."""
    if maps.shape[1:] == (height, width):
        return maps
    return np.stack([cv2.resize(m, (width, height), interpolation=cv2.INTER_LINEAR) for m in maps])
