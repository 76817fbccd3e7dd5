"""AJI, AJI+ and ensemble Dice: by hand, and against hover_net's way written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from histonuc.metrics.aggregate import AGGREGATES, AggregateCounts, aggregate_counts
from histonuc.metrics.matching import contingency

_labels = arrays(np.int32, (9, 10), elements=st.integers(0, 6))


def hover_net(true: np.ndarray, pred: np.ndarray) -> list[float]:
    """`get_fast_aji`, `get_fast_aji_plus` and `get_fast_dice_2`, with ids in order."""
    g = [true == i for i in np.unique(true) if i]
    p = [pred == i for i in np.unique(pred) if i]
    inter = np.array([[(a & b).sum() for b in p] for a in g], float).reshape(len(g), len(p))
    union = np.array([[(a | b).sum() for b in p] for a in g], float).reshape(len(g), len(p))
    areas = np.array([[a.sum() + b.sum() for b in p] for a in g], float).reshape(len(g), len(p))
    iou = inter / np.maximum(union, 1)
    best = [(t, int(iou[t].argmax())) for t in range(len(g)) if p and iou[t].max() > 0]
    assigned = [(t, k) for t, k in zip(*linear_sum_assignment(-iou), strict=True) if iou[t, k] > 0]
    scores = []
    for pairs in (best, assigned):
        above = sum(inter[pair] for pair in pairs)
        below = sum(union[pair] for pair in pairs)
        below += sum(g[t].sum() for t in range(len(g)) if t not in {t for t, _ in pairs})
        below += sum(p[k].sum() for k in range(len(p)) if k not in {k for _, k in pairs})
        scores.append(above / below if below else math.nan)
    total = areas[inter > 0].sum()
    return [*scores, 2 * inter.sum() / total if total else math.nan]


def test_one_merged_pair_by_hand() -> None:
    truth = np.array([[1, 1, 1, 2, 2, 0]], np.int32)
    merged = np.array([[4, 4, 4, 4, 4, 0]], np.int32)
    counts = aggregate_counts(contingency(truth, merged))
    assert AGGREGATES == ("aji", "aji_plus", "dice_ensemble")
    # AJI charges the prediction for both nuclei, AJI+ for one and counts the other as missed.
    assert counts.pooled.tolist() == [(3 + 2) / (5 + 5), 3 / (5 + 2), 2 * (3 + 2) / (8 + 7)]


@given(truth=_labels, prediction=_labels)
def test_as_hover_net_scores_it(truth: np.ndarray, prediction: np.ndarray) -> None:
    counts = aggregate_counts(contingency(truth, prediction))
    expected = hover_net(truth, prediction)
    aji_plus = counts.images[1], expected.pop(1)
    np.testing.assert_allclose(counts.images[[0, 2]], expected, atol=1e-9)
    # Assignments of equal summed IoU may differ in area, so AJI+ of ties is not unique.
    assert aji_plus[0] == pytest.approx(aji_plus[1], abs=0.1, nan_ok=True)


@given(st.integers(0, 2**32 - 1))
def test_aji_plus_equals_hover_net_on_discs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :40]
    truth, prediction = np.zeros((2, 40, 40), np.int32)
    for labels in (truth, prediction):
        for i in range(1, 12):
            cy, cx, r = rng.uniform([0, 0, 3], [40, 40, 9])
            labels[(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = i
    counts = aggregate_counts(contingency(truth, prediction))
    np.testing.assert_allclose(counts.images, hover_net(truth, prediction), atol=1e-9)


def test_nothing_to_score_is_nan_and_all_false_is_zero() -> None:
    empty, full = np.zeros((3, 3), np.int32), np.ones((3, 3), np.int32)
    nothing = aggregate_counts(contingency(empty, empty))
    assert np.isnan(nothing.images).all()
    assert aggregate_counts(contingency(empty, full)).images[:2].tolist() == [0, 0]
    assert np.isnan((nothing + AggregateCounts.zero()).pooled).all()
