"""Bootstrap sums and intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from histonuc.metrics.bootstrap import percentile_interval, resample_sums


def interval(columns: np.ndarray, groups: np.ndarray, repeats: int = 4000) -> tuple[float, float]:
    """Ends of the sum of the first column over that of the second, all groups together."""
    rng = np.random.default_rng(0)
    sums = resample_sums(columns, groups, groups.max() + 1, repeats, rng).sum(0)
    low, high = percentile_interval((sums[:, :1] / sums[:, 1:])[None])
    return float(low[0, 0]), float(high[0, 0])


def test_the_interval_of_a_mean_matches_the_normal_theory() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    half = 1.96 * values.std(ddof=1) / math.sqrt(400)
    found = interval(np.column_stack([values, np.ones(400)]), np.zeros(400, np.intp))
    assert found == pytest.approx((values.mean() - half, values.mean() + half), abs=0.001)


def test_the_interval_of_a_ratio_of_sums_matches_the_delta_method() -> None:
    rng = np.random.default_rng(2)
    below = rng.integers(5, 40, 500).astype(float)
    above = rng.binomial(below.astype(int), 0.8).astype(float)
    ratio = above.sum() / below.sum()
    half = 1.96 * (above - ratio * below).std() / math.sqrt(500) / below.mean()
    found = interval(np.column_stack([above, below]), np.zeros(500, np.intp))
    assert found == pytest.approx((ratio - half, ratio + half), abs=0.001)


def test_images_are_drawn_within_their_group() -> None:
    groups = np.repeat([0, 1], [10, 10])
    assert interval(np.column_stack([groups, np.ones(20)]).astype(float), groups) == (0.5, 0.5)


def test_all_columns_share_the_draws_and_an_empty_group_sums_to_nothing() -> None:
    columns = np.arange(12.0).reshape(6, 2)
    columns[:, 1] = columns[:, 0]
    sums = resample_sums(columns, np.full(6, 1), 2, 50, np.random.default_rng(0))
    assert sums.shape == (2, 50, 2)
    assert not sums[0].any()
    assert np.array_equal(sums[1, :, 0], sums[1, :, 1])
    assert len(np.unique(sums[1, :, 0])) > 10


def test_samples_without_a_score_do_not_count() -> None:
    samples = np.array([[[0.1, np.nan], [np.nan, np.nan], [0.3, np.nan]]])
    low, high = percentile_interval(samples)
    assert [low[0, 0], high[0, 0]] == pytest.approx([0.105, 0.295])
    assert math.isnan(low[0, 1])
