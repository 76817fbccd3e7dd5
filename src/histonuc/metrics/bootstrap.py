"""Intervals of scores, by drawing the images of each group anew.

Percentile bootstrap (Efron 1979; Efron & Tibshirani 1993, ch. 13). Images are drawn with
replacement within each group (a tissue), whole images with all their scores, so groups keep their
weight. Of n images n - 1 are drawn, which makes the variance of a group's mean right also where n
is small (Rao & Wu 1988): in 6 groups of 3 normal values each, the 95 % interval held the truth in
94.5 % of 400 simulations, with n draws in 88 %. A single image of a group adds no spread.

It says how much a score depends on the images that happened to be there; not on the training's
seed, nor on the choice of groups. Images are taken as independent: tiles of one patient are not,
and intervals are then too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.counts import ratio

LEVEL = 0.95

_CELLS = 2_000_000
"""Weights held at a time."""

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Floats]


def resample_sums(
    columns: Floats,
    groups: NDArray[np.intp],
    num_groups: int,
    repeats: int,
    rng: np.random.Generator,
) -> Floats:
    """Sums over each group's images, drawn anew, the same draws for all columns.

    Args:
        columns: (N, K), one row an image. Multiples of `counts.PAIR_UNIT` add up to the same bits
            whatever the threads and the machine.
        groups: (N,), 0..num_groups - 1.
        num_groups: G.
        repeats: number of draws.
        rng: generator of the draws.

    Returns:
        (G, repeats, K).
    """
    sums = np.zeros((num_groups, repeats, columns.shape[1]))
    for group in range(num_groups):
        rows = columns[groups == group]
        if len(rows):
            drawn = [w @ rows for w in draw_weights(_draw, len(rows), repeats, rng)]
            sums[group] = np.concatenate(drawn)
    return sums


def draw_weights(draw: Draw, size: int, repeats: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Weights (n, size) of `size` images, in pieces of n draws that make up `repeats`."""
    piece = max(_CELLS // size, 1)
    for start in range(0, repeats, piece):
        yield draw(rng, min(piece, repeats - start), size)


def group_averages(sums: Floats, counts: Floats) -> Floats:
    """Means (G + 2, ..., S): within groups, over groups, over images; from sums (G, ..., S)."""
    within = ratio(sums, counts)
    over_groups = ratio(np.nansum(within, axis=0), (~np.isnan(within)).sum(axis=0))
    over_images = ratio(sums.sum(axis=0), counts.sum(axis=0))
    return np.concatenate([within, over_groups[None], over_images[None]])


def percentile_interval(samples: Floats) -> tuple[Floats, Floats]:
    """Ends (G, S) of the intervals of samples (G, repeats, S); NaN among them do not count."""
    nothing = np.asarray(np.isnan(samples).all(axis=1))  # (G, S); nanquantile would warn
    filled = np.where(nothing[:, None], 0.0, samples)
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(filled, [tail, 1 - tail], axis=1)
    return np.where(nothing, np.nan, low), np.where(nothing, np.nan, high)


def _draw(rng: np.random.Generator, repeats: int, size: int) -> Floats:
    """How often each of `size` images comes up in size - 1 draws with replacement."""
    draws = max(size - 1, 1)
    drawn = rng.integers(size, size=(repeats, draws)) + size * np.arange(repeats)[:, None]
    times = np.bincount(drawn.ravel(), minlength=repeats * size)
    return times.reshape(repeats, size).astype(np.float64)
