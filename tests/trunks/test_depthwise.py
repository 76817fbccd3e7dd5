"""Depthwise convolutions with their own gradients equal torch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from histonuc.trunks.depthwise import DepthwiseConv2d

NONE = (0, 0, 0, 0)


def _gradients(module: nn.Conv2d, x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x = x.clone().requires_grad_()
    y = module(x)
    return (y.detach(), *torch.autograd.grad(y, (x, module.weight), slope))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "pads"),
    [
        (5, 1, 2, NONE),
        (5, 1, 0, NONE),
        (3, 1, 1, NONE),
        (3, 2, 0, (0, 1, 0, 1)),
        (5, 2, 0, (1, 2, 1, 2)),
        (5, 2, 2, NONE),
    ],
)
def test_values_and_gradients_are_torchs(
    kernel: int, stride: int, padding: int, pads: tuple[int, int, int, int], layout: object
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(12, 12, kernel, stride, padding, groups=12, bias=False)
    padded = nn.Sequential(nn.ZeroPad2d(pads), conv)
    ours = DepthwiseConv2d(conv, pads)
    x = torch.randn(3, 12, 14, 18).to(memory_format=layout)  # type: ignore[call-overload]
    slope = torch.randn_like(padded(x))
    x_there = x.clone().requires_grad_()
    y = padded(x_there)
    expected = (y.detach(), *torch.autograd.grad(y, (x_there, conv.weight), slope))
    for got, wanted in zip(_gradients(ours, x, slope), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_bf16_gradients_are_nearer_to_the_truth_than_bf16_resolves() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)
    x, slope = torch.randn(2, 8, 16, 16), torch.randn(2, 8, 16, 16)
    _, exact_x, exact_weight = _gradients(conv, x, slope)
    with torch.autocast("cpu", torch.bfloat16):
        y, by_x, by_weight = _gradients(DepthwiseConv2d(conv), x, slope.bfloat16())
    assert y.dtype == torch.bfloat16
    assert by_weight.dtype == torch.float32  # the weight's own
    assert float((by_weight - exact_weight).abs().max() / exact_weight.abs().max()) < 0.02
    assert float((by_x - exact_x).abs().max() / exact_x.abs().max()) < 0.02


def test_a_frozen_kernel_and_a_frozen_input_need_no_gradient() -> None:
    conv = DepthwiseConv2d(nn.Conv2d(4, 4, 5, padding=2, groups=4, bias=False))
    x = torch.randn(1, 4, 8, 8)
    (by_weight,) = torch.autograd.grad(conv(x).sum(), conv.weight)
    assert by_weight.abs().sum() > 0
    conv.weight.requires_grad_(False)
    x.requires_grad_()
    (by_x,) = torch.autograd.grad(conv(x).sum(), x)
    assert by_x.abs().sum() > 0
