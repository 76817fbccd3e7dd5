"""Intervals of the scores of many tiles, for scores.json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.evaluation.tile_scores import TileScores
from histonuc.metrics.bootstrap import (
    LEVEL,
    group_averages,
    percentile_interval,
    resample_sums,
)
from histonuc.metrics.counts import PAIR_UNIT, ratio
from histonuc.metrics.formulas import formula_terms

REPEATS = 1000
OFFICIAL = ("bpq", "mpq", "bpq_strict", "mpq_strict")
"""Means over the images of a tissue, and then over tissues; all else is of all images together."""
BY_OVERLAP = ("pq", "dq", "sq", "f1", "precision", "recall")
"""Formulas of nuclei that are matched by overlap, of all nuclei and of those of each class."""

Floats = NDArray[np.float64]
Interval = list[float] | None
Key = tuple[str, int]
"""A score's name in scores.json, and its kind: 0 of all nuclei, ``1 + j`` of class ``j``."""


def score_intervals(tiles: TileScores, classes: Sequence[str]) -> dict[str, Any]:
    """Ends of the 95 % intervals, under the names that the scores have in scores.json.

    Images are drawn anew within each tissue (of each source, for those by source); see
    `histonuc.metrics.bootstrap`. None where no tissue has two images with the score; a tissue with
    one image widens nothing.

    Args:
        tiles: the scores of the tiles.
        classes: names of all their classes; none where no class is scored.
    """
    tiles = tiles.sorted_by_tile()
    sums = ImageSums.from_tiles(tiles, len(classes))
    tissues, sources = (np.array(tiles.texts[text]) for text in ("tissue", "source"))
    *within, over_tissues, over_images = _find_intervals(sums, tissues, seed=0)
    overall = _select_kind(over_images, 0)
    return {
        "level": LEVEL,
        "repeats": REPEATS,
        **{name: over_tissues[name, 0] for name in OFFICIAL},
        **{f"{n}_images" if n in OFFICIAL else n: ends for n, ends in overall.items()},
        "per_class": {name: _select_kind(over_images, 1 + j) for j, name in enumerate(classes)},
        "per_tissue": {
            str(tissue): _select_kind(intervals, 0)
            for tissue, intervals in zip(np.unique(tissues), within, strict=True)
        },
        "per_source": {
            str(source): _bound_source(sums, tissues, sources == source)
            for source in np.unique(sources)
        },
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSums:
    """What all scores are ratios of sums of: of single images, or of images drawn together.

    Attributes:
        names: keys of the S scores of single images.
        images: float64 (..., S), these scores, 0 where an image has none.
        counts: float64 (..., S), number of images that have the score.
        overlap: float64 (..., 1 + C, 4), what the formulas take, by kind, of nuclei matched by
            overlap.
        centroid: float64 (..., 1 + C, 4), the same of nuclei that are paired by centroid.
        known: float64 (..., 2), nuclei paired by centroid of right and of known class.
    """

    names: tuple[Key, ...]
    images: Floats
    counts: Floats
    overlap: Floats
    centroid: Floats
    known: Floats

    @classmethod
    def from_tiles(cls, tiles: TileScores, num_classes: int) -> ImageSums:
        """Those of single images, rounded to `PAIR_UNIT` so that sums do not depend on the order.

        Args:
            tiles: scores of N tiles.
            num_classes: number of the classes to take, 0 for none.
        """
        scores: dict[Key, Floats] = {(name, 0): tiles.numbers[name] for name in OFFICIAL}
        scores |= {(name, 0): values for name, values in tiles.image_scores().items()}
        scores |= {("pq", 1 + j): tiles.numbers["pq"][:, j] for j in range(num_classes)}
        values = np.stack(list(scores.values()), axis=1)
        return cls(
            names=tuple(scores),
            images=_round(np.nan_to_num(values)),
            counts=1.0 - np.isnan(values),
            overlap=_round(tiles.sums_by_overlap()[:, : 1 + num_classes]),
            centroid=tiles.sums_by_centroid()[:, : 1 + num_classes],
            known=tiles.class_sums(),
        )

    @property
    def num_classes(self) -> int:
        """C."""
        return int(self.overlap.shape[-2]) - 1

    def to_columns(self) -> Floats:
        """All sums side by side, (..., K)."""
        flat = [sums.reshape(*sums.shape[:-2], -1) for sums in (self.overlap, self.centroid)]
        return np.concatenate([self.images, self.counts, *flat, self.known], axis=-1)

    def from_columns(self, columns: Floats) -> ImageSums:
        """Sums of the same scores and classes; inverse of `to_columns`.

        Args:
            columns: (..., K).
        """
        num_scores, num_kinds = self.images.shape[-1], 1 + self.num_classes
        ends = np.cumsum([num_scores, num_scores, 4 * num_kinds, 4 * num_kinds])
        images, counts, *flat, known = np.split(columns, ends, axis=-1)
        overlap, centroid = (part.reshape(*columns.shape[:-1], num_kinds, 4) for part in flat)
        return replace(
            self, images=images, counts=counts, overlap=overlap, centroid=centroid, known=known
        )

    def list_terms(self) -> Iterator[tuple[Key, tuple[Floats, Floats]]]:
        """Numerator and denominator of every score, each (...)."""
        for column, key in enumerate(self.names):
            yield key, (self.images[..., column], self.counts[..., column])
        for kind in range(1 + self.num_classes):
            for name in BY_OVERLAP:
                yield (
                    (_name_pooled(name, kind), kind),
                    formula_terms(name, self.overlap[..., kind, :]),
                )
            yield ("f1_centroid", kind), formula_terms("f1", self.centroid[..., kind, :])
        for name in ("precision", "recall"):
            yield (f"{name}_centroid", 0), formula_terms(name, self.centroid[..., 0, :])
        yield ("class_accuracy_centroid", 0), (self.known[..., 0], self.known[..., 1])


def _name_pooled(formula: str, kind: int) -> str:
    """What a formula's score of all nuclei together, or of all of a class, is called."""
    if formula not in ("pq", "dq", "sq"):
        return formula
    return "bpq_pooled" if formula == "pq" and kind == 0 else f"{formula}_pooled"


def _bound_source(
    sums: ImageSums, tissues: NDArray[np.str_], rows: NDArray[np.bool_]
) -> dict[str, Interval]:
    """Intervals of one source's images, all together."""
    part = sums.from_columns(sums.to_columns()[rows])
    return _select_kind(_find_intervals(part, tissues[rows], seed=1)[-1], 0)


def _round(values: Floats) -> Floats:
    """The nearest multiples of `PAIR_UNIT`."""
    return np.rint(values / PAIR_UNIT) * PAIR_UNIT


def _select_kind(intervals: dict[Key, Interval], kind: int) -> dict[str, Interval]:
    """Intervals of the scores of one kind, by name."""
    return {name: interval for (name, k), interval in intervals.items() if k == kind}


def _find_intervals(
    sums: ImageSums, tissues: NDArray[np.str_], *, seed: int
) -> list[dict[Key, Interval]]:
    """Intervals of each tissue in alphabetical order, of the mean over tissues, of all images.

    Args:
        sums: sums of N single images.
        tissues: tissues of the images (N,).
        seed: seed of the draws.
    """
    found, group = np.unique(tissues, return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = sums.from_columns(resample_sums(sums.to_columns(), group, len(found), REPEATS, rng))
    averages = {key: group_averages(*terms) for key, terms in drawn.list_terms()}
    below = {key: denominator for key, (_, denominator) in sums.list_terms()}
    kinds = range(1, 1 + sums.num_classes)
    for name, of_class, by in (
        ("mpq_pooled", "pq_pooled", "overlap"),
        ("class_f1_centroid", "f1_centroid", "centroid"),
    ):
        terms = [formula_terms("recall", getattr(drawn, by)[..., kind, :]) for kind in kinds]
        recall = [group_averages(*pair) for pair in terms]  # NaN where the class does not occur
        # (G + 2, repeats), as all others
        averages[name, 0] = _average_classes(averages, of_class, recall)
        occurs = [formula_terms("recall", getattr(sums, by)[:, kind])[1] for kind in kinds]
        below[name, 0] = sum(occurs, np.zeros(len(group)))
    low, high = percentile_interval(np.stack(list(averages.values()), axis=2))
    num_images = np.stack(
        [np.bincount(group, denominator > 0, len(found)) for denominator in below.values()], axis=1
    )  # (G, scores), those that have the score
    num_images[num_images < 2] = 0  # one image alone has no spread
    in_all = num_images.sum(0)
    return [
        {
            key: None if num == 0 or np.isnan(left) else [float(left), float(right)]
            for key, left, right, num in zip(averages, *row, strict=True)
        }
        for row in zip(low, high, [*num_images, in_all, in_all], strict=True)
    ]


def _average_classes(averages: dict[Key, Floats], name: str, recall: Sequence[Floats]) -> Floats:
    """Mean of a score over the classes that have a true nucleus; NaN where none has.

    It is no ratio of two sums, as all other scores are.

    Args:
        averages: all scores, by name and kind.
        name: the score to average.
        recall: of each class, NaN where it has no true nucleus.
    """
    scores = [
        np.where(np.isnan(found), np.nan, averages[name, 1 + j]) for j, found in enumerate(recall)
    ]
    scores.append(np.full_like(averages["bpq_pooled", 0], np.nan))  # where there are no classes
    return ratio(np.nansum(scores, axis=0), (~np.isnan(np.stack(scores))).sum(axis=0))
