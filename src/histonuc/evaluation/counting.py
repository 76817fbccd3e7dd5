"""Everything that is counted on one tile: truth and prediction in, counts that add up out."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from histonuc.contours import find_centroids
from histonuc.data.selection import LabelKind
from histonuc.evaluation.predictions import Prediction
from histonuc.evaluation.tile_scores import TileScore
from histonuc.evaluation.truth import TileTruth
from histonuc.metrics.aggregate import AggregateCounts, aggregate_counts
from histonuc.metrics.calibration import CalibrationCounts, calibration_counts
from histonuc.metrics.composition import CompositionCounts, composition_counts
from histonuc.metrics.detection import (
    DetectionCounts,
    confuse,
    detection_counts,
    pair_centroids,
    pairing_radius_px,
)
from histonuc.metrics.errors import ErrorCounts, error_counts
from histonuc.metrics.hausdorff import HausdorffCounts, hausdorff_counts
from histonuc.metrics.matching import (
    ClassMatches,
    Contingency,
    contingency,
    match,
    match_classes,
)
from histonuc.metrics.overlaps import add_covered
from histonuc.metrics.panoptic import PanopticCounts, panoptic_counts_from
from histonuc.metrics.pixels import PixelCounts, decision_counts, pixel_counts


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupCounts:
    """Everything counted over some tiles; add two to count over both.

    Attributes:
        panoptic: what panoptic quality is computed from.
        pixels: pixels by true and predicted class.
        aggregate: what AJI, AJI+ and the ensemble Dice are computed from.
        detection: nuclei found, by IoU and by centroid distance, and their confusion.
        errors: nuclei by kind of error.
        hausdorff: distances of matched outlines.
        composition: how well the number of nuclei of an image is told.
        calibration: nuclei by what their probabilities promise.
        num_tiles: number of tiles that were counted.
        num_sparse: number of those where points mark some of the nuclei only.
    """

    panoptic: PanopticCounts
    pixels: PixelCounts
    aggregate: AggregateCounts
    detection: DetectionCounts
    errors: ErrorCounts
    hausdorff: HausdorffCounts
    composition: CompositionCounts
    calibration: CalibrationCounts
    num_tiles: int
    num_sparse: int = 0

    @property
    def labels(self) -> LabelKind:
        """What the truth has; points of which some tile's are sparse are taken to be so."""
        if self.is_outlined:
            return "outlines"
        return "sparse points" if self.num_sparse else "points"

    @property
    def is_outlined(self) -> bool:
        """Whether the truth has outlines; overlaps with points are not counted."""
        by_overlap = self.detection.num_truth[0] + self.detection.num_predicted[0]
        return bool(by_overlap) or not self.detection.by_distance.any()

    @property
    def found(self) -> NDArray[np.int64]:
        """int64 (1 + C, 3), matched, spurious and missed nuclei of any class and of each.

        By overlap; by distance where the truth has points.
        """
        if self.is_outlined:
            return np.stack([self.panoptic.tp, self.panoptic.fp, self.panoptic.fn], axis=1)
        pairs = self.detection.by_distance
        classes = pairs[1:-1, 1:-1]
        right = np.diagonal(classes)
        spurious = pairs[:-1, 1:-1].sum(0) - right  # but for those paired with an unknown class
        missed = pairs[1:-1].sum(1) - right
        of_any = [pairs[1:, 1:].sum(), pairs[0, 1:].sum(), pairs[1:, 0].sum()]
        return np.vstack([of_any, np.stack([right, spurious, missed], axis=1)])

    @classmethod
    def zero(cls, num_classes: int) -> GroupCounts:
        """Counts of no tile.

        Args:
            num_classes: C.
        """
        return cls(
            panoptic=PanopticCounts.zero(num_classes),
            pixels=PixelCounts.zero(num_classes),
            aggregate=AggregateCounts.zero(),
            detection=DetectionCounts.zero(num_classes),
            errors=ErrorCounts.zero(num_classes),
            hausdorff=HausdorffCounts.zero(),
            composition=CompositionCounts.zero(num_classes),
            calibration=CalibrationCounts.zero(),
            num_tiles=0,
        )

    def __add__(self, other: GroupCounts) -> GroupCounts:
        names = [field.name for field in fields(self)]
        return GroupCounts(**{name: getattr(self, name) + getattr(other, name) for name in names})


def count_tile(
    truth: TileTruth, prediction: Prediction, num_classes: int, *, with_classes: bool = True
) -> GroupCounts:
    """Count one tile.

    Args:
        truth: what is true of it.
        prediction: what is predicted of it, of the same height and width.
        num_classes: C.
        with_classes: whether classes are compared; otherwise only the nuclei are.
    """
    table = contingency(truth.labels, prediction.labels)
    matches = match(table)
    true_types = truth.types if with_classes else None
    types = prediction.types if with_classes else None
    by_class = _match_classes(table, truth, prediction, num_classes, with_classes=with_classes)
    true_kind = _take_types(true_types if types is not None else None, table.truth_ids)
    predicted_kind = _take_types(types, table.prediction_ids)
    near = pair_centroids(
        _find_centroids(truth.labels, table.truth_ids),
        _find_centroids(prediction.labels, table.prediction_ids),
        pairing_radius_px(truth.mpp),
    )
    same = matches.truth, matches.prediction
    return GroupCounts(
        panoptic=panoptic_counts_from(by_class),
        pixels=_count_pixels(truth.labels, true_types, prediction, num_classes),
        aggregate=aggregate_counts(table),
        detection=detection_counts(
            by_class,
            confuse(true_kind, predicted_kind, same, num_classes),
            confuse(true_kind, predicted_kind, near, num_classes),
        ),
        errors=error_counts(table, matches, true_kind, predicted_kind, num_classes=num_classes),
        hausdorff=hausdorff_counts(truth.labels, prediction.labels, table, matches, mpp=truth.mpp),
        composition=composition_counts(
            true_kind if types is not None else None,
            predicted_kind,
            len(table.truth_ids),
            len(table.prediction_ids),
            num_classes=num_classes,
        ),
        calibration=count_calibration(table.prediction_ids, same, true_kind, prediction),
        num_tiles=1,
    )


