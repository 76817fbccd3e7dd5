"""Detection: F1 over IoU thresholds, F1 by centroid distance, confusion of nuclei.

- By IoU: a true nucleus is found when a prediction overlaps it with IoU strictly above the
  threshold. F1 at 0.5 is the DQ of pooled nuclei.
- By distance (Graham et al. 2019, arXiv 1812.06499, and hover_net's ``compute_stats.py``): true and
  predicted centroids are paired one to one with the smallest summed distance; pairs within 12 px at
  0.25 mpp, 3 microns, count. Class F1 is hover_net's code with its weights 2, 2, 1, 1, which is
  CellViT's formula too:

      2 TPc / (2 TPc + 2 FPc + 2 FNc + FPd + FNd)

  with pairs of which both, only the prediction, only the truth are of class c, and unpaired
  predictions and true nuclei of class c. (The paper also has TNc; in the code it is always 0.)

Deviations: an image without nuclei adds nothing (CellViT adds a dummy nucleus to truth and
prediction); pairs whose true class is unknown are left out of class scores. A prediction of unknown
class, hover_net's type 0, is of another class than the true nucleus.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.counts import Counts, nanmean, ratio
from histonuc.metrics.formulas import compute_score, nucleus_sums
from histonuc.metrics.matching import ClassMatches

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
"""0.5, 0.55, ... 0.95."""
RADIUS_UM = 3.0
"""Largest distance of paired centroids."""
RADIUS_PX = 12.0
"""The same where the resolution is unknown, as at 0.25 mpp."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectionCounts(Counts):
    """Nuclei found. Entry 0 is any class, ``1 + j`` class ``j``.

    Attributes:
        num_truth, num_predicted: int64 (1 + C,), nuclei.
        tp: int64 (1 + C, 10), matched above each of `IOU_THRESHOLDS`.
        by_iou: int64 (C + 2, C + 2), nuclei by true class (rows) and predicted class (columns),
            matched at IoU > 0.5. Entry 0 is none, so row 0 are the spurious and column 0 the
            missed; entry ``C + 1`` is an unknown class.
        by_distance: int64 (C + 2, C + 2), as `by_iou`, with nuclei paired by centroid distance.
    """

    num_truth: NDArray[np.int64]
    num_predicted: NDArray[np.int64]
    tp: NDArray[np.int64]
    by_iou: NDArray[np.int64]
    by_distance: NDArray[np.int64]

    @classmethod
    def zero(cls, num_classes: int) -> DetectionCounts:
        """Nothing counted yet."""
        return cls(
            num_truth=np.zeros(1 + num_classes, np.int64),
            num_predicted=np.zeros(1 + num_classes, np.int64),
            tp=np.zeros((1 + num_classes, len(IOU_THRESHOLDS)), np.int64),
            by_iou=np.zeros((num_classes + 2, num_classes + 2), np.int64),
            by_distance=np.zeros((num_classes + 2, num_classes + 2), np.int64),
        )

    @property
    def sums(self) -> NDArray[np.float64]:
        """float64 (1 + C, 10, 4), what the formulas take, at each of `IOU_THRESHOLDS`."""
        return nucleus_sums(
            self.tp, self.num_predicted[:, None] - self.tp, self.num_truth[:, None] - self.tp
        )

    @property
    def centroid_sums(self) -> NDArray[np.float64]:
        """float64 (4,), what the formulas take, of nuclei of any class paired by distance."""
        spurious, missed = self.by_distance[0, 1:].sum(), self.by_distance[1:, 0].sum()
        return nucleus_sums(self.by_distance[1:, 1:].sum(), spurious, missed)

    @property
    def precision(self) -> NDArray[np.float64]:
        """float64 (1 + C, 10), share of the predicted nuclei that are matched."""
        return compute_score("precision", self.sums)

    @property
    def recall(self) -> NDArray[np.float64]:
        """float64 (1 + C, 10), share of the true nuclei that are matched."""
        return compute_score("recall", self.sums)

    @property
    def f1(self) -> NDArray[np.float64]:
        """float64 (1 + C, 10), 2 TP / (nuclei true + predicted)."""
        return compute_score("f1", self.sums)

    @property
    def centroid_precision(self) -> float:
        """Share of the predicted nuclei that are paired by distance, any class."""
        return float(compute_score("precision", self.centroid_sums))

    @property
    def centroid_recall(self) -> float:
        """Share of the true nuclei that are paired by distance, any class."""
        return float(compute_score("recall", self.centroid_sums))

    @property
    def class_sums(self) -> NDArray[np.int64]:
        """int64 (C, 3), TP, FP and FN of each class that make hover_net's formula the F1.

        FP is 2 FPc + FPd and FN is 2 FNc + FNd. Pairs of unknown true class are left out.
        """
        known = self.by_distance[1:-1, 1:-1]
        tp = np.diagonal(known)
        wrong = self.by_distance[1:-1, -1]  # the prediction's class is unknown
        fp = 2 * (known.sum(0) - tp) + self.by_distance[0, 1:-1]
        fn = 2 * (known.sum(1) - tp + wrong) + self.by_distance[1:-1, 0]
        return np.stack([tp, fp, fn], axis=1)

    @property
    def class_known(self) -> NDArray[np.int64]:
        """int64 (C,), pairs by distance whose true class is this one."""
        return np.asarray(self.by_distance[1:-1, 1:].sum(1))

    @property
    def class_accuracy(self) -> NDArray[np.float64]:
        """float64 (1 + C,), of pairs by distance of known (this) class, the share found so."""
        right, known = self.class_sums[:, 0], self.class_known
        return np.append(ratio(right.sum(), known.sum()), ratio(right, known))

    @property
    def centroid_f1(self) -> NDArray[np.float64]:
        """float64 (1 + C,), hover_net's detection F1 and its F1 of each class."""
        by_class = compute_score("f1", nucleus_sums(*self.class_sums.T))
        return np.append(compute_score("f1", self.centroid_sums), by_class)

    @property
    def mean_class_f1(self) -> float:
        """Mean F1 by distance of the classes that occur in the truth."""
        occurs = self.by_distance[1:-1].sum(1) > 0
        return nanmean(self.centroid_f1[1:][occurs])


