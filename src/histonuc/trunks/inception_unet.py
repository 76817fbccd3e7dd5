"""Inception U-Net with hybrid pooling and switchable normalisation."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from histonuc.trunks.base import Trunk, TrunkFeatures, init_weights, warn_no_weights
from histonuc.trunks.spectral import HybridPool
from histonuc.trunks.switch_norm import SwitchNorm2d

NORMS = {"batch": nn.BatchNorm2d, "switch": SwitchNorm2d}


class InceptionUNet(Trunk):
    """U-Net of inception blocks; its pooling keeps low frequencies beside maxima.

    Paper: Punn and Agarwal, "Inception U-Net Architecture for Semantic Segmentation to Identify
    Nuclei in Microscopy Cell Images", ACM TOMM 16(1), 2020. Reference code:
    github.com/nspunn1993/Inception-U-Net-model (models.py, ``iunet2`` with ``batch_norm=True``):
    the input through switchable normalisation, blocks of parallel 1/3/5 convolutions and a
    hybrid-pool branch mixed by a 1x1 convolution, 16 to 256 filters, hybrid pooling as the
    down-sampler, 2x2 transposed convolutions upwards, and the input itself, pooled 16-fold, joined
    at the bottom.

    Deviations: see `histonuc.trunks.spectral.spectral_pool`; no ReLU after spectral pooling; the
    maximum of the stride-1 branch is over 3x3 (the authors' 2x2 moves the image by half a pixel);
    batch norm also after the mixing 1x1 convolution; no dropout and no residual shortcut (off by
    default there too). ``norm="switch"`` normalises inside the blocks by switchable normalisation.

    Spectral pooling sees the whole image as periodic, so every output pixel depends (weakly) on
    every input pixel: predictions of overlapping tiles agree less exactly than other trunks'.
    """

    def __init__(
        self,
        *,
        pretrained: bool = False,
        width: int = 16,
        depth: int = 4,
        norm: str = "batch",
    ) -> None:
        """Build the network.

        Args:
            pretrained: there are no weights to load; only warned about.
            width: filters at full resolution, doubled at each of the levels below.
            depth: number of times the resolution is halved.
            norm: ``batch`` or ``switch``, inside the blocks.
        """
        if norm not in NORMS:
            raise ValueError(f"inception_unet: unknown norm {norm!r}; choose from {list(NORMS)}")
        if width < 1 or depth < 1:
            raise ValueError(
                f"inception_unet: expected width and depth of 1 or more, got {width}, {depth}"
            )
        super().__init__(out_channels=width, size_multiple=2**depth, min_size=max(32, 2**depth))
        if pretrained:
            warn_no_weights("inception_unet")
        widths = [width * 2**level for level in range(depth + 1)]
        self.input_norm = SwitchNorm2d(3)
        self.stem = InceptionBlock(3, width, norm)
        self.pools = nn.ModuleList(HybridPool(w, w, stride=2) for w in widths[:-1])
        self.input_pool = HybridPool(3, 3, stride=2**depth)
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(
            InceptionBlock(narrow, wide, norm, extra=3 if wide == widths[-1] else 0)
            for narrow, wide in pairs
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(wide, narrow, kernel_size=2, stride=2)
            for narrow, wide in reversed(pairs)
        )
        self.merge = nn.ModuleList(
            InceptionBlock(2 * narrow, narrow, norm) for narrow, _ in reversed(pairs)
        )
        init_weights(self)

    def forward(self, x: Tensor) -> TrunkFeatures:
        """Features at the input's resolution."""
        x = self.input_norm(x)
        skips = [self.stem(x)]
        *steps, bottom = zip(self.pools, self.down, strict=True)
        for pool, block in steps:
            skips.append(block(pool(skips[-1])))
        pool, block = bottom
        y = block(pool(skips[-1]), self.input_pool(x))
        for up, merge in zip(self.up, self.merge, strict=True):
            y = merge(torch.cat([up(y), skips.pop()], dim=1))
        return TrunkFeatures(y)


class InceptionBlock(nn.Module):
    """Parallel 1x1, 3x3, 5x5 convolutions and a hybrid pool; concatenated, mixed by a 1x1.

    Every convolution is followed by the norm and a ReLU. The bottom block also mixes in `extra`
    channels that bypass the branches.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str, extra: int = 0) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            _activated(
                nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
                out_channels,
                norm,
            )
            for kernel in (1, 3, 5)
        )
        self.branches.append(
            _activated(HybridPool(in_channels, in_channels, stride=1), in_channels, norm)
        )
        mixed = 3 * out_channels + in_channels + extra
        self.mix = _activated(nn.Conv2d(mixed, out_channels, 1, bias=False), out_channels, norm)

    def forward(self, x: Tensor, extra: Tensor | None = None) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W)."""
        parts = [branch(x) for branch in self.branches]
        if extra is not None:
            parts.append(extra)
        return self.mix(torch.cat(parts, dim=1))  # type: ignore[no-any-return]


def _activated(layer: nn.Module, channels: int, norm: str) -> nn.Sequential:
    return nn.Sequential(layer, NORMS[norm](channels), nn.ReLU(inplace=True))
