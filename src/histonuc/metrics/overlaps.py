"""Nuclei that overlap: the contingency table with the pixels that flat label images cannot show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.matching import Contingency
from histonuc.nuclei import CoveredPixels


def add_covered(
    table: Contingency,
    truth: NDArray[np.integer],
    prediction: NDArray[np.integer],
    covered_truth: CoveredPixels | None,
    covered_prediction: CoveredPixels | None,
) -> Contingency:
    """The table with the nuclei whole, as they lie in one channel a class.

    Afterwards nuclei of different classes may share pixels, so only pairs of one class have the
    unique partner that `match` promises; where classes were merged, not even those.

    Args:
        table: contingency of the two flat label images.
        truth: that of the truth, (H, W).
        prediction: that of the prediction.
        covered_truth: what `truth` does not show; None for nothing.
        covered_prediction: what `prediction` does not show.
    """
    empty = np.zeros(0, np.int64)
    truth_pixel, truth_id = (
        (covered_truth.pixel, covered_truth.nucleus) if covered_truth else (empty, empty)
    )
    predicted_pixel, predicted_id = (
        (covered_prediction.pixel, covered_prediction.nucleus)
        if covered_prediction
        else (empty, empty)
    )
    if len(truth_pixel) == 0 and len(predicted_pixel) == 0:
        return table
    one, two = np.nonzero(truth_pixel[:, None] == predicted_pixel[None])  # covered in both
    pairs = [
        (table.truth_ids[table.pair_truth], table.prediction_ids[table.pair_prediction]),
        (truth_id, prediction.ravel()[truth_pixel].astype(np.int64)),
        (truth.ravel()[predicted_pixel].astype(np.int64), predicted_id),
        (truth_id[one], predicted_id[two]),
    ]
    weights = [table.intersection] + [np.ones(len(a), np.int64) for a, _ in pairs[1:]]
    left, right, weight = (
        np.concatenate(parts) for parts in (*zip(*pairs, strict=True), tuple(weights))
    )
    real = (left > 0) & (right > 0)
    truth_ids, truth_area = _add_areas(table.truth_ids, table.truth_area, truth_id)
    prediction_ids, prediction_area = _add_areas(
        table.prediction_ids, table.prediction_area, predicted_id
    )
    rows, columns = (
        np.searchsorted(ids, values[real])
        for ids, values in ((truth_ids, left), (prediction_ids, right))
    )
    keys, place = np.unique(rows * len(prediction_ids) + columns, return_inverse=True)
    return Contingency(
        truth_ids=truth_ids,
        prediction_ids=prediction_ids,
        truth_area=truth_area,
        prediction_area=prediction_area,
        pair_truth=keys // max(len(prediction_ids), 1),
        pair_prediction=keys % max(len(prediction_ids), 1),
        intersection=np.bincount(place, weight[real], minlength=len(keys)).astype(np.int64),
    )


def _add_areas(
    ids: NDArray[np.int64], areas: NDArray[np.int64], more: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids and areas after one more pixel for every entry of `more`."""
    all_ids, place = np.unique(np.concatenate([ids, more]), return_inverse=True)
    weights = np.concatenate([areas, np.ones(len(more), np.int64)])
    return all_ids, np.bincount(place, weights, minlength=len(all_ids)).astype(np.int64)
