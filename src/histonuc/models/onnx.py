"""Models as ONNX files that need no torch: uint8 images in, activated maps out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from histonuc.files import replacing
from histonuc.models.checksum import sign_file
from histonuc.models.exported import DENSE_OUTPUTS, describe_model
from histonuc.representations.maps import Nuclear

if TYPE_CHECKING:
    from histonuc.models.network import Network

PRECISIONS = ("fp32", "fp16-weights")
OPSET = 18


def export_onnx(network: Network, path: Path, *, precision: str = "fp32") -> Path:
    """Write `network` as one ONNX file; the file appears whole or not at all.

    The graph takes ``images`` uint8 (B, H, W, 3) of any batch and any size from the trunk's
    smallest up, and gives ``maps`` float32 (B, C, H, W): padding, normalisation, cropping and the
    representation's activation are inside. A network with a class branch gives ``nucleus``,
    ``geometry`` and ``classes_S`` instead, one with features ``features_S`` as well, where S is the
    stride of their grid in pixels; such grids cover the padded image.

    Args:
        network: the model; exported in evaluation mode, left as it is.
        path: the file to write.
        precision: ``fp32``, or ``fp16-weights``: weights are stored as float16, half the file, and
            the runtime widens them when it loads; all arithmetic stays float32.

    Raises:
        ValueError: unknown precision.
    """
    import onnx

    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; choose from {list(PRECISIONS)}")
    proto = _export_padded(network)
    _add_padding(proto, network.trunk.size_multiple)
    _spell_out_softmax(proto)
    if precision == "fp16-weights":
        _halve_weights(proto)
    texts = describe_model(network.spec, network.trunk.min_size, network.trust)
    onnx.helper.set_model_props(proto, texts)
    onnx.checker.check_model(proto)
    with replacing(path) as draft:
        onnx.save_model(proto, str(draft), format="protobuf")
        sign_file(draft)
    return path


def onnx_difference(network: Network, path: Path, images: NDArray[np.uint8]) -> float:
    """Largest absolute difference between the maps of `network` and of its exported file.

    Args:
        network: what was exported; run in evaluation mode on the CPU.
        path: the ONNX file.
        images: RGB (B, H, W, 3).
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [name for name in _output_names(network) if name in DENSE_OUTPUTS]
    exported = np.concatenate(session.run(names, {"images": images}), axis=1)
    training = network.training
    network.eval()
    with torch.no_grad():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2))
        maps = network.representation.activate(logits).numpy()
    network.train(training)
    return float(np.abs(maps[:, : exported.shape[1]] - exported).max())


class _Padded(nn.Module):
    """What the exported graph computes, for sizes that are multiples of the trunk's."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        self.network.trunk = network.trunk.for_inference()
        self.heads = _split_head(self.network)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        network, representation = self.network, self.network.representation
        x = network.normalise(images.permute(0, 3, 1, 2))
        features = network.trunk(x)
        projected = network.project(features)
        if network.class_branch is None:
            return representation.activate(network.merge(features, x)), *projected
        assert isinstance(representation, Nuclear)
        nucleus, geometry = (network.to_size(head(features.main), x) for head in self.heads)
        classes = network.class_branch(features.levels)
        geometry = representation.activate_geometry(geometry)
        return nucleus.sigmoid(), geometry, classes.softmax(1), *projected


def _split_head(network: Network) -> nn.ModuleList:
    """The head's convolution as two, of nucleus and geometry; taking maps apart costs more."""
    if network.class_branch is None:
        return nn.ModuleList()
    area = network.trunk.shuffle**2
    parts = []
    for rows in (slice(area), slice(area, None)):
        weight, bias = network.head.weight[rows], network.head.bias
        part = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
        part.weight = nn.Parameter(weight.detach())
        part.bias = None if bias is None else nn.Parameter(bias[rows].detach())
        parts.append(part)
    return nn.ModuleList(parts)


def _output_names(network: Network) -> list[str]:
    """Names of the graph's outputs, in their order."""
    features = [f"features_{stride}" for stride in network.projections]
    if network.class_branch is None:
        return ["maps", *features]
    return ["nucleus", "geometry", f"classes_{network.trunk.level_strides[-1]}", *features]


