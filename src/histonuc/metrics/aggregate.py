"""Scores that aggregate overlaps over an image's nuclei: AJI, AJI+ and the ensemble Dice.

- AJI (Kumar et al. 2017, TMI 36(7)): every true nucleus takes the prediction of highest IoU, which
  several may share; intersections over unions, with the areas of all that is left over added to the
  unions.
- AJI+ (Graham et al. 2019, arXiv 1812.06499): the same with a one-to-one pairing of highest summed
  IoU, so that a merged prediction is not charged once for each nucleus in it.
- Ensemble Dice, "DICE2" (Vu et al. 2019, arXiv 1810.13230): 2 x intersections over summed areas of
  all pairs that overlap; a nucleus that nothing overlaps does not count, nuclei weigh by area.

All agree with hover_net's `get_fast_aji`, `get_fast_aji_plus` and `get_fast_dice_2` (tests), which
averages them over images; here the pooled ratio is kept too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.counts import PAIR_UNIT, Counts, ratio, to_fixed
from histonuc.metrics.matching import Contingency

AGGREGATES = ("aji", "aji_plus", "dice_ensemble")
"""Order of the entries of `AggregateCounts`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AggregateCounts(Counts):
    """Entries are `AGGREGATES`.

    Attributes:
        above, below: int64 (3,), numerators and denominators in pixels.
        image_sum: int64 (3,), scores of single images summed, in `PAIR_UNIT`.
        image_count: int64 (3,), images where the score is defined.
    """

    above: NDArray[np.int64]
    below: NDArray[np.int64]
    image_sum: NDArray[np.int64]
    image_count: NDArray[np.int64]

    @classmethod
    def zero(cls) -> AggregateCounts:
        """Nothing counted yet."""
        return cls(
            above=np.zeros(3, np.int64),
            below=np.zeros(3, np.int64),
            image_sum=np.zeros(3, np.int64),
            image_count=np.zeros(3, np.int64),
        )

    @property
    def pooled(self) -> NDArray[np.float64]:
        """float64 (3,), from the pixels of all images together."""
        return ratio(self.above, self.below)

    @property
    def images(self) -> NDArray[np.float64]:
        """float64 (3,), mean over the images in which there is anything to score."""
        return ratio(self.image_sum * PAIR_UNIT, self.image_count)


def aggregate_counts(table: Contingency) -> AggregateCounts:
    """Score one image by its contingency table."""
    union = (
        table.truth_area[table.pair_truth]
        + table.prediction_area[table.pair_prediction]
        - table.intersection
    )
    best, assigned = _best_pairs(table), _assigned_pairs(table)
    both = int(2 * table.intersection.sum())
    areas = int((union + table.intersection).sum())
    above = [int(table.intersection[pairs].sum()) for pairs in (best, assigned)]
    below = [int(union[pairs].sum()) + _left_over(table, pairs) for pairs in (best, assigned)]
    numerators, denominators = np.array([*above, both]), np.array([*below, areas])
    defined = denominators > 0
    return AggregateCounts(
        above=numerators,
        below=denominators,
        image_sum=to_fixed(numerators / np.maximum(denominators, 1), PAIR_UNIT),
        image_count=defined.astype(np.int64),
    )


def _left_over(table: Contingency, pairs: NDArray[np.int64]) -> int:
    """Area of the nuclei that are in none of the pairs."""
    truth, prediction = (
        np.ones(len(table.truth_ids), bool),
        np.ones(len(table.prediction_ids), bool),
    )
    truth[table.pair_truth[pairs]] = False
    prediction[table.pair_prediction[pairs]] = False
    return int(table.truth_area[truth].sum() + table.prediction_area[prediction].sum())


def _best_pairs(table: Contingency) -> NDArray[np.int64]:
    """Of each true nucleus that is overlapped, its pair of highest IoU; the lowest id of equals."""
    order = np.lexsort((table.pair_prediction, -table.iou, table.pair_truth))
    first = np.diff(table.pair_truth[order], prepend=-1) > 0
    return np.asarray(order[first])


def _assigned_pairs(table: Contingency) -> NDArray[np.int64]:
    """One-to-one pairs of highest summed IoU."""
    truth, prediction = table.pair_truth, table.pair_prediction
    alone = (np.bincount(truth)[truth] == 1) & (np.bincount(prediction)[prediction] == 1)
    rest = np.flatnonzero(~alone)
    if len(rest) == 0:
        return np.flatnonzero(alone)
    from scipy.optimize import linear_sum_assignment

    rows, columns = (np.unique(ids[rest], return_inverse=True)[1] for ids in (truth, prediction))
    pair = np.full((int(rows.max()) + 1, int(columns.max()) + 1), -1)
    pair[rows, columns] = rest
    weight = np.where(pair >= 0, table.iou[pair], 0.0)
    chosen = pair[linear_sum_assignment(weight, maximize=True)]
    return np.concatenate([np.flatnonzero(alone), chosen[chosen >= 0]])
