"""Distillation: a network learns a trained model's maps beside the labels.

Hinton et al. 2015, "Distilling the knowledge in a neural network", arXiv 1503.02531; here on dense
maps. The teacher sees each batch mirrored at random, so that on average the network learns the
teacher's mean over mirrorings, which is better than the teacher itself.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from histonuc.models.loading import load_model
from histonuc.models.model import ModelSpec
from histonuc.representations import Representation
from histonuc.representations.maps import Nuclear


class Teacher:
    """A trained model that a network learns from: where nuclei are, their geometry, their classes.

    Its classes are learned where `classes` says so, else its label space may be another.

    Args:
        name: what `load_model` takes.
        spec: of the network that learns.
        device: of the training: ``cpu``, ``cuda:0``, ...
        classes: whether its classes are learned, too, where they are the network's.

    Raises:
        ValueError: no such model, or one whose maps mean something else.
    """

    def __init__(
        self, name: str, spec: ModelSpec, device: torch.device, *, classes: bool = False
    ) -> None:
        try:
            self._model = load_model(name, "cpu" if device.type == "cpu" else str(device))
        except ValueError as error:
            raise ValueError(f"--teacher: {error}") from None
        given = self._model.spec
        if (given.representation, given.mpp) != (spec.representation, spec.mpp):
            raise ValueError(
                f"--teacher {name}: expected representation {spec.representation} at {spec.mpp:g} "
                f"mpp, as the network has; it has {given.representation} at {given.mpp:g}"
            )
        if not isinstance(self._model.representation, Nuclear):
            raise ValueError(f"--teacher {name}: expected one with maps of nucleus and geometry")
        self._device = device
        self._classes = classes and given.label_space.classes == spec.label_space.classes

    def maps(self, images: Tensor, seed: int) -> Tensor:
        """Maps float32 (B, 1 + G, H, W) or (B, 1 + G + C, H, W) of images uint8 (B, 3, H, W).

        They are nucleus probability, geometry, and, where they are learned, class probabilities.

        Args:
            images: a batch of the training, augmented.
            seed: decides how each batch is mirrored.
        """
        down, right = np.random.default_rng(seed).integers(0, 2, 2).astype(bool)
        axes = [axis for axis, mirrored in ((2, down), (3, right)) if mirrored]
        seen = torch.flip(images, axes).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        representation = self._model.representation
        maps = representation.mirror(self._model.maps(seen), down=down, right=right)
        known = maps.shape[1] - (0 if self._classes else representation.num_classes)
        return torch.from_numpy(np.ascontiguousarray(maps[:, :known])).to(self._device)


def teacher_loss(
    representation: Representation,
    logits: Tensor,
    maps: Tensor,
    where: Tensor | None = None,
    known: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """How far a network's maps are from its teacher's.

    Of the nucleus the binary cross entropy, in which the teacher's probability is the target; of
    the geometry the smooth L1 of its difference, in units of the mean of the teacher's absolute
    values, and of the classes their cross entropy, both weighted by the teacher's nucleus
    probability.

    Args:
        representation: of the network.
        logits: its float (B, K, H, W).
        maps: the teacher's float32 (B, 1 + G, H, W), or with class probabilities (B, K, H, W).
        where: bool (B, H, W), the pixels at which the teacher is followed; None for all.
        known: bool (B, H, W), pixels whose class the labels say: there it is not followed in its
            classes. None for no such pixel.

    Returns:
        The scalar, and its detached terms by name.
    """
    functional = torch.nn.functional
    first = logits.shape[1] - representation.num_classes
    nucleus, geometry, classes = maps[:, 0], maps[:, 1:first], maps[:, first:]
    followed = torch.ones_like(nucleus) if where is None else where.to(nucleus.dtype)
    bce = functional.binary_cross_entropy_with_logits(
        logits[:, 0].float(), nucleus, reduction="none"
    )
    weight = nucleus * followed
    total = weight.sum().clamp(min=1.0)
    given = representation.activate(logits)[:, 1:first]
    spread = weight.unsqueeze(1)
    unit = ((geometry.abs() * spread).sum() / (total * geometry.shape[1])).clamp(min=1e-3)
    wrong = functional.smooth_l1_loss(given / unit, geometry / unit, reduction="none", beta=0.25)
    terms = {
        "teacher_bce": (bce * followed).sum() / followed.sum().clamp(min=1.0),
        "teacher_geometry": (wrong * spread).sum() / (total * geometry.shape[1]),
    }
    loss = terms["teacher_bce"] + 2 * terms["teacher_geometry"]
    if classes.shape[1]:
        missed = -(classes * logits[:, first:].float().log_softmax(1)).sum(1)
        untold = weight if known is None else weight * ~known
        terms["teacher_class"] = (missed * untold).sum() / untold.sum().clamp(min=1.0)
        loss = loss + terms["teacher_class"]
    return loss, {name: value.detach() for name, value in terms.items()}
