"""Bootstrap intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from histonuc.metrics.bootstrap import bootstrap_interval


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
