"""Fitting a classifier: regularised logistic regression, cross-validated in groups, calibrated."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.calibration import calibration_counts
from histonuc.teaching.classifier import softmax
from histonuc.teaching.features import BESIDE

STRENGTH = 0.03
"""Inverse of the regularisation of standardised features: see `docs/results/teaching.md`."""
BESIDE_WEIGHT = 0.3
"""Spread of the neighbourhood's features where all others have 1: they tell images apart as much as
nuclei, and learned at full weight they cost on other images what they gain on the same."""
FOLDS = 5
"""Parts that labels are cross-validated in, at most."""
MIN_LABELS = 2
"""Fewest nuclei of a class that teach it."""
_STEPS = 300


@dataclass(frozen=True, kw_only=True, eq=False)
class Standard:
    """What features are brought to before they are weighed: mean 0, spread 1 or `BESIDE_WEIGHT`.

    Attributes:
        mean: float32 (F,).
        scale: float32 (F,), above 0.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @staticmethod
    def measure(rows: NDArray[np.float32]) -> Standard:
        """Of features (k, F), the last of which are `BESIDE`; where all are the same it is 1."""
        spread = rows.std(0, dtype=np.float64).astype(np.float32)
        mean = rows.mean(0, dtype=np.float64).astype(np.float32)
        scale = np.where(spread > 1e-6, spread, np.float32(1))
        scale[-len(BESIDE) :] /= np.float32(BESIDE_WEIGHT)
        return Standard(mean=mean, scale=scale)

    def apply(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardised features (k, F); none is farther out than ten spreads."""
        standardised: NDArray[np.float32] = np.clip((rows - self.mean) / self.scale, -10, 10)
        return standardised


def fit(
    rows: NDArray[np.float32],
    classes: NDArray[np.integer],
    num_classes: int,
    *,
    balanced: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (F, C) and bias (C,) for standardised features.

    Args:
        rows: float32 (k, F), standardised.
        classes: (k,), 0..C - 1; two of them occur at least. One that does not occur is never given.
        num_classes: C.
        balanced: whether each class weighs as much as the others; else each nucleus does, and a
            rare class is improbable.
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=STRENGTH, class_weight="balanced" if balanced else None, max_iter=_STEPS
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of steps that a few labels more would not need
        model.fit(rows, classes)
    weights = np.zeros((rows.shape[1], num_classes), np.float32)
    bias = np.full(num_classes, -1e4, np.float32)
    if len(model.classes_) == 2:  # one function says which of the two
        weights[:, model.classes_[1]] = model.coef_[0]
        bias[model.classes_] = 0, model.intercept_[0]
    else:
        weights[:, model.classes_] = model.coef_.T
        bias[model.classes_] = model.intercept_
    return weights, bias


def cross_validate(
    rows: NDArray[np.float32],
    classes: NDArray[np.integer],
    groups: NDArray[np.integer],
    num_classes: int,
    *,
    num_tested: int | None = None,
    share: float = 1.0,
    seed: int = 0,
    balanced: bool = True,
) -> NDArray[np.float32]:
    """Scores (k, C) of each tested nucleus by a classifier that learned from other groups alone.

    Args:
        rows: float32 (k, F), standardised.
        classes: (k,), 0..C - 1.
        groups: (k,), what must not be torn apart: the slide, image or square of each nucleus.
        num_classes: C.
        num_tested: so many of the first nuclei are tested and None all; those behind them teach
            whatever lies in other groups.
        share: of the labels that each classifier learns from, drawn at random.
        seed: of the draws.
        balanced: as of `fit`.

    Returns:
        NaN for nuclei that no classifier could be taught without.
    """
    num = len(rows) if num_tested is None else num_tested
    scores = np.full((num, num_classes), np.nan, np.float32)
    rng = np.random.default_rng(seed)
    for taught, tested in split_groups(classes[:num], groups[:num]):
        if share < 1:
            taught = rng.permutation(taught)[: max(2, round(share * len(taught)))]
        beside = num + np.flatnonzero(~np.isin(groups[num:], groups[tested]))
        taught = np.concatenate([taught, beside])
        if len(np.unique(classes[taught])) < 2:
            continue
        weights, bias = fit(rows[taught], classes[taught], num_classes, balanced=balanced)
        scores[tested] = rows[tested] @ weights + bias
    return scores


def split_groups(
    classes: NDArray[np.integer], groups: NDArray[np.integer]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Places of the nuclei to teach with and to test on, for each of up to `FOLDS` parts.

    Args:
        classes: (k,).
        groups: (k,); a part holds whole ones. Nothing comes where there is only one, or where no
            class has two nuclei.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    num = min(FOLDS, len(np.unique(groups)), int(np.bincount(classes).max(initial=0)))
    if num < 2:
        return
    splitter = StratifiedGroupKFold(num, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with fewer nuclei than parts
        parts = list(splitter.split(classes[:, None], classes, groups))
    yield from ((taught, tested) for taught, tested in parts if len(taught) and len(tested))


def fit_temperature(scores: NDArray[np.float32], classes: NDArray[np.integer]) -> float:
    """Temperature of the softmax at which scores (k, C) of nuclei not taught with are likeliest.

    Args:
        scores: NaN for nuclei without.
        classes: (k,), the true ones.

    Returns:
        1 where there are too few to tell.
    """
    known = np.isfinite(scores).all(1)
    if known.sum() < 20:
        return 1.0
    none = np.zeros(0, np.float32), np.zeros(0, bool)
    counts = calibration_counts(softmax(scores[known]), classes[known], *none)
    return counts.temperature
