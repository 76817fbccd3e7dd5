"""Exported model files: OpenVINO, and what the files say about themselves."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from histonuc.files import file_sha256
from histonuc.models.checksum import CHECKSUM_KEY, UNSIGNED, check_file
from histonuc.models.model import SPEC_KEY, ModelSpec
from histonuc.models.trust import TRUST_KEY, Trust, read_trust
from histonuc.offline import load_openvino

MIN_SIZE_KEY = "histonuc_min_size"
"""Key of the smallest height and width an exported graph takes."""
DENSE_OUTPUTS = ("maps", "nucleus", "geometry")
"""Outputs at the image's size: all maps; or, of a network with a class branch, those but the
classes, one by one (stacking them takes OpenVINO a tenth of the network's time). Its classes are in
the output ``classes_S`` on cells of S pixels, features of a network in ``features_S``."""
GRAPH_SUFFIXES = (".onnx", ".xml")
"""Exported models: ONNX, and OpenVINO's format (with the weights in a ``.bin`` beside it)."""
INT8_SUFFIX = ".int8.onnx"
"""Ending of a shipped model's int8 version, beside its ``.onnx``."""


@cache
def openvino_core() -> Any:
    """The one `openvino.Core` of this process, never released before it ends.

    Each `Core` installs a stack for signal handlers and, when it goes, puts back the one it found.
    Two that go in the order they came leave the process a stack that is gone, and the next signal
    (Ctrl-C, the end of a child) kills it: OpenVINO 2026.
    """
    openvino = load_openvino()
    core = openvino.Core()
    # It fills its tables of element types at their first use and lets other threads run meanwhile:
    # two that infer for the first time at once can wait for each other for ever.
    openvino.Type.u8.to_dtype()
    openvino.Tensor(np.zeros(1, np.uint8), shared_memory=True)
    return core


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An exported model as it was read from its file.

    Attributes:
        graph: the `openvino.Model`, from ``images`` to its outputs.
        outputs: their names, see `DENSE_OUTPUTS`.
        spec: what the model was built from.
        min_size: smallest height and width that the graph takes, in pixels.
        trust: what the model knows of the nuclei that its classes were learned from; or None.
    """

    graph: Any
    outputs: tuple[str, ...]
    spec: ModelSpec
    min_size: int
    trust: Trust | None


def describe_model(spec: ModelSpec, min_size: int, trust: Trust | None) -> dict[str, str]:
    """The metadata that an exported file carries, as `read_exported` takes it back.

    Its checksum is a place for one: see `sign_file`.

    Args:
        spec: what the model was built from.
        min_size: smallest height and width that the graph takes, in pixels.
        trust: what the model knows of the nuclei that its classes were learned from; or None.
    """
    texts = {SPEC_KEY: spec.to_json(), MIN_SIZE_KEY: str(min_size), CHECKSUM_KEY: UNSIGNED}
    return texts | ({} if trust is None else {TRUST_KEY: trust.to_text()})


def exported_sha256(path: Path) -> str:
    """SHA-256 of an exported model, in hex: of its file, or of both where it has two."""
    if path.suffix == ".onnx":
        return file_sha256(path)
    both = (path, path.with_suffix(".bin"))
    return hashlib.sha256("".join(map(file_sha256, both)).encode()).hexdigest()


def read_exported(path: Path) -> Exported:
    """Read an exported model, whose graph can then be compiled.

    Args:
        path: ONNX or OpenVINO file with the model's spec in its metadata.

    Raises:
        ValueError: no such file, a damaged one, or one that histonuc did not write.
    """
    if not path.is_file():
        raise ValueError(f"no model file at {path}")
    # OpenVINO tries all its importers on what it does not know, and they write to standard error.
    if SPEC_KEY.encode() not in path.read_bytes():
        raise ValueError(
            f"{path} is damaged or was not written by histonuc: it has no {SPEC_KEY!r} inside; "
            "write one with `histonuc export-model RUN --out FILE.onnx`"
        )
    check_file(path)
    try:
        graph = openvino_core().read_model(path)
    except RuntimeError as error:
        raise ValueError(f"{path} is damaged: {str(error).strip().splitlines()[-1]}") from None
    info = _read_info(graph, path)
    if SPEC_KEY not in info:
        raise ValueError(f"{path} was not written by histonuc: its metadata has no {SPEC_KEY!r}")
    smallest = info.get(MIN_SIZE_KEY, "1")
    if not re.fullmatch("[1-9][0-9]{0,3}", smallest):
        raise ValueError(f"{path} is damaged: it takes images from {smallest[:20]!r} pixels up")
    try:
        spec = ModelSpec.from_json(info[SPEC_KEY])
        expected = _list_outputs(spec)
        trust = read_trust(spec.features, info.get(TRUST_KEY))
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from None
    given = {}
    for output in graph.outputs:
        shape = output.get_partial_shape()
        is_image = not shape.rank.is_dynamic and len(shape) == 4
        given[output.any_name] = str(shape[1]) if is_image else str(shape)
    kinds = [(re.sub("_[1-9][0-9]?$", "", name), channels) for name, channels in given.items()]
    if sorted(kinds) != sorted(expected):
        raise ValueError(
            f"{path} is damaged: its description asks for the outputs (with channels) "
            f"{sorted(expected)}, it gives {sorted(kinds)}"
        )
    return Exported(
        graph=graph, outputs=tuple(given), spec=spec, min_size=int(smallest), trust=trust
    )


def _list_outputs(spec: ModelSpec) -> list[tuple[str, str]]:
    """Kinds of the outputs that a graph of a spec has, with their channels.

    Raises:
        ValueError: unknown name or option.
    """
    representation = spec.build_representation()
    channels, num_classes = representation.channels, representation.num_classes
    features = [("features", str(size)) for size in spec.features.values()]
    if not spec.class_branch:
        return [("maps", str(channels)), *features]
    geometry = channels - 1 - num_classes
    return [
        ("nucleus", "1"),
        ("geometry", str(geometry)),
        ("classes", str(num_classes)),
        *features,
    ]


def _read_info(graph: Any, path: Path) -> dict[str, str]:
    """The texts of ours that a graph carries, by key; those that are missing are left out."""
    info = {}
    for key in (SPEC_KEY, MIN_SIZE_KEY, TRUST_KEY):
        place = ["framework", key] if path.suffix == ".onnx" else [key]
        if graph.has_rt_info(place):
            info[key] = str(graph.get_rt_info(place).value)
    return info
