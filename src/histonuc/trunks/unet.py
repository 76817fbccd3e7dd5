"""U-Net with batch normalisation."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from histonuc.trunks.base import (
    Trunk,
    TrunkFeatures,
    conv_bn_relu,
    init_weights,
    warn_no_weights,
)

UPSAMPLING = ("transposed", "bilinear")


class UNet(Trunk):
    """U-Net: 64 to 1024 filters, four levels, features at full resolution (31.0 M parameters).

    Paper: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image
    Segmentation", MICCAI 2015, figure 1. Reference code: github.com/milesial/Pytorch-UNet (equal
    parameter count with transposed up-sampling).

    Deviations from the paper: convolutions pad, so the output has the input's size; batch norm
    after each convolution; no dropout at the bottom. ``up="bilinear"`` halves the channels by a 1x1
    convolution before a bilinear up-sampling in place of the 2x2 up-convolution, and keeps all
    1024 filters (milesial's bilinear variant halves the bottom instead).
    """

    def __init__(
        self,
        *,
        pretrained: bool = False,
        width: int = 64,
        depth: int = 4,
        up: str = "transposed",
    ) -> None:
        """Build the network.

        Args:
            pretrained: there are no weights to load; only warned about.
            width: filters at full resolution, doubled at each of the levels below.
            depth: number of times the resolution is halved.
            up: ``transposed`` or ``bilinear``.
        """
        if up not in UPSAMPLING:
            raise ValueError(f"unet: unknown up-sampling {up!r}; choose from {list(UPSAMPLING)}")
        if width < 1 or depth < 1:
            raise ValueError(f"unet: expected width and depth of 1 or more, got {width}, {depth}")
        super().__init__(out_channels=width, size_multiple=2**depth, min_size=max(32, 2**depth))
        if pretrained:
            warn_no_weights("unet")
        widths = [width * 2**level for level in range(depth + 1)]
        self.stem = _double_conv(3, width)
        self.down = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), _double_conv(narrow, wide))
            for narrow, wide in itertools.pairwise(widths)
        )
        pairs = list(itertools.pairwise(reversed(widths)))
        self.up = nn.ModuleList(_upsampling(wide, narrow, up) for wide, narrow in pairs)
        self.merge = nn.ModuleList(_double_conv(2 * narrow, narrow) for _, narrow in pairs)
        init_weights(self)

    def forward(self, x: Tensor) -> TrunkFeatures:
        """Features at the input's resolution."""
        skips = [self.stem(x)]
        for down in self.down:
            skips.append(down(skips[-1]))
        y = skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            y = merge(torch.cat([skips.pop(), up(y)], dim=1))
        return TrunkFeatures(y)


def _double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        conv_bn_relu(in_channels, out_channels, 3), conv_bn_relu(out_channels, out_channels, 3)
    )


def _upsampling(in_channels: int, out_channels: int, up: str) -> nn.Module:
    """Double the resolution, reduce the channels."""
    if up == "transposed":
        return nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
    # the 1x1 convolution commutes with the interpolation and is four times cheaper before it
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    )
