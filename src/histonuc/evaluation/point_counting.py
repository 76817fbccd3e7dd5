"""Everything that is counted on a tile whose nuclei are marked by points.

Points and the centroids of predicted nuclei are paired one to one within 3 µm, as centroids are
where nuclei have outlines. What asks for outlines (overlap, pixels, kinds of error) is not counted.
Where points mark some of the nuclei only, predictions beside them are neither right nor wrong, and
are not counted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from histonuc.contours import find_centroids
from histonuc.evaluation.counting import GroupCounts, count_calibration
from histonuc.evaluation.predictions import Prediction
from histonuc.evaluation.truth import TileTruth
from histonuc.metrics.composition import composition_counts
from histonuc.metrics.detection import confuse, pair_centroids, pairing_radius_px


def count_points(
    truth: TileTruth, prediction: Prediction, num_classes: int, *, with_classes: bool = True
) -> GroupCounts:
    """Count one tile.

    Args:
        truth: what is true of it, with points.
        prediction: what is predicted of it.
        num_classes: C.
        with_classes: whether classes are compared; otherwise only the nuclei are.
    """
    assert truth.points is not None, "a tile with outlines"
    ids = np.unique(prediction.labels[prediction.labels > 0]).astype(np.int64)
    types = prediction.types if with_classes else None
    predicted_kind = np.zeros(len(ids), np.int32) if types is None else types[ids]
    true_kind = truth.types[1:] if types is not None else np.zeros(len(truth.points), np.int32)
    centroid = find_centroids(prediction.labels, int(ids.max(initial=0)))[ids - 1]
    pairs = pair_centroids(truth.points, centroid, pairing_radius_px(truth.mpp))
    calibration = count_calibration(ids, pairs, true_kind, prediction)
    if truth.is_sparse:
        predicted_kind = predicted_kind[pairs[1]]
        pairs = pairs[0], np.arange(len(pairs[1]))
    zero = GroupCounts.zero(num_classes)
    by_distance = confuse(true_kind, predicted_kind, pairs, num_classes)
    return replace(
        zero,
        detection=replace(zero.detection, by_distance=by_distance),
        composition=zero.composition
        if truth.is_sparse
        else composition_counts(
            true_kind if types is not None else None,
            predicted_kind,
            len(true_kind),
            len(ids),
            num_classes=num_classes,
        ),
        calibration=calibration.without_score() if truth.is_sparse else calibration,
        num_tiles=1,
        num_sparse=int(truth.is_sparse),
    )
