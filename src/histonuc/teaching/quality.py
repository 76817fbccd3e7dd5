"""How good a classifier is: F1 of each class with intervals, and whether more labels would help."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.bootstrap import percentile_interval, resample_sums
from histonuc.metrics.counts import ratio

REPEATS = 1000
SHARES = (0.125, 0.25, 0.5, 1.0)
"""Shares of the labels that the learning curve is drawn at."""
FEW = 10
"""Fewer labels of a class say next to nothing about it."""
_WORTH_IT = 0.01
"""Gain in macro F1 by the last doubling of the labels from which more of them are worth while."""


@dataclass(frozen=True, kw_only=True)
class ClassQuality:
    """Figures of one class.

    Attributes:
        labels: nuclei of that class that were judged.
        f1: 2 TP / (2 TP + FP + FN); None where the class neither occurs nor is given.
        interval: ends of its 95 % interval, groups drawn anew; None of a single group.
        precision, recall: as usual; None where nothing was given, or nothing occurs.
    """

    labels: int
    f1: float | None
    interval: tuple[float, float] | None
    precision: float | None
    recall: float | None


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Figures of a classifier on nuclei that it was not taught with.

    Attributes:
        num: nuclei judged.
        macro_f1: mean over the classes that occur; None where nothing was judged.
        interval: ends of its 95 % interval; None of a single group.
        accuracy: share that is right; None where nothing was judged.
        classes: by name.
    """

    num: int
    macro_f1: float | None
    interval: tuple[float, float] | None
    accuracy: float | None
    classes: dict[str, ClassQuality]

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return asdict(self)


def judge(
    true: NDArray[np.integer],
    given: NDArray[np.integer],
    groups: NDArray[np.integer],
    names: tuple[str, ...],
) -> Quality:
    """Figures of given classes.

    Args:
        true: (k,), 0..C - 1.
        given: (k,), the same of a classifier.
        groups: (k,), what is drawn anew as a whole for the intervals: slide, image or square.
        names: of the C classes.
    """
    counts = _count(true, given, groups, len(names))
    total, num_groups = counts.sum(0), len(counts)
    f1, macro = _f1(total), float("nan")
    ends: NDArray[np.float64] = np.full((len(names) + 1, 2), np.nan)
    if len(true):
        macro = float(np.nanmean(np.where(_occurs(total), f1, np.nan)))
    if num_groups > 1:
        ends = _bound(counts, _occurs(total))
    precision = ratio(total[:, 0], total[:, 0] + total[:, 1])
    recall = ratio(total[:, 0], total[:, 0] + total[:, 2])
    return Quality(
        num=len(true),
        macro_f1=_number(macro),
        interval=_ends(ends[-1]),
        accuracy=float((true == given).mean()) if len(true) else None,
        classes={
            name: ClassQuality(
                labels=int((true == j).sum()),
                f1=_number(f1[j]),
                interval=_ends(ends[j]),
                precision=_number(precision[j]),
                recall=_number(recall[j]),
            )
            for j, name in enumerate(names)
        },
    )


def advise(curve: list[tuple[int, float]], smallest: tuple[str, int]) -> str:
    """A sentence on whether more labels would help.

    Args:
        curve: number of labels and macro F1, the last two with half and all of them.
        smallest: name and labels of the class with the fewest.
    """
    if len(curve) < 2:
        return "too few labels to tell whether more would help: give more"
    (_, half), (num, whole) = curve[-2:]
    name, count = smallest
    few = f"; the class with the fewest is {name} ({count})" if count < 30 else ""
    if whole - half > _WORTH_IT:
        return (
            f"the last doubling of the labels raised macro F1 from {half:.2f} to {whole:.2f}: "
            f"more than {num} labels would help{few}"
        )
    return (
        f"the last doubling of the labels changed macro F1 from {half:.2f} to {whole:.2f}: "
        f"more labels like these would help little{few}"
    )


def macro_f1(true: NDArray[np.integer], given: NDArray[np.integer], num_classes: int) -> float:
    """Mean of F1 over the classes that occur among `true` (k,); NaN where none does."""
    if not len(true):
        return float("nan")
    total = _count(true, given, np.zeros(len(true), np.int64), num_classes).sum(0)
    return float(np.nanmean(np.where(_occurs(total), _f1(total), np.nan)))


def _count(
    true: NDArray[np.integer],
    given: NDArray[np.integer],
    groups: NDArray[np.integer],
    num_classes: int,
) -> NDArray[np.float64]:
    """True positives, false positives and false negatives (G, C, 3) by group and class."""
    number = np.unique(groups, return_inverse=True)[1]
    counts = np.zeros((int(number.max(initial=-1)) + 1, num_classes, 3))
    right = true == given
    np.add.at(counts, (number[right], true[right], 0), 1)
    np.add.at(counts, (number[~right], given[~right], 1), 1)
    np.add.at(counts, (number[~right], true[~right], 2), 1)
    return counts


def _f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """F1 (..., C) of counts (..., C, 3); NaN where a class is nowhere."""
    return ratio(2 * counts[..., 0], 2 * counts[..., 0] + counts[..., 1] + counts[..., 2])


def _occurs(counts: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(counts[..., 0] + counts[..., 2] > 0)


def _bound(counts: NDArray[np.float64], occurs: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Ends (C + 1, 2) of the intervals of each class's F1, and last of their mean."""
    num_groups, num_classes, _ = counts.shape
    rng = np.random.default_rng(0)
    group = np.zeros(num_groups, np.intp)
    sums = resample_sums(counts.reshape(num_groups, -1), group, 1, REPEATS, rng)
    f1 = _f1(sums.reshape(REPEATS, num_classes, 3))
    shown = np.where(occurs & _occurs(sums.reshape(REPEATS, num_classes, 3)), f1, np.nan)
    counted = (~np.isnan(shown)).sum(1)
    mean = ratio(np.nansum(shown, axis=1), counted.astype(np.float64))
    low, high = percentile_interval(np.concatenate([f1, mean[:, None]], axis=1)[None])
    return np.stack([low[0], high[0]], axis=1)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _ends(values: NDArray[np.float64]) -> tuple[float, float] | None:
    return None if np.isnan(values).any() else (float(values[0]), float(values[1]))
