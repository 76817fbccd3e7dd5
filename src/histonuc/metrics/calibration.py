"""Calibration: whether probabilities mean what they say, and the temperature that mends them.

Of matched nuclei of known class: the probability of the most probable class against how often it is
right. Of predicted nuclei: the detection score against how often the nucleus is matched.
ECE = sum over bins of share x |accuracy - mean confidence| (Guo et al. 2017, arXiv 1706.04599),
15 equal bins, as there.

The temperature T turns probabilities p into p^(1/T), normalised (T > 1: less sure), and minimises
the negative log likelihood. So that data in pieces give the same T, likelihoods are summed at every
T of a fixed grid; the minimum is that of the parabola, in log T, through the best three.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.counts import PAIR_UNIT, Counts, ratio, to_fixed

NUM_BINS = 15
LOG2_TEMPERATURES = np.linspace(-3.0, 3.0, 49)
"""The grid of T: 1/8 to 8, eight steps to each doubling."""
_ONE = len(LOG2_TEMPERATURES) // 2
"""Place of T = 1 in the grid."""
_FLOOR = 1e-7


@dataclass(frozen=True, kw_only=True, eq=False)
class CalibrationCounts(Counts):
    """Nuclei by confidence, for T temperatures and 15 bins.

    Attributes:
        class_count, class_right: int64 (T, 15), matched nuclei of known class by the probability of
            their most probable class, and those of them where it is the true one.
        class_confidence: int64 (T, 15), that probability summed, in `PAIR_UNIT`.
        nll_sum: int64 (T,), negative log likelihood in nats summed, in `PAIR_UNIT`.
        score_count, score_right: int64 (15,), predicted nuclei by detection score, and those of
            them that are matched.
        score_confidence: int64 (15,), the score summed, in `PAIR_UNIT`.
    """

    class_count: NDArray[np.int64]
    class_right: NDArray[np.int64]
    class_confidence: NDArray[np.int64]
    nll_sum: NDArray[np.int64]
    score_count: NDArray[np.int64]
    score_right: NDArray[np.int64]
    score_confidence: NDArray[np.int64]

    @classmethod
    def zero(cls) -> CalibrationCounts:
        """Nothing counted yet."""
        steps = len(LOG2_TEMPERATURES)
        by_class = ("class_count", "class_right", "class_confidence")
        by_score = ("score_count", "score_right", "score_confidence")
        return cls(
            **{name: np.zeros((steps, NUM_BINS), np.int64) for name in by_class},
            **{name: np.zeros(NUM_BINS, np.int64) for name in by_score},
            nll_sum=np.zeros(steps, np.int64),
        )

    def without_score(self) -> CalibrationCounts:
        """The same of the class probabilities alone."""
        none = np.zeros(NUM_BINS, np.int64)
        return replace(self, score_count=none, score_right=none, score_confidence=none)

    @property
    def class_ece(self) -> float:
        """ECE of the class probabilities as they came."""
        return _ece(self.class_count[_ONE], self.class_right[_ONE], self.class_confidence[_ONE])

    @property
    def class_ece_fitted(self) -> float:
        """ECE of the class probabilities at the T of the grid that is nearest the fitted one."""
        best = int(self.nll_sum.argmin())
        return _ece(self.class_count[best], self.class_right[best], self.class_confidence[best])

    @property
    def score_ece(self) -> float:
        """ECE of the detection score."""
        return _ece(self.score_count, self.score_right, self.score_confidence)

    @property
    def nll(self) -> float:
        """Mean negative log likelihood of the true class, in nats, as it came."""
        return float(ratio(self.nll_sum[_ONE] * PAIR_UNIT, self.class_count[_ONE].sum()))

    @property
    def nll_fitted(self) -> float:
        """The same at the best T of the grid."""
        return float(ratio(self.nll_sum.min() * PAIR_UNIT, self.class_count[_ONE].sum()))

    @property
    def temperature(self) -> float:
        """T of least negative log likelihood within 1/8 to 8, NaN without nuclei."""
        if not self.class_count.any():
            return float("nan")
        best = int(self.nll_sum.argmin())
        if best in (0, len(LOG2_TEMPERATURES) - 1):
            return float(2.0 ** LOG2_TEMPERATURES[best])
        before, at, after = (float(value) for value in self.nll_sum[best - 1 : best + 2])
        bend = before - 2 * at + after
        shift = 0.5 * (before - after) / bend if bend > 0 else 0.0
        step = LOG2_TEMPERATURES[1] - LOG2_TEMPERATURES[0]
        return float(2.0 ** (LOG2_TEMPERATURES[best] + shift * step))

    def class_bins(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Nuclei, mean probability and share right (15,) of the class probabilities."""
        return _bins(self.class_count[_ONE], self.class_right[_ONE], self.class_confidence[_ONE])

    def score_bins(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Nuclei, mean score and share matched (15,) of the detection score."""
        return _bins(self.score_count, self.score_right, self.score_confidence)


def calibration_counts(
    probabilities: NDArray[np.floating],
    true_class: NDArray[np.integer],
    score: NDArray[np.floating],
    is_matched: NDArray[np.bool_],
) -> CalibrationCounts:
    """Count one image.

    Args:
        probabilities: (t, C), of the matched nuclei of known class; rows sum to 1.
        true_class: (t,), 0..C - 1.
        score: (m,), detection score of every predicted nucleus, 0..1.
        is_matched: (m,), whether it is matched.
    """
    zero = CalibrationCounts.zero()
    score_count, score_right, score_confidence = _fill(score[None], is_matched)
    parts = (zero.class_count, zero.class_right, zero.class_confidence)
    nll_sum = zero.nll_sum
    if len(true_class):
        log_p = np.log(np.maximum(probabilities, _FLOOR).astype(np.float64))
        scaled = log_p[None] / 2.0 ** LOG2_TEMPERATURES[:, None, None]
        scaled -= scaled.max(2, keepdims=True)
        log_sum = np.log(np.exp(scaled).sum(2))  # (T, t); the largest of a row is exp(0)
        right = probabilities.argmax(1) == true_class
        of_truth = scaled[:, np.arange(len(true_class)), true_class]
        nll_sum = to_fixed(log_sum - of_truth, PAIR_UNIT).sum(1)
        parts = _fill(np.exp(-log_sum), right)
    return CalibrationCounts(
        class_count=parts[0],
        class_right=parts[1],
        class_confidence=parts[2],
        nll_sum=nll_sum,
        score_count=score_count[0],
        score_right=score_right[0],
        score_confidence=score_confidence[0],
    )


def apply_temperature(
    probabilities: NDArray[np.floating], temperature: float
) -> NDArray[np.float64]:
    """p^(1/T), normalised.

    Args:
        probabilities: (n, C), rows sum to 1.
        temperature: T, above 0; 1 changes nothing.

    >>> apply_temperature(np.array([[0.9, 0.1]]), 2.0).round(2).tolist()
    [[0.75, 0.25]]
    """
    powers = np.maximum(probabilities, _FLOOR).astype(np.float64) ** (1 / temperature)
    return np.asarray(powers / powers.sum(1, keepdims=True))


def _fill(
    confidence: NDArray[np.floating], right: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Number, number right and summed confidence (K, 15) of confidences (K, n)."""
    steps = len(confidence)
    bins = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    place = (bins + NUM_BINS * np.arange(steps)[:, None]).ravel()
    fixed = to_fixed(confidence, PAIR_UNIT).ravel()
    sums = np.zeros(steps * NUM_BINS, np.int64)
    np.add.at(sums, place, fixed)  # bincount would add them as floats
    size = steps * NUM_BINS
    count = np.bincount(place, minlength=size)
    hits = np.bincount(place[np.tile(right, steps)], minlength=size)
    shape = (steps, NUM_BINS)
    return count.reshape(shape), hits.reshape(shape), sums.reshape(shape)


def _bins(
    count: NDArray[np.int64], right: NDArray[np.int64], confidence: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    return count, ratio(confidence * PAIR_UNIT, count), ratio(right, count)


def _ece(
    count: NDArray[np.int64], right: NDArray[np.int64], confidence: NDArray[np.int64]
) -> float:
    return float(ratio(np.abs(right - confidence * PAIR_UNIT).sum(), count.sum()))
