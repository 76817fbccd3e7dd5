"""Models by name: build, save, load, and the table of trunks."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from histonuc.field_checks import refuse_unknown
from histonuc.files import one_line, replacing
from histonuc.models.checksum import CHECKSUM_KEY, UNSIGNED, check_file, sign_file
from histonuc.models.model import SPEC_KEY, ModelSpec
from histonuc.models.network import Network
from histonuc.models.trust import TRUST_KEY, read_trust
from histonuc.parts import find_origin, find_part, part_names
from histonuc.representations import REPRESENTATIONS
from histonuc.taxonomy import LabelSpace
from histonuc.trunks.base import Trunk, warn_no_weights
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

MODEL_FILE = "model.safetensors"
"""Name of the model's file inside a checkpoint folder."""


def build_trunk(name: str, *, pretrained: bool = False, **options: Any) -> Trunk:
    """The trunk `name`, of the package or of one's own.

    Raises:
        ValueError: unknown name or option, an impossible value, or weights out of reach.
    """
    builder = find_part("trunk", name, TRUNKS)
    parameters = inspect.signature(builder).parameters
    fixed = {"pretrained", *getattr(builder, "keywords", ())}  # what the name already says
    known = [option for option in parameters if option not in fixed]
    refuse_unknown(options, known, f"options of the trunk {name!r}")
    if "pretrained" in parameters:
        options["pretrained"] = pretrained
    elif pretrained:
        warn_no_weights(name)
    trunk: Trunk = builder(**options)
    return trunk


def build_network(spec: ModelSpec, *, pretrained: bool = False) -> Network:
    """A model with fresh weights, those of its encoder pretrained if asked for.

    Raises:
        ValueError: what `build_trunk` and `ModelSpec.build_representation` raise.
    """
    find_part("trunk", spec.trunk, TRUNKS, spec.origins.get("trunk", ""))
    trunk = build_trunk(spec.trunk, pretrained=pretrained, **spec.trunk_options)
    origins = {
        "trunk": find_origin("trunk", spec.trunk, TRUNKS),
        "representation": find_origin("representation", spec.representation, REPRESENTATIONS),
    }
    found = {kind: origin for kind, origin in origins.items() if origin}
    return Network(replace(spec, origins=found), trunk)


def save_network(
    network: Network, path: Path, *, half: bool = False, spec: ModelSpec | None = None
) -> Path:
    """Write weights and spec as safetensors; the file appears whole or not at all.

    Args:
        network: the model; its weights may be on any device.
        path: the file (``*.safetensors``), or a folder that shall hold ``model.safetensors``.
        half: round weights to float16, for half the size.
        spec: what the file says of the network, e.g. with options of the decoder that were fitted
            to it; the network's own without.

    Returns:
        The file written.
    """
    from safetensors.torch import save

    file = _model_file(path)
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    texts = {SPEC_KEY: (spec or network.spec).to_json(), CHECKSUM_KEY: UNSIGNED}
    if network.trust is not None:
        texts[TRUST_KEY] = network.trust.to_text()
    content = save(state, texts)
    with replacing(file) as draft:
        draft.write_bytes(content)  # by Python, whose errors of a full disk are OSErrors
        sign_file(draft)
    return file


def load_network(path: Path) -> Network:
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
    check_file(file)
    try:
        spec = ModelSpec.from_json(metadata[SPEC_KEY])
        with torch.device("meta"):  # no time spent on weights that are replaced at once
            network = build_network(spec)
        network.load_state_dict(state, assign=True)
        network.trust = read_trust(spec.features, metadata.get(TRUST_KEY))
    except (ValueError, RuntimeError, TypeError, OverflowError) as error:
        reason = shorten(one_line(error), 500, placeholder=" ...")  # may name thousands of tensors
        raise ValueError(f"{file} cannot be loaded by this version of histonuc: {reason}") from None
    return network.eval()


def _full(tensor: Tensor) -> Tensor:
    """In the format that models compute in, whatever the file rounds to."""
    return tensor.float() if tensor.is_floating_point() else tensor


