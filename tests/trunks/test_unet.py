"""U-Net."""

from __future__ import annotations

import logging

import pytest
import torch

from histonuc.trunks.unet import UNet


@pytest.mark.parametrize(("up", "millions"), [("transposed", 31.0376), ("bilinear", 28.9486)])
def test_parameter_count(up: str, millions: float) -> None:
    with torch.device("meta"):
        trunk = UNet(up=up)
    # milesial's U-Net of two classes has 31,037,698, of which 130 are its head
    assert sum(p.numel() for p in trunk.parameters()) == pytest.approx(1e6 * millions, abs=100)
    assert trunk.out_channels == 64


def test_bilinear_works() -> None:
    features = UNet(width=2, up="bilinear")(torch.zeros(2, 3, 32, 48))
    assert features.main.shape == (2, 2, 32, 48)
    assert features.aux is None


def test_depth_sets_the_multiple() -> None:
    assert UNet(width=1, depth=2).size_multiple == 4
    assert UNet(width=1, depth=6).min_size == 64


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match=r"unknown up-sampling 'nearest'; choose from"):
        UNet(up="nearest")
    with pytest.raises(ValueError, match="width and depth of 1 or more, got 0, 4"):
        UNet(width=0)


def test_pretrained_is_only_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        UNet(width=1, pretrained=True)
    assert "unet has no pretrained weights" in caplog.text


def test_cannot_freeze() -> None:
    with pytest.raises(ValueError, match="UNet has no pretrained encoder"):
        UNet(width=1).freeze_encoder()
