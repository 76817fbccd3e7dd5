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
    """A trained model that a network learns from: where nuclei are, and their geometry.

    Its classes are not learned, so that its label space may be another.

    Args:
        name: what `load_model` takes.
        spec: of the network that learns.
        device: of the training: ``cpu``, ``cuda:0``, ...

    Raises:
        ValueError: no such model, or one whose maps mean something else.
    """

    def __init__(self, name: str, spec: ModelSpec, device: torch.device) -> None:
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

    def maps(self, images: Tensor, seed: int) -> Tensor:
        """Nucleus probability and geometry float32 (B, 1 + G, H, W) of images uint8 (B, 3, H, W).

        Args:
            images: a batch of the training, augmented.
            seed: decides how each batch is mirrored.
        """
        down, right = np.random.default_rng(seed).integers(0, 2, 2).astype(bool)
        axes = [axis for axis, mirrored in ((2, down), (3, right)) if mirrored]
        seen = torch.flip(images, axes).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        representation = self._model.representation
        maps = representation.mirror(self._model.maps(seen), down=down, right=right)
        known = maps.shape[1] - representation.num_classes
        return torch.from_numpy(np.ascontiguousarray(maps[:, :known])).to(self._device)


def teacher_loss(
    representation: Representation, logits: Tensor, maps: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """How far a network's maps are from its teacher's.

    Of the nucleus the binary cross entropy, in which the teacher's probability is the target; of
    the geometry the smooth L1 of its difference, in units of the mean of the teacher's absolute
    values, weighted by the teacher's nucleus probability.

    Args:
        representation: of the network.
        logits: its float (B, K, H, W).
        maps: the teacher's float32 (B, 1 + G, H, W).

    Returns:
        The scalar, and its detached terms by name.
    """
    functional = torch.nn.functional
    nucleus, geometry = maps[:, 0], maps[:, 1:]
    bce = functional.binary_cross_entropy_with_logits(logits[:, 0].float(), nucleus)
    given = representation.activate(logits)[:, 1 : maps.shape[1]]
    weight = nucleus.unsqueeze(1).expand_as(geometry)
    total = weight.sum().clamp(min=1.0)
    unit = ((geometry.abs() * weight).sum() / total).clamp(min=1e-3)
    wrong = functional.smooth_l1_loss(given / unit, geometry / unit, reduction="none", beta=0.25)
    terms = {"teacher_bce": bce, "teacher_geometry": (wrong * weight).sum() / total}
    loss = bce + 2 * terms["teacher_geometry"]
    return loss, {name: value.detach() for name, value in terms.items()}
