"""F1 by IoU and by centroid distance, and the confusion of nuclei, mostly by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.metrics.detection import (
    IOU_THRESHOLDS,
    DetectionCounts,
    confuse,
    detection_counts,
    pair_centroids,
)
from histonuc.metrics.matching import ClassMatches, contingency, match_classes


def hover_net_f1(pairs: np.ndarray, lost: np.ndarray, extra: np.ndarray, kind: int) -> float:
    """`_f1_type` of compute_stats.py with its weights, on (true, predicted) types of pairs."""
    true, pred = pairs.T
    own = (true == kind) | (pred == kind)
    true, pred = true[own], pred[own]
    tp = ((true == kind) & (pred == kind)).sum()
    tn = ((true != kind) & (pred != kind)).sum()
    fp = ((true != kind) & (pred == kind)).sum()
    fn = ((true == kind) & (pred != kind)).sum()
    below = 2 * (tp + tn) + 2 * fp + 2 * fn + (extra == kind).sum() + (lost == kind).sum()
    return 2 * (tp + tn) / below if below else np.nan


@given(st.integers(0, 2**32 - 1))
def test_centroid_f1_is_hover_nets(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true, pred = rng.integers(1, 4, rng.integers(1, 12)), rng.integers(0, 4, rng.integers(1, 12))
    num = int(rng.integers(0, min(len(true), len(pred)) + 1))
    rows, columns = rng.permutation(len(true))[:num], rng.permutation(len(pred))[:num]
    table = confuse(true, pred, (rows, columns), 3)
    counts = detection_counts(_nothing(3), table, table)
    pairs = np.stack([true[rows], pred[columns]], 1)
    lost, extra = np.delete(true, rows), np.delete(pred, columns)
    detection = 2 * num / (2 * num + len(lost) + len(extra))
    expected = [detection, *(hover_net_f1(pairs, lost, extra, kind) for kind in (1, 2, 3))]
    np.testing.assert_allclose(counts.centroid_f1, expected)
    assert counts.centroid_precision == num / len(pred)
    assert counts.centroid_recall == num / len(true)


def _nothing(num_classes: int) -> ClassMatches:
    zero = DetectionCounts.zero(num_classes)
    return ClassMatches(
        num_truth=zero.num_truth,
        num_predicted=zero.num_predicted,
        kind=np.zeros(0, np.int64),
        iou=np.zeros(0),
    )


def test_thresholds_by_hand() -> None:
    truth, prediction = np.zeros((2, 10, 10), np.int32)
    truth[0:4, 0:4], truth[6:8, 6:8] = 1, 2
    prediction[0:4, 1:5], prediction[6:8, 6:8] = 1, 2  # IoU 12 / 20 and 1
    types, guessed = np.array([0, 1, 2]), np.array([0, 1, 1])
    matches = match_classes(contingency(truth, prediction), types, guessed, num_classes=2)
    table = confuse(types[1:], guessed[1:], (np.array([0, 1]), np.array([0, 1])), 2)
    counts = detection_counts(matches, table, table)
    assert IOU_THRESHOLDS[:3] == (0.5, 0.55, 0.6)
    assert counts.tp[0].tolist() == [2, 2, 1, 1, 1, 1, 1, 1, 1, 1]  # 0.6 is not above 0.6
    assert counts.tp[1].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert counts.f1[1, 0] == 2 * 1 / (1 + 2)
    assert counts.precision[1, 0] == 1 / 2
    assert counts.recall[2, 0] == 0
    assert counts.by_iou.tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_missed_spurious_and_unknown_have_their_places() -> None:
    table = confuse(np.array([1, 0]), np.array([2, 1]), (np.array([1]), np.array([1])), 2)
    assert table[1, 0] == 1  # missed
    assert table[0, 2] == 1  # spurious
    assert table[3, 1] == 1  # of unknown class, found
    assert table.sum() == 3


def test_pairing_minimises_the_summed_distance_and_then_cuts() -> None:
    truth = np.array([[0.0, 0.0], [10.0, 0.0]])
    prediction = np.array([[9.0, 0.0], [22.0, 0.0]])
    # 9 + 12 is less than 1 + 22: hover_net pairs so, though 1 is nearer; 12 is not beyond 12.
    rows, columns = pair_centroids(truth, prediction, 12.0)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [0, 1])
    assert len(pair_centroids(truth, prediction, 11.9)[0]) == 1
    assert len(pair_centroids(truth, np.zeros((0, 2)), 12.0)[0]) == 0


def test_counts_add() -> None:
    zero = DetectionCounts.zero(2)
    assert (zero + zero).to_dict() == zero.to_dict()
    with pytest.raises(ValueError, match="different label spaces"):
        _ = zero + DetectionCounts.zero(3)
