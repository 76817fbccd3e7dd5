"""Intervals of averages over tissues, by drawing the images of each tissue anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

REPEATS = 1000
LEVEL = 0.95
_CHUNK = 1 << 20
"""Draws held at once."""


def bootstrap_interval(
    values: ArrayLike, groups: Sequence[str], *, repeats: int = REPEATS, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval (95 %) of the mean over groups of the mean over a group's values.

    Values are drawn with replacement within their group (Efron & Tibshirani 1993, ch. 13), so the
    groups keep their sizes. It says how much the average depends on the images that happened to be
    there; not on the training's seed, nor on the choice of tissues. The order of values does not
    matter.

    Args:
        values: (n,), NaN where not defined; such a value is drawn too, and left out of the mean.
        groups: name of each value's group.
        repeats: draws.
        seed: of the draws.

    Returns:
        Lower and upper end; NaN when no value is defined.
    """
    numbers, names = np.asarray(values, np.float64), np.asarray(groups, np.str_)
    means = [
        _draw_means(np.sort(numbers[names == name]), repeats, np.random.default_rng((seed, i)))
        for i, name in enumerate(np.unique(names))
    ]
    table = np.stack(means) if means else np.full((1, repeats), np.nan)
    defined = ~np.isnan(table)
    total, count = np.where(defined, table, 0).sum(0), defined.sum(0)
    averages = total[count > 0] / count[count > 0]
    if len(averages) == 0:
        return float("nan"), float("nan")
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(averages, [tail, 100 - tail])
    return float(low), float(high)


def _draw_means(
    values: NDArray[np.float64], repeats: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Mean (repeats,) of as many values as there are, drawn with replacement; NaN left out."""
    defined = ~np.isnan(values)
    numbers = np.where(defined, values, 0)
    means = np.full(repeats, np.nan)
    rows = max(_CHUNK // len(values), 1)
    for start in range(0, repeats, rows):
        size = min(rows, repeats - start)
        drawn = rng.integers(len(values), size=(size, len(values)))
        count = defined[drawn].sum(1)
        total = numbers[drawn].sum(1)
        np.divide(total, count, out=means[start : start + size], where=count > 0)
    return means
