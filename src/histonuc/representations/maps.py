"""What the representations share: maps read in bands, pixels pooled to nuclei, common options.

`Nuclear` is the base of those whose maps are (1 + G + C, H, W): the probability of being nucleus, G
channels of geometry, and C class probabilities given that the pixel is nucleus.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from histonuc.field_checks import check_types, refuse_unknown
from histonuc.nuclei import Instances, TileLabels
from histonuc.representations.cells import Cells
from histonuc.representations.pooling import pool_means, to_instances

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from torch import Tensor

    D = TypeVar("D", bound=DataclassInstance)


@dataclass(frozen=True, kw_only=True)
class Nuclear(ABC):
    """Options that every instance representation has, and what follows from them.

    Attributes:
        num_classes: C, the number of classes of the label space.
        classes: weight of the class loss.
        class_weights: one weight a class; empty for all ones.
        threshold: least nucleus probability of a nuclear pixel, 0..1.
        min_area_px: nuclei with fewer pixels are dropped.
        min_score: nuclei with a lower mean nucleus probability are dropped.
        temperature: class probabilities of a nucleus are raised to the power 1 / temperature.
        score_scale, score_shift: the score of a nucleus is made a probability by
            sigmoid(scale · logit(score) + shift) (Platt 1999), which keeps the order.
    """

    num_classes: int
    classes: float = 1.0
    class_weights: tuple[float, ...] = field(default=())
    threshold: float = 0.5
    min_area_px: int = 20
    min_score: float = 0.0
    temperature: float = 1.0
    score_scale: float = 1.0
    score_shift: float = 0.0

    def __post_init__(self) -> None:
        check_options(self, self.num_classes)
        if self.score_scale <= 0:
            raise ValueError(
                f"--representation-options.score-scale: expected above 0, got {self.score_scale}"
            )

    @property
    @abstractmethod
    def channels(self) -> int:
        """K, the number of map channels: nucleus, geometry, classes."""

    @abstractmethod
    def activate_geometry(self, logits: Tensor) -> Tensor:
        """Geometry float32 (B, G, H, W) of its logits, by torch."""

    def activate(self, logits: Tensor) -> Tensor:
        """Maps float32 (B, 1 + G + C, H, W) of logits: sigmoid, geometry, softmax."""
        import torch

        last = logits.shape[1] - self.num_classes
        geometry = self.activate_geometry(logits[:, 1:last])
        nucleus, classes = logits[:, :1].float().sigmoid(), logits[:, last:].float().softmax(1)
        return torch.cat([nucleus, geometry, classes], dim=1)

    @abstractmethod
    def decode(self, maps: NDArray[np.float32], classes: Cells | None = None) -> Instances:
        """Nuclei of one tile's maps, see `histonuc.representations.Representation`."""

    @abstractmethod
    def mirror_geometry(
        self, geometry: NDArray[np.float32], *, down: bool, right: bool
    ) -> NDArray[np.float32]:
        """Values of geometry (B, G, H, W) after mirroring, their places being changed already."""

    def mirror(self, maps: NDArray[np.float32], *, down: bool, right: bool) -> NDArray[np.float32]:
        """Maps (B, 1 + G + C, H, W) of the mirrored image; the class channels may be missing."""
        maps = flip(maps, down=down, right=right)
        geometry = slice(1, self.channels - self.num_classes)
        maps[:, geometry] = self.mirror_geometry(maps[:, geometry], down=down, right=right)
        return maps

    def pixel_probabilities(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Background and class probabilities (1 + C, H, W) of the maps."""
        return np.concatenate([1 - maps[:1], maps[:1] * maps[len(maps) - self.num_classes :]])

    def with_options(self, **options: Any) -> Self:
        """A copy with other options; see `change_options`."""
        return change_options(self, options)

    def check_maps(self, maps: NDArray[np.float32], classes: Cells | None = None) -> None:
        """Refuse maps of another shape.

        Args:
            maps: float32 (K, H, W), without its class channels where `classes` has them.
            classes: class probabilities (C, h, w) on a coarser grid.
        """
        channels = self.channels
        if classes is not None:
            channels -= self.num_classes
            if classes.values.ndim != 3 or len(classes.values) != self.num_classes:
                raise ValueError(
                    f"expected {self.num_classes} classes (C, h, w), got {classes.values.shape}"
                )
        check_shape(maps, channels)

    def pool(
        self,
        labels: NDArray[np.int32],
        num: int,
        maps: NDArray[np.float32],
        classes: Cells | None = None,
    ) -> Instances:
        """Nuclei of tidy labels: probabilities are means over pixels, the score is the first map's.

        Args:
            labels: int32 (H, W), ids 1..num; written over.
            num: number of nuclei.
            maps: float32 (1 + G + C, H, W), or (1 + G, H, W) where `classes` has the rest.
            classes: class probabilities (C, h, w) on a coarser grid.

        Raises:
            ValueError: NaN or infinite maps, but for the geometry, which is not read.
        """
        last = len(maps) - (0 if classes is not None else self.num_classes)
        mean = pool_means(labels, num, maps, [0, *range(last, len(maps))])
        probabilities = mean[:, 1:] if classes is None else classes.pool(labels, num)
        return to_instances(
            labels,
            mean[:, 0],
            np.maximum(probabilities, 1e-9),
            temperature=self.temperature,
            min_score=self.min_score,
            calibrate=(self.score_scale, self.score_shift),
        )


def check_options(representation: DataclassInstance, num_weights: int, order: str = "") -> None:
    """Refuse options that are not what their annotations say; make `class_weights` floats.

    Args:
        representation: a frozen dataclass with the field `class_weights`, and `temperature`.
        num_weights: number of class weights that it wants, where there are any.
        order: the order of the weights, said in the error: " (background first)".

    Raises:
        ValueError: with the first wrong option.
    """
    given = representation.class_weights  # type: ignore[attr-defined]
    weights = tuple(given) if isinstance(given, list | tuple) else (given,)  # YAML has lists
    object.__setattr__(representation, "class_weights", weights)
    check_types(representation, "representation_options.")
    object.__setattr__(representation, "class_weights", tuple(map(float, weights)))
    if weights and len(weights) != num_weights:
        raise ValueError(
            f"class_weights: expected {num_weights} weights{order}, got {len(weights)}"
        )
    temperature = representation.temperature  # type: ignore[attr-defined]
    if temperature <= 0:
        raise ValueError(
            f"--representation-options.temperature: expected above 0, got {temperature}"
        )


def change_options(representation: D, options: Mapping[str, Any]) -> D:
    """A copy of a representation, which is a dataclass, with other options.

    Raises:
        ValueError: an option that it does not have, or a bad value.
    """
    known = [f.name for f in fields(representation) if f.name != "num_classes"]
    refuse_unknown(options, known, f"options of the representation {type(representation).__name__}")
    return replace(representation, **options)


def flip(maps: NDArray[np.float32], *, down: bool, right: bool) -> NDArray[np.float32]:
    """Maps (B, K, H, W) turned over, top to bottom, left to right, or both; a copy."""
    return np.flip(maps, tuple(axis for axis, on in ((2, down), (3, right)) if on)).copy()


def encode_nuclear(labels: TileLabels) -> dict[str, NDArray[Any]]:
    """Dense targets of nucleus and class.

    Returns:
        ``candidates`` int32 (H, W): bit ``j`` where the nucleus may be of class ``j``, 0 in the
        background; ``weight`` float32 (H, W): area^-1/2 of the pixel's nucleus (its area in the
        tile), so that a nucleus's sum grows like its diameter, 0 in the background and where the
        truth is unknown; ``class_weight`` float32 (H, W): the same for the class, which is known of
        the nuclei that points mark where nothing else is; ``ignore`` bool (H, W).
    """
    area = np.bincount(labels.instances.ravel(), minlength=len(labels.candidates))
    weight = (1 / np.sqrt(np.maximum(area, 1))).astype(np.float32)
    weight[0] = 0
    all_known = weight[labels.instances]
    dense = np.where(labels.ignore, np.float32(0), all_known)
    return {
        "candidates": labels.candidates.astype(np.int32)[labels.instances],
        "weight": dense,
        "class_weight": all_known if labels.class_only else dense,
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

    The class term is averaged over the pixels whose class is at all restricted, with the class
    weight of `encode_nuclear`, so that it does not fade in a batch where few tiles have classes.
    The average is over the whole batch, also where several processes have parts of it
    (`batch_total`). Tiles with points count in the class term alone.

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
            classes_logits, targets["candidates"], targets["class_weight"], class_weights=weights
        ),
    }
    return terms["bce"] + terms["dice"] + classes * terms["class"], terms


def check_shape(maps: NDArray[np.float32], channels: int) -> None:
    """Refuse maps of another shape than (channels, H, W)."""
    if maps.ndim != 3 or maps.shape[0] != channels:
        raise ValueError(f"expected maps ({channels}, H, W), got {maps.shape}")
