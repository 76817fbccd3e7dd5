"""Weights that are validated and saved: averages of those that a training goes through."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn

from histonuc.models.network import Network
from histonuc.models.zoo import build_network
from histonuc.training.checkpoint import TrainState


def make_average(model: Network, state: TrainState | None) -> Network:
    """The model whose weights will be the moving average, new or from the last checkpoint."""
    average = build_network(model.spec)
    average.load_state_dict(model.state_dict() if state is None else state.ema)
    average.trust = model.trust
    average.to(memory_format=torch.channels_last)
    return average.eval().requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average; a young one forgets faster, or it would remember the start."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value.to(mean.dtype), weight)
        else:
            mean.copy_(value)


@torch.no_grad()
def mix_with_start(network: Network, start: Mapping[str, Tensor], share: float) -> Network:
    """A copy of a network whose weights lie between its own and those that it started from.

    Weights of a fine-tuned network on this line know more of what was known before than its own,
    and often as much of what is new (Wortsman et al. 2022, "Robust fine-tuning of zero-shot
    models", arXiv 2109.01903).

    Args:
        network: the trained one; it stays as it is.
        start: weights by name; those that are not named stay the network's.
        share: of the start's weights, in 0..1.
    """
    mixed = deepcopy(network)
    weights = mixed.state_dict()
    for name, value in start.items():
        if value.is_floating_point():
            weights[name].lerp_(value.to(weights[name]), share)
    return mixed
