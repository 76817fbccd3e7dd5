"""Engines: an exported model on the processor (OpenVINO), a checkpoint through torch."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from histonuc.extras import require
from histonuc.files import file_sha256
from histonuc.models.exported import (
    DENSE_OUTPUTS,
    exported_sha256,
    openvino_core,
    read_exported,
)
from histonuc.models.model import ModelSpec
from histonuc.models.outputs import Outputs
from histonuc.models.trust import Trust
from histonuc.representations import Representation
from histonuc.representations.cells import Cells

if TYPE_CHECKING:
    from torch import Tensor

Precision = Literal["auto", "fp32", "bf16", "int8"]
"""Arithmetic of a forward pass. ``auto`` means, of an exported model, int8 where a shipped one has
such a version (on x86) or the file is one, else bf16 where the processor multiplies it natively; of
a checkpoint fp32, as torch's bf16 loses accuracy (docs/decisions/0009)."""


class ExportedModel:
    """An exported model on the CPU, through OpenVINO; needs no torch.

    Several threads may call `maps` at once; `streams` of them are served at the same time.

    Args:
        path: ONNX or OpenVINO file with the model's spec in its metadata.
        threads: in all; 0 for all cores this process may use.
        streams: forward passes at a time, which share the threads. One for the shortest wait; one a
            core for the most tiles a second.
        name: what to call it; the file's stem when empty.
        precision: see `Precision`.

    Raises:
        ValueError: no such file, none of ours, or a precision the processor does not have.
    """

    def __init__(
        self,
        path: Path,
        threads: int = 0,
        name: str = "",
        precision: Precision = "auto",
        streams: int = 1,
    ) -> None:
        core = openvino_core()
        exported = read_exported(path)
        graph = exported.graph
        self.name = name or path.stem
        self.sha256 = exported_sha256(path)
        self.spec: ModelSpec = exported.spec
        self.trust: Trust | None = exported.trust
        self.representation: Representation = self.spec.build_representation()
        is_int8 = any(node.get_type_name() == "FakeQuantize" for node in graph.get_ordered_ops())
        if precision == "int8" and not is_int8:
            raise ValueError(
                f"--precision int8: {path} is stored in floating point; write an int8 file with "
                "`histonuc export-model MODEL --precision int8 --data DATA`"
            )
        floating = _choose_precision(
            "auto" if precision == "int8" else precision,
            core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
        )
        # An int8 graph leaves some of its layers in floating point.
        self.precision: str = f"int8+{floating}" if is_int8 else floating
        self._min_size = exported.min_size
        # OpenVINO 2026 takes the first steps of an int8 graph, which normalise a uint8 image, for
        # those of a quantised value where no padding comes before them, and its maps are wrong.
        self._multiple = _take_off_padding(
            graph, ends=DENSE_OUTPUTS if is_int8 else (*DENSE_OUTPUTS, "padded")
        )
        self._compiled = core.compile_model(
            graph,
            "CPU",
            {
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": threads or num_cores(),
                "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[floating],
                "ENABLE_CPU_PINNING": False,  # several processes would all pin to the first cores
            },
        )
        self._output_names = exported.outputs
        self._local = threading.local()

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Activated maps float32 (B, C, H, W) of RGB images uint8 (B, H, W, 3)."""
        return self.outputs(images).merge()

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        """All that the model gives of RGB images uint8 (B, H, W, 3)."""
        height, width = images.shape[1:3]
        padded = pad_to(images, self._min_size)
        rows, columns = (-side % self._multiple for side in padded.shape[1:3])
        if rows or columns:
            padded = np.pad(padded, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="reflect")
        padded = np.ascontiguousarray(padded)
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        # The arrays are the request's, which the next pass writes over: each is copied once.
        found = self._local.request.infer([padded], share_inputs=True, share_outputs=True)
        by_name = {name: found[i] for i, name in enumerate(self._output_names)}
        dense = [by_name[name] for name in DENSE_OUTPUTS if name in by_name]
        maps = np.concatenate(dense, axis=1, dtype=np.float32)
        cells = {
            kind: [
                Cells(values=array.astype(np.float32), stride=int(stride))
                for name, array in by_name.items()
                for given, _, stride in [name.partition("_")]
                if given == kind
            ]
            for kind in ("classes", "features")
        }
        return Outputs(
            maps=maps[..., :height, :width],
            classes=next(iter(cells["classes"]), None),
            features=tuple(cells["features"]),
        )


class TorchModel:
    """A trained checkpoint through torch, on the CPU or a GPU.

    Args:
        path: checkpoint folder or ``.safetensors`` file.
        device: ``auto`` (GPU when there is one), ``cpu``, ``cuda:0``, ``mps``, ...
        name: what to call it; the path when empty.
        precision: see `Precision`; bf16 by torch's autocast.

    Raises:
        ValueError: no such device or arithmetic here, or a damaged checkpoint.
    """

    def __init__(
        self, path: Path, device: str = "auto", name: str = "", precision: Precision = "auto"
    ) -> None:
        require("train", f"predicting with the checkpoint {path}")
        import torch

        from histonuc.models.zoo import load_network

        if device == "auto":
            kinds = (kind for kind in ("cuda", "mps") if getattr(torch, kind).is_available())
            device = next(kinds, "cpu")
        kind = device.partition(":")[0]
        if kind in ("cuda", "mps") and not getattr(torch, kind).is_available():
            gpu = "CUDA GPU" if kind == "cuda" else "Apple GPU"
            raise ValueError(f"--device {device}: torch finds no {gpu} here; use --device cpu")
        if precision == "int8":
            raise ValueError(
                f"--precision int8: {path} is a checkpoint, which computes in floating point; an "
                "int8 file, as shipped models have and `histonuc export-model MODEL --precision "
                "int8 --data DATA` writes, runs on the CPU"
            )
        if precision == "bf16":
            if kind == "cuda":
                native = torch.cuda.is_bf16_supported(including_emulation=False)
                capabilities = ["BF16"] if native else []
            else:
                capabilities = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            _choose_precision("bf16", capabilities)
        self._device = torch.device(device)
        self._autocast = precision == "bf16"
        self._network = load_network(path).to(self._device)
        self.name = name or str(path)
        self.sha256 = file_sha256(path / "model.safetensors" if path.is_dir() else path)
        self.spec: ModelSpec = self._network.spec
        self.trust: Trust | None = self._network.trust
        self.representation: Representation = self._network.representation
        arithmetic = "bf16" if self._autocast else "fp32"
        self.precision = arithmetic if kind == "cpu" else f"{arithmetic} on {kind}"
        self._min_size = self._network.trunk.min_size
        self._lock = threading.Lock()

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Activated maps float32 (B, C, H, W) of RGB images uint8 (B, H, W, 3)."""
        return self.outputs(images).merge()

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        """All that the model gives of RGB images uint8 (B, H, W, 3)."""
        import torch

        height, width = images.shape[1:3]
        pixels = pad_to(images, self._min_size)
        rows, columns = self._network.pad_size(*pixels.shape[1:3])
        if rows or columns:
            pixels = np.pad(pixels, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="reflect")
        pixels = np.require(pixels, requirements="W")
        padded = torch.from_numpy(pixels).to(self._device)
        autocast = torch.autocast(self._device.type, torch.bfloat16, enabled=self._autocast)
        with self._lock, torch.inference_mode(), autocast:  # one pass fills the device
            given = self._network.activate(
                self._network.forward_outputs(padded.permute(0, 3, 1, 2))
            )

        def read(tensor: Tensor) -> NDArray[np.float32]:
            array: NDArray[np.float32] = tensor.float().cpu().numpy()
            return array

        def read_cells(tensor: Tensor) -> Cells:
            return Cells(values=read(tensor), stride=pixels.shape[1] // tensor.shape[2])

        return Outputs(
            maps=read(given.logits)[..., :height, :width],
            classes=None if given.classes is None else read_cells(given.classes),
            features=tuple(map(read_cells, given.features)),
        )


def pad_to(images: NDArray[np.uint8], min_size: int) -> NDArray[np.uint8]:
    """Reflect images (B, H, W, 3) at their bottom and right edges up to `min_size` pixels."""
    height, width = images.shape[1:3]
    rows, columns = max(min_size - height, 0), max(min_size - width, 0)
    if not rows and not columns:
        return images
    return np.pad(images, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="symmetric")


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _take_off_padding(graph: Any, ends: Sequence[str]) -> int:
    """Remove the padding to the network's multiple from a graph of ours, and the cropping.

    They are there for programs that run the file by themselves. Where there is nothing to pad they
    still copy image and maps, a tenth of the network's time.

    Args:
        graph: the `openvino.Model`, changed.
        ends: names of the nodes to remove: that of the padding, and those that crop.

    Returns:
        The multiple that height and width must have now; 1 where nothing could be removed.
    """
    nodes = {node.get_friendly_name(): node for node in graph.get_ordered_ops()}
    multiple = nodes.get("size_multiple")
    found = [nodes[name] for name in ends if name in nodes]
    if multiple is None or not found:
        return 1
    for node in found:
        for target in node.output(0).get_target_inputs():
            target.replace_source_output(node.input_value(0))
    graph.validate_nodes_and_infer_types()
    return int(multiple.data)


def _choose_precision(
    wanted: Literal["auto", "fp32", "bf16"], capabilities: list[str]
) -> Literal["fp32", "bf16"]:
    native = "BF16" in capabilities
    if wanted == "auto":
        return "bf16" if native else "fp32"
    if wanted == "bf16" and not native:
        raise ValueError("--precision bf16: no bf16 arithmetic here; use fp32")
    return wanted
