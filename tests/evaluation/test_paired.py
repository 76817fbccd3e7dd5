"""Paired statistics against enumeration by hand, and what must hold for any scores."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.evaluation.paired import compare_paired, holm

STRATA = ["a"] * 4 + ["b"] * 3 + ["c"]
NAN = float("nan")
FIRST = np.array([[0.1, 0.5], [0.4, NAN], [0.3, 0.2], [NAN, 0.9], [0.6, 0.1], [0.2, 0.3]])
FIRST = np.concatenate([FIRST, [[0.5, 0.5], [0.7, NAN]]])
SHIFT = np.array([[0.1, -0.2], [0.0, NAN], [0.4, 0.1], [NAN, 0.05], [0.2, 0.3], [-0.1, -0.1]])
SECOND = FIRST + np.concatenate([SHIFT, [[0.15, NAN], [0.05, NAN]]])


def averages(values: np.ndarray, strata: list[str]) -> np.ndarray:
    """Means of one score (N,) within strata, over strata, over images, by plain loops."""
    means = []
    for name in sorted(set(strata)):
        own = [v for v, s in zip(values, strata, strict=True) if s == name and not np.isnan(v)]
        means.append(sum(own) / len(own) if own else NAN)
    known = [mean for mean in means if not np.isnan(mean)]
    numbers = [v for v in values if not np.isnan(v)]
    return np.array([*means, sum(known) / len(known), sum(numbers) / len(numbers)])


def test_means_are_the_averages_over_pairs() -> None:
    found = compare_paired(FIRST, SECOND, STRATA, num_resamples=10)
    assert found.strata == ("a", "b", "c")
    for score in range(2):
        difference = SECOND[:, score] - FIRST[:, score]
        paired = np.where(np.isnan(difference), NAN, FIRST[:, score])
        np.testing.assert_allclose(found.difference[:, score], averages(difference, STRATA))
        np.testing.assert_allclose(found.first[:, score], averages(paired, STRATA))
    np.testing.assert_allclose(found.second, found.first + found.difference)
    # Of the second score, b has one image that only the first model has, and c has none at all.
    assert found.num_images.tolist() == [[3, 3], [3, 2], [1, 0], [7, 5], [7, 5]]
    assert found.num_one_sided.tolist() == [[0, 0], [0, 1], [0, 0], [0, 1], [0, 1]]
    for array in (found.difference, found.p_value):
        assert np.isnan(array[2, 1])
        assert np.isnan(array).sum() == 1


def test_p_is_the_share_of_all_sign_flips() -> None:
    found = compare_paired(FIRST, SECOND, STRATA)
    difference = SECOND - FIRST
    for score in range(2):
        flips = [np.array(s) * difference[:, score] for s in product((-1, 1), repeat=len(STRATA))]
        flipped = np.abs([averages(values, STRATA) for values in flips])  # (256, T + 2)
        observed = np.abs(averages(difference[:, score], STRATA))
        exact = (flipped >= observed - 1e-12).mean(0)
        known = ~np.isnan(observed)
        np.testing.assert_allclose(found.p_value[known, score], exact[known], atol=0.02)
    assert found.p_value[2, 0] == 1  # of one image, a flip is as far out as none


def test_the_interval_holds_95_percent_of_all_draws() -> None:
    found = compare_paired(FIRST, SECOND, STRATA)
    difference = (SECOND - FIRST)[:, 0]
    draws = product(product(range(4), repeat=3), product(range(4, 7), repeat=2))  # n - 1 of n
    outcomes = [
        averages(difference[[*in_a, *in_b, 7]], ["a"] * 3 + ["b"] * 2 + ["c"])[-2]
        for in_a, in_b in draws
    ]
    low, high = found.low[-2, 0], found.high[-2, 0]
    assert np.mean(np.array(outcomes) < low - 1e-9) <= 0.03
    assert np.mean(np.array(outcomes) <= low + 1e-9) >= 0.02
    assert np.mean(np.array(outcomes) > high + 1e-9) <= 0.03
    assert np.mean(np.array(outcomes) >= high - 1e-9) >= 0.02
    assert np.isnan([found.low[2, 0], found.high[2, 0]]).all()  # one image says nothing of spread


def test_few_images_a_stratum_do_not_make_the_interval_short() -> None:
    """The variance of a mean over strata is the sum of s² / n over them, by T²."""
    rng = np.random.default_rng(0)
    strata = np.repeat([f"{t:02d}" for t in range(60)], 3)
    difference = rng.normal(size=(180, 1))
    found = compare_paired(np.zeros((180, 1)), difference, strata.tolist())
    by_stratum = difference.reshape(60, 3)
    expected = np.sqrt((by_stratum.var(1, ddof=1) / 3).sum()) / 60
    width = (found.high - found.low)[-2, 0] / (2 * 1.96)
    assert width == pytest.approx(expected, rel=0.03)  # drawing 3 of 3 gives 0.82 of it


def test_identical_models_differ_by_nothing() -> None:
    found = compare_paired(FIRST, FIRST, STRATA, num_resamples=200)
    known = ~np.isnan(found.difference)
    for array in (found.difference, found.low, found.high):
        assert (array[known & (found.num_images > 1)] == 0).all()
    assert (found.p_value[known] == 1).all()


def test_a_sure_difference_has_the_smallest_p() -> None:
    first = np.random.default_rng(0).random((40, 1))
    found = compare_paired(first, first + 0.1, ["a"] * 40, num_resamples=999)
    assert found.p_value.ravel().tolist() == [1 / 1000] * 3
    np.testing.assert_allclose(found.low, 0.1)
    np.testing.assert_allclose(found.high, 0.1)


def test_p_is_uniform_where_models_do_not_differ() -> None:
    rng = np.random.default_rng(0)
    strata = ["a"] * 20 + ["b"] * 10 + ["c"] * 4
    spread = np.array([1.0] * 20 + [0.3] * 10 + [3.0] * 4)[:, None]
    p = []
    for seed in range(60):
        difference = rng.normal(size=(34, 5)) * spread  # five scores: five tests a seed
        found = compare_paired(np.zeros((34, 5)), difference, strata, num_resamples=400, seed=seed)
        p += found.p_value[-2].tolist()
    steps = np.arange(1, 301) / 300
    distance = np.abs(np.sort(p) - steps).max()  # Kolmogorov-Smirnov
    assert distance < 1.63 / np.sqrt(300)  # exceeded by chance once in a hundred
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.09


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.6))
def test_swapping_the_models_swaps_the_signs(seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, 15, 3))
    first[rng.random((15, 3)) < missing] = np.nan
    strata = rng.choice(["a", "b", "c"], 15).tolist()
    one = compare_paired(first, second, strata, num_resamples=100, seed=seed)
    other = compare_paired(second, first, strata, num_resamples=100, seed=seed)
    np.testing.assert_allclose(one.difference, -other.difference, atol=1e-12)
    np.testing.assert_allclose(one.low, -other.high, atol=1e-12)
    np.testing.assert_allclose(one.p_value, other.p_value)


@given(st.integers(0, 2**32 - 1))
def test_the_order_of_images_changes_no_bit_of_a_mean(seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(STRATA))
    one = compare_paired(FIRST, SECOND, STRATA, num_resamples=5)
    other = compare_paired(FIRST[order], SECOND[order], [STRATA[i] for i in order], num_resamples=5)
    np.testing.assert_array_equal(one.difference, other.difference)
    np.testing.assert_array_equal(one.num_images, other.num_images)


def test_many_draws_are_taken_in_pieces(monkeypatch) -> None:
    monkeypatch.setattr("histonuc.metrics.bootstrap._CELLS", 30)
    found = compare_paired(FIRST, SECOND, STRATA, num_resamples=1000, seed=3)
    whole = compare_paired(FIRST, SECOND, STRATA, num_resamples=100_000, seed=4)
    np.testing.assert_allclose(found.p_value, whole.p_value, atol=0.06)
    np.testing.assert_allclose(found.low, whole.low, atol=0.05)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_textbooks(values: list[float]) -> None:
    adjusted = holm(np.array(values))
    ranked = sorted(range(len(values)), key=lambda i: values[i])
    largest = 0.0
    for rank, index in enumerate(ranked):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        assert adjusted[index] == pytest.approx(largest)
