"""The contingency table and the matching, against loops and against arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from histonuc.metrics import matching
from histonuc.metrics.matching import contingency, match, match_classes
from histonuc.metrics.overlaps import add_covered
from histonuc.nuclei import CoveredPixels

_labels = arrays(np.int32, (9, 11), elements=st.integers(0, 5))


def test_two_overlapping_squares_by_hand() -> None:
    truth, prediction = np.zeros((2, 10, 10), np.int32)
    truth[0:4, 0:4] = 1  # 16 px
    prediction[0:4, 1:5] = 7  # 16 px, 12 shared
    prediction[9, 9] = 3
    table = contingency(truth, prediction)
    assert table.truth_ids.tolist() == [1]
    assert table.prediction_ids.tolist() == [3, 7]
    assert table.prediction_area.tolist() == [1, 16]
    assert (table.pair_truth.tolist(), table.pair_prediction.tolist()) == ([0], [1])
    assert table.intersection.tolist() == [12]
    assert table.iou.tolist() == [12 / (16 + 16 - 12)]


def test_an_iou_of_exactly_one_half_is_no_match() -> None:
    truth = np.array([[1, 1, 0, 0]], np.int32)
    prediction = np.array([[2, 0, 0, 0]], np.int32)  # 1 of 2 pixels
    table = contingency(truth, prediction)
    assert table.iou.tolist() == [0.5]
    assert len(match(table)) == 0
    assert len(match(contingency(truth, truth), 0.9)) == 1


def test_touching_nuclei_are_kept_apart() -> None:
    truth = np.array([[1, 1, 1, 2, 2, 2]], np.int32)
    merged = np.array([[1, 1, 1, 1, 1, 1]], np.int32)
    assert contingency(truth, merged).iou.tolist() == [0.5, 0.5]
    assert len(match(contingency(truth, merged))) == 0


@pytest.mark.parametrize("threshold", [0.49, 1.01])
def test_thresholds_without_unique_partners_are_refused(threshold: float) -> None:
    table = contingency(np.ones((2, 2), np.int32), np.ones((2, 2), np.int32))
    with pytest.raises(ValueError, match=r"IoU threshold of 0\.5 to 1"):
        match(table, threshold)


def test_shapes_and_negative_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="must be equal"):
        contingency(np.zeros((2, 2), np.int32), np.zeros((2, 3), np.int32))
    with pytest.raises(ValueError, match="positive ids, got -1"):
        contingency(np.full((2, 2), -1, np.int32), np.zeros((2, 2), np.int32))


@given(truth=_labels, prediction=_labels)
def test_table_equals_a_plain_count(truth: np.ndarray, prediction: np.ndarray) -> None:
    table = contingency(truth, prediction)
    found = {
        (int(table.truth_ids[t]), int(table.prediction_ids[p])): int(n)
        for t, p, n in zip(table.pair_truth, table.pair_prediction, table.intersection, strict=True)
    }
    counted: dict[tuple[int, int], int] = {}
    for t, p in zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True):
        if t and p:
            counted[t, p] = counted.get((t, p), 0) + 1
    assert found == counted
    areas = dict(zip(table.truth_ids.tolist(), table.truth_area.tolist(), strict=True))
    assert areas == {i: int((truth == i).sum()) for i in np.unique(truth).tolist() if i}


@given(truth=_labels, prediction=_labels)
def test_sparse_counting_equals_dense(truth: np.ndarray, prediction: np.ndarray) -> None:
    dense = contingency(truth, prediction)
    limit = matching._DENSE_LIMIT
    try:
        matching._DENSE_LIMIT = 0
        sparse = contingency(truth, prediction)
    finally:
        matching._DENSE_LIMIT = limit
    for name in ("pair_truth", "pair_prediction", "intersection"):
        np.testing.assert_array_equal(getattr(dense, name), getattr(sparse, name))


def test_huge_ids_need_no_huge_table() -> None:
    truth = np.array([[0, 2_000_000_000, 5]], np.int32)
    full = np.array([[2_000_000_000, 7, 7]], np.int32)  # no background at all
    table = contingency(truth, full)
    assert table.truth_ids.tolist() == [5, 2_000_000_000]
    assert table.prediction_ids.tolist() == [7, 2_000_000_000]
    assert table.intersection.tolist() == [1, 1]


def test_of_two_nuclei_that_became_one_class_the_better_one_is_matched() -> None:
    """Two outlines of one nucleus, in channels of two classes that were merged."""
    truth, prediction = np.zeros((2, 4, 12), np.int32)
    truth[:, 0:6], truth[:, 6:8] = 1, 2  # nucleus 2 lies below nucleus 1 from column 2 on
    prediction[:, 0:7] = 1
    hidden = np.flatnonzero((truth == 1) & (np.arange(12) >= 2))
    types = np.array([0, 1, 1], np.int32)
    covered = CoveredPixels(pixel=hidden, nucleus=np.full(len(hidden), 2), types=types)
    table = contingency(truth, prediction)
    whole = add_covered(table, truth, prediction, covered, None)
    assert sorted(match(whole).iou.tolist()) == [5 / 8, 6 / 7]  # both are above one half
    found = match_classes(table, types, np.array([0, 1], np.int32), num_classes=1, whole=whole)
    assert found.num_truth.tolist() == [2, 2]
    assert found.num_predicted.tolist() == [1, 1]
    assert found.iou[found.kind == 1].tolist() == [6 / 7]
