"""What is counted on one tile does not depend on how its nuclei are numbered."""

from __future__ import annotations

from typing import Any

import numpy as np

from histonuc.evaluation.counting import count_tile, summarise_tile
from histonuc.evaluation.predictions import Prediction
from histonuc.evaluation.truth import TileTruth


def make_truth(labels: np.ndarray, types: list[int], **changes: Any) -> TileTruth:
    facts: dict[str, Any] = {"tile": 0, "name": "t", "source": "s", "tissue": "", "fold": 1}
    facts |= {"mpp": 0.25, "image": np.zeros((*labels.shape, 3), np.uint8)}
    return TileTruth(**facts | changes, labels=labels, types=np.array(types, np.int32))


def draw_labels() -> np.ndarray:
    labels = np.zeros((30, 40), np.int32)
    labels[2:9, 2:9], labels[12:20, 5:15], labels[22:28, 30:38] = 1, 2, 3
    return labels


def test_ids_may_have_gaps() -> None:
    labels = draw_labels()
    moved = np.roll(labels, (1, 2), (0, 1))
    expected = count_tile(
        make_truth(labels, [0, 1, 2, 1]),
        Prediction(labels=moved, types=np.array([0, 1, 1, 1], np.int32)),
        2,
    )
    spread = np.array([0, 4, 7, 9], np.int32)
    types, predicted = [0] * 10, np.zeros(10, np.int32)
    for number, (kind, other) in zip(spread[1:], ((1, 1), (2, 1), (1, 1)), strict=True):
        types[number], predicted[number] = kind, other
    found = count_tile(
        make_truth(spread[labels], types), Prediction(labels=spread[moved], types=predicted), 2
    )
    for name in ("panoptic", "pixels", "aggregate", "detection", "errors", "hausdorff"):
        assert getattr(found, name).to_dict() == getattr(expected, name).to_dict(), name


def test_nuclei_are_paired_by_centroids_within_three_microns() -> None:
    labels = draw_labels()
    shift = 2
    moved = Prediction(labels=np.roll(labels, shift, 1))
    for mpp, paired in ((3 / shift, 3), (3 / shift + 0.01, 0)):
        truth = make_truth(labels, [0, 0, 0, 0], mpp=mpp)
        row = summarise_tile(truth, count_tile(truth, moved, 1, with_classes=False))
        assert row.tp_centroid == paired
