"""The scores that are a ratio of counted nuclei, each written down once.

Panoptic quality, detection, the scores of single tiles and their intervals all take their formulas
from this table, so that a name means one formula wherever it stands. Which nuclei are counted is
the caller's choice: those matched by overlap or by centroid, of one class or of all, of one tile
or of many.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histonuc.metrics.counts import ratio

SUMS = ("iou", "tp", "fp", "fn")
"""What is summed: the IoU of the matched nuclei, and the matched, spurious and missed nuclei."""

FORMULAS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    # score: (numerator, denominator), each so many times iou, tp, fp and fn
    "pq": ((1, 0, 0, 0), (0, 1, 0.5, 0.5)),
    "dq": ((0, 1, 0, 0), (0, 1, 0.5, 0.5)),
    "sq": ((1, 0, 0, 0), (0, 1, 0, 0)),
    "f1": ((0, 1, 0, 0), (0, 1, 0.5, 0.5)),
    "precision": ((0, 1, 0, 0), (0, 1, 1, 0)),
    "recall": ((0, 1, 0, 0), (0, 1, 0, 1)),
}
"""Panoptic quality of Kirillov et al. 2019 (arXiv 1801.00868), eq. 1, and the usual detection
scores. DQ is the F1; PQ is DQ times SQ."""


def nucleus_sums(
    tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, iou: ArrayLike | None = None
) -> NDArray[np.float64]:
    """The sums that the formulas take.

    Args:
        tp: matched nuclei, of any shape.
        fp: spurious nuclei, of the same shape.
        fn: missed nuclei, of the same shape.
        iou: summed IoU of the matched nuclei; zeros where no score needs it.

    Returns:
        float64 (..., 4), in the order of `SUMS`.
    """
    arrays = [np.zeros(np.shape(tp)) if iou is None else iou, tp, fp, fn]
    return np.stack([np.asarray(array, np.float64) for array in arrays], axis=-1)


def formula_terms(
    score: str, sums: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Numerator and denominator of a score, before they are divided.

    Args:
        score: a name in `FORMULAS`.
        sums: (..., 4), in the order of `SUMS`.

    Returns:
        Two arrays of the shape of `sums` without its last axis.
    """
    above, below = FORMULAS[score]
    return sums @ np.array(above), sums @ np.array(below)


def compute_score(score: str, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """A score of counted nuclei; NaN where the denominator is 0.

    Args:
        score: a name in `FORMULAS`.
        sums: (..., 4), in the order of `SUMS`.

    >>> sums = nucleus_sums(tp=[3], fp=[1], fn=[2], iou=[2.4])
    >>> [compute_score(name, sums).round(3).tolist() for name in ("pq", "dq", "sq", "precision")]
    [[0.533], [0.667], [0.8], [0.75]]
    """
    return ratio(*formula_terms(score, sums))