def summarise_tile(truth: TileTruth, counts: GroupCounts) -> TileScore:
    """The tile's row of the table of tiles.

    Args:
        truth: what is true of it.
        counts: what was counted on this one tile.
    """
    nuclei, detection = counts.panoptic, counts.detection
    aji, aji_plus, dice_ensemble = counts.aggregate.images.tolist()
    centroid = detection.class_sums
    return TileScore(
        **{name: getattr(truth, name) for name in ("tile", "name", "source", "tissue", "fold")},
        num_truth=int(detection.by_distance[1:].sum()),
        num_predicted=int(detection.by_distance[:, 1:].sum()),
        tp=int(nuclei.tp[0]),
        fp=int(nuclei.fp[0]),
        fn=int(nuclei.fn[0]),
        tp_centroid=int(detection.by_distance[1:, 1:].sum()),
        class_known=int(detection.class_known.sum()),
        bpq=float(nuclei.image_pq[0]),
        mpq=nuclei.image_mpq,
        bpq_strict=float(nuclei.strict_pq[0]),
        mpq_strict=nuclei.strict_mpq,
        foreground_dice=counts.pixels.foreground_dice,
        aji=aji,
        aji_plus=aji_plus,
        dice_ensemble=dice_ensemble,
        pq=tuple(nuclei.image_pq[1:].tolist()),
        class_tp=tuple(nuclei.tp[1:].tolist()),
        class_fp=tuple(nuclei.fp[1:].tolist()),
        class_fn=tuple(nuclei.fn[1:].tolist()),
        centroid_tp=tuple(centroid[:, 0].tolist()),
        centroid_fp=tuple(centroid[:, 1].tolist()),
        centroid_fn=tuple(centroid[:, 2].tolist()),
    )


def _match_classes(
    table: Contingency,
    truth: TileTruth,
    prediction: Prediction,
    num_classes: int,
    *,
    with_classes: bool,
) -> ClassMatches:
    """Matches of the whole nuclei, covered pixels included where classes are compared."""
    if not with_classes or prediction.types is None:
        return match_classes(table, num_classes=num_classes)
    hidden, predicted = truth.covered, prediction.covered
    return match_classes(
        table,
        truth.types if hidden is None else hidden.types,
        prediction.types if predicted is None else predicted.types,
        num_classes=num_classes,
        whole=add_covered(table, truth.labels, prediction.labels, hidden, predicted),
    )


def _find_centroids(labels: NDArray[np.int32], ids: NDArray[np.int64]) -> NDArray[np.float64]:
    """Centroids (len(ids), 2) of the nuclei of a label image that has all these ids, ascending."""
    largest = int(ids.max(initial=0))
    return find_centroids(labels, largest)[ids - 1]


def _take_types(types: NDArray[np.int32] | None, ids: NDArray[np.int64]) -> NDArray[np.int32]:
    """Class + 1 of the nuclei with these ids; 0 where classes are left out."""
    return np.zeros(len(ids), np.int32) if types is None else types[ids]


def _count_pixels(
    truth: NDArray[np.int32],
    truth_types: NDArray[np.int32] | None,
    prediction: Prediction,
    num_classes: int,
) -> PixelCounts:
    probabilities, decided = prediction.pixel_probabilities, prediction.pixel_types
    if probabilities is not None:
        return pixel_counts(truth, truth_types, probabilities, num_classes=num_classes)
    labels, types = prediction.labels, prediction.types
    if decided is None and types is not None:
        decided = types[labels]
    nuclear = labels > 0 if prediction.pixel_types is None else prediction.pixel_types > 0
    return decision_counts(truth, truth_types, nuclear, decided, num_classes=num_classes)


def count_calibration(
    ids: NDArray[np.int64],
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]],
    true_kind: NDArray[np.int32],
    prediction: Prediction,
) -> CalibrationCounts:
    """Count what the probabilities of one tile promise.

    Args:
        ids: (m,), the ids of the predicted nuclei.
        pairs: rows of the true nuclei and of `ids` that are matched.
        true_kind: (n,), class + 1 of every true nucleus, 0 where unknown.
        prediction: what is predicted of the tile.
    """
    if prediction.score is None:
        return CalibrationCounts.zero()
    is_matched = np.zeros(len(ids), bool)
    is_matched[pairs[1]] = True
    row = ids - 1
    probabilities = prediction.class_probabilities
    true_class = true_kind[pairs[0]] - 1
    known = true_class >= 0
    if probabilities is None:
        probabilities, known = np.zeros((len(prediction.score), 1), np.float32), known & False
    return calibration_counts(
        probabilities[row[pairs[1][known]]],
        true_class[known],
        prediction.score[row],
        is_matched,
    )
