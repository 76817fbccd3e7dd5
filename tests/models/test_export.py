"""Exported files: what they find is what the checkpoint finds, in every format."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.synthetic import write_synthetic
from histonuc.models.export import export_model
from histonuc.models.loading import find_checkpoint, load_model
from histonuc.taxonomy import THREE

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiles")
    write_synthetic(folder / "raw", tiles=6, seed=0)
    prepare_pannuke(folder / "raw", folder / "store")
    return folder / "store"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model's checkpoint, as a run folder: `offset` maps that find nuclei."""
    shipped = find_checkpoint(Path("default"))
    assert shipped is not None
    folder = tmp_path_factory.mktemp("run")
    best = folder / "checkpoints" / "best"
    best.mkdir(parents=True)
    shutil.copy(shipped, best / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def traced_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All files are made of one fp32 graph, and those in int8 of one more, which take long to make."""
    from histonuc.models import onnx, quantise

    graphs = tmp_path_factory.mktemp("graphs")

    def once(make: Callable[..., Path]) -> Callable[..., Path]:
        def copy(source: object, path: Path, *more: object, **options: object) -> Path:
            graph = graphs / f"{'-'.join([make.__name__, *map(str, options.values())])}.onnx"
            if not graph.exists():
                make(source, graph, *more, **options)
            return Path(shutil.copy(graph, path))

        return copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "export_onnx", once(onnx.export_onnx))
        patch.setattr(quantise, "quantise", once(quantise.quantise))
        yield


# Differences are largest in the offsets, which are pixels, on noise.
@pytest.mark.parametrize(
    ("to", "precision", "least", "most"),
    [
        ("onnx", "fp32", 0.999, 2e-4),
        ("openvino", "fp16", 0.999, 0.1),
        ("onnx", "int8", 0.99, 3.0),
        ("openvino", "int8", 0.99, 3.0),
    ],
)
@pytest.mark.usefixtures("traced_once")
def test_the_file_agrees_with_the_checkpoint(
    run: Path, store: Path, tmp_path: Path, to, precision, least: float, most: float
) -> None:
    out = tmp_path / ("model.onnx" if to == "onnx" else "model.xml")
    parity = export_model(run, out, to=to, precision=precision, data=store, folds=[1])
    assert parity.num_tiles == 2
    assert parity.max_difference < most
    assert parity.agreement["int8+fp32" if precision == "int8" else "fp32"] > least
    assert min(parity.agreement.values()) > 0.99, "in the processor's own arithmetic"
    model = load_model(str(out))
    assert model.precision.startswith("int8+") == (precision == "int8")
    assert model.spec.label_space == THREE
    assert model.representation == load_model(str(run), "cpu").representation
    maps = model.maps(np.zeros((1, 70, 65, 3), np.uint8))
    assert maps.shape == (1, 3 + len(THREE), 70, 65)
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