def detection_counts(
    matches: ClassMatches, by_iou: NDArray[np.int64], by_distance: NDArray[np.int64]
) -> DetectionCounts:
    """Count one image.

    Args:
        matches: binary and of each class.
        by_iou: `confuse` of the nuclei as matched by IoU.
        by_distance: `confuse` of the nuclei as paired by centroid distance.
    """
    size = len(matches.num_truth)
    above = matches.iou[:, None] > np.array(IOU_THRESHOLDS)
    tp = np.stack([np.bincount(matches.kind[passed], minlength=size) for passed in above.T], axis=1)
    return DetectionCounts(
        num_truth=matches.num_truth,
        num_predicted=matches.num_predicted,
        tp=tp.astype(np.int64),
        by_iou=by_iou,
        by_distance=by_distance,
    )


def confuse(
    truth_type: NDArray[np.integer],
    predicted_type: NDArray[np.integer],
    pairs: tuple[NDArray[np.integer], NDArray[np.integer]],
    num_classes: int,
) -> NDArray[np.int64]:
    """Nuclei by true and predicted class, as `DetectionCounts.by_iou`.

    Args:
        truth_type: (n,), class + 1 of every true nucleus, 0 where unknown.
        predicted_type: (m,), the same of the predicted nuclei.
        pairs: rows of both that belong together, one to one.
        num_classes: C.
    """
    size = num_classes + 2
    row, column = (
        np.where(types == 0, num_classes + 1, types).astype(np.int64)
        for types in (truth_type, predicted_type)
    )
    missed, spurious = np.ones(len(row), bool), np.ones(len(column), bool)
    missed[pairs[0]], spurious[pairs[1]] = False, False
    joint = np.concatenate(
        [row[pairs[0]] * size + column[pairs[1]], row[missed] * size, column[spurious]]
    )
    return np.bincount(joint, minlength=size * size).reshape(size, size).astype(np.int64)


def pair_centroids(
    truth: NDArray[np.float64], prediction: NDArray[np.float64], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """hover_net's pairing: one to one of smallest summed distance, then those within `radius`.

    Args:
        truth: (n, 2), centroids.
        prediction: (m, 2). Memory grows with n x m: 200 MB for 5,000 of each.
        radius: in the unit of the centroids; a pair exactly that far apart counts.

    Returns:
        Rows of `truth` and `prediction` of every pair.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    distance = cdist(truth, prediction)
    rows, columns = linear_sum_assignment(distance)
    near = distance[rows, columns] <= radius
    return rows[near], columns[near]


def pairing_radius_px(mpp: float) -> float:
    """Largest distance of paired centroids in pixels.

    >>> pairing_radius_px(0.25), pairing_radius_px(0.5), pairing_radius_px(math.nan)
    (12.0, 6.0, 12.0)
    """
    return RADIUS_UM / mpp if math.isfinite(mpp) else RADIUS_PX
