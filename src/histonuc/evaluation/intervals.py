"""Intervals of the scores of many tiles, for scores.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
OF_A_CLASS = ("pq_images", "pq", "dq", "sq", "f1", "precision", "recall")
"""Scores of each class: PQ averaged over images, and the rest from all its nuclei together."""
_MEAN = "mpq_pooled"
"""Mean over the classes of PQ from all nuclei together: no ratio of two sums, as all else is."""

Floats = NDArray[np.float64]
Interval = list[float] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Ratios:
    """Scores as ratios of sums over images. A mean over images has 1 below where one has the score.

    Attributes:
        names: of K scores; those of class j end in ``/j``.
        above, below: numerators and denominators (N, K) of each image.
    """

    names: Sequence[str]
    above: Floats
    below: Floats

    def select(self, rows: NDArray[np.bool_]) -> _Ratios:
        """Those of some images."""
        return _Ratios(names=self.names, above=self.above[rows], below=self.below[rows])


def score_intervals(records: TileTable, classes: Sequence[str]) -> dict[str, Any]:
    """Ends of the 95 % intervals, under the names that the scores have in scores.json.

    Images are drawn anew within each tissue (of each source, for those by source); see
    `histonuc.metrics.bootstrap`. None where no tissue has two images with the score; a tissue with
    one image widens nothing.

    Args:
        records: of the tiles.
        classes: names of all their classes.
    """
    records = records.sorted_by_tile()
    ratios = _ratios(records.numbers)
    tissues, sources = (np.array(records.texts[text]) for text in ("tissue", "source"))
    *within, over_tissues, over_images = _intervals(ratios, tissues, seed=0)
    return {
        "level": LEVEL,
        "repeats": REPEATS,
        **{name: over_tissues[name] for name in OFFICIAL},
        **{f"{n}_images" if n in OFFICIAL else n: i for n, i in _of_all(over_images).items()},
        "per_class": {
            name: {score: over_images[f"{score}/{j}"] for score in OF_A_CLASS}
            for j, name in enumerate(classes)
        },
        "per_tissue": dict(zip(np.unique(tissues).tolist(), map(_of_all, within), strict=True)),
        "per_source": {
            str(source): _of_all(_intervals(ratios.select(own), tissues[own], seed=1)[-1])
            for source in np.unique(sources)
            for own in [sources == source]
        },
    }


def _of_all(intervals: Mapping[str, Interval]) -> dict[str, Interval]:
    """Those of all nuclei or the mean of classes, none of a single class."""
    return {name: interval for name, interval in intervals.items() if "/" not in name}


def _intervals(
    ratios: _Ratios, tissues: NDArray[np.str_], *, seed: int
) -> list[dict[str, Interval]]:
    """By name: of each tissue in alphabetical order, of the mean over tissues, of all images."""
    found, group = np.unique(tissues, return_inverse=True)
    columns = np.concatenate([np.rint(ratios.above / PAIR_UNIT) * PAIR_UNIT, ratios.below], axis=1)
    sums = resample_sums(columns, group, len(found), REPEATS, np.random.default_rng(seed))
    averages = group_averages(*np.split(sums, 2, axis=2))
    has_score = ratios.below > 0
    by_class = {
        score: [k for k, name in enumerate(ratios.names) if name.startswith(f"{score}/")]
        for score in ("pq", "recall")
    }
    # As in the scores, classes without a true nucleus do not count, and only those have no recall.
    pq = np.where(
        np.isnan(averages[..., by_class["recall"]]), np.nan, averages[..., by_class["pq"]]
    )
    known = (~np.isnan(pq)).sum(-1)
    mean = np.where(known > 0, np.nansum(pq, axis=-1) / np.maximum(known, 1), np.nan)
    low, high = percentile_interval(np.concatenate([averages, mean[..., None]], axis=-1))

    has_mean = has_score[:, by_class["recall"]].any(1, keepdims=True)
    has_score = np.concatenate([has_score, has_mean], axis=1)
    images = np.stack([has_score[group == i].sum(0) for i in range(len(found))])
    drawn = np.where(images < 2, 0, images)  # one image alone has no spread
    names = [*ratios.names, _MEAN]
    return [
        {
            name: None if num == 0 or np.isnan(left) else [float(left), float(right)]
            for name, left, right, num in zip(names, *row, strict=True)
        }
        for row in zip(low, high, [*drawn, drawn.sum(0), drawn.sum(0)], strict=True)
    ]


def _ratios(tiles: NDArray[np.void]) -> _Ratios:
    tp, fp, fn = (tiles[name].astype(np.float64) for name in ("tp", "fp", "fn"))
    paired, truth, predicted = (tiles[f] for f in ("tp_centroid", "num_truth", "num_predicted"))
    scores: dict[str, tuple[ArrayLike, ArrayLike]] = {
        name: (np.nan_to_num(tiles[name]), ~np.isnan(tiles[name]))
        for name in (*OFFICIAL, *AGGREGATES)
    }
    matched = _matched(tp, fp, fn, tiles["bpq"])
    scores |= {
        "bpq_pooled": matched.pop("pq"),
        **matched,
        "f1_centroid": (2 * paired, truth + predicted),
        "precision_centroid": (paired, predicted),
        "recall_centroid": (paired, truth),
    }
    for j, pq in enumerate(tiles["pq"].T):
        tp, fp, fn = (
            tiles[f"class_{name}"][:, j].astype(np.float64) for name in ("tp", "fp", "fn")
        )
        scores[f"pq_images/{j}"] = np.nan_to_num(pq), ~np.isnan(pq)
        scores |= {f"{name}/{j}": pair for name, pair in _matched(tp, fp, fn, pq).items()}
    above, below = (
        np.stack([np.asarray(pair[side], np.float64) for pair in scores.values()], axis=1)
        for side in (0, 1)
    )
    return _Ratios(names=list(scores), above=above, below=below)


def _matched(
    tp: Floats, fp: Floats, fn: Floats, image_pq: Floats
) -> dict[str, tuple[Floats, Floats]]:
    """Numerator and denominator (N,) of what counts pooled nuclei, from those of each image."""
    below = tp + (fp + fn) / 2
    sum_iou = np.nan_to_num(image_pq) * below
    return {
        "pq": (sum_iou, below),
        "dq": (tp, below),
        "sq": (sum_iou, tp),
        "f1": (tp, below),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
    }
