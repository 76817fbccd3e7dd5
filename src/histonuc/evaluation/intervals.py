"""Intervals of the scores of many tiles, for scores.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histonuc.evaluation.tile_table import TileTable
from histonuc.metrics.aggregate import AGGREGATES
from histonuc.metrics.bootstrap import LEVEL, percentile_interval, resample_sums
from histonuc.metrics.counts import PAIR_UNIT, ratio

REPEATS = 1000
OFFICIAL = ("bpq", "mpq", "bpq_strict", "mpq_strict")
"""Means over the images of a tissue, and then over tissues; all else is of all images together."""

Floats = NDArray[np.float64]


def score_intervals(records: TileTable) -> dict[str, Any]:
    """Ends of the 95 % intervals, under the names that the scores have in scores.json.

    Images are drawn anew within each tissue (of each source, for those by source); see
    `histonuc.metrics.bootstrap`. None where fewer than two images have the score.
    """
    records = records.sorted_by_tile()
    names, above, below = _ratios(records.numbers)
    columns = np.concatenate([np.rint(above / PAIR_UNIT) * PAIR_UNIT, below], axis=1)
    tissues, of_tissue = np.unique(records.texts["tissue"], return_inverse=True)
    sums = resample_sums(columns, of_tissue, len(tissues), REPEATS, np.random.default_rng(0))
    within = ratio(*np.split(sums, 2, axis=2))  # (T, repeats, K)
    there = ~np.isnan(within)
    over_tissues = ratio(np.where(there, within, 0).sum(0), there.sum(0))
    over_images = ratio(*np.split(sums.sum(0), 2, axis=1))

    pairs = list(zip(records.texts["source"], records.texts["tissue"], strict=True))
    strata = sorted(set(pairs))
    place = {pair: i for i, pair in enumerate(strata)}
    of_pair = np.array([place[pair] for pair in pairs], np.intp)
    sums = resample_sums(columns, of_pair, len(strata), REPEATS, np.random.default_rng(1))
    sources = sorted(set(records.texts["source"]))
    by_source = [
        ratio(*np.split(sums[[own == source for own, _ in strata]].sum(0), 2, axis=1))
        for source in sources
    ]
    images = below > 0
    total = images.sum(0)
    means = _ends(names, over_tissues, total)
    return {
        "level": LEVEL,
        "repeats": REPEATS,
        **{name: means[name] for name in OFFICIAL},
        **{
            f"{name}_images" if name in OFFICIAL else name: ends
            for name, ends in _ends(names, over_images, total).items()
        },
        "per_tissue": {
            str(tissue): _ends(names, within[i], images[of_tissue == i].sum(0))
            for i, tissue in enumerate(tissues)
        },
        "per_source": {
            source: _ends(names, own, images[np.array(records.texts["source"]) == source].sum(0))
            for source, own in zip(sources, by_source, strict=True)
        },
    }


def _ratios(tiles: NDArray[np.void]) -> tuple[list[str], Floats, Floats]:
    """Scores as sums over images: their names, numerators and denominators (N, K).

    A mean over images has 1 below where an image has the score.
    """
    tp, fp, fn = (tiles[name].astype(np.float64) for name in ("tp", "fp", "fn"))
    half_wrong = tp + (fp + fn) / 2  # PQ's denominator
    sum_iou = np.nan_to_num(tiles["bpq"]) * half_wrong
    paired, truth, predicted = (tiles[f] for f in ("tp_centroid", "num_truth", "num_predicted"))
    scores: dict[str, tuple[ArrayLike, ArrayLike]] = {
        name: (np.nan_to_num(tiles[name]), ~np.isnan(tiles[name]))
        for name in (*OFFICIAL, *AGGREGATES)
    }
    scores |= {
        "bpq_pooled": (sum_iou, half_wrong),
        "dq": (tp, half_wrong),
        "sq": (sum_iou, tp),
        "f1": (tp, half_wrong),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
        "f1_centroid": (2 * paired, truth + predicted),
        "precision_centroid": (paired, predicted),
        "recall_centroid": (paired, truth),
    }
    above, below = (
        np.stack([np.asarray(pair[side], np.float64) for pair in scores.values()], axis=1)
        for side in (0, 1)
    )
    return list(scores), above, below


def _ends(
    names: Sequence[str], samples: Floats, num_images: NDArray[np.int64]
) -> dict[str, list[float] | None]:
    """Interval by name from samples (repeats, K); None where it would be of a single image."""
    low, high = percentile_interval(samples[None])
    return {
        name: None if num_images[k] < 2 or np.isnan(low[0, k]) else [low[0, k], high[0, k]]
        for k, name in enumerate(names)
    }