def _export_padded(network: Network) -> Any:
    """Graph from ``padded`` to ``padded_NAME`` of every output, batch norms folded in."""
    multiple, smallest = network.trunk.size_multiple, network.trunk.min_size
    # Sizes as multiples of a symbol: torch can then prove that up-sampled features meet the skips.
    steps = [torch.export.Dim(name, min=smallest // multiple) for name in ("rows", "columns")]
    batch = torch.export.Dim("batch", min=1)
    example = torch.zeros(2, 2 * smallest, 3 * smallest, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        _Padded(network).eval(),
        (example.to(network.mean.device),),
        dynamo=True,
        dynamic_shapes={"images": {0: batch, 1: multiple * steps[0], 2: multiple * steps[1]}},
        input_names=["padded"],
        output_names=[f"padded_{name}" for name in _output_names(network)],
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    for part in [*proto.graph.node, *proto.graph.initializer]:
        part.doc_string = ""
        del part.metadata_props[:]  # stack traces of this machine, some 200 kB
    return proto


def _add_padding(proto: Any, multiple: int) -> None:
    """Put the reflecting padding before the graph and the cropping behind it."""
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    node = helper.make_node
    zeros = numpy_helper.from_array(np.zeros(5, np.int64), "pad_zeros")
    one_zero = numpy_helper.from_array(np.zeros(1, np.int64), "pad_zero")
    start = numpy_helper.from_array(np.zeros(2, np.int64), "crop_start")
    axes = numpy_helper.from_array(np.array([2, 3], np.int64), "crop_axes")
    unit = numpy_helper.from_array(np.array(multiple, np.int64), "size_multiple")
    before = [
        node("Shape", ["images"], ["size"], start=1, end=3),
        node("Neg", ["size"], ["minus_size"]),
        node("Mod", ["minus_size", "size_multiple"], ["missing"]),  # has the divisor's sign
        node("Concat", ["pad_zeros", "missing", "pad_zero"], ["pads"], axis=0),
        node("Pad", ["images", "pads"], ["padded"], mode="reflect"),
    ]
    names = {output.name: output.name.removeprefix("padded_") for output in graph.output}
    channels = {
        names[output.name]: output.type.tensor_type.shape.dim[1].dim_value
        for output in graph.output
    }
    after = [
        node("Slice", [padded, "crop_start", "size", "crop_axes"], [name])
        if name in DENSE_OUTPUTS
        else node("Identity", [padded], [name])
        for padded, name in names.items()
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:]
    # The shapes torch inferred name sizes by expressions of its symbols; nothing needs them.
    del graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend([zeros, one_zero, start, axes, unit])
    image_shape = ["batch", "height", "width", 3]
    graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, image_shape))
    for name, size in channels.items():
        sides = ["height", "width"] if name in DENSE_OUTPUTS else [f"{name}_h", f"{name}_w"]
        shape = ["batch", size, *sides]
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def _spell_out_softmax(proto: Any) -> None:
    """Replace softmax over channels by its definition.

    ONNX Runtime transposes for a softmax that is not over the last axis: 5.4 ms of the compact
    trunk's 19 ms a tile on one core, against 0.8 ms this way.
    """
    from onnx import helper, numpy_helper

    nodes = []
    for old in proto.graph.node:
        if old.op_type != "Softmax" or _axis(old) != 1:
            nodes.append(old)
            continue
        (x,), (y,) = old.input, old.output
        nodes += [
            helper.make_node("ReduceMax", [x, "channel_axis"], [f"{y}_max"], keepdims=1),
            helper.make_node("Sub", [x, f"{y}_max"], [f"{y}_shifted"]),
            helper.make_node("Exp", [f"{y}_shifted"], [f"{y}_exp"]),
            helper.make_node("ReduceSum", [f"{y}_exp", "channel_axis"], [f"{y}_sum"], keepdims=1),
            helper.make_node("Div", [f"{y}_exp", f"{y}_sum"], [y]),
        ]
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1]), "channel_axis"))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _axis(node: Any) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "axis"), -1)


def _halve_weights(proto: Any) -> None:
    """Store float32 initialisers as float16 followed by a cast, which runtimes fold at load."""
    from onnx import TensorProto, helper, numpy_helper

    graph = proto.graph
    casts, stored = [], []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < 2:
            stored.append(tensor)
            continue
        name = tensor.name + "_fp16"
        weights = numpy_helper.to_array(tensor)
        if np.abs(weights).max() > np.finfo(np.float16).max:
            raise ValueError(
                f"weights {tensor.name} exceed the range of float16: export with --precision fp32"
            )
        stored.append(numpy_helper.from_array(weights.astype(np.float16), name))
        casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(stored)
    graph.node.extend(nodes)
