"""Panoptic quality, PQ = DQ x SQ, binary and per class, pooled and averaged as PanNuke does.

Kirillov et al. 2019 (arXiv 1801.00868), eq. 1; the averages are those of the PanNuke paper (Gamper
et al. 2020, arXiv 2003.10778) and its published script: PQ of each image and class, NaN where the
truth has no nucleus of the class, mean over the classes of an image, then over the images of a
tissue, then over the tissues.

Two traps of these averages are counted beside them. False positives of a class that an image lacks
are free; the *strict* averages give such an image 0. Small images weigh as much as full ones; the
pooled scores weigh nuclei (mean over the classes: CoNIC's mPQ+, arXiv 2111.14485).

Deviations, all for data that PanNuke does not have: a true nucleus of unknown class counts in the
binary score only; in the class scores neither it nor the prediction matched to it counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.counts import PAIR_UNIT, Counts, ratio, to_fixed
from histonuc.metrics.formulas import compute_score, nucleus_sums
from histonuc.metrics.matching import ClassMatches, contingency, match_classes

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
        strict_count: int64 (1 + C,), images with a true or a predicted nucleus (of the class).
        strict_mpq_sum: int64 (1,), as `image_mpq_sum`, mean over the classes that occur in the
            truth or the prediction.
        strict_mpq_count: int64 (1,), images with a nucleus of any known class in either.
    """

    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    fn: NDArray[np.int64]
    iou_sum: NDArray[np.int64]
    image_pq_sum: NDArray[np.int64]
    image_count: NDArray[np.int64]
    image_mpq_sum: NDArray[np.int64]
    image_mpq_count: NDArray[np.int64]
    strict_count: NDArray[np.int64]
    strict_mpq_sum: NDArray[np.int64]
    strict_mpq_count: NDArray[np.int64]

    @classmethod
    def zero(cls, num_classes: int) -> PanopticCounts:
        """Nothing counted yet."""
        by_class = ("tp", "fp", "fn", "iou_sum", "image_pq_sum", "image_count", "strict_count")
        single = ("image_mpq_sum", "image_mpq_count", "strict_mpq_sum", "strict_mpq_count")
        return cls(
            **{name: np.zeros(1 + num_classes, np.int64) for name in by_class},
            **{name: np.zeros(1, np.int64) for name in single},
        )

    @property
    def sums(self) -> NDArray[np.float64]:
        """float64 (1 + C, 4), what the formulas of pooled scores take."""
        return nucleus_sums(self.tp, self.fp, self.fn, self.iou_sum * PAIR_UNIT)

    @property
    def dq(self) -> NDArray[np.float64]:
        """Detection quality of the pooled nuclei (an F1), NaN where there are none."""
        return compute_score("dq", self.sums)

    @property
    def sq(self) -> NDArray[np.float64]:
        """Mean IoU of the matched nuclei, NaN where none is matched."""
        return compute_score("sq", self.sums)

    @property
    def pq(self) -> NDArray[np.float64]:
        """DQ x SQ of the pooled nuclei; 0 where nuclei exist but none is matched."""
        return compute_score("pq", self.sums)

    @property
    def image_pq(self) -> NDArray[np.float64]:
        """PQ averaged over the images that hold a true nucleus (of the class)."""
        return ratio(self.image_pq_sum * PAIR_UNIT, self.image_count)

    @property
    def image_mpq(self) -> float:
        """Mean over images of the mean PQ over the classes that an image holds."""
        return float(ratio(self.image_mpq_sum * PAIR_UNIT, self.image_mpq_count)[0])

    @property
    def strict_pq(self) -> NDArray[np.float64]:
        """PQ averaged over the images with a true or a predicted nucleus (of the class)."""
        return ratio(self.image_pq_sum * PAIR_UNIT, self.strict_count)

    @property
    def strict_mpq(self) -> float:
        """As `image_mpq`; a class that only the prediction holds gives 0 instead of nothing."""
        return float(ratio(self.strict_mpq_sum * PAIR_UNIT, self.strict_mpq_count)[0])


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
        prediction: integers of the same shape, 0 = background.
        truth_types: class + 1 by id of `truth` (entry 0: background), 0 where unknown; without it
            only the binary score is counted.
        prediction_types: class + 1 by id of `prediction`.
        num_classes: C.
    """
    table = contingency(truth, prediction)
    matches = match_classes(table, truth_types, prediction_types, num_classes=num_classes)
    return panoptic_counts_from(matches)


def panoptic_counts_from(matches: ClassMatches) -> PanopticCounts:
    """As `panoptic_counts`, from the matches of the image."""
    size = len(matches.num_truth)
    tp = np.bincount(matches.kind, minlength=size).astype(np.int64)
    iou = np.bincount(matches.kind, matches.iou, minlength=size)
    fp, fn = matches.num_predicted - tp, matches.num_truth - tp
    there, either = matches.num_truth > 0, matches.num_truth + matches.num_predicted > 0
    dq = compute_score("dq", nucleus_sums(tp, fp, fn))
    image_pq = np.where(there, dq * (iou / (tp + _SQ_EPSILON)), 0.0)
    official, strict = (
        image_pq[1:].sum() / max(counted[1:].sum(), 1) for counted in (there, either)
    )
    return PanopticCounts(
        tp=tp,
        fp=fp,
        fn=fn,
        iou_sum=to_fixed(iou, PAIR_UNIT),
        image_pq_sum=to_fixed(image_pq, PAIR_UNIT),
        image_count=there.astype(np.int64),
        image_mpq_sum=to_fixed([official], PAIR_UNIT),
        image_mpq_count=np.array([there[1:].any()], np.int64),
        strict_count=either.astype(np.int64),
        strict_mpq_sum=to_fixed([strict], PAIR_UNIT),
        strict_mpq_count=np.array([either[1:].any()], np.int64),
    )
