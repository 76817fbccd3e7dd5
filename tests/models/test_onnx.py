"""Exported graphs must give what the model gives, without torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from histonuc.models.model import ModelSpec
from histonuc.models.network import Network
from histonuc.models.onnx import export_onnx, onnx_difference
from histonuc.models.zoo import build_network
from histonuc.taxonomy import PANNUKE

# Tracing symbolic shapes is slow, so two trunks that between them hold every kind of layer, and a
# small one for what depends on no trunk.
OPTIONS: dict[str, dict[str, object]] = {
    "inception_unet": {"width": 2, "depth": 1},
    "compact": {"widths": [8, 8, 8, 8, 8]},
    "unet": {"width": 4, "depth": 1},
}
PRECISION = {"inception_unet": "fp32", "compact": "fp16-weights"}


def _model(trunk: str, representation: str = "semantic", **options: object) -> Network:
    torch.manual_seed(0)
    model = build_network(
        ModelSpec(
            trunk=trunk,
            representation=representation,
            label_space=PANNUKE,
            mpp=0.25,
            trunk_options=OPTIONS[trunk],
            **options,
        )
    )
    torch.nn.init.normal_(model.head.weight)  # logits that make a difference
    if trunk == "compact":
        for stage in model.trunk.encoder.blocks[2:]:
            del stage[1:]  # repeats of what stage 1 has already
    return model


def _images(batch: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=list(PRECISION))
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Network, Path]:
    model, path = _model(request.param), tmp_path_factory.mktemp("onnx") / "model.onnx"
    return model, export_onnx(model, path, precision=PRECISION[request.param])


# sizes with even and odd halves: the spectral pool has two kinds of them
@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 70, 65), (2, 100, 133)])
def test_agrees_with_torch(exported: tuple[Network, Path], shape: tuple[int, int, int]) -> None:
    model, path = exported
    assert model.training
    tolerance = {"fp32": 1e-4, "fp16-weights": 0.02}[PRECISION[model.spec.trunk]]
    assert onnx_difference(model, path, _images(*shape)) < tolerance
    assert model.training


@pytest.mark.parametrize("representation", ["hover", "offset", "star"])
def test_every_instance_representation_agrees_with_torch(
    representation: str, tmp_path: Path
) -> None:
    model = _model("unet", representation)
    path = export_onnx(model, tmp_path / "model.onnx")
    assert onnx_difference(model, path, _images(2, 70, 65)) < 1e-4
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (maps,) = session.run(None, {"images": _images(1, 70, 65)})
    assert maps.shape == (1, model.representation.channels, 70, 65)
    assert maps[:, 1:-5].std() > 0.1, "the geometry was no test"
    np.testing.assert_allclose(maps[:, -5:].sum(1), 1, atol=1e-5)
    assert maps[:, 0].min() >= 0
    assert maps[:, 0].max() <= 1


def test_file_describes_itself(exported: tuple[Network, Path]) -> None:
    model, path = exported
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (images,), (maps,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type) == ("images", "tensor(uint8)")
    assert images.shape == ["batch", "height", "width", 3]
    assert (maps.name, maps.type) == ("maps", "tensor(float)")
    assert maps.shape == ["batch", 6, "height", "width"]
    metadata = session.get_modelmeta().custom_metadata_map
    assert ModelSpec.from_dict(json.loads(metadata["histonuc"])) == model.spec
    assert int(metadata["histonuc_min_size"]) == model.trunk.min_size
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]


def test_graph_is_clean(exported: tuple[Network, Path]) -> None:
    """Batch norms folded, softmax cheap, and only standard operators of one opset."""
    model, path = exported
    proto = onnx.load(path)
    operators = {node.op_type for node in proto.graph.node}
    assert not operators & {"Softmax", "Loop", "If", "Scan"}
    if model.spec.trunk != "inception_unet":  # its branches' norms sit behind pooling
        assert "BatchNormalization" not in operators
    assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", 18)]
    assert not proto.functions


def test_maps_are_probabilities(exported: tuple[Network, Path]) -> None:
    _, path = exported
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (maps,) = session.run(None, {"images": _images(1, 70, 64)})
    np.testing.assert_allclose(maps.sum(1), 1, atol=1e-5)


def test_weights_are_stored_in_the_precision(exported: tuple[Network, Path]) -> None:
    model, path = exported
    bytes_each = 2 if PRECISION[model.spec.trunk] == "fp16-weights" else 4
    weights = sum(parameter.numel() for parameter in model.parameters())
    # batch norms are folded away; the graph itself is some 30 kB
    assert bytes_each * weights * 0.9 < path.stat().st_size < bytes_each * weights + 50_000


def test_unknown_precision(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown precision 'int4'; choose from"):
        export_onnx(_model("unet"), tmp_path / "m.onnx", precision="int4")
    assert not list(tmp_path.iterdir())
