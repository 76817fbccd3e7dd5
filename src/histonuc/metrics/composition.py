"""Counting: how well the number of nuclei of an image is told, in all and by class.

As in the CoNIC challenge's cellular composition task (Graham et al. 2021, arXiv 2111.14485): the
coefficient of determination R² over images, here beside the mean absolute error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.counts import Counts, ratio


@dataclass(frozen=True, kw_only=True, eq=False)
class CompositionCounts(Counts):
    """Sums over images, int64 (1 + C,) each. Entry 0 is any class, ``1 + j`` class ``j``.

    Attributes:
        images: images; for classes, those in which every true nucleus has a known class.
        truth, truth_squared: number of true nuclei, and its square.
        absolute, squared: absolute and squared difference of the numbers.
    """

    images: NDArray[np.int64]
    truth: NDArray[np.int64]
    truth_squared: NDArray[np.int64]
    absolute: NDArray[np.int64]
    squared: NDArray[np.int64]

    @classmethod
    def zero(cls, num_classes: int) -> CompositionCounts:
        """Nothing counted yet."""
        names = ("images", "truth", "truth_squared", "absolute", "squared")
        return cls(**{name: np.zeros(1 + num_classes, np.int64) for name in names})

    @property
    def mae(self) -> NDArray[np.float64]:
        """float64 (1 + C,), mean absolute error of the number of nuclei an image."""
        return ratio(self.absolute, self.images)

    @property
    def r2(self) -> NDArray[np.float64]:
        """float64 (1 + C,), 1 - squared error / variance; NaN where all images hold as many."""
        spread = self.truth_squared - ratio(self.truth.astype(np.float64) ** 2, self.images)
        return 1 - ratio(self.squared, np.where(spread > 0, spread, 0))


def composition_counts(
    truth_type: NDArray[np.integer] | None,
    predicted_type: NDArray[np.integer] | None,
    num_truth: int,
    num_predicted: int,
    *,
    num_classes: int,
) -> CompositionCounts:
    """Count one image.

    Args:
        truth_type: class + 1 of every true nucleus, 0 where unknown; None leaves classes out.
        predicted_type: class + 1 of every predicted nucleus, 0 where unknown.
        num_truth: number of true nuclei.
        num_predicted: number of predicted nuclei.
        num_classes: C.
    """
    true, found = np.zeros((2, 1 + num_classes), np.int64)
    images = np.zeros(1 + num_classes, np.int64)
    true[0], found[0], images[0] = num_truth, num_predicted, 1
    if truth_type is not None and predicted_type is not None and (truth_type > 0).all():
        true[1:] = np.bincount(truth_type, minlength=1 + num_classes)[1:]
        found[1:] = np.bincount(predicted_type, minlength=1 + num_classes)[1:]
        images[1:] = 1
    return CompositionCounts(
        images=images,
        truth=true,
        truth_squared=true**2,
        absolute=np.abs(found - true),
        squared=(found - true) ** 2,
    )
