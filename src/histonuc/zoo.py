"""Models: trunk × representation × label space; build, save, load, and the table of trunks."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from histonuc.files import replacing
from histonuc.representations import build_representation
from histonuc.taxonomy import LabelSpace
from histonuc.trunks.base import Trunk, build_head
from histonuc.trunks.compact import Compact
from histonuc.trunks.deeplab import DeepLabV3
from histonuc.trunks.inception_unet import InceptionUNet
from histonuc.trunks.refinenet import RefineNet
from histonuc.trunks.unet import UNet

logger = logging.getLogger(__name__)

DEPTHS = (50, 101, 152)
TRUNKS: dict[str, Callable[..., Trunk]] = {
    "deeplabv3_resnet101": partial(DeepLabV3, depth=101),
    "deeplabv3_resnet50": partial(DeepLabV3, depth=50),
    "unet": UNet,
    "inception_unet": InceptionUNet,
    **{f"refinenet{depth}": partial(RefineNet, depth=depth, light=False) for depth in DEPTHS},
    **{f"refinenet_lw{depth}": partial(RefineNet, depth=depth, light=True) for depth in DEPTHS},
    "compact": Compact,
}
"""Builders by name: ``TRUNKS[name](pretrained=..., **options)``."""

SPEC_KEY = "histonuc"
"""Key of the JSON text of the `ModelSpec` in the metadata of a model file."""
MODEL_FILE = "model.safetensors"
"""Name of the model's file inside a checkpoint folder."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Everything needed to build a model again, apart from its weights.

    Attributes:
        trunk: a key of `TRUNKS`.
        representation: a key of `histonuc.representations.REPRESENTATIONS`.
        label_space: the classes it tells apart.
        mpp: microns per pixel of the images it was trained on.
        trunk_options: keyword arguments of the trunk.
        representation_options: keyword arguments of the representation.
    """

    trunk: str
    representation: str
    label_space: LabelSpace
    mpp: float
    trunk_options: Mapping[str, Any] = field(default_factory=dict)
    representation_options: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON and YAML; `from_dict` reads it back."""
        return {
            "trunk": self.trunk,
            "representation": self.representation,
            "label_space": self.label_space.to_dict(),
            "mpp": self.mpp,
            "trunk_options": dict(self.trunk_options),
            "representation_options": dict(self.representation_options),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ModelSpec:
        """Inverse of `to_dict`.

        Raises:
            ValueError: a key is missing.
        """
        missing = {"trunk", "representation", "label_space", "mpp"} - set(record)
        if missing:
            raise ValueError(f"model description without {sorted(missing)}: got {sorted(record)}")
        return cls(
            trunk=str(record["trunk"]),
            representation=str(record["representation"]),
            label_space=LabelSpace.from_dict(record["label_space"]),
            mpp=float(record["mpp"]),
            trunk_options=dict(record.get("trunk_options", {})),
            representation_options=dict(record.get("representation_options", {})),
        )


class NucleusModel(nn.Module):
    """A trunk, a 1x1 head that gives a representation's channels, and all that inputs need.

    Attributes:
        spec: what it was built from.
        representation: its loss, activation and decoder.
        trunk: the network proper.
        head, aux_head: 1x1 convolutions on the trunk's features; aux_head may be None.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: ModelSpec, trunk: Trunk) -> None:
        super().__init__()
        self.spec = spec
        self.representation = build_representation(
            spec.representation, len(spec.label_space), **spec.representation_options
        )
        self.trunk = trunk
        channels, aux_channels = self.representation.channels, trunk.aux_channels
        self.head = build_head(trunk.out_channels, channels * trunk.shuffle**2)
        self.aux_head = None if aux_channels is None else build_head(aux_channels, channels)
        self.register_buffer("mean", 255 * torch.tensor(trunk.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(trunk.std).view(1, 3, 1, 1))

    def forward(self, images: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """Logits at the images' size, float32 also under autocast.

        Args:
            images: RGB in 0..255, uint8 or floating point, of any height and width from
                `trunk.min_size` up.
        """
        x = self._pad(images)
        return _crop(self._to_size(self.head(self.trunk(x).main), x), images)

    def forward_train(
        self, images: Shaped[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"] | None]:
        """As `forward`, with the auxiliary logits of trunks that have them (training mode only)."""
        x = self._pad(images)
        features = self.trunk(x)
        logits = _crop(self._to_size(self.head(features.main), x), images)
        if self.aux_head is None or features.aux is None:
            return logits, None
        return logits, _crop(self._to_size(self.aux_head(features.aux), x), images)

    def forward_padded(self, images: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """As `forward`, for sizes that already are multiples of `trunk.size_multiple`."""
        x = self._normalise(images)
        return self._to_size(self.head(self.trunk(x).main), x)

    def freeze_encoder(self) -> None:
        """Train only what is not pretrained; see the trunk's ``freezable``."""
        self.trunk.freeze_encoder()

    def set_representation_options(self, options: Mapping[str, Any]) -> None:
        """Change options of the representation, such as its decoder's; weights stay.

        Raises:
            ValueError: an unknown option or a bad value.
        """
        merged = {**self.spec.representation_options, **options}
        self.representation = build_representation(
            self.spec.representation, len(self.spec.label_space), **merged
        )
        self.spec = replace(self.spec, representation_options=merged)

    def trainable_parameters(self) -> list[nn.Parameter]:
        """Parameters that an optimiser is to step."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def _normalise(self, images: Tensor) -> Tensor:
        return (images.to(self.mean.dtype) - self.mean) / self.std

    def _pad(self, images: Tensor) -> Tensor:
        """Check, normalise, and pad to the trunk's multiple (reflected, bottom and right)."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"expected RGB images (B, 3, H, W), got {tuple(images.shape)}")
        height, width = images.shape[-2:]
        smallest, multiple = self.trunk.min_size, self.trunk.size_multiple
        if height < smallest or width < smallest:
            raise ValueError(
                f"images of {width} x {height} pixels are too small for {self.spec.trunk}: "
                f"every width and height from {smallest} up works"
            )
        # multiple <= min_size, so the reflection never runs out of pixels
        pads = (0, -width % multiple, 0, -height % multiple)
        return nn.functional.pad(self._normalise(images), pads, mode="reflect")

    def _to_size(self, coarse: Tensor, x: Tensor) -> Tensor:
        """Up-sample logits to the size of `x`; after the 1x1 head this costs a fraction."""
        coarse = coarse.to(self.mean.dtype)  # bf16 would leave steps in the up-sampled logits
        if coarse.shape[1] != self.representation.channels:
            coarse = _shuffle(coarse, self.trunk.shuffle)
        if coarse.shape[-2:] == x.shape[-2:]:
            return coarse
        return nn.functional.interpolate(coarse, x.shape[-2:], mode="bilinear", align_corners=False)


def _shuffle(x: Tensor, scale: int) -> Tensor:
    """`torch.nn.functional.pixel_shuffle`, spelled out.

    Exported, this leaves the maps of each channel in one piece, where ONNX's DepthToSpace leaves
    channels side by side: taking those apart for the activation costs more than the whole head.
    """
    batch, channels, height, width = x.shape
    x = x.view(batch, channels // scale**2, scale, scale, height, width)
    x = x.permute(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, channels // scale**2, height * scale, width * scale)


def _crop(logits: Tensor, images: Tensor) -> Tensor:
    return logits[..., : images.shape[-2], : images.shape[-1]]


def build_trunk(name: str, *, pretrained: bool = False, **options: Any) -> Trunk:
    """The trunk `name`.

    Raises:
        ValueError: unknown name or option, an impossible value, or weights out of reach.
    """
    if name not in TRUNKS:
        raise ValueError(f"unknown trunk {name!r}; choose from {list(TRUNKS)}")
    builder = TRUNKS[name]
    fixed = {"pretrained", *getattr(builder, "keywords", ())}  # what the name already says
    known = [option for option in inspect.signature(builder).parameters if option not in fixed]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"trunk {name!r} has no option {unknown}; it has {known}")
    return builder(pretrained=pretrained, **options)


def build_model(spec: ModelSpec, *, pretrained: bool = False) -> NucleusModel:
    """A model with fresh weights, those of its encoder pretrained if asked for."""
    return NucleusModel(spec, build_trunk(spec.trunk, pretrained=pretrained, **spec.trunk_options))


def save_model(model: NucleusModel, path: Path, *, half: bool = False) -> Path:
    """Write weights and spec as safetensors; the file appears whole or not at all.

    Args:
        model: the model; its weights may be on any device.
        path: the file (``*.safetensors``), or a folder that shall hold ``model.safetensors``.
        half: round weights to float16, for half the size.

    Returns:
        The file written.
    """
    from safetensors.torch import save_file

    file = _model_file(path)
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    with replacing(file) as draft:
        save_file(state, draft, metadata={SPEC_KEY: json.dumps(model.spec.to_dict())})
    return file


def load_model(path: Path) -> NucleusModel:
    """The model of a file or checkpoint folder, on the CPU, in evaluation mode.

    Raises:
        ValueError: no such file, no safetensors, not one of ours, or weights that do not fit.
    """
    from safetensors import SafetensorError, safe_open

    file = _model_file(path)
    if not file.is_file():
        raise ValueError(f"no model at {file}: expected a .safetensors file or a checkpoint folder")
    try:
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            state = {key: _full(stored.get_tensor(key)) for key in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged or no safetensors file: {error}") from None
    if SPEC_KEY not in metadata:
        raise ValueError(f"{file} was not written by histonuc: its metadata has no {SPEC_KEY!r}")
    try:
        spec = ModelSpec.from_dict(json.loads(metadata[SPEC_KEY]))
        with torch.device("meta"):  # no time spent on weights that are replaced at once
            model = build_model(spec)
        model.load_state_dict(state, assign=True)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{file} cannot be loaded by this version of histonuc: {error}") from None
    return model.eval()


def _full(tensor: Tensor) -> Tensor:
    """In the format that models compute in, whatever the file rounds to."""
    return tensor.float() if tensor.is_floating_point() else tensor


def start_from(model: NucleusModel, other: NucleusModel) -> None:
    """Copy another model's weights: the trunk's always, the heads' where the classes are the same.

    Tensors whose name or shape differs, as those of a decoder of another width, stay as they are,
    and a warning counts them.

    Raises:
        ValueError: another kind of trunk, or no tensor that fits.
    """
    spec, given = model.spec, other.spec
    same_heads = (spec.representation, spec.label_space.classes) == (
        given.representation,
        given.label_space.classes,
    )
    ours, theirs = model.state_dict(), other.state_dict()
    wanted = [name for name in ours if same_heads or name.startswith("trunk.")]
    fitting = {
        name: theirs[name]
        for name in wanted
        if name in theirs and theirs[name].shape == ours[name].shape
    }
    if spec.trunk != given.trunk or not fitting:
        raise ValueError(
            f"--init: the model given has trunk {given.trunk} {dict(given.trunk_options)}, "
            f"expected {spec.trunk} {dict(spec.trunk_options)}"
        )
    if len(fitting) < len(wanted):
        logger.warning(
            "--init: %d of %d tensors have another shape there and start anew",
            len(wanted) - len(fitting),
            len(wanted),
        )
    model.load_state_dict(fitting, strict=False)


def _model_file(path: Path) -> Path:
    return path if path.suffix == ".safetensors" else path / MODEL_FILE


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """A line of the table of `histonuc models`.

    Attributes:
        trunk: its name.
        num_parameters: of trunk and head, without what only training uses (auxiliary heads).
        gflops: of one 256 × 256 image, a multiply-add counted as two; Fourier transforms (a few
            percent of the inception U-Net) are not counted.
    """

    trunk: str
    num_parameters: int
    gflops: float


def model_table(representation: str = "semantic", num_classes: int = 5) -> list[ModelRow]:
    """Size and cost of every trunk; nothing is allocated or computed (meta tensors)."""
    space = LabelSpace(name="table", classes=tuple(f"class {j}" for j in range(num_classes)))
    return [
        measure(ModelSpec(trunk=name, representation=representation, label_space=space, mpp=0.25))
        for name in TRUNKS
    ]


def measure(spec: ModelSpec, size_px: int = 256) -> ModelRow:
    """Size and cost of one model."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = build_model(spec).eval()
        images = torch.zeros(1, 3, size_px, size_px)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(images)
    training_only = ("aux_head.", *(f"trunk.{name}." for name in model.trunk.training_only))
    used = (p for name, p in model.named_parameters() if not name.startswith(training_only))
    return ModelRow(
        trunk=spec.trunk,
        num_parameters=sum(p.numel() for p in used),
        gflops=counter.get_total_flops() / 1e9,
    )
