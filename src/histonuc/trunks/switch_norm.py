"""Switchable normalisation."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class SwitchNorm2d(nn.Module):
    """Normalise by a learned mixture of instance, layer and batch statistics.

    Paper: Luo, Ren, Peng, Zhang, Li, "Differentiable Learning-to-Normalize via Switchable
    Normalization", ICLR 2019, equations 3 to 5. Reference code:
    github.com/switchablenorms/Switchable-Normalization.

    Deviations: running statistics follow torch's batch norm (the variance starts at 1, the new
    batch enters with weight `momentum`, unbiased); the reference starts the variance at 0.
    Statistics are taken in float32 also under autocast.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        # logits over (instance, layer, batch): equal shares at the start
        self.mean_weight = nn.Parameter(torch.zeros(3))
        self.var_weight = nn.Parameter(torch.zeros(3))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalise; in training also update the running statistics."""
        wide = x if x.dtype == torch.float64 else x.float()
        var_in, mean_in = torch.var_mean(wide, dim=(2, 3), correction=0)  # (B, C) both
        square_in = var_in + mean_in**2
        mean_ln = mean_in.mean(1, keepdim=True)
        var_ln = square_in.mean(1, keepdim=True) - mean_ln**2
        mean_bn, var_bn = self._batch_statistics(wide, mean_in, square_in)
        mean = _mix(self.mean_weight, mean_in, mean_ln, mean_bn)
        var = _mix(self.var_weight, var_in, var_ln, var_bn)
        scale = self.weight * torch.rsqrt(var + self.eps)
        shift = self.bias - mean * scale
        return (wide * scale[..., None, None] + shift[..., None, None]).to(x.dtype)

    def _batch_statistics(
        self, x: Tensor, mean_in: Tensor, square_in: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and variance (1, C) of the batch in training, the running ones at evaluation."""
        if not self.training:
            return self.running_mean[None], self.running_var[None]
        mean = mean_in.mean(0, keepdim=True)
        var = square_in.mean(0, keepdim=True) - mean**2
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            unbiased = var[0] * (count / max(count - 1, 1))
            self.running_mean.lerp_(mean[0].to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        return mean, var


def _mix(logits: Tensor, instance: Tensor, layer: Tensor, batch: Tensor) -> Tensor:
    shares = logits.softmax(0)
    return shares[0] * instance + shares[1] * layer + shares[2] * batch
