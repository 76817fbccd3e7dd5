"""What a trunk is: an image goes in, features at (or near) its resolution come out."""

from __future__ import annotations

import copy
import logging
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

logger = logging.getLogger(__name__)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean RGB (0..1) of ImageNet, what torchvision's weights were trained with."""
IMAGENET_STD = (0.229, 0.224, 0.225)


class TrunkFeatures(NamedTuple):
    """Output of a trunk.

    Attributes:
        main: float (B, out_channels, h, w); h and w are the input's size or an integer fraction.
        aux: float (B, aux_channels, h', w') for a second, auxiliary loss; None outside training
            and for trunks without one.
        levels: features of the decoder's coarser steps, float (B, `level_channels[i]`, h, w) at a
            fraction 1 / `level_strides[i]` of the input's size, coarsest first; empty for trunks
            that offer none.
        encoder: features of the encoder, in the same way, finest first.
    """

    main: Tensor
    aux: Tensor | None = None
    levels: tuple[Tensor, ...] = ()
    encoder: tuple[Tensor, ...] = ()


class Trunk(nn.Module, ABC):
    """Base of all trunks. A trunk knows nothing of classes or representations.

    Attributes:
        out_channels: channels of `TrunkFeatures.main`.
        aux_channels: channels of `TrunkFeatures.aux` in training, None without.
        size_multiple: height and width of the input must be multiples of it (the model pads).
        min_size: smallest height and width that make sense.
        mean, std: RGB statistics (0..1) the trunk expects its input to be normalised with.
        freezable: names of the sub-modules that `freeze_encoder` freezes.
        training_only: names of the sub-modules that evaluation does not use.
        shuffle: map pixels a side that the head makes of each feature pixel (Shi et al. 2016,
            arXiv 1609.05158); 1 for none.
        out_stride: image pixels a side of each pixel of `TrunkFeatures.main`; None where the trunk
            does not say.
        level_channels, level_strides: of `TrunkFeatures.levels`; empty where there are none.
        encoder_channels, encoder_strides: of `TrunkFeatures.encoder`.
    """

    training_only: ClassVar[tuple[str, ...]] = ()
    out_stride: int | None = None
    level_channels: tuple[int, ...] = ()
    level_strides: tuple[int, ...] = ()
    encoder_channels: tuple[int, ...] = ()
    encoder_strides: tuple[int, ...] = ()

    def __init__(
        self,
        *,
        out_channels: int,
        size_multiple: int,
        min_size: int,
        aux_channels: int | None = None,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        freezable: tuple[str, ...] = (),
        shuffle: int = 1,
    ) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.aux_channels = aux_channels
        self.size_multiple = size_multiple
        self.min_size = min_size
        self.mean = mean
        self.std = std
        self.freezable = freezable
        self.shuffle = shuffle
        self._frozen: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, x: Float[Tensor, "b 3 h w"]) -> TrunkFeatures:
        """Features of normalised images whose sides are multiples of `size_multiple`."""

    def for_inference(self) -> Trunk:
        """A copy that computes the same in evaluation, at less cost where that can be."""
        return copy.deepcopy(self).eval()

    def freeze_encoder(self) -> None:
        """Freeze the parameters and the batch statistics of the `freezable` sub-modules.

        Raises:
            ValueError: the trunk has no pretrained encoder that could be frozen.
        """
        if not self.freezable:
            raise ValueError(
                f"{type(self).__name__} has no pretrained encoder that could be frozen: "
                "train it without --freeze"
            )
        self._frozen = self.freezable
        for name in self._frozen:
            self.get_submodule(name).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Trunk:
        """As in torch, but frozen sub-modules stay at evaluation: batch norm must not drift."""
        super().train(mode)
        for name in self._frozen:
            self.get_submodule(name).eval()
        return self


def init_weights(module: nn.Module) -> None:
    """Kaiming initialisation (He et al. 2015) of the convolutions below `module`; norms to 1 and 0.

    Fan-in, as depthwise convolutions have a fan-out that torch overstates by the group count.
    """
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(child, nn.ConvTranspose2d):
            # torch reads its (in, out, k, k) weight the other way round
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(child, nn.BatchNorm2d) and child.affine:
            nn.init.ones_(child.weight)
            nn.init.zeros_(child.bias)
        if isinstance(child, nn.Conv2d | nn.ConvTranspose2d) and child.bias is not None:
            nn.init.zeros_(child.bias)


def build_head(in_channels: int, out_channels: int) -> nn.Conv2d:
    """1x1 convolution whose logits start near zero."""
    head = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.normal_(head.weight, std=0.01)
    assert head.bias is not None
    nn.init.zeros_(head.bias)
    return head


def conv_bn_relu(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
) -> nn.Sequential:
    """Convolution padded by half its kernel, batch norm, ReLU."""
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        groups=groups,
        bias=False,
    )
    return nn.Sequential(
        conv,
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def upsample(x: Float[Tensor, "b c h w"], scale: int) -> Float[Tensor, "b c h2 w2"]:
    """Bilinear, pixel areas aligned, by an integer factor."""
    if scale == 1:
        return x
    return nn.functional.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


def warn_no_weights(trunk: str) -> None:
    """Tell that `pretrained` had no effect."""
    logger.warning("%s has no pretrained weights: it starts from random ones", trunk)
