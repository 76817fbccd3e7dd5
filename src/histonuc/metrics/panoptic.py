"""Panoptic quality, PQ = DQ x SQ, binary and per class, pooled and averaged as PanNuke does.

Kirillov et al. 2019 (arXiv 1801.00868), eq. 1; the averages are those of the PanNuke paper (Gamper
et al. 2020, arXiv 2003.10778) and its published script: PQ of each image and class, NaN where the
truth has no nucleus of the class, mean over the classes of an image, then over the images of a
tissue, then over the tissues.

Deviations, all for data that PanNuke does not have: a true nucleus of unknown class counts in the
binary score only; in the class scores neither it nor the prediction matched to it counts. The truth
is the flat label image, in which a later class has overwritten an earlier one, for the classes too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.counts import PAIR_UNIT, Counts, ratio, to_fixed
from histonuc.metrics.matching import Contingency, Matches, contingency, match

_SQ_EPSILON = 1e-6
"""In the denominator of SQ in the published script; used for the image scores only."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PanopticCounts(Counts):
    """Matched, spurious and missed nuclei. Entry 0 is binary (any class), ``1 + j`` class ``j``.

    Attributes:
        tp, fp, fn: int64 (1 + C,), nuclei matched at IoU > 0.5, spurious, missed.
        iou_sum: int64 (1 + C,), IoU summed over the matched, in `PAIR_UNIT`.
        image_pq_sum: int64 (1 + C,), PQ of single images summed, in `PAIR_UNIT`.
        image_count: int64 (1 + C,), images with a true nucleus (of the class).
        image_mpq_sum: int64 (1,), mean PQ over the classes of an image, summed, in `PAIR_UNIT`.
        image_mpq_count: int64 (1,), images with a true nucleus of any known class.
    """

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]
    iou_sum: NDArray[np.int64]
    image_pq_sum: NDArray[np.int64]
    image_count: NDArray[np.int64]
    image_mpq_sum: NDArray[np.int64]
    image_mpq_count: NDArray[np.int64]

    @classmethod
    def zero(cls, num_classes: int) -> PanopticCounts:
        """Nothing counted yet."""
        names = ("tp", "fp", "fn", "iou_sum", "image_pq_sum", "image_count")
        return cls(
            **{name: np.zeros(1 + num_classes, np.int64) for name in names},
            image_mpq_sum=np.zeros(1, np.int64),
            image_mpq_count=np.zeros(1, np.int64),
        )

    @property
    def dq(self) -> NDArray[np.float64]:
        """Detection quality of the pooled nuclei (an F1), NaN where there are none."""
        return ratio(self.tp, self.tp + 0.5 * self.fp + 0.5 * self.fn)

    @property
    def sq(self) -> NDArray[np.float64]:
        """Mean IoU of the matched nuclei, NaN where none is matched."""
        return ratio(self.iou_sum * PAIR_UNIT, self.tp)

    @property
    def pq(self) -> NDArray[np.float64]:
        """DQ x SQ of the pooled nuclei; 0 where nuclei exist but none is matched."""
        return ratio(self.iou_sum * PAIR_UNIT, self.tp + 0.5 * self.fp + 0.5 * self.fn)

    @property
    def image_pq(self) -> NDArray[np.float64]:
        """PQ averaged over the images that hold a true nucleus (of the class)."""
        return ratio(self.image_pq_sum * PAIR_UNIT, self.image_count)

    @property
    def image_mpq(self) -> float:
        """Mean over images of the mean PQ over the classes that an image holds."""
        return float(ratio(self.image_mpq_sum * PAIR_UNIT, self.image_mpq_count)[0])


def panoptic_counts(
    truth: NDArray[np.integer],
    prediction: NDArray[np.integer],
    truth_types: NDArray[np.integer] | None = None,
    prediction_types: NDArray[np.integer] | None = None,
    *,
    num_classes: int = 0,
) -> PanopticCounts:
    """Score one image.

    Args:
        truth: integers (H, W), 0 = background.
        prediction: the same shape.
        truth_types: class + 1 by id of `truth` (entry 0: background), 0 where unknown; without it
            only the binary score is counted.
        prediction_types: class + 1 by id of `prediction`.
        num_classes: C.
    """
    return panoptic_counts_of(
        contingency(truth, prediction), truth_types, prediction_types, num_classes=num_classes
    )


def panoptic_counts_of(
    table: Contingency,
    truth_types: NDArray[np.integer] | None = None,
    prediction_types: NDArray[np.integer] | None = None,
    *,
    num_classes: int = 0,
) -> PanopticCounts:
    """As `panoptic_counts`, from the contingency table of the image."""
    matches = match(table)
    num_truth = np.zeros(1 + num_classes, np.int64)
    num_predicted, tp = num_truth.copy(), num_truth.copy()
    iou = np.zeros(1 + num_classes)
    num_truth[0], num_predicted[0] = len(table.truth_ids), len(table.prediction_ids)
    tp[0], iou[0] = len(matches), matches.iou.sum()
    if truth_types is not None and prediction_types is not None and num_classes:
        by_class = _count_classes(
            matches,
            truth_types[table.truth_ids],
            prediction_types[table.prediction_ids],
            num_classes,
        )
        num_truth[1:], num_predicted[1:], tp[1:], iou[1:] = by_class
    fp, fn = num_predicted - tp, num_truth - tp
    valid = num_truth > 0
    dq = ratio(tp, tp + 0.5 * fp + 0.5 * fn)
    image_pq = np.where(valid, dq * (iou / (tp + _SQ_EPSILON)), 0.0)
    has_class = bool(valid[1:].any())
    mpq = image_pq[1:][valid[1:]].mean() if has_class else 0.0
    return PanopticCounts(
        tp=tp,
        fp=fp,
        fn=fn,
        iou_sum=to_fixed(iou, PAIR_UNIT),
        image_pq_sum=to_fixed(image_pq, PAIR_UNIT),
        image_count=valid.astype(np.int64),
        image_mpq_sum=to_fixed([mpq], PAIR_UNIT),
        image_mpq_count=np.array([has_class], np.int64),
    )


def _count_classes(
    matches: Matches,
    truth_type: NDArray[np.integer],
    predicted_type: NDArray[np.integer],
    num_classes: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """True, predicted and matched nuclei and IoU by class (C,).

    IoU does not depend on the class, so matching within a class is the same as keeping, of the
    binary matches, those of equal class.
    """
    pair_truth = truth_type[matches.truth]
    counted = np.ones(len(predicted_type), bool)
    counted[matches.prediction[pair_truth == 0]] = False
    same = pair_truth == predicted_type[matches.prediction]  # unknown, 0, is cut off below
    size = num_classes + 1
    return (
        np.bincount(truth_type, minlength=size)[1:].astype(np.int64),
        np.bincount(predicted_type[counted], minlength=size)[1:].astype(np.int64),
        np.bincount(pair_truth[same], minlength=size)[1:].astype(np.int64),
        np.bincount(pair_truth[same], matches.iou[same], minlength=size)[1:].astype(np.float64),
    )
