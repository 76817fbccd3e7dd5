"""Models by name: a trained model behind one call, ``maps(images)``, with or without torch."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from histonuc.files import one_line
from histonuc.models.engines import ExportedModel, Precision, TorchModel
from histonuc.models.exported import GRAPH_SUFFIXES, INT8_SUFFIX, read_exported
from histonuc.models.mirrored import MirroredModel
from histonuc.models.model import Model

_X86 = ("x86_64", "AMD64")
DEFAULT_MODEL = "compact-offset-5"
"""The shipped model that ``--model default`` means."""
RETIRED = {
    "compact-offset-4": ("compact-offset-5", "834474f"),
    "compact-offset-fast-1": ("compact-offset-fast-2", "834474f"),
}
"""Models that left the package: their successor, and a commit of the repository that has them."""
MODELS_FOLDER = "HISTONUC_MODELS"
"""Environment variable that names a folder of one's own exported models."""


@dataclass(frozen=True, kw_only=True)
class ShippedModel:
    """A model inside the package, or in the folder of `MODELS_FOLDER`.

    Attributes:
        name: for ``--model``.
        trunk, representation: what it is made of.
        mpp: microns per pixel it was trained at.
        size_mb: of its files, by kind: ``onnx``, ``int8.onnx``, ``safetensors``.
        classes: names.
    """

    name: str
    trunk: str
    representation: str
    mpp: float
    size_mb: dict[str, float]
    classes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return asdict(self) | {"classes": list(self.classes)}


def load_model(
    model: str = "default",
    device: str = "auto",
    precision: Precision = "auto",
    streams: int = 1,
    threads: int = 0,
    *,
    flips: bool = False,
) -> Model:
    """The model that the user names, ready to predict.

    Args:
        model: a shipped model's name, an exported model (``.onnx``, ``.xml``), a run folder (its
            best checkpoint), a checkpoint folder, or a ``.safetensors`` file.
        device: ``auto``, ``cpu``, ``cuda:0`` or ``mps``; exported models always run on the CPU,
            shipped ones by torch (extra ``train``) where another device is asked for.
        precision: of the arithmetic, see `Precision`.
        streams: forward passes of an exported model at a time, see `ExportedModel`.
        threads: of an exported model, see `ExportedModel`.
        flips: average over four mirrorings of the image, at four times the cost.

    Raises:
        ValueError: nothing of that name; the message lists what there is.
    """
    if flips:
        return MirroredModel(load_model(model, device, precision, streams, threads))
    shipped = shipped_files()
    name = DEFAULT_MODEL if model == "default" else model
    path = Path(model)
    if name in shipped and (device in ("auto", "cpu") or find_checkpoint(Path(name)) is None):
        _refuse_gpu(name, device)
        return ExportedModel(_stored(shipped[name], precision), threads, name, precision, streams)
    if path.is_file() and path.suffix in GRAPH_SUFFIXES:
        _refuse_gpu(model, device)
        return ExportedModel(path, threads, precision=precision, streams=streams)
    checkpoint = find_checkpoint(Path(name))
    if checkpoint is not None:
        return TorchModel(checkpoint, device, name, precision)
    raise ValueError(
        f"--model {model}: no such model; shipped are {sorted(shipped) or 'none'}, or give a run "
        "folder, a checkpoint folder, a .safetensors or an .onnx file"
    )


def find_checkpoint(path: Path) -> Path | None:
    """The checkpoint folder or file of a run, or of a shipped model's name; None without one.

    Raises:
        ValueError: a model that has left the package.
    """
    name = DEFAULT_MODEL if str(path) == "default" else str(path)
    shipped = shipped_files().get(name)
    if shipped is not None and shipped.with_suffix(".safetensors").is_file():
        return shipped.with_suffix(".safetensors")
    if path.is_file() and path.suffix == ".safetensors":
        return path
    for folder in (path / "checkpoints" / "best", path):
        if (folder / "model.safetensors").is_file():
            return folder
    if shipped is None and name in RETIRED:
        successor, commit = RETIRED[name]
        raise ValueError(
            f"{name} has left the package: {successor} took its place; commit {commit} of the "
            "repository has its files in src/histonuc/weights, and a file's path is a model, too"
        )
    return None


def list_shipped() -> tuple[list[ShippedModel], dict[str, str]]:
    """The models that can be called by name, and why others of the folders cannot, by name."""
    models, failed = [], {}
    for name, path in sorted(shipped_files().items()):
        try:
            spec = read_exported(path).spec
        except (ValueError, OSError) as error:
            failed[name] = one_line(error)
            continue
        model = ShippedModel(
            name=name,
            trunk=spec.trunk,
            representation=spec.representation,
            mpp=spec.mpp,
            size_mb={
                kind: round(file.stat().st_size / 1e6, 2)
                for kind in ("onnx", "int8.onnx", "safetensors")
                if (file := path.with_suffix(f".{kind}")).is_file()
            },
            classes=spec.label_space.classes,
        )
        models.append(model)
    return models, failed


def shipped_files() -> dict[str, Path]:
    """The floating-point file of each model in the package, and of one's own in `MODELS_FOLDER`.

    Raises:
        ValueError: the variable names no folder.
    """
    folders = [Path(str(files("histonuc.weights")))]
    if own := os.environ.get(MODELS_FOLDER):
        folders.insert(0, Path(own))  # so that a name of the package stays the package's
        if not folders[0].is_dir():
            raise ValueError(f"{MODELS_FOLDER}: no folder at {own}")
    found = [path for folder in folders for path in sorted(folder.glob("*.onnx"))]
    return {path.stem: path for path in found if not path.name.endswith(INT8_SUFFIX)}


def _stored(path: Path, precision: Precision) -> Path:
    """The file of a shipped model that serves a precision."""
    quantised = path.with_suffix(INT8_SUFFIX)
    # Elsewhere OpenVINO multiplies most of an int8 graph in floating point.
    wanted = precision == "int8" or (precision == "auto" and platform.machine() in _X86)
    return quantised if wanted and quantised.is_file() else path


def _refuse_gpu(name: str, device: str) -> None:
    if device not in ("auto", "cpu"):
        raise ValueError(
            f"--device {device}: the exported model {name} runs on the CPU; "
            "give a checkpoint to predict on a GPU"
        )
