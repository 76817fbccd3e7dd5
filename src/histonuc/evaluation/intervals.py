"""Intervals of the scores of many tiles, for scores.json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histonuc.evaluation.tile_table import TileTable
from histonuc.metrics.aggregate import AGGREGATES
from histonuc.metrics.bootstrap import (
    LEVEL,
    group_averages,
    percentile_interval,
    resample_sums,
)
from histonuc.metrics.counts import PAIR_UNIT

REPEATS = 1000
OFFICIAL = ("bpq", "mpq", "bpq_strict", "mpq_strict")
"""Means over the images of a tissue, and then over tissues; all else is of all images together."""

Floats = NDArray[np.float64]


def score_intervals(records: TileTable) -> dict[str, Any]:
    """Ends of the 95 % intervals, under the names that the scores have in scores.json.

    Images are drawn anew within each tissue (of each source, for those by source); see
    `histonuc.metrics.bootstrap`. None where no tissue has two images with the score; a tissue with
    one image widens nothing.
    """
    records = records.sorted_by_tile()
    names, above, below = _ratios(records.numbers)
    columns = np.concatenate([np.rint(above / PAIR_UNIT) * PAIR_UNIT, below], axis=1)
    has_score = below > 0
    tissues, sources = (np.array(records.texts[text]) for text in ("tissue", "source"))

    found, group = np.unique(tissues, return_inverse=True)
    sums = resample_sums(columns, group, len(found), REPEATS, np.random.default_rng(0))
    ends = percentile_interval(group_averages(*np.split(sums, 2, axis=2)))
    by_tissue = _images_drawn(has_score, group, len(found))
    *within, over_tissues, over_images = (
        _named(names, low, high, images)
        for low, high, images in zip(
            *ends,
            [*by_tissue, *[by_tissue.sum(0)] * 2],
            strict=True,
        )
    )
    return {
        "level": LEVEL,
        "repeats": REPEATS,
        **{name: over_tissues[name] for name in OFFICIAL},
        **{f"{name}_images" if name in OFFICIAL else name: over_images[name] for name in names},
        "per_tissue": dict(zip(found.tolist(), within, strict=True)),
        "per_source": {
            str(source): _of_source(names, columns, tissues, sources == source)
            for source in np.unique(sources)
        },
    }


def _of_source(
    names: Sequence[str], columns: Floats, tissues: NDArray[np.str_], own: NDArray[np.bool_]
) -> dict[str, list[float] | None]:
    """Intervals of one source's images, all together."""
    columns = columns[own]
    found, group = np.unique(tissues[own], return_inverse=True)
    sums = resample_sums(columns, group, len(found), REPEATS, np.random.default_rng(1))
    low, high = percentile_interval(group_averages(*np.split(sums, 2, axis=2))[-1:])
    drawn = _images_drawn(columns[:, len(names) :] > 0, group, len(found))
    return _named(names, low[0], high[0], drawn.sum(0))


def _images_drawn(
    has_score: NDArray[np.bool_], group: NDArray[np.intp], num_groups: int
) -> NDArray[np.int64]:
    """int64 (groups, K), images with the score where a group has two or more, else 0."""
    images = np.stack([has_score[group == i].sum(0) for i in range(num_groups)])
    return np.where(images < 2, 0, images)


def _ratios(tiles: NDArray[np.void]) -> tuple[list[str], Floats, Floats]:
    """Scores as sums over images: their names, numerators and denominators (N, K).

    A mean over images has 1 below where an image has the score.
    """
    tp, fp, fn = (tiles[name].astype(np.float64) for name in ("tp", "fp", "fn"))
    pq_below = tp + (fp + fn) / 2
    sum_iou = np.nan_to_num(tiles["bpq"]) * pq_below
    paired, truth, predicted = (tiles[f] for f in ("tp_centroid", "num_truth", "num_predicted"))
    scores: dict[str, tuple[ArrayLike, ArrayLike]] = {
        name: (np.nan_to_num(tiles[name]), ~np.isnan(tiles[name]))
        for name in (*OFFICIAL, *AGGREGATES)
    }
    scores |= {
        "bpq_pooled": (sum_iou, pq_below),
        "dq": (tp, pq_below),
        "sq": (sum_iou, tp),
        "f1": (tp, pq_below),
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


def _named(
    names: Sequence[str], low: Floats, high: Floats, drawn: NDArray[np.int64]
) -> dict[str, list[float] | None]:
    """Intervals by name; None where no image was drawn among others."""
    return {
        name: None if drawn[k] == 0 or np.isnan(low[k]) else [float(low[k]), float(high[k])]
        for k, name in enumerate(names)
    }
