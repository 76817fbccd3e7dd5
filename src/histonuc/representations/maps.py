"""What the instance representations share: maps of nucleus and class around their own geometry.

Maps are (1 + G + C, H, W): the probability of being nucleus, G channels of geometry, and C class
probabilities given that the pixel is nucleus.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.nuclei import Instances, TileLabels
from histonuc.representations.pooling import pool, renumber

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Nuclear(ABC):
    """Options that every instance representation has, and what follows from them.

    Attributes:
        num_classes: C, classes of the label space.
        classes: weight of the class loss.
        class_weights: one weight a class; empty for all ones.
        threshold: least nucleus probability of a nuclear pixel.
        min_area_px: smaller nuclei are dropped.
        min_score: nuclei of a lower mean nucleus probability are dropped.
        temperature: class probabilities of a nucleus are raised to 1 / temperature.
    """

    num_classes: int
    classes: float = 1.0
    class_weights: tuple[float, ...] = field(default=())
    threshold: float = 0.5
    min_area_px: int = 20
    min_score: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        # YAML has whole numbers and lists.
        object.__setattr__(self, "class_weights", tuple(map(float, self.class_weights)))
        if self.class_weights and len(self.class_weights) != self.num_classes:
            raise ValueError(
                f"class_weights: expected {self.num_classes} weights, got {len(self.class_weights)}"
            )

    @abstractmethod
    def mirror_geometry(
        self, geometry: NDArray[np.float32], *, down: bool, right: bool
    ) -> NDArray[np.float32]:
        """Values of geometry (B, G, H, W) after mirroring, their places being changed already."""

    def mirror(self, maps: NDArray[np.float32], *, down: bool, right: bool) -> NDArray[np.float32]:
        """Maps (B, 1 + G + C, H, W) of the mirrored image."""
        axes = tuple(axis for axis, flipped in ((2, down), (3, right)) if flipped)
        maps = np.flip(maps, axes).copy()
        geometry = slice(1, maps.shape[1] - self.num_classes)
        maps[:, geometry] = self.mirror_geometry(maps[:, geometry], down=down, right=right)
        return maps

    def pixel_probabilities(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Background and class probabilities (1 + C, H, W) of the maps."""
        return np.concatenate([1 - maps[:1], maps[:1] * maps[len(maps) - self.num_classes :]])

    def pooled(self, labels: NDArray[np.int32], num: int, maps: NDArray[np.float32]) -> Instances:
        """Tidy labels with class probabilities and scores, see `to_instances`."""
        return to_instances(
            labels,
            num,
            maps,
            self.num_classes,
            temperature=self.temperature,
            min_score=self.min_score,
        )


def encode_nuclear(labels: TileLabels) -> dict[str, NDArray[Any]]:
    """Dense targets of nucleus and class.

    Returns:
        ``candidates`` int32 (H, W): bit ``j`` where the nucleus may be of class ``j``, 0 in the
        background; ``weight`` float32 (H, W): area^-1/2 of the pixel's nucleus (its area in the
        tile), so that a nucleus's sum grows like its diameter, 0 in the background and where the
        truth is unknown; ``ignore`` bool (H, W).
    """
    area = np.bincount(labels.instances.ravel(), minlength=len(labels.candidates))
    weight = (1 / np.sqrt(np.maximum(area, 1))).astype(np.float32)
    weight[0] = 0
    dense = weight[labels.instances]
    dense[labels.ignore] = 0
    return {
        "candidates": labels.candidates.astype(np.int32)[labels.instances],
        "weight": dense,
        "ignore": labels.ignore,
    }


def nuclear_loss(
    nucleus: Tensor,
    classes_logits: Tensor,
    targets: Mapping[str, Tensor],
    *,
    classes: float,
    weights: Sequence[float],
) -> tuple[Tensor, dict[str, Tensor]]:
    """BCE and Dice of nucleus against background, and candidate-set cross entropy of the class.

    The class term is averaged over the pixels whose class is at all restricted, with the weight of
    `encode_nuclear`, so that it does not fade in a batch where few tiles have classes. The average
    is over the batch, so processes that share one step weigh their own pixels, not all alike.

    Args:
        nucleus: logits (B, H, W).
        classes_logits: logits (B, C, H, W).
        targets: `encode_nuclear`'s maps, batched.
        classes: weight of the class term.
        weights: one weight a class; empty for all ones.

    Returns:
        The weighted sum, and the terms by name (not detached).
    """
    from histonuc.losses import binary_dice_loss, binary_loss, candidate_class_loss

    valid = ~targets["ignore"]
    truth = (targets["candidates"] != 0).float()
    terms = {
        "bce": binary_loss(nucleus, truth, valid),
        "dice": binary_dice_loss(nucleus, truth, valid),
        "class": candidate_class_loss(
            classes_logits, targets["candidates"], targets["weight"], class_weights=weights
        ),
    }
    return terms["bce"] + terms["dice"] + classes * terms["class"], terms


def activate_nuclear(logits: Tensor, *, geometry: Tensor) -> Tensor:
    """Sigmoid of the first channel, the given geometry, softmax of the classes."""
    import torch

    first = 1 + geometry.shape[1]
    nucleus, classes = logits[:, :1].float().sigmoid(), logits[:, first:].float().softmax(1)
    return torch.cat([nucleus, geometry, classes], dim=1)


def check_shape(maps: NDArray[np.float32], channels: int) -> None:
    """Refuse maps of another shape."""
    if maps.ndim != 3 or maps.shape[0] != channels:
        raise ValueError(f"expected maps ({channels}, H, W), got {maps.shape}")


def to_instances(
    labels: NDArray[np.int32],
    num: int,
    maps: NDArray[np.float32],
    num_classes: int,
    *,
    temperature: float,
    min_score: float,
) -> Instances:
    """Labels with class probabilities and scores pooled over each nucleus's pixels.

    Args:
        labels: int32 (H, W), tidy ids 1..num; written over.
        num: number of nuclei.
        maps: float32 (1 + G + C, H, W).
        num_classes: C, the last channels.
        temperature: pooled probabilities are raised to 1 / temperature and normalised again.
        min_score: nuclei of a lower score are dropped.

    Returns:
        The score is the mean nucleus probability.

    Raises:
        ValueError: NaN or infinite maps, but for the geometry, which is not read.
    """
    used = np.array([0, *range(len(maps) - num_classes, len(maps))])
    sums, area = pool(labels, num, maps, used)
    mean = sums / np.maximum(area, 1)[:, None]
    keep = mean[:, 0] >= min_score
    if not keep.all():
        number = np.zeros(num + 1, np.int32)
        number[1:][keep] = np.arange(1, keep.sum() + 1)
        renumber(labels, number)
        mean = mean[keep]
    classes = np.maximum(mean[:, 1:], 1e-9) ** (1 / temperature)
    return Instances(
        labels=labels,
        class_probabilities=(classes / classes.sum(1, keepdims=True)).astype(np.float32),
        score=np.clip(mean[:, 0], 0, 1).astype(np.float32),
    )
