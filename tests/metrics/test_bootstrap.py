"""Bootstrap intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from histonuc.metrics.bootstrap import bootstrap_interval, ratio_interval


def test_the_interval_holds_the_mean_and_matches_the_normal_theory() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.5, 0.1, 400)
    low, high = bootstrap_interval(values, ["a"] * 400, repeats=4000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.001)


def test_tissues_weigh_alike_and_order_and_nan_do_not_matter() -> None:
    values = [0.0] * 30 + [1.0] * 3 + [math.nan] * 2
    names = ["big"] * 30 + ["small"] * 3 + ["small", "none"]
    assert bootstrap_interval(values, names) == (0.5, 0.5)
    rng = np.random.default_rng(1)
    values = np.append(rng.random(40), math.nan)
    names = [f"tissue {k % 3}" for k in range(41)]
    order = rng.permutation(41)
    assert bootstrap_interval(values, names) == bootstrap_interval(
        values[order], [names[k] for k in order]
    )


def test_nothing_defined_is_nan() -> None:
    assert all(map(math.isnan, bootstrap_interval([math.nan], ["a"])))
    assert all(map(math.isnan, bootstrap_interval([], [])))
    assert all(map(math.isnan, ratio_interval([0.0], [0.0], ["a"])))


def test_a_ratio_of_sums_matches_the_delta_method_and_weighs_images_by_their_nuclei() -> None:
    rng = np.random.default_rng(2)
    below = rng.integers(5, 40, 500).astype(float)
    above = rng.binomial(below.astype(int), 0.8).astype(float)
    low, high = ratio_interval(above, below, ["a"] * 500, repeats=4000)
    center = above.sum() / below.sum()
    half = 1.96 * (above - center * below).std() / math.sqrt(500) / below.mean()
    assert (low, high) == pytest.approx((center - half, center + half), abs=0.001)


def test_a_mean_over_images_is_a_ratio() -> None:
    values = np.random.default_rng(3).random(50)
    assert ratio_interval(values, np.ones(50), ["a"] * 50) == pytest.approx(
        bootstrap_interval(values, ["a"] * 50)
    )
    assert ratio_interval(values, np.ones(50), ["a"] * 50) == ratio_interval(
        values[::-1], np.ones(50), ["a"] * 50
    )
