"""A network: trunk × representation × label space, from pixels to logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from histonuc.field_checks import refuse_unknown
from histonuc.models.class_branch import ClassBranch
from histonuc.models.model import ModelSpec
from histonuc.models.trust import Trust
from histonuc.representations import Representation
from histonuc.representations.maps import Nuclear
from histonuc.trunks.base import Trunk, TrunkFeatures, build_head


class NetworkOutputs(NamedTuple):
    """What a network gives of images whose sides are multiples of its trunk's.

    Attributes:
        logits: float32 (B, K, H, W), without the classes where `classes` has them.
        classes: logits float32 (B, C, h, w); None where they are among `logits`.
        features: each float32 (B, D, h, w), by stride from fine to coarse.
    """

    logits: Tensor
    classes: Tensor | None
    features: tuple[Tensor, ...]


class Network(nn.Module):
    """A trunk, a 1x1 head that gives a representation's channels, and all that inputs need.

    Attributes:
        spec: what it was built from.
        representation: its loss, activation and decoder.
        trunk: the network proper.
        head, aux_head: 1x1 convolutions on the trunk's features; aux_head may be None.
        class_branch: what gives the classes, where the head does not; None else.
        projections: 1x1 convolutions of the encoder's features, by stride.
        trust: what is known of the nuclei that its classes were learned from; None for nothing.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: ModelSpec, trunk: Trunk) -> None:
        super().__init__()
        self.spec = spec
        self.trust: Trust | None = None
        self._keeps_statistics = False
        self.representation = spec.build_representation()
        self.trunk = trunk
        self.class_branch = _build_class_branch(spec, self.representation, trunk)
        channels, aux_channels = self.representation.channels, trunk.aux_channels
        self._head_channels = channels
        if self.class_branch is not None:
            self._head_channels -= self.representation.num_classes
        self.head = build_head(trunk.out_channels, self._head_channels * trunk.shuffle**2)
        self.aux_head = None if aux_channels is None else build_head(aux_channels, channels)
        self.projections = _build_projections(spec, trunk)
        self.register_buffer("mean", 255 * torch.tensor(trunk.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(trunk.std).view(1, 3, 1, 1))

    def forward(self, images: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """Logits at the images' size, float32 also under autocast.

        Args:
            images: RGB in 0..255, uint8 or floating point, of any height and width from
                `trunk.min_size` up.
        """
        return self.forward_train(images)[0]

    def forward_train(
        self, images: Shaped[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"] | None]:
        """As `forward`, with the auxiliary logits of trunks that have them (training mode only)."""
        x = self.pad(images)
        features = self.trunk(x)
        logits = _crop(self.merge(features, x), images)
        if self.aux_head is None or features.aux is None:
            return logits, None
        return logits, _crop(self.to_size(self.aux_head(features.aux), x), images)

    def forward_outputs(self, images: Shaped[Tensor, "b 3 h w"]) -> NetworkOutputs:
        """All that the network gives, each on its own grid.

        Args:
            images: RGB in 0..255, of sizes that are multiples of `trunk.size_multiple`.
        """
        x = self.normalise(images)
        features = self.trunk(x)
        classes = None
        if self.class_branch is not None:
            classes = self.class_branch(features.levels).to(self.mean.dtype)
        return NetworkOutputs(
            logits=self.to_size(self.head(features.main), x),
            classes=classes,
            features=self.project(features),
        )

    def activate(self, outputs: NetworkOutputs) -> NetworkOutputs:
        """The same with activated maps and class probabilities in place of logits."""
        if outputs.classes is None:
            return outputs._replace(logits=self.representation.activate(outputs.logits))
        assert isinstance(self.representation, Nuclear)
        nucleus, geometry = outputs.logits[:, :1], outputs.logits[:, 1:]
        geometry = self.representation.activate_geometry(geometry)
        return outputs._replace(
            logits=torch.cat([nucleus.float().sigmoid(), geometry], 1),
            classes=outputs.classes.float().softmax(1),
        )

    def project(self, features: TrunkFeatures) -> tuple[Tensor, ...]:
        """The features that `spec.features` asks for, each (B, D, h, w), from fine to coarse."""
        strides = self.trunk.encoder_strides
        return tuple(
            projection(features.encoder[strides.index(int(stride))]).to(self.mean.dtype)
            for stride, projection in self.projections.items()
        )

    def freeze_encoder(self) -> None:
        """Train only what is not pretrained; see the trunk's ``freezable``."""
        self.trunk.freeze_encoder()

    def freeze_statistics(self) -> None:
        """Keep the statistics of batch norm as they are, also in training."""
        self._keeps_statistics = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Network:
        """As in torch, but batch norm stays at evaluation where its statistics are frozen."""
        super().train(mode)
        if self._keeps_statistics:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def set_representation_options(self, options: Mapping[str, Any]) -> None:
        """Change options of the representation, such as its decoder's; weights stay.

        Raises:
            ValueError: an unknown option or a bad value.
        """
        merged = {**self.spec.representation_options, **options}
        spec = replace(self.spec, representation_options=merged)
        self.spec, self.representation = spec, spec.build_representation()

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Parameters that an optimiser is to step."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def normalise(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) of 0..255 as the trunk expects them."""
        return (images.to(self.mean.dtype) - self.mean) / self.std

    def pad(self, images: Tensor) -> Tensor:
        """Check, normalise, and pad to the trunk's multiple (reflected, bottom and right)."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"expected RGB images (B, 3, H, W), got {tuple(images.shape)}")
        height, width = images.shape[-2:]
        smallest = self.trunk.min_size
        if height < smallest or width < smallest:
            raise ValueError(
                f"images of {width} x {height} pixels are too small for {self.spec.trunk}: "
                f"every width and height from {smallest} up works"
            )
        # multiple <= min_size, so the reflection never runs out of pixels
        rows, columns = self.pad_size(height, width)
        pads = (0, columns, 0, rows)
        return nn.functional.pad(self.normalise(images), pads, mode="reflect")

    def pad_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns that images of this size need at their ends for the trunk."""
        multiple = self.trunk.size_multiple
        return -height % multiple, -width % multiple

    def merge(self, features: TrunkFeatures, x: Tensor) -> Tensor:
        """All logits at the size of `x`; each pixel has the classes of the cell that it lies in."""
        logits = self.to_size(self.head(features.main), x)
        if self.class_branch is None:
            return logits
        classes = self.class_branch(features.levels).to(logits.dtype)
        classes = nn.functional.interpolate(classes, x.shape[-2:], mode="nearest")
        return torch.cat([logits, classes], 1)

    def to_size(self, coarse: Tensor, x: Tensor) -> Tensor:
        """Up-sample logits to the size of `x`; after the 1x1 head this costs a fraction."""
        coarse = coarse.to(self.mean.dtype)  # bf16 would leave steps in the up-sampled logits
        if coarse.shape[1] != self._head_channels:
            stride = self.trunk.out_stride
            size = [side // stride for side in x.shape[-2:]] if stride else coarse.shape[-2:]
            coarse = _shuffle(coarse, self.trunk.shuffle, size)
        if coarse.shape[-2:] == x.shape[-2:]:
            return coarse
        return nn.functional.interpolate(coarse, x.shape[-2:], mode="bilinear", align_corners=False)


def _build_class_branch(
    spec: ModelSpec, representation: Representation, trunk: Trunk
) -> ClassBranch | None:
    """The class branch that a spec describes, if it does.

    Raises:
        ValueError: a representation or a trunk that it does not go with, or an unknown option.
    """
    if not spec.class_branch:
        return None
    known = [
        name
        for name in signature(ClassBranch).parameters
        if name not in ("channels", "num_classes")
    ]
    refuse_unknown(spec.class_branch, known, "options of the class branch")
    if not isinstance(representation, Nuclear):
        raise ValueError(
            f"class_branch: the representation {spec.representation} decides background and class "
            "in one; a class branch goes with hover, offset or star"
        )
    return ClassBranch(trunk.level_channels, representation.num_classes, **spec.class_branch)


def _build_projections(spec: ModelSpec, trunk: Trunk) -> nn.ModuleDict:
    """Projections of the encoder's features that a spec asks for, by stride.

    Raises:
        ValueError: a stride that the trunk has no features at, or no number of channels.
    """
    known = dict(zip(map(str, trunk.encoder_strides), trunk.encoder_channels, strict=True))
    refuse_unknown(spec.features, known, "strides of the trunk's features")
    if any(not isinstance(size, int) or size < 1 for size in spec.features.values()):
        raise ValueError(f"features: expected channels by stride, got {dict(spec.features)}")
    strides = sorted(spec.features, key=int)
    return nn.ModuleDict({s: nn.Conv2d(known[s], spec.features[s], 1) for s in strides})


def _shuffle(x: Tensor, scale: int, size: Sequence[int]) -> Tensor:
    """`torch.nn.functional.pixel_shuffle`, spelled out.

    Exported, this leaves the maps of each channel in one piece, where ONNX's DepthToSpace leaves
    channels side by side: taking those apart for the activation costs more than the whole head.
    The size is asked for because a graph that reads it off `x` keeps OpenVINO from adding the bias
    of the convolution before it in one go, which costs a sixteenth of a small network's time.
    """
    batch, channels = x.shape[:2]
    height, width = size
    x = x.view(batch, channels // scale**2, scale, scale, height, width)
    x = x.permute(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, channels // scale**2, height * scale, width * scale)


def _crop(logits: Tensor, images: Tensor) -> Tensor:
    return logits[..., : images.shape[-2], : images.shape[-1]]
