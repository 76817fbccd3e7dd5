"""Depthwise convolutions whose gradients do not take most of a training step on a processor.

oneDNN, behind torch 2.14, multiplies depthwise convolutions forward in well under a millisecond but
takes 10 to 50 times that for the gradients of 5x5 kernels and of strides above 1, in bf16 most of
all: up to half of a step of `compact` (`benchmarks/bench_training.py`). The same numbers cost
less: the input's gradient as one more forward convolution, the kernel's in a loop of ours, channels
innermost, as `channels_last` keeps them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from histonuc.compiled import compiled

Floats = NDArray[np.float32]


class DepthwiseConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` with one group a channel, faster to train on a processor.

    Args:
        conv: the convolution to stand in for; its weights are taken over.
        pads: rows and columns of zeros (left, right, top, bottom) to add before; the convolution's
            own padding must be 0 then.
    """

    def __init__(self, conv: nn.Conv2d, pads: tuple[int, int, int, int] = (0, 0, 0, 0)) -> None:
        assert conv.groups == conv.in_channels == conv.out_channels
        assert conv.bias is None
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            stride=conv.stride,  # type: ignore[arg-type]
            padding=0 if any(pads) else conv.padding,  # type: ignore[arg-type]
            groups=conv.groups,
            bias=False,
        )
        self.weight = conv.weight
        self.pads = pads

    def forward(self, x: Tensor) -> Tensor:
        """Pad, then convolve."""
        if any(self.pads):
            x = nn.functional.pad(x, self.pads)
        if x.device.type == "cpu" and torch.is_grad_enabled() and self._is_slow:
            weight = self.weight.to(torch.get_autocast_dtype("cpu")) if _autocast() else self.weight
            x = x.to(weight.dtype)
            stride, padding = self.stride[0], int(self.padding[0])
            return cast(Tensor, _Depthwise.apply(x, weight, stride, padding))
        return super().forward(x)

    @property
    def _is_slow(self) -> bool:
        """Whether torch's own gradients are the slower ones."""
        return self.stride != (1, 1) or self.kernel_size != (3, 3)


def _autocast() -> bool:
    return torch.is_autocast_enabled("cpu")


class _Depthwise(torch.autograd.Function):
    """Forward by torch; the input's gradient as one more such convolution, the kernel's by us."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return nn.functional.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (grad,) = grads
        by_x = by_weight = None
        if ctx.needs_input_grad[0]:
            by_x = _input_gradient(grad, x.shape, weight, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            by_weight = _weight_gradient(grad, x, weight, ctx.stride, ctx.padding)
        return by_x, by_weight, None, None


def _input_gradient(
    grad: Tensor, shape: torch.Size, weight: Tensor, stride: int, padding: int
) -> Tensor:
    """A convolution of stride 1 with the kernel turned by half a turn, which torch does fast.

    Of the gradient with zeros between its pixels, for what the stride left out.
    """
    kernel = weight.shape[2]
    if stride > 1:
        # Of a convolution of stride 1 the result would have that many rows and columns.
        height, width = (side + 2 * padding - kernel + 1 for side in shape[2:])
        spread = grad.new_zeros((len(grad), height, width, grad.shape[1])).permute(0, 3, 1, 2)
        spread[:, :, ::stride, ::stride] = grad
        grad = spread
    turned = weight.flip(2, 3)
    return nn.functional.conv2d(grad, turned, None, 1, kernel - 1 - padding, groups=len(weight))


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    kernel = weight.shape[2]
    parts = np.zeros((len(x), kernel, kernel, len(weight)), np.float32)
    images, slopes = _rows(x), _rows(grad)

    def add(image: int) -> None:
        _add_weight(parts[image], images[image], slopes[image], stride, padding)

    list(_pool(torch.get_num_threads()).map(add, range(len(x))))
    return torch.from_numpy(parts.sum(0).transpose(2, 0, 1)[:, None]).to(weight.dtype)


def _rows(x: Tensor) -> Floats:
    """(B, C, H, W) as contiguous float32 (B, H, W, C)."""
    return cast(Floats, x.detach().float().permute(0, 2, 3, 1).contiguous().numpy())


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "depthwise")


@compiled
def _add_weight(out: Floats, x: Floats, grad: Floats, stride: int, padding: int) -> None:
    """Add to out (K, K, C) the slopes of the kernel, of x (H, W, C) and grad (h, w, C)."""
    kernel = out.shape[0]
    for i in range(grad.shape[0]):
        for j in range(grad.shape[1]):
            for u in range(kernel):
                y = i * stride + u - padding
                if y < 0 or y >= x.shape[0]:
                    continue
                for v in range(kernel):
                    z = j * stride + v - padding
                    if z < 0 or z >= x.shape[1]:
                        continue
                    for c in range(x.shape[2]):
                        out[u, v, c] += x[y, z, c] * grad[i, j, c]
