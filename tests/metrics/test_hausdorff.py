"""Hausdorff distance: against all pairs of pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.metrics.hausdorff import HausdorffCounts, hausdorff_counts, hausdorff_distances
from histonuc.metrics.matching import contingency, match


def measure(truth: np.ndarray, prediction: np.ndarray, mpp: float = 0.5) -> HausdorffCounts:
    table = contingency(truth, prediction)
    return hausdorff_counts(truth, prediction, table, match(table), mpp=mpp)


def test_a_square_moved_by_hand() -> None:
    truth, prediction = np.zeros((2, 12, 12), np.int32)
    truth[2:8, 2:8], prediction[2:8, 3:9] = 4, 9
    counts = measure(truth, prediction)
    assert (counts.mean_px, counts.mean_um) == (1.0, 0.5)
    unknown = measure(truth, prediction, math.nan)
    assert unknown.mean_px == 1.0
    assert math.isnan(unknown.mean_um)
    both = counts + unknown
    assert both.pairs.tolist() == [2, 1]
    assert math.isnan(measure(truth, prediction * 0).mean_px)


def test_the_middle_of_a_nucleus_may_be_what_is_farthest() -> None:
    y, x = np.mgrid[:31, :31]
    distance = np.hypot(y - 15, x - 15)
    truth, ring = (
        (distance < 14).astype(np.int32),
        ((distance < 14) & (distance >= 7)).astype(np.int32),
    )
    assert measure(truth, ring).mean_px == pytest.approx(7, abs=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_equals_all_pairs_of_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    truth, prediction = np.zeros((2, 32, 32), np.int32)
    for i in range(1, 5):
        cy, cx, r = rng.uniform([0, 0, 3], [32, 32, 9])
        truth[(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = i
        cy, cx, r = cy + rng.normal(), cx + rng.normal(), r + rng.normal()
        prediction[(y - cy) ** 2 + (x - cx) ** 2 <= max(r, 1) ** 2] = 5 - i
    table = contingency(truth, prediction)
    matches = match(table)
    found = hausdorff_distances(truth, prediction, table, matches)
    for k, distance in enumerate(found):
        a = np.argwhere(truth == table.truth_ids[matches.truth[k]])
        b = np.argwhere(prediction == table.prediction_ids[matches.prediction[k]])
        all_pairs = np.sqrt(((a[:, None] - b[None]) ** 2).sum(2))
        assert distance == max(all_pairs.min(0).max(), all_pairs.min(1).max())
