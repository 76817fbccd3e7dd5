"""Maps averaged over the pixels of each nucleus, in bands that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from histonuc.nuclei import Instances
from histonuc.representations.kernels.pooling import add_rows, renumber

_BAND_PIXELS = 1 << 16


def check_finite(maps: NDArray[np.float32]) -> None:
    """Refuse maps (K, H, W) with NaN or infinite values."""
    for channel in maps:
        # One pass: NaN and infinity survive in a sum of squares, and nothing cancels.
        flat = channel.ravel()
        if not np.isfinite(np.dot(flat, flat)):
            raise ValueError("maps hold NaN or infinite values: the network diverged")


def bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """First row, and one past the last, of bands that cover all rows of maps once.

    What is read twice in a row then comes from the processor's cache: a large tile's maps do not
    fit in it. Read pixel by pixel where the nuclei are, they come from memory five times as slowly
    as the whole of them read in order.
    """
    rows = max(_BAND_PIXELS // max(width, 1), 1)
    for row in range(0, height, rows):
        yield row, min(row + rows, height)


def pool_means(
    labels: NDArray[np.int32], num: int, maps: NDArray[np.float32], channels: Sequence[int]
) -> NDArray[np.float64]:
    """Means of maps over the pixels of each label; refuses NaN and infinite values in them.

    Args:
        labels: int32 (H, W), ids 0..num.
        num: number of labels.
        maps: float32 (K, H, W).
        channels: numbers of the k maps to average.

    Returns:
        float64 (num, k); zeros for a label without pixels.
    """
    sums, area = np.zeros((num + 1, len(channels))), np.zeros(num + 1, np.int64)
    maps = np.ascontiguousarray(maps)
    for rows in bands(*labels.shape):
        for channel in channels:
            check_finite(maps[channel : channel + 1, rows[0] : rows[1]])
        add_rows(labels, maps, np.asarray(channels, np.intp), rows, sums, area)
    means: NDArray[np.float64] = sums[1:] / np.maximum(area[1:], 1)[:, None]
    return means


def to_instances(
    labels: NDArray[np.int32],
    score: NDArray[np.float64],
    classes: NDArray[np.float64],
    *,
    temperature: float,
    min_score: float = 0.0,
    calibrate: tuple[float, float] = (1.0, 0.0),
) -> Instances:
    """Decoded nuclei of labels and of what their pixels say.

    Args:
        labels: int32 (H, W), ids 1..n; written over.
        score: float64 (n,), mean nucleus probability.
        classes: float64 (n, C), mean class probabilities, which need not sum to 1.
        temperature: they are raised to 1 / temperature and normalised.
        min_score: nuclei of a lower score are dropped.
        calibrate: scale and shift of the scores that are kept, see `calibrate_score`.
    """
    good = score >= min_score
    if not good.all():
        number = np.zeros(len(good) + 1, np.int32)
        number[1:][good] = np.arange(1, good.sum() + 1)
        renumber(labels, number)
        score, classes = score[good], classes[good]
    powers = classes ** (1 / temperature)
    total = np.maximum(powers.sum(1, keepdims=True), np.finfo(np.float64).tiny)
    return Instances(
        labels=labels,
        class_probabilities=(powers / total).astype(np.float32),
        score=np.clip(calibrate_score(score, *calibrate), 0, 1).astype(np.float32),
    )


def calibrate_score(score: NDArray[np.float64], scale: float, shift: float) -> NDArray[np.float64]:
    """The score of each nucleus as the probability that there is one (Platt 1999).

    Args:
        score: float64 (n,), mean nucleus probability.
        scale: of its logit, above 0.
        shift: of its logit.

    >>> calibrate_score(np.array([0.2, 0.5, 0.9]), 1.0, 0.0).tolist()
    [0.2, 0.5, 0.9]
    >>> calibrate_score(np.array([0.2, 0.5, 0.9]), 0.5, -1.0).round(3).tolist()
    [0.155, 0.269, 0.525]
    """
    if (scale, shift) == (1.0, 0.0):
        return score
    within = np.clip(score, 1e-6, 1 - 1e-6)
    logit = np.log(within / (1 - within))
    return np.asarray(1 / (1 + np.exp(-(scale * logit + shift))))
