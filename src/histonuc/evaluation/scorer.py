"""Everything counted on one tile: truth and prediction in, counts and a row of the table out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.evaluation.panels import Panel, crop_to_panel
from histonuc.evaluation.results import GroupCounts
from histonuc.evaluation.tile_table import TileScore
from histonuc.metrics.aggregate import aggregate_counts
from histonuc.metrics.calibration import CalibrationCounts, calibration_counts
from histonuc.metrics.composition import composition_counts
from histonuc.metrics.detection import (
    confuse,
    detection_counts,
    find_centroids,
    pair_centroids,
    pairing_radius_px,
)
from histonuc.metrics.errors import error_counts
from histonuc.metrics.hausdorff import hausdorff_counts
from histonuc.metrics.matching import (
    Contingency,
    Matches,
    add_covered,
    contingency,
    match,
    match_classes,
)
from histonuc.metrics.panoptic import panoptic_counts_of
from histonuc.metrics.pixels import PixelCounts, decision_counts, pixel_counts
from histonuc.nuclei import CoveredPixels

if TYPE_CHECKING:
    from histonuc.data.store import Store


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What a model, of here or elsewhere, says about one tile, in the store's classes.

    Attributes:
        labels: int32 (H, W), 0 = background.
        types: int32, class + 1 by id (entry 0: background), 0 where unknown; None without classes.
        class_probabilities: float32 (m, C), row ``i`` of id ``i + 1``; None where not known.
        score: float32 (m,), detection score; None where not known.
        pixel_probabilities: float32 (1 + C, H, W), background first; None where not known.
        covered: pixels that `labels` cannot show; None for none.
    """

    labels: NDArray[np.int32]
    types: NDArray[np.int32] | None = None
    class_probabilities: NDArray[np.float32] | None = None
    score: NDArray[np.float32] | None = None
    pixel_probabilities: NDArray[np.float32] | None = None
    covered: CoveredPixels | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredTile:
    """Row of the table, counts, and the picture where one is kept."""

    record: TileScore
    counts: GroupCounts
    panel: Panel | None


class TileScorer:
    """Scores one tile at a time; holds the columns of the store's table as plain lists."""

    def __init__(self, store: Store, *, with_classes: bool, keep_pictures: bool) -> None:
        self._store = store
        self._with_classes = with_classes
        self._keep_pictures = keep_pictures
        names = ("name", "source", "tissue", "fold")
        self._columns: dict[str, list[Any]] = {
            name: store.tiles.column(name).to_pylist() for name in names
        }
        for name in ("source", "tissue"):  # their texts are held once, not once a tile
            same: dict[Any, Any] = {}
            self._columns[name] = [same.setdefault(text, text) for text in self._columns[name]]

    def score(self, tile: int, prediction: Prediction) -> ScoredTile:
        """Count one tile of the store."""
        truth = self._store.instances(tile)
        counts = count_tile(
            truth,
            self._store.types(tile) if self._with_classes else None,
            self._store.covered(tile) if self._with_classes else None,
            prediction,
            num_classes=len(self._store.label_space),
            mpp=self._store.mpp(tile),
        )
        record = self._record(tile, counts)
        panel = self._picture(record, truth, prediction) if self._keep_pictures else None
        return ScoredTile(record=record, counts=counts, panel=panel)

    def _record(self, tile: int, counts: GroupCounts) -> TileScore:
        nuclei, paired = counts.panoptic, counts.detection.by_distance[1:, 1:]
        aji, aji_plus, dice_ensemble = counts.aggregate.images.tolist()
        return TileScore(
            tile=tile,
            **{name: values[tile] for name, values in self._columns.items()},
            num_truth=int(nuclei.tp[0] + nuclei.fn[0]),
            num_predicted=int(nuclei.tp[0] + nuclei.fp[0]),
            tp=int(nuclei.tp[0]),
            fp=int(nuclei.fp[0]),
            fn=int(nuclei.fn[0]),
            tp_centroid=int(paired.sum()),
            bpq=float(nuclei.image_pq[0]),
            mpq=nuclei.image_mpq,
            bpq_strict=float(nuclei.strict_pq[0]),
            mpq_strict=nuclei.strict_mpq,
            dice=counts.pixels.foreground_dice,
            aji=aji,
            aji_plus=aji_plus,
            dice_ensemble=dice_ensemble,
            pq=tuple(nuclei.image_pq[1:].tolist()),
            class_tp=tuple(nuclei.tp[1:].tolist()),
            class_fp=tuple(nuclei.fp[1:].tolist()),
            class_fn=tuple(nuclei.fn[1:].tolist()),
        )

    def _picture(
        self, record: TileScore, truth: NDArray[np.int32], prediction: Prediction
    ) -> Panel | None:
        if record.num_truth == 0:
            return None
        types = prediction.types
        if types is None:
            types = np.zeros(int(prediction.labels.max()) + 1, np.int32)
        return Panel(
            record=record,
            reason="",
            image=crop_to_panel(self._store.image(record.tile)),
            truth=crop_to_panel(truth),
            truth_types=self._store.types(record.tile).astype(np.int32),
            prediction=crop_to_panel(prediction.labels),
            prediction_types=types,
        )


