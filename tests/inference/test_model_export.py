"""Exported files: what they find is what the checkpoint finds, in every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.synthetic import write_synthetic
from histonuc.inference.model_export import export_model
from histonuc.inference.runtime import load_runtime

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiles")
    write_synthetic(folder / "raw", tiles=6, seed=0)
    prepare_pannuke(folder / "raw", folder / "store")
    return folder / "store"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that finds dark things, without training: `offset` maps of a tiny network."""
    from histonuc.taxonomy import NUCLEUS
    from histonuc.zoo import ModelSpec, build_model, save_model

    torch.manual_seed(0)
    spec = ModelSpec(
        trunk="compact",
        representation="semantic",
        label_space=NUCLEUS,
        mpp=0.25,
        trunk_options={"widths": [8, 8, 8, 8, 8]},
    )
    model = build_model(spec)
    torch.nn.init.normal_(model.head.weight)
    folder = tmp_path_factory.mktemp("run")
    save_model(model, folder / "checkpoints" / "best")
    return folder


@pytest.mark.parametrize(
    ("to", "precision", "least", "most"),
    [("onnx", "fp32", 0.99, 1e-3), ("openvino", "fp16", 0.9, 0.3), ("onnx", "int8", 0.4, 0.5)],
)
def test_the_file_agrees_with_the_checkpoint(
    run: Path, store: Path, tmp_path: Path, to, precision, least: float, most: float
) -> None:
    out = tmp_path / ("model.onnx" if to == "onnx" else "model.xml")
    parity = export_model(run, out, to=to, precision=precision, data=store, folds=[1])
    assert parity.num_tiles == 2
    assert parity.max_difference < most
    exact = "int8" if precision == "int8" else "fp32"
    assert parity.agreement[exact] > least
    model = load_runtime(str(out))
    assert model.label_space.classes == ("Nucleus",)
    maps = model.maps(np.zeros((1, 70, 65, 3), np.uint8))
    assert maps.shape == (1, 2, 70, 65)
    names = {"onnx": {"model.onnx"}, "openvino": {"model.xml", "model.bin"}}[to]
    assert {path.name for path in tmp_path.iterdir()} == names


def test_bad_wishes_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint"):
        export_model(tmp_path, tmp_path / "a.onnx")
    with pytest.raises(ValueError, match=r"ends in \.onnx"):
        export_model(run, tmp_path / "a.bin")
    with pytest.raises(ValueError, match=r"ends in \.xml"):
        export_model(run, tmp_path / "a.onnx", to="openvino")
    with pytest.raises(ValueError, match="--data"):
        export_model(run, tmp_path / "a.onnx", precision="int8")
