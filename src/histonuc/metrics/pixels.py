"""Pixel scores: confusion matrix, cross entropy, Dice, IoU and accuracy, as counts that add."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.counts import PIXEL_UNIT, Counts, ratio, to_fixed

_PROBABILITY_FLOOR = 1e-7
"""Probabilities are kept this far from 0 and 1 in the cross entropy."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelCounts(Counts):
    """Pixels by true and predicted class. Channel 0 is background, ``1 + j`` class ``j``.

    Pixels of nuclei of unknown class are left out of everything but `foreground`.

    Attributes:
        confusion: int64 (1 + C, 1 + C), rows truth, columns the predicted channel: the most
            probable class where nucleus is more probable than background.
        foreground: int64 (2, 2), rows truth, columns prediction: background, nucleus of any class.
        bce_sum: int64 (1 + C,), binary cross entropy in nats summed over pixels, in `PIXEL_UNIT`.
        soft_overlap: int64 (1 + C,), probability summed over the channel's true pixels, in
            `PIXEL_UNIT`.
        soft_total: int64 (1 + C,), probability summed over all pixels, in `PIXEL_UNIT`.
    """

    confusion: NDArray[np.int64]
    foreground: NDArray[np.int64]
    bce_sum: NDArray[np.int64]
    soft_overlap: NDArray[np.int64]
    soft_total: NDArray[np.int64]

    @classmethod
    def zero(cls, num_classes: int) -> PixelCounts:
        """Nothing counted yet."""
        channels = 1 + num_classes
        return cls(
            confusion=np.zeros((channels, channels), np.int64),
            foreground=np.zeros((2, 2), np.int64),
            bce_sum=np.zeros(channels, np.int64),
            soft_overlap=np.zeros(channels, np.int64),
            soft_total=np.zeros(channels, np.int64),
        )

    @property
    def bce(self) -> NDArray[np.float64]:
        """float64 (1 + C,), mean binary cross entropy a pixel and channel, in nats.

        NaN, as the soft scores, where decisions were counted instead of probabilities.
        """
        return ratio(self.bce_sum * PIXEL_UNIT, self.confusion.sum() * self.soft_total.any())

    @property
    def dice(self) -> NDArray[np.float64]:
        """float64 (1 + C,), Dice of the predicted channel; NaN where it never occurs."""
        hit = np.diagonal(self.confusion)
        return ratio(2 * hit, self.confusion.sum(1) + self.confusion.sum(0))

    @property
    def iou(self) -> NDArray[np.float64]:
        """float64 (1 + C,), intersection over union of the predicted channel."""
        hit = np.diagonal(self.confusion)
        return ratio(hit, self.confusion.sum(1) + self.confusion.sum(0) - hit)

    @property
    def soft_dice(self) -> NDArray[np.float64]:
        """float64 (1 + C,), Dice with probabilities in place of decisions."""
        total = self.soft_total * PIXEL_UNIT + self.confusion.sum(1)
        return ratio(2 * self.soft_overlap * PIXEL_UNIT, total * self.soft_total.any())

    @property
    def soft_iou(self) -> NDArray[np.float64]:
        """float64 (1 + C,), IoU with probabilities in place of decisions."""
        overlap = self.soft_overlap * PIXEL_UNIT
        total = self.soft_total * PIXEL_UNIT + self.confusion.sum(1)
        return ratio(overlap, (total - overlap) * self.soft_total.any())

    @property
    def recall(self) -> NDArray[np.float64]:
        """float64 (1 + C,), share of the channel's true pixels that are found."""
        return ratio(np.diagonal(self.confusion), self.confusion.sum(1))

    @property
    def precision(self) -> NDArray[np.float64]:
        """float64 (1 + C,), share of the channel's predicted pixels that are right."""
        return ratio(np.diagonal(self.confusion), self.confusion.sum(0))

    @property
    def class_accuracy(self) -> NDArray[np.float64]:
        """float64 (1 + C,), share of pixels right about this channel against all others."""
        hit = np.diagonal(self.confusion)
        wrong = self.confusion.sum(1) + self.confusion.sum(0) - 2 * hit
        return ratio(self.confusion.sum() - wrong, self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of pixels whose predicted channel is the true one."""
        return float(ratio(np.trace(self.confusion), self.confusion.sum()))

    @property
    def nuclear_accuracy(self) -> float:
        """The seed's accuracy: of nuclear pixels predicted nuclear, the share of the right class.

        It excludes missed and background pixels, so it says nothing about finding nuclei.
        """
        nuclear = self.confusion[1:, 1:]
        return float(ratio(np.trace(nuclear), nuclear.sum()))

    @property
    def foreground_dice(self) -> float:
        """Dice of nucleus against background, classes ignored."""
        both = self.foreground[1, 1]
        return float(ratio(2 * both, self.foreground[1].sum() + self.foreground[:, 1].sum()))

    @property
    def foreground_iou(self) -> float:
        """IoU of nucleus against background, classes ignored."""
        both = self.foreground[1, 1]
        return float(ratio(both, self.foreground[1].sum() + self.foreground[:, 1].sum() - both))


def decide_pixels(probabilities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Most probable class + 1 of each pixel (H, W) where nucleus is more probable than not, else 0.

    Args:
        probabilities: float32 (1 + C, H, W), background first.
    """
    # Nucleus or not first, then the class: a nucleus of doubtful class is no background.
    classes = probabilities[1:]
    return np.where(classes.sum(0) > probabilities[0], classes.argmax(0) + 1, 0)


def pixel_counts(
    instances: NDArray[np.integer],
    types: NDArray[np.integer] | None,
    probabilities: NDArray[np.float32],
    *,
    num_classes: int,
) -> PixelCounts:
    """Score one image.

    Args:
        instances: true nuclei (H, W), 0 = background.
        types: class + 1 by id of `instances` (entry 0: background), 0 where unknown. Without it
            only `PixelCounts.foreground` is counted, and `probabilities` may have any classes.
        probabilities: float32 (1 + C, H, W), background first.
        num_classes: C of the result.
    """
    nuclear = instances > 0
    winner = decide_pixels(probabilities)
    foreground = np.bincount((2 * nuclear + (winner > 0)).ravel(), minlength=4).reshape(2, 2)
    if types is None:
        empty = PixelCounts.zero(num_classes)
        return PixelCounts(
            confusion=empty.confusion,
            foreground=foreground,
            bce_sum=empty.bce_sum,
            soft_overlap=empty.soft_overlap,
            soft_total=empty.soft_total,
        )
    channels = 1 + num_classes
    if probabilities.shape != (channels, *instances.shape):
        raise ValueError(
            f"expected probabilities {(channels, *instances.shape)}, got {probabilities.shape}"
        )
    truth = types[instances]
    known = ((truth > 0) | ~nuclear).ravel()
    flat_truth, flat_winner = truth.ravel(), winner.ravel()
    flat = probabilities.reshape(channels, -1)
    if not known.all():
        flat_truth, flat_winner, flat = flat_truth[known], flat_winner[known], flat[:, known]
    joint = np.bincount(flat_truth * channels + flat_winner, minlength=channels**2)
    given = flat[flat_truth, np.arange(flat.shape[1])]
    return PixelCounts(
        confusion=joint.reshape(channels, channels),
        foreground=foreground,
        bce_sum=to_fixed(_cross_entropy(flat, flat_truth, given), PIXEL_UNIT),
        soft_overlap=to_fixed(np.bincount(flat_truth, given, minlength=channels), PIXEL_UNIT),
        soft_total=to_fixed(flat.sum(1, dtype=np.float64), PIXEL_UNIT),
    )


def decision_counts(
    instances: NDArray[np.integer],
    types: NDArray[np.integer] | None,
    nuclear: NDArray[np.bool_],
    predicted: NDArray[np.integer] | None,
    *,
    num_classes: int,
) -> PixelCounts:
    """Score one image of which only decisions are known, not the probabilities.

    Args:
        instances: true nuclei (H, W), 0 = background.
        types: class + 1 by id of `instances`, 0 where unknown; None leaves classes out.
        nuclear: pixels (H, W) that are predicted to be nucleus.
        predicted: class + 1 that each pixel (H, W) is predicted to have, 0 = background; pixels of
            nuclei of unknown class are 0 too. None leaves classes out.
        num_classes: C.
    """
    channels = 1 + num_classes
    both = np.bincount((2 * (instances > 0) + nuclear).ravel(), minlength=4)
    confusion = np.zeros((channels, channels), np.int64)
    if types is not None and predicted is not None:
        known = (types[instances] > 0) | (instances == 0)
        joint = types[instances][known] * channels + predicted[known]
        confusion = np.bincount(joint, minlength=channels**2).reshape(channels, channels)
    empty = PixelCounts.zero(num_classes)
    return PixelCounts(
        confusion=confusion,
        foreground=both.reshape(2, 2),
        bce_sum=empty.bce_sum,
        soft_overlap=empty.soft_overlap,
        soft_total=empty.soft_total,
    )


def _cross_entropy(
    flat: NDArray[np.float32], truth: NDArray[np.integer], given: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Binary cross entropy (1 + C,) summed over pixels: one logarithm a pixel and channel."""
    low, high = np.float32(_PROBABILITY_FLOOR), np.float32(1 - _PROBABILITY_FLOOR)
    right = 1 - flat  # probability given to what is true: 1 - p, but p in the true channel
    right[truth, np.arange(flat.shape[1])] = given
    return np.asarray(-np.log(np.clip(right, low, high)).sum(1, dtype=np.float64))