def count_tile(
    truth: NDArray[np.int32],
    truth_types: NDArray[np.int32] | None,
    covered: CoveredPixels | None,
    prediction: Prediction,
    *,
    num_classes: int,
    mpp: float,
) -> GroupCounts:
    """Count one tile.

    Args:
        truth: label image (H, W), 0 = background.
        truth_types: class + 1 by id of `truth`, 0 where unknown; None leaves classes out.
        covered: true pixels that `truth` cannot show.
        prediction: of the same height and width.
        num_classes: C.
        mpp: microns per pixel, NaN where unknown.
    """
    table = contingency(truth, prediction.labels)
    matches = match(table)
    types = prediction.types if truth_types is not None else None
    by_class = match_classes(
        table,
        covered.types if covered is not None else truth_types,
        prediction.covered.types if types is not None and prediction.covered else types,
        num_classes=num_classes,
        whole=add_covered(table, truth, prediction.labels, covered, prediction.covered),
    )
    truth_type = _of(truth_types if types is not None else None, table.truth_ids)
    predicted_type = _of(types, table.prediction_ids)
    near = pair_centroids(
        find_centroids(truth, table.truth_ids, table.truth_area),
        find_centroids(prediction.labels, table.prediction_ids, table.prediction_area),
        pairing_radius_px(mpp),
    )
    same = matches.truth, matches.prediction
    return GroupCounts(
        panoptic=panoptic_counts_of(by_class),
        pixels=_count_pixels(truth, truth_types, prediction, num_classes),
        aggregate=aggregate_counts(table),
        detection=detection_counts(
            by_class,
            confuse(truth_type, predicted_type, same, num_classes),
            confuse(truth_type, predicted_type, near, num_classes),
        ),
        errors=error_counts(table, matches, truth_type, predicted_type, num_classes=num_classes),
        hausdorff=hausdorff_counts(truth, prediction.labels, table, matches, mpp=mpp),
        composition=composition_counts(
            truth_type if types is not None else None,
            predicted_type,
            len(table.truth_ids),
            len(table.prediction_ids),
            num_classes=num_classes,
        ),
        calibration=_count_calibration(table, matches, truth_type, prediction),
        num_tiles=1,
    )


def _of(types: NDArray[np.int32] | None, ids: NDArray[np.int64]) -> NDArray[np.int32]:
    """Class + 1 of the nuclei `ids`, 0 without classes."""
    return np.zeros(len(ids), np.int32) if types is None else types[ids]


def _count_pixels(
    truth: NDArray[np.int32],
    truth_types: NDArray[np.int32] | None,
    prediction: Prediction,
    num_classes: int,
) -> PixelCounts:
    if prediction.pixel_probabilities is None:
        return decision_counts(
            truth, truth_types, prediction.labels, prediction.types, num_classes=num_classes
        )
    return pixel_counts(truth, truth_types, prediction.pixel_probabilities, num_classes=num_classes)


def _count_calibration(
    table: Contingency, matches: Matches, truth_type: NDArray[np.int32], prediction: Prediction
) -> CalibrationCounts:
    if prediction.score is None:
        return CalibrationCounts.zero()
    is_matched = np.zeros(len(table.prediction_ids), bool)
    is_matched[matches.prediction] = True
    row = table.prediction_ids - 1
    probabilities = prediction.class_probabilities
    true_class = truth_type[matches.truth] - 1
    known = true_class >= 0
    if probabilities is None:
        probabilities, known = np.zeros((len(prediction.score), 1), np.float32), known & False
    return calibration_counts(
        probabilities[row[matches.prediction[known]]],
        true_class[known],
        prediction.score[row],
        is_matched,
    )
