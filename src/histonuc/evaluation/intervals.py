"""Intervals of the scores of many tiles, for scores.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.evaluation.tile_table import TileTable
from histonuc.metrics.aggregate import AGGREGATES
from histonuc.metrics.bootstrap import (
    LEVEL,
    group_averages,
    percentile_interval,
    resample_sums,
)
from histonuc.metrics.counts import PAIR_UNIT, ratio

REPEATS = 1000
OFFICIAL = ("bpq", "mpq", "bpq_strict", "mpq_strict")
"""Means over the images of a tissue, and then over tissues; all else is of all images together."""
OF_A_CLASS = ("pq_images", "pq", "dq", "sq", "f1", "precision", "recall")
"""Scores of each class: PQ averaged over images, and the rest from all its nuclei together."""
_MEAN = "mpq_pooled"
"""Mean over the classes of PQ from all nuclei together: no ratio of two sums, as all else is."""

Floats = NDArray[np.float64]
Interval = list[float] | None


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
    sums = _image_sums(records.numbers)
    tissues, sources = (np.array(records.texts[text]) for text in ("tissue", "source"))
    *within, over_tissues, over_images = _intervals(sums, tissues, seed=0)
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
            str(source): _of_source(sums, tissues, sources == source)
            for source in np.unique(sources)
        },
    }


def _of_source(
    sums: Mapping[str, Floats], tissues: NDArray[np.str_], own: NDArray[np.bool_]
) -> dict[str, Interval]:
    """Intervals of one source's images, all together."""
    of_own = {name: values[own] for name, values in sums.items()}
    return _of_all(_intervals(of_own, tissues[own], seed=1)[-1])


def _of_all(intervals: Mapping[str, Interval]) -> dict[str, Interval]:
    """Those of all nuclei or the mean of classes, none of a single class."""
    return {name: interval for name, interval in intervals.items() if "/" not in name}


def _intervals(
    sums: Mapping[str, Floats], tissues: NDArray[np.str_], *, seed: int
) -> list[dict[str, Interval]]:
    """By name: of each tissue in alphabetical order, of the mean over tissues, of all images.

    Args:
        sums: of `_image_sums`.
        tissues: of the images (N,).
        seed: of the draws.
    """
    found, group = np.unique(tissues, return_inverse=True)
    columns = np.stack(list(sums.values()), axis=1)
    drawn = resample_sums(columns, group, len(found), REPEATS, np.random.default_rng(seed))
    ratios = _ratios(dict(zip(sums, np.moveaxis(drawn, 2, 0), strict=True)))
    averages = {name: group_averages(*pair) for name, pair in ratios.items()}  # (G + 2, repeats)
    averages[_MEAN] = _mean_of_classes(averages)
    low, high = percentile_interval(np.stack(list(averages.values()), axis=2))

    below = {name: pair[1] for name, pair in _ratios(sums).items()}
    below[_MEAN] = np.sum([of for name, of in below.items() if name.startswith("recall/")], axis=0)
    images = np.stack(
        [np.bincount(group, of > 0, len(found)) for of in below.values()], axis=1
    )  # (G, K), those that have the score
    images[images < 2] = 0  # one image alone has no spread
    return [
        {
            name: None if num == 0 or np.isnan(left) else [float(left), float(right)]
            for name, left, right, num in zip(averages, *row, strict=True)
        }
        for row in zip(low, high, [*images, *[images.sum(0)] * 2], strict=True)
    ]


def _mean_of_classes(averages: Mapping[str, Floats]) -> Floats:
    """Mean PQ over the classes that have a true nucleus, as in the scores; NaN where none has."""
    num = sum(name.startswith("pq/") for name in averages)
    pq = np.stack(
        [
            np.where(np.isnan(averages[f"recall/{j}"]), np.nan, averages[f"pq/{j}"])
            for j in range(num)
        ]
    )
    return ratio(np.nansum(pq, axis=0), (~np.isnan(pq)).sum(axis=0))


def _image_sums(tiles: NDArray[np.void]) -> dict[str, Floats]:
    """What all scores are ratios of sums of, for each image (N,).

    ``NAME`` and ``has NAME``: a score of the image, 0 where it has none, and whether it has.
    ``tp``, ``fp``, ``fn``, ``iou``: nuclei matched, spurious, missed, and the IoU of those matched;
    ``tp/j`` and so on are those of class j.
    """
    sums: dict[str, Floats] = {}
    for name in (*OFFICIAL, *AGGREGATES):
        sums |= _score_of_images(name, tiles[name])
    sums |= _nuclei("", tiles["tp"], tiles["fp"], tiles["fn"], tiles["bpq"])
    for name in ("tp_centroid", "num_truth", "num_predicted"):
        sums[name] = tiles[name].astype(np.float64)
    for j, pq in enumerate(tiles["pq"].T):
        sums |= _score_of_images(f"pq_images/{j}", pq)
        tp, fp, fn = (tiles[f"class_{name}"][:, j] for name in ("tp", "fp", "fn"))
        sums |= _nuclei(f"/{j}", tp, fp, fn, pq)
    return sums


def _score_of_images(name: str, values: Floats) -> dict[str, Floats]:
    return {name: _summable(np.nan_to_num(values)), f"has {name}": 1.0 - np.isnan(values)}


def _nuclei(
    of: str, tp: NDArray[np.int64], fp: NDArray[np.int64], fn: NDArray[np.int64], pq: Floats
) -> dict[str, Floats]:
    iou = np.nan_to_num(pq) * (tp + (fp + fn) / 2)
    counts = {
        f"{name}{of}": n.astype(np.float64) for name, n in (("tp", tp), ("fp", fp), ("fn", fn))
    }
    return {**counts, f"iou{of}": _summable(iou)}


def _summable(values: Floats) -> Floats:
    """Rounded so that sums do not depend on the order."""
    return np.rint(values / PAIR_UNIT) * PAIR_UNIT


def _ratios(sums: Mapping[str, Floats]) -> dict[str, tuple[Floats, Floats]]:
    """Numerator and denominator of every score, from sums of any shape by `_image_sums`' names."""
    ratios = {name: (sums[name], sums[f"has {name}"]) for name in (*OFFICIAL, *AGGREGATES)}
    matched = _matched(sums, "")
    ratios |= {"bpq_pooled": matched.pop("pq"), **matched}
    paired, truth, predicted = (sums[n] for n in ("tp_centroid", "num_truth", "num_predicted"))
    ratios |= {
        "f1_centroid": (2 * paired, truth + predicted),
        "precision_centroid": (paired, predicted),
        "recall_centroid": (paired, truth),
    }
    for name in [name for name in sums if name.startswith("pq_images/")]:
        of = name.removeprefix("pq_images")
        ratios[name] = sums[name], sums[f"has {name}"]
        ratios |= {f"{score}{of}": pair for score, pair in _matched(sums, of).items()}
    return ratios


def _matched(sums: Mapping[str, Floats], of: str) -> dict[str, tuple[Floats, Floats]]:
    """Scores of all nuclei together, matched by overlap."""
    iou, tp, fp, fn = (sums[f"{name}{of}"] for name in ("iou", "tp", "fp", "fn"))
    half = tp + (fp + fn) / 2
    return {
        "pq": (iou, half),
        "dq": (tp, half),
        "sq": (iou, tp),
        "f1": (tp, half),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
    }
