"""Hausdorff distance of matched nuclei: how far the worse outline point is off.

max(max_a min_b |a - b|, max_b min_a |a - b|) over the pixels a of the true and b of the predicted
nucleus (Huttenlocher et al. 1993), between pixel centres, for the pairs of IoU > 0.5. It says
nothing about nuclei that are missed, so it stands beside DQ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.counts import PAIR_UNIT, Counts, ratio, to_fixed
from histonuc.metrics.matching import Contingency, Matches


@dataclass(frozen=True, kw_only=True, eq=False)
class HausdorffCounts(Counts):
    """Distances of matched nuclei.

    Attributes:
        pairs: int64 (2,), matched nuclei; those of them in images of known resolution.
        distance_sum: int64 (2,), their distances in pixels and in microns, in `PAIR_UNIT`.
    """

    pairs: NDArray[np.int64]
    distance_sum: NDArray[np.int64]

    @classmethod
    def zero(cls) -> HausdorffCounts:
        """Nothing counted yet."""
        return cls(pairs=np.zeros(2, np.int64), distance_sum=np.zeros(2, np.int64))

    @property
    def mean_px(self) -> float:
        """Mean distance in pixels, NaN without matched nuclei."""
        return float(ratio(self.distance_sum * PAIR_UNIT, self.pairs)[0])

    @property
    def mean_um(self) -> float:
        """Mean distance in microns, of the images whose resolution is known."""
        return float(ratio(self.distance_sum * PAIR_UNIT, self.pairs)[1])


def hausdorff_counts(
    truth: NDArray[np.int32],
    prediction: NDArray[np.int32],
    table: Contingency,
    matches: Matches,
    *,
    mpp: float,
) -> HausdorffCounts:
    """Measure the matched nuclei of one image.

    Args:
        truth: label image (H, W).
        prediction: label image (H, W) of the prediction.
        table: contingency table of the two.
        matches: matches of this table at IoU > 0.5.
        mpp: microns per pixel, NaN where unknown.
    """
    distances = hausdorff_distances(truth, prediction, table, matches)
    known = math.isfinite(mpp)
    total = to_fixed(distances, PAIR_UNIT).sum()
    in_um = to_fixed(distances * mpp, PAIR_UNIT).sum() if known else 0
    return HausdorffCounts(
        pairs=np.array([len(matches), len(matches) if known else 0], np.int64),
        distance_sum=np.array([total, in_um], np.int64),
    )


def hausdorff_distances(
    truth: NDArray[np.int32], prediction: NDArray[np.int32], table: Contingency, matches: Matches
) -> NDArray[np.float64]:
    """Distance in pixels (t,) of every pair of `matches`."""
    if len(matches) == 0:
        return np.zeros(0)
    from histonuc.metrics.kernels import measure_hausdorff

    pair_of_truth, pair_of_prediction = (
        np.full(int(ids[-1]) + 1, -1) for ids in (table.truth_ids, table.prediction_ids)
    )
    pair_of_truth[table.truth_ids[matches.truth]] = np.arange(len(matches))
    pair_of_prediction[table.prediction_ids[matches.prediction]] = np.arange(len(matches))
    distances = measure_hausdorff(
        truth, prediction, pair_of_truth, pair_of_prediction, len(matches)
    )
    return np.asarray(distances, np.float64)
