"""Intervals of scores, by drawing the images of each tissue anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

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
    defined = ~np.isnan(numbers)
    columns = np.column_stack([np.where(defined, numbers, 0), defined])
    sums = list(_draw_groups(columns, names, repeats, seed))
    table = np.stack(sums) if sums else np.zeros((1, repeats, 2))
    means, there = _divide(table[..., 0], table[..., 1]), table[..., 1] > 0
    averages = _divide(np.where(there, means, 0).sum(0), there.sum(0))
    return _ends(averages)


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    groups: Sequence[str],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval (95 %) of the sum of numerators over the sum of denominators.

    A score from the nuclei of all images together is such a ratio, and so is a mean over images,
    with 1 below where an image has a score and 0 where it has none. Images are drawn as in
    `bootstrap_interval`.

    Args:
        numerators: (n,), finite.
        denominators: (n,), not negative.
        groups: name of each image's group.
        repeats: draws.
        seed: of the draws.

    Returns:
        Lower and upper end; NaN where all denominators are 0.
    """
    columns = np.column_stack([numerators, denominators]).astype(np.float64)
    total = np.zeros((repeats, 2))
    for sums in _draw_groups(columns, np.asarray(groups, np.str_), repeats, seed):
        total += sums
    return _ends(_divide(total[:, 0], total[:, 1]))


def _draw_groups(
    columns: NDArray[np.float64], names: NDArray[np.str_], repeats: int, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Of each group the sums (repeats, 2) over as many of its rows as there are, drawn anew."""
    for i, name in enumerate(np.unique(names)):
        rows = columns[names == name]
        rows = rows[np.lexsort(rows.T)]  # whatever order they came in
        rng = np.random.default_rng((seed, i))
        sums = np.empty((repeats, 2))
        step = max(_CHUNK // len(rows), 1)
        for start in range(0, repeats, step):
            size = min(step, repeats - start)
            drawn = rng.integers(len(rows), size=(size, len(rows)))
            sums[start : start + size] = rows[drawn].sum(1)
        yield sums


def _divide(above: NDArray[np.float64], below: NDArray[Any]) -> NDArray[np.float64]:
    """The quotient, NaN where there is nothing below."""
    quotient = np.full(above.shape, np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def _ends(draws: NDArray[np.float64]) -> tuple[float, float]:
    draws = draws[~np.isnan(draws)]
    if len(draws) == 0:
        return float("nan"), float("nan")
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    return float(low), float(high)
