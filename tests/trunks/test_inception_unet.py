"""Inception U-Net (field.md 6, items 4, 6 and 7)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from histonuc.trunks.inception_unet import InceptionBlock, InceptionUNet
from histonuc.trunks.spectral import HybridPool
from histonuc.trunks.switch_norm import SwitchNorm2d


def test_block_has_three_convolutions_and_a_hybrid_pool() -> None:
    block = InceptionBlock(2, 4, "batch")
    kernels = [branch[0].kernel_size for branch in block.branches[:3]]
    assert kernels == [(1, 1), (3, 3), (5, 5)]
    assert isinstance(block.branches[3][0], HybridPool)


@pytest.mark.parametrize("branch", range(4))
def test_every_branch_reaches_the_output(branch: int) -> None:
    torch.manual_seed(0)
    block, x = InceptionBlock(2, 4, "batch"), torch.randn(2, 2, 8, 8)
    before = block(x)
    nn.init.zeros_(block.branches[branch][1].weight)
    assert (block(x) - before).abs().max() > 1e-3


def test_block_ends_in_norm_and_relu() -> None:
    # the seed's mixing convolution had neither
    block = InceptionBlock(3, 5, "batch")
    assert isinstance(block.mix[1], nn.BatchNorm2d)
    assert block(torch.randn(2, 3, 8, 8)).min() == 0


def test_norm_is_switchable() -> None:
    batch, switch = InceptionUNet(width=2), InceptionUNet(width=2, norm="switch")
    count = lambda m, kind: sum(isinstance(x, kind) for x in m.modules())  # noqa: E731
    assert count(batch, SwitchNorm2d) == 1  # the input's
    assert count(switch, nn.BatchNorm2d) == 0
    assert switch(torch.randn(2, 3, 32, 32)).main.shape == (2, 2, 32, 32)
    with pytest.raises(
        ValueError, match=r"unknown norm 'group'; choose from \['batch', 'switch'\]"
    ):
        InceptionUNet(norm="group")


def test_input_norm_hides_the_stain_strength() -> None:
    """Instance and layer statistics take out most of a change of contrast; batch norm none."""
    torch.manual_seed(0)
    trunk = InceptionUNet(width=2)
    x = torch.randn(2, 3, 32, 32)
    for _ in range(50):
        trunk.input_norm(x)
    trunk.eval()
    stronger = trunk.input_norm(2 * x).std() / trunk.input_norm(x).std()
    assert stronger < 1.6


def test_pools_down_by_hybrid_pooling() -> None:
    trunk = InceptionUNet(width=2, depth=3)
    assert [pool.stride for pool in trunk.pools] == [2, 2, 2]
    assert trunk.input_pool.stride == 8
    assert not any(
        isinstance(layer, nn.MaxPool2d) and layer.stride == 2
        for block in [trunk.stem, *trunk.down]
        for layer in block.modules()
    )
