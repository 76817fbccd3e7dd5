"""RefineNet and its light-weight variant."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from histonuc.trunks.base import Trunk, TrunkFeatures, init_weights, upsample
from histonuc.trunks.resnet import STAGE_CHANNELS, build_resnet


class RefineNet(Trunk):
    """Four RefineNet blocks, coarse to fine, over the stages of a ResNet.

    Paper: Lin, Milan, Shen, Reid, "RefineNet: Multi-Path Refinement Networks for High-Resolution
    Semantic Segmentation", CVPR 2017, figures 2 and 3. Light-weight: Nekrasov, Shen, Reid,
    "Light-Weight RefineNet for Real-Time Semantic Segmentation", BMVC 2018: 1x1 convolutions for
    3x3 ones, and no residual convolution units at all. Reference code:
    github.com/DrSleep/refinenet-pytorch and light-weight-refinenet.

    Block 4 works at 512 channels, the others at 256; the last is followed by two more residual
    units, as in the paper. Output at stride 4; the model up-samples its logits to the image's size.

    Deviations: bilinear up-sampling aligns pixel areas, not corners; no dropout; a 1x1 head for the
    3x3 one; the last convolution of each residual unit and the first of each pooling chain start at
    a tenth of Kaiming's standard deviation, as nothing normalises the sums (measured in training
    mode, standard deviation of the features: 9 instead of 200 000).
    """

    def __init__(
        self,
        *,
        pretrained: bool = False,
        depth: int = 50,
        light: bool = False,
        width: int = 256,
        pools: int = 4,
    ) -> None:
        """Build the network.

        Args:
            pretrained: load torchvision's ImageNet weights into the ResNet.
            depth: depth of the ResNet: 50, 101 or 152.
            light: the light-weight variant.
            width: channels of blocks 3 to 1; block 4 has twice as many.
            pools: steps of chained residual pooling (figure 3 draws 2; the released models have 4).
        """
        if width < 1 or pools < 1:
            raise ValueError(f"refinenet: expected width and pools >= 1, got {width} and {pools}")
        super().__init__(
            out_channels=width,
            size_multiple=32,
            min_size=64,
            freezable=tuple(f"encoder.{n}" for n in ("conv1", "bn1", "layer1", "layer2", "layer3")),
        )
        widths = (width, width, width, 2 * width)
        kernel = 1 if light else 3
        self.reduce = nn.ModuleList(
            _conv(stage, out, kernel) for stage, out in zip(STAGE_CHANNELS, widths, strict=True)
        )
        self.blocks = nn.ModuleList(
            RefineBlock(channels, light=light, pools=pools)
            for channels in [*itertools.pairwise(widths), widths[-1:]]
        )
        self.tail = nn.Sequential(*([] if light else [ResidualUnit(width) for _ in range(2)]))
        init_weights(self)
        for unit in self.modules():
            if isinstance(unit, ResidualUnit | ChainedPooling):
                unit.calm()
        self.encoder = build_resnet(
            depth, pretrained=pretrained, trunk=f"refinenet{'_lw' if light else ''}{depth}"
        )

    def forward(self, x: Tensor) -> TrunkFeatures:
        """Features at stride 4."""
        stages = list(self.encoder(x).values())
        stages = [reduce(stage) for reduce, stage in zip(self.reduce, stages, strict=True)]
        y = self.blocks[3]([stages[3]])
        for level in (2, 1, 0):
            y = self.blocks[level]([stages[level], y])
        return TrunkFeatures(self.tail(y))


class RefineBlock(nn.Module):
    """Two residual units per input, fusion at the finest input, chained pooling, one unit."""

    def __init__(self, channels: tuple[int, ...], *, light: bool, pools: int) -> None:
        """Build the block.

        Args:
            channels: channels of its inputs, finest first; each is at half the resolution before.
            light: leave out the residual units, 1x1 convolutions.
            pools: steps of chained residual pooling.
        """
        super().__init__()
        out, kernel, units = min(channels), 1 if light else 3, 0 if light else 2
        self.adapt = nn.ModuleList(
            nn.Sequential(*(ResidualUnit(c) for _ in range(units))) for c in channels
        )
        # one input alone has nothing to be fused with and passes unchanged
        self.fuse = nn.ModuleList(_conv(c, out, kernel) for c in channels if len(channels) > 1)
        self.pool = ChainedPooling(out, kernel, pools)
        self.output = nn.Sequential(*(ResidualUnit(out) for _ in range(units // 2)))

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """Merge the inputs, finest first, at the finest's resolution."""
        adapted = [adapt(x) for adapt, x in zip(self.adapt, inputs, strict=True)]
        if len(adapted) > 1:
            fine, coarse = (fuse(x) for fuse, x in zip(self.fuse, adapted, strict=True))
            adapted = [fine + upsample(coarse, 2)]
        return self.output(self.pool(adapted[0]))  # type: ignore[no-any-return]


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x)))), without batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = _conv(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        # Not in place: x is still needed for the sum.
        return x + self.second(self.first(x.relu()).relu())  # type: ignore[no-any-return]

    def calm(self) -> None:
        """Let the unit start close to the identity."""
        nn.init.kaiming_normal_(self.second.weight)
        self.second.weight.data.mul_(0.1)


class ChainedPooling(nn.Module):
    """relu(x), plus the outputs of a chain of 5x5 max pools, each followed by a convolution."""

    def __init__(self, channels: int, kernel: int, steps: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)
        self.convs = nn.ModuleList(_conv(channels, channels, kernel) for _ in range(steps))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape in and out."""
        y = path = x.relu()
        for conv in self.convs:
            path = conv(self.pool(path))
            y = y + path  # a new tensor: "+=" would overwrite what the first pool's backward needs
        return y

    def calm(self) -> None:
        """Let the chain start close to a ReLU."""
        first = self.convs[0]
        assert isinstance(first, nn.Conv2d)
        first.weight.data.mul_(0.1)


def _conv(in_channels: int, out_channels: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
