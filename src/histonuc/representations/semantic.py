"""Semantic maps: background and class logits; nuclei are connected components.

The seed's representation and the baseline every other one must beat: touching nuclei of one class
merge, by construction. The loss is the seed's hybrid (2 BCE + 2 Dice + 1 IoU) over every channel,
computed per class and image (the seed summed over the batch and all classes, so that a class
missed altogether hardly counted), plus the candidate-set cross entropy where a nucleus may be of
several classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.nuclei import Instances, TileLabels
from histonuc.representations.maps import change_options, check_options, check_shape, flip
from histonuc.representations.pooling import check_finite, pool_means, to_instances

if TYPE_CHECKING:
    from torch import Tensor


_AROUND_PX = 2.0
"""Standard deviation of the Gaussian that says what is around a pixel."""


@dataclass(frozen=True, kw_only=True)
class Semantic:
    """Maps are (1 + C, H, W): channel 0 background, channel ``1 + j`` class ``j``.

    Attributes:
        num_classes: C, classes of the label space.
        bce, dice, iou: weights of the terms of the hybrid loss.
        class_weights: one weight a channel (1 + C, background first); empty for all ones.
        min_area_px: smaller connected components are dropped by `decode`.
        temperature: class probabilities of a nucleus are raised to the power 1 / temperature.
    """

    num_classes: int
    bce: float = 2.0
    dice: float = 2.0
    iou: float = 1.0
    class_weights: tuple[float, ...] = field(default=())
    min_area_px: int = 10
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_options(self, self.channels, " (background first)")

    @property
    def channels(self) -> int:
        """Background and one channel a class."""
        return 1 + self.num_classes

    def encode(self, labels: TileLabels) -> dict[str, NDArray[Any]]:
        """Dense targets.

        Returns:
            ``candidates`` int32 (H, W): bit 0 background, bit ``1 + j`` class ``j`` possible (one
            bit where the truth is known); ``ignore`` bool (H, W); ``class_weight`` float32 (H, W):
            1 at the nuclei that points mark, of which nothing but the class is known.
        """
        channel_sets = labels.candidates.astype(np.int32) << 1
        channel_sets[0] = 1
        return {
            "candidates": channel_sets[labels.instances],
            "ignore": labels.ignore,
            "class_weight": ((labels.instances > 0) & labels.class_only).astype(np.float32),
        }

    def loss(
        self, logits: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Hybrid loss on logits; where points mark nuclei, that of the class given a nucleus.

        Args:
            logits: float (B, 1 + C, H, W).
            targets: `encode`'s maps, batched: (B, H, W) each.

        Returns:
            The scalar loss and its detached, unweighted terms by name.
        """
        from histonuc.losses import candidate_class_loss, hybrid_loss

        candidates, ignore = targets["candidates"], targets["ignore"]
        outlined = ~ignore.flatten(1).all(1)
        total, terms = hybrid_loss(
            logits[outlined] if outlined.any() else logits,
            candidates[outlined] if outlined.any() else candidates,
            ignore[outlined] if outlined.any() else ignore,
            bce=self.bce,
            dice=self.dice,
            iou=self.iou,
            class_weights=self.class_weights,
        )
        marked = candidate_class_loss(
            logits[:, 1:],
            candidates >> 1,
            targets["class_weight"],
            class_weights=self.class_weights[1:],
        )
        return total + marked, {**terms, "class": marked.detach()}

    def activate(self, logits: Tensor) -> Tensor:
        """Probabilities (B, 1 + C, H, W) that sum to 1 over channels."""
        return logits.float().softmax(1)

    def mirror(self, maps: NDArray[np.float32], *, down: bool, right: bool) -> NDArray[np.float32]:
        """Maps (B, 1 + C, H, W) of the mirrored image."""
        return flip(maps, down=down, right=right)

    def with_options(self, **options: Any) -> Self:
        """A copy with other options; see `change_options`."""
        return change_options(self, options)

    def decode(self, maps: NDArray[np.float32]) -> Instances:
        """Arg-max, then 4-connected components per class; holes are filled.

        The arg-max is taken in two steps, nucleus against background and then the class: where the
        class is in doubt its channels share the nucleus's probability, and background would win
        with less than half. And where it is in doubt it is that of the pixels around: it would
        change from pixel to pixel, and no component would be left.

        Args:
            maps: float32 (1 + C, H, W), probabilities.

        Returns:
            Class probabilities pooled over each nucleus's pixels, background left out and
            renormalised; the score is the mean foreground probability.

        Raises:
            ValueError: wrong shape, NaN or infinite maps.
        """
        check_shape(maps, self.channels)
        check_finite(maps)
        classes = maps[1:]
        nuclear = classes.sum(0)
        winner = np.where(nuclear > maps[0], _likeliest(classes, nuclear) + 1, 0)
        labels = np.zeros(winner.shape, np.int32)
        count = 0
        for channel in range(1, self.channels):
            count = _add_components(labels, winner == channel, count, self.min_area_px)
        mean = pool_means(labels, count, maps, range(1, self.channels))
        return to_instances(labels, mean.sum(1), mean.clip(min=0), temperature=self.temperature)

    def pixel_probabilities(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Background and class probabilities (1 + C, H, W): here the maps themselves."""
        return maps


def _likeliest(classes: NDArray[np.float32], nuclear: NDArray[np.float32]) -> NDArray[np.intp]:
    """Class (H, W) of each pixel, where it leads by less than half that of the pixels around."""
    if len(classes) == 1:
        return np.zeros(nuclear.shape, np.intp)
    second, first = np.partition(classes, -2, axis=0)[-2:]
    around = np.stack([cv2.GaussianBlur(channel, (0, 0), _AROUND_PX) for channel in classes])
    doubtful = first - second < nuclear / 2
    return np.asarray(np.where(doubtful, around.argmax(0), classes.argmax(0)))


def _add_components(
    labels: NDArray[np.int32], mask: NDArray[np.bool_], count: int, min_area_px: int
) -> int:
    """Write the filled components of `mask` into `labels` as ids above `count`."""
    if not mask.any():
        return count
    num, components, stats, _ = cv2.connectedComponentsWithStats(
        mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S
    )
    big = stats[:, cv2.CC_STAT_AREA] >= min_area_px
    big[0] = False
    ids = np.zeros(num, np.int32)
    ids[big] = np.arange(count + 1, count + 1 + big.sum())
    relabelled = ids[components]
    labels[relabelled > 0] = relabelled[relabelled > 0]
    _fill_holes(labels, relabelled)
    return count + int(big.sum())


def _fill_holes(labels: NDArray[np.int32], relabelled: NDArray[np.int32]) -> None:
    """Give background enclosed by one component to that component."""
    outside = np.pad(relabelled == 0, 1, constant_values=True).view(np.uint8)
    num, holes, stats, _ = cv2.connectedComponentsWithStats(
        outside, connectivity=8, ltype=cv2.CV_32S
    )
    for hole in range(1, num):
        x, y, w, h, _ = stats[hole]
        if x == 0:  # touches the frame of padding: the open background
            continue
        crop = np.s_[y - 1 : y + h - 1, x - 1 : x + w - 1]
        inside = holes[1:-1, 1:-1][crop] == hole
        free = inside & (labels[crop] == 0)
        labels[crop][free] = relabelled[y - 1 + inside[:, 0].argmax(), x - 2]
