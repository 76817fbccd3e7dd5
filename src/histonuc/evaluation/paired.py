"""Two models on the same images: differences, bootstrap intervals and a sign-flip test.

The images are the units. They are grouped into strata (tissues), and every score is averaged as the
official PanNuke scores are: over the images of a stratum that have it, then over strata, so that a
rare tissue weighs as much as a common one; and, as PanNuke's class scores are, over all images.

- Interval: percentile bootstrap of whole images within each stratum, with all their scores of both
  models, so the pairs stay together (`histonuc.metrics.bootstrap`). A single image has no interval.
- Test: if the models were alike, swapping their answers to any image would change nothing, so the
  sign of each image's difference is as good as a coin's (Fisher's randomisation test; Good 2005,
  ch. 3). Signs are drawn once an image for all scores. Two-sided; p counts the observed signs as
  one of the draws and is never 0 (Phipson & Smyth 2010).

The test takes images as independent, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.bootstrap import (
    draw_weights,
    group_averages,
    percentile_interval,
    resample_sums,
)
from histonuc.metrics.counts import PAIR_UNIT

NUM_RESAMPLES = 10_000
"""Bootstrap samples, and sign flips: p is then known to 0.002 at 0.05."""

_TIE = 1e-12
"""Flipped differences as far out as the observed one but for rounding count as ties."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedStatistics:
    """Statistics of S scores in T strata; arrays (T + 2, S).

    Row t < T is stratum t, row T the mean over strata, row T + 1 the mean over images. NaN where no
    image has the score.

    Attributes:
        strata: names of the T strata, sorted.
        first, second: the two models' means over the images where both have the score.
        difference: second minus first.
        low, high: ends of the 95 % bootstrap interval of the difference; NaN for a single image.
        p_value: p value of the sign-flip test, in (0, 1].
        num_images: images where both have the score.
        num_one_sided: images left out because only one model has it.
    """

    strata: tuple[str, ...]
    first: Floats
    second: Floats
    difference: Floats
    low: Floats
    high: Floats
    p_value: Floats
    num_images: NDArray[np.int64]
    num_one_sided: NDArray[np.int64]


def compare_paired(
    first: Floats,
    second: Floats,
    strata: Sequence[str],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> PairedStatistics:
    """Compare two models' scores of the same images. The same seed gives the same numbers.

    Args:
        first: scores (N, S) of one model; NaN where an image has no such score.
        second: the other's, rows in the same order.
        strata: stratum of each image.
        num_resamples: bootstrap samples, and sign flips.
        seed: seed of the bootstrap and of the sign flips.
    """
    assert first.shape == second.shape
    assert len(strata) == len(first)
    # Multiples of 2^-32 add up to the same bits in any order, whatever the threads and the machine.
    first, second = (np.rint(scores / PAIR_UNIT) * PAIR_UNIT for scores in (first, second))
    names, groups = np.unique(np.asarray(strata, str), return_inverse=True)
    both = ~np.isnan(first) & ~np.isnan(second)
    one = np.isnan(first) != np.isnan(second)
    difference = np.where(both, second - first, 0.0)
    rng = np.random.default_rng(seed)

    counts = _by_stratum(both.astype(float), groups, len(names))  # (T, S)
    means = [
        group_averages(_by_stratum(np.where(both, values, 0.0), groups, len(names)), counts)
        for values in (first, second)
    ]
    observed = group_averages(_by_stratum(difference, groups, len(names)), counts)
    columns = np.concatenate([difference, both], axis=1)
    sums = resample_sums(columns, groups, len(names), num_resamples, rng)
    drawn, drawn_counts = np.split(sums, 2, axis=2)
    ends = percentile_interval(group_averages(drawn, drawn_counts))
    blocks = [(difference[groups == t], both[groups == t].astype(float)) for t in range(len(names))]
    low, high = (np.where(_with_totals(counts) > 1, end, np.nan) for end in ends)
    flipped = np.abs(_flip_signs(blocks, num_resamples, rng))  # (T + 2, P, S)
    as_far = (flipped >= np.abs(observed)[:, None] - _TIE).sum(axis=1)
    return PairedStatistics(
        strata=tuple(names.tolist()),
        first=means[0],
        second=means[1],
        difference=observed,
        low=low,
        high=high,
        p_value=np.where(np.isnan(observed), np.nan, (1 + as_far) / (1 + num_resamples)),
        num_images=_with_totals(counts),
        num_one_sided=_with_totals(_by_stratum(one.astype(float), groups, len(names))),
    )


def holm(p_values: Floats) -> Floats:
    """P values (K,) of one family, adjusted so that the chance of any false alarm stays bounded.

    Holm's step-down procedure (Holm 1979); it asks nothing about how the tests depend on each
    other. NaN stays NaN and is not counted.

    >>> holm(np.array([0.01, 0.04, 0.03, np.nan])).tolist()
    [0.03, 0.06, 0.06, nan]
    """
    adjusted = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)[: int((~np.isnan(p_values)).sum())]  # NaN sorts last
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1)
    return adjusted


def _by_stratum(values: Floats, groups: NDArray[np.intp], num_strata: int) -> Floats:
    """Sums (T, S) of the rows (N, S) of each stratum."""
    sums = np.zeros((num_strata, values.shape[1]))
    np.add.at(sums, groups, values)
    return sums


def _with_totals(counts: Floats) -> NDArray[np.int64]:
    """Counts (T + 2, S) of strata (T, S) and, twice, of all."""
    total = counts.sum(axis=0, keepdims=True)
    return np.concatenate([counts, total, total]).astype(np.int64)


def _flip_signs(
    blocks: Sequence[tuple[Floats, Floats]], num: int, rng: np.random.Generator
) -> Floats:
    """Averages (T + 2, num, S) of the differences with coins for signs."""
    sums, counts = [], []
    for differences, both in blocks:
        weights = draw_weights(_coins, len(differences), num, rng)
        sums.append(np.concatenate([w @ differences for w in weights]))
        counts.append(np.broadcast_to(both.sum(axis=0), sums[-1].shape))
    return group_averages(np.stack(sums), np.stack(counts))


def _coins(rng: np.random.Generator, num: int, size: int) -> Floats:
    """Signs -1 and 1; (num, size)."""
    return 2.0 * rng.integers(2, size=(num, size), dtype=np.int8).astype(np.float64) - 1.0
