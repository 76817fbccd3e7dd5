"""Kinds of errors: missed, spurious, split, merged, misclassified.

Every true and every predicted nucleus is exactly one of these. "Covers" means more than half of an
area, so a prediction lies mostly in at most one true nucleus and the other way round.

- found: matched at IoU > 0.5; *misclassified* when both classes are known and differ.
- merged, of what is not matched: a true nucleus covered by a prediction that covers another true
  nucleus too; a prediction that covers two or more true nuclei.
- split, of what is left: a true nucleus that covers two or more predictions; a prediction covered
  by a true nucleus that covers another prediction too.
- missed, spurious: the rest. A nucleus that is outlined too badly to match is both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.counts import Counts
from histonuc.metrics.matching import Contingency, Matches

TRUTH_KINDS = ("found", "misclassified", "merged", "split", "missed")
"""Kinds of true nuclei; those misclassified are not among the found."""
PREDICTION_KINDS = ("found", "misclassified", "merged", "split", "spurious")
"""Kinds of predicted nuclei."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorCounts(Counts):
    """Nuclei by kind. Rows: 0 unknown class, ``1 + j`` class ``j``; sum the rows for all.

    Attributes:
        truth: int64 (1 + C, 5), true nuclei by their class and `TRUTH_KINDS`.
        prediction: int64 (1 + C, 5), predicted nuclei by theirs and `PREDICTION_KINDS`.
    """

    truth: NDArray[np.int64]
    prediction: NDArray[np.int64]

    @classmethod
    def zero(cls, num_classes: int) -> ErrorCounts:
        """Nothing counted yet."""
        shape = (1 + num_classes, len(TRUTH_KINDS))
        return cls(truth=np.zeros(shape, np.int64), prediction=np.zeros(shape, np.int64))


def error_counts(
    table: Contingency,
    matches: Matches,
    truth_type: NDArray[np.integer],
    predicted_type: NDArray[np.integer],
    *,
    num_classes: int,
) -> ErrorCounts:
    """Sort the nuclei of one image.

    Args:
        table: contingency of the label images.
        matches: matches of this table at IoU > 0.5.
        truth_type: class + 1 of every row of `table.truth_ids`, 0 where unknown.
        predicted_type: class + 1 of every row of `table.prediction_ids`, 0 where unknown.
        num_classes: C.
    """
    truth, prediction, overlap = table.pair_truth, table.pair_prediction, 2 * table.intersection
    covers_truth = overlap > table.truth_area[truth]
    covers_prediction = overlap > table.prediction_area[prediction]
    num_truth, num_predicted = len(table.truth_ids), len(table.prediction_ids)
    merging = np.bincount(prediction[covers_truth], minlength=num_predicted) > 1
    splitting = np.bincount(truth[covers_prediction], minlength=num_truth) > 1
    merged, part = np.zeros(num_truth, bool), np.zeros(num_predicted, bool)
    merged[truth[covers_truth & merging[prediction]]] = True
    part[prediction[covers_prediction & splitting[truth]]] = True

    truth_kind = np.select([merged, splitting], [2, 3], 4)
    predicted_kind = np.select([merging, part], [2, 3], 4)
    pair = truth_type[matches.truth], predicted_type[matches.prediction]
    wrong = (pair[0] != pair[1]) & (pair[0] > 0) & (pair[1] > 0)
    truth_kind[matches.truth] = predicted_kind[matches.prediction] = wrong
    return ErrorCounts(
        truth=_tabulate(truth_type, truth_kind, num_classes),
        prediction=_tabulate(predicted_type, predicted_kind, num_classes),
    )


def _tabulate(
    types: NDArray[np.integer], kinds: NDArray[np.integer], num_classes: int
) -> NDArray[np.int64]:
    size = len(TRUTH_KINDS)
    joint = np.bincount(types.astype(np.int64) * size + kinds, minlength=(1 + num_classes) * size)
    return joint.reshape(1 + num_classes, size).astype(np.int64)
