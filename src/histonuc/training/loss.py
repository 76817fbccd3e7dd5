"""What a training minimises: the loss of its representation, or one of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from histonuc.parts import find_part
from histonuc.representations import Representation

Loss = Callable[[Representation, Tensor, Mapping[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]
"""Of the representation, its logits (B, K, H, W) and its targets: the scalar to minimise, and
detached terms by name for the log."""


def representation_loss(
    representation: Representation, logits: Tensor, targets: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss that the representation itself has."""
    return representation.loss(logits, targets)


LOSSES: dict[str, Loss] = {"representation": representation_loss}
"""Losses of the package by name."""


def find_loss(name: str, origin: str = "") -> Loss:
    """The loss `name`, of the package or of one's own.

    Args:
        name: name of the loss, as the user gave it.
        origin: where it came from when the run was begun; for the error.

    Raises:
        ValueError: there is none of that name.
    """
    loss: Loss = find_part("loss", name, LOSSES, origin)
    return loss
