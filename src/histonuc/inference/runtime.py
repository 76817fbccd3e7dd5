"""Runtimes: a trained model behind one call, ``maps(images)``, with or without torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from histonuc.extras import require
from histonuc.representations import Representation, build_representation
from histonuc.taxonomy import LabelSpace

DEFAULT_MODEL = "compact-offset-1"
"""The shipped model that ``--model default`` means."""
SPEC_KEY = "histonuc"
"""Key of the JSON text of the model's spec in a model file's metadata."""
MIN_SIZE_KEY = "histonuc_min_size"
"""Key of the smallest height and width an ONNX graph takes."""


class Runtime(Protocol):
    """A model ready to predict.

    Attributes:
        name: what the user calls it.
        sha256: of the file that holds the weights.
        label_space: its classes.
        representation: its decoder, built.
        mpp: microns per pixel of the images it wants.
    """

    name: str
    sha256: str
    label_space: LabelSpace
    representation: Representation
    mpp: float

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Activated maps float32 (B, C, H, W) of RGB images uint8 (B, H, W, 3)."""
        ...


class OnnxRuntime:
    """An exported model on the CPU; needs no torch.

    Args:
        path: ONNX file with the model's spec in its metadata.
        threads: of one forward pass; 0 for all cores this process may use.
        name: what to call it; the file's stem when empty.

    Raises:
        ValueError: no such file, no ONNX, or not one of ours.
    """

    def __init__(self, path: Path, threads: int = 0, name: str = "") -> None:
        import onnxruntime

        if not path.is_file():
            raise ValueError(f"no model file at {path}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _num_cores()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no public base class
            raise ValueError(f"{path} is damaged or no ONNX model: {error}") from None
        metadata = self._session.get_modelmeta().custom_metadata_map
        if SPEC_KEY not in metadata:
            raise ValueError(
                f"{path} was not written by histonuc: its metadata has no {SPEC_KEY!r}; "
                "write one with `histonuc export-model RUN --out FILE.onnx`"
            )
        spec = json.loads(metadata[SPEC_KEY])
        self.name = name or path.stem
        self.sha256 = file_sha256(path)
        self.label_space, self.representation, self.mpp = _read_spec(spec)
        self._min_size = int(metadata.get(MIN_SIZE_KEY, 1))
        self._input = self._session.get_inputs()[0].name

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Activated maps float32 (B, C, H, W) of RGB images uint8 (B, H, W, 3)."""
        height, width = images.shape[1:3]
        padded = pad_to(images, self._min_size)
        (maps,) = self._session.run(None, {self._input: padded})
        cropped: NDArray[np.float32] = np.asarray(maps, np.float32)[..., :height, :width]
        return cropped


class TorchRuntime:
    """A trained checkpoint through torch, on the CPU or a GPU.

    Args:
        path: checkpoint folder or ``.safetensors`` file.
        device: ``auto`` (GPU when there is one), ``cpu``, ``cuda:0``, ...
        name: what to call it; the path when empty.
    """

    def __init__(self, path: Path, device: str = "auto", name: str = "") -> None:
        require("train", f"predicting with the checkpoint {path}")
        import torch

        from histonuc.zoo import load_model

        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"--device {device}: torch finds no CUDA GPU here; use --device cpu")
        self._device = torch.device(device)
        self._model = load_model(path).to(self._device)
        spec = self._model.spec
        self.name = name or str(path)
        self.sha256 = file_sha256(path / "model.safetensors" if path.is_dir() else path)
        self.label_space = spec.label_space
        self.representation: Representation = self._model.representation
        self.mpp = spec.mpp
        self._min_size = self._model.trunk.min_size

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Activated maps float32 (B, C, H, W) of RGB images uint8 (B, H, W, 3)."""
        import torch

        height, width = images.shape[1:3]
        padded = torch.from_numpy(pad_to(images, self._min_size)).to(self._device)
        with torch.inference_mode():
            logits = self._model(padded.permute(0, 3, 1, 2))
            maps = self.representation.activate(logits)[..., :height, :width]
        result: NDArray[np.float32] = maps.float().cpu().numpy()
        return result


@dataclass(frozen=True, kw_only=True)
class ShippedModel:
    """A model inside the package.

    Attributes:
        name: for ``--model``.
        trunk, representation: what it is made of.
        mpp: microns per pixel it was trained at.
        size_mb: of its file.
        classes: names.
    """

    name: str
    trunk: str
    representation: str
    mpp: float
    size_mb: float
    classes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return asdict(self) | {"classes": list(self.classes)}


def load_runtime(model: str = "default", device: str = "auto") -> Runtime:
    """A runtime for what the user calls a model.

    Args:
        model: a shipped model's name, an ONNX file, a run folder (its best checkpoint), a
            checkpoint folder, or a ``.safetensors`` file.
        device: ``auto``, ``cpu`` or ``cuda:0``; ONNX files always run on the CPU.

    Raises:
        ValueError: nothing of that name; the message lists what there is.
    """
    shipped = _shipped_files()
    name = DEFAULT_MODEL if model == "default" else model
    path = Path(model)
    if name in shipped:
        _refuse_gpu(name, device)
        return OnnxRuntime(shipped[name], name=name)
    if path.is_file() and path.suffix == ".onnx":
        _refuse_gpu(model, device)
        return OnnxRuntime(path)
    checkpoint = find_checkpoint(path)
    if checkpoint is not None:
        return TorchRuntime(checkpoint, device, name=model)
    raise ValueError(
        f"--model {model}: no such model; shipped are {sorted(shipped) or 'none'}, or give a run "
        "folder, a checkpoint folder, a .safetensors or an .onnx file"
    )


def find_checkpoint(path: Path) -> Path | None:
    """The checkpoint folder or file that `path` stands for; None when there is none."""
    if path.is_file() and path.suffix == ".safetensors":
        return path
    for folder in (path / "checkpoints" / "best", path):
        if (folder / "model.safetensors").is_file():
            return folder
    return None


def list_shipped() -> list[ShippedModel]:
    """The models inside the package, by name."""
    import onnxruntime

    models = []
    for name, path in sorted(_shipped_files().items()):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        spec = json.loads(session.get_modelmeta().custom_metadata_map[SPEC_KEY])
        model = ShippedModel(
            name=name,
            trunk=spec["trunk"],
            representation=spec["representation"],
            mpp=float(spec["mpp"]),
            size_mb=round(path.stat().st_size / 1e6, 2),
            classes=tuple(spec["label_space"]["classes"]),
        )
        models.append(model)
    return models


def export_onnx_file(
    model: Path,
    out: Path,
    weights: Literal["fp32", "fp16"] = "fp32",
    representation_options: Mapping[str, Any] | None = None,
) -> float:
    """Write a trained model as one ONNX file.

    Args:
        model: run folder, checkpoint folder or ``.safetensors`` file.
        out: file to write, ``*.onnx``; appears whole or not at all.
        weights: number format of the stored weights.
        representation_options: options of the representation to change, e.g. what a validation set
            chose for its decoder.

    Returns:
        Largest absolute difference to torch on random input.
    """
    require("train", "histonuc export-model")
    from histonuc.onnx_export import export_onnx, onnx_difference
    from histonuc.zoo import load_model

    checkpoint = find_checkpoint(model)
    if checkpoint is None:
        raise ValueError(f"no checkpoint at {model}: expected a run folder or a checkpoint")
    if out.suffix != ".onnx":
        raise ValueError(f"--out {out}: expected a file that ends in .onnx")
    network = load_model(checkpoint)
    if representation_options:
        network.set_representation_options(representation_options)
    export_onnx(network, out, precision="fp32" if weights == "fp32" else "fp16-weights")
    side = max(network.trunk.min_size, 128) + 1  # odd: the padding inside is tested too
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    return onnx_difference(network, out, images)


def pad_to(images: NDArray[np.uint8], min_size: int) -> NDArray[np.uint8]:
    """Reflect images (B, H, W, 3) at their bottom and right edges up to `min_size` pixels."""
    height, width = images.shape[1:3]
    rows, columns = max(min_size - height, 0), max(min_size - width, 0)
    if not rows and not columns:
        return images
    return np.pad(images, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="symmetric")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shipped_files() -> dict[str, Path]:
    folder = Path(str(files("histonuc.weights")))
    return {path.stem: path for path in sorted(folder.glob("*.onnx"))}


def _read_spec(spec: Mapping[str, Any]) -> tuple[LabelSpace, Representation, float]:
    space = LabelSpace.from_dict(spec["label_space"])
    options = dict(spec.get("representation_options", {}))
    return (
        space,
        build_representation(spec["representation"], len(space), **options),
        float(spec["mpp"]),
    )


def _refuse_gpu(name: str, device: str) -> None:
    if device not in ("auto", "cpu"):
        raise ValueError(
            f"--device {device}: the ONNX model {name} runs on the CPU; "
            "give a checkpoint to predict on a GPU"
        )