def start_from(network: Network, other: Network) -> None:
    """Copy another model's weights: the trunk's always, the heads' where the classes are the same.

    Where the classes have a branch of their own, the head for nucleus and geometry goes on with
    other classes, too; so do projections of features.

    Tensors whose name or shape differs, as those of a decoder of another width, stay as they are,
    and a warning counts them. Options of the representation stay too. Where the heads go on, a
    warning names those that differ: a model that decodes otherwise than its start is no fair match
    for it.

    Raises:
        ValueError: another kind of trunk, or no tensor that fits.
    """
    spec, given = network.spec, other.spec
    fitting = find_fitting(network, other)
    if spec.trunk != given.trunk or not fitting:
        raise ValueError(
            f"--init: the model given has trunk {given.trunk} {dict(given.trunk_options)}, "
            f"expected {spec.trunk} {dict(spec.trunk_options)}"
        )
    wanted = _list_shared(network, other)
    if len(fitting) < len(wanted):
        logger.warning(
            "--init: %d of %d tensors have another shape there and start anew",
            len(wanted) - len(fitting),
            len(wanted),
        )
    network.load_state_dict(fitting, strict=False)
    if _have_same_heads(network, other) and spec.mpp == given.mpp:
        _warn_of_options(network, other)


def find_fitting(network: Network, other: Network) -> dict[str, Tensor]:
    """Weights of another model that `start_from` copies, by name."""
    ours, theirs = network.state_dict(), other.state_dict()
    return {
        name: theirs[name]
        for name in _list_shared(network, other)
        if name in theirs and theirs[name].shape == ours[name].shape
    }


def _have_same_heads(network: Network, other: Network) -> bool:
    spec, given = network.spec, other.spec
    same_classes = spec.label_space.classes == given.label_space.classes
    return same_classes and spec.representation == given.representation


def _list_shared(network: Network, other: Network) -> list[str]:
    """Names of the network's weights that mean the same in another model."""
    if _have_same_heads(network, other):
        return list(network.state_dict())
    shared = ["trunk.", "projections."]
    have_branches = network.class_branch is not None and other.class_branch is not None
    if have_branches and network.spec.representation == other.spec.representation:
        shared.append("head.")
    return [name for name in network.state_dict() if name.startswith(tuple(shared))]


def _warn_of_options(network: Network, other: Network) -> None:
    """Name the options of the other's representation that this one's differ from."""
    of_data = {"num_classes", "class_weights", "temperature"}
    differing = {
        field.name: getattr(other.representation, field.name)
        for field in fields(other.representation)  # type: ignore[arg-type]
        if field.name not in of_data
        and getattr(other.representation, field.name) != getattr(network.representation, field.name)
    }
    if differing:
        logger.warning(
            "--init: that model has other options of its representation; for the same: %s",
            " ".join(
                f"--representation-options.{name.replace('_', '-')} {value}"
                for name, value in differing.items()
            ),
        )


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
    """Size and cost of every trunk; nothing is allocated or computed (meta tensors).

    One of the user's own that fails is left out, with a warning.
    """
    space = LabelSpace(name="table", classes=tuple(f"class {j}" for j in range(num_classes)))
    own = part_names("trunk", TRUNKS)
    rows = []
    for name in [*TRUNKS, *own]:
        spec = ModelSpec(trunk=name, representation=representation, label_space=space, mpp=0.25)
        try:
            rows.append(measure(spec))
        except Exception as error:
            if name not in own:
                raise
            logger.warning("the trunk %s cannot be measured: %s", name, one_line(error))
    return rows


def measure(spec: ModelSpec, size_px: int = 256) -> ModelRow:
    """Size and cost of one network."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = build_network(spec).eval()
        images = torch.zeros(1, 3, size_px, size_px)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(images)
    training_only = ("aux_head.", *(f"trunk.{name}." for name in network.trunk.training_only))
    used = (p for name, p in network.named_parameters() if not name.startswith(training_only))
    return ModelRow(
        trunk=spec.trunk,
        num_parameters=sum(p.numel() for p in used),
        gflops=counter.get_total_flops() / 1e9,
    )
