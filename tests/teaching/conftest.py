"""A model without torch whose features are the pixels' colours, and results of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from histonuc import cli
from histonuc.taxonomy import LABEL_SPACES

from .labelling import draw


def write_colour_model(path: Path, *, has_features: bool = True) -> Path:
    """Dark pixels are nuclei, of one class; the features of a nucleus, if any, are its mean colour."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node
    weights = np.array([[1, 0, 0], [-1, 0, 0]], np.float32).reshape(2, 3, 1, 1) / 255
    nodes = [
        node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        node("Transpose", ["floats"], ["features_1"], perm=[0, 3, 1, 2]),
        node("Conv", ["features_1", "weights", "bias"], ["maps"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["b", "h", "w", 3])],
        [
            helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["b", 2, "h", "w"]),
            helper.make_tensor_value_info("features_1", TensorProto.FLOAT, ["b", 3, "h", "w"]),
        ][: 1 + has_features],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([0, 1], np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    spec = {
        "trunk": "colours",
        "representation": "semantic",
        "label_space": LABEL_SPACES["nucleus"].to_dict(),
        "mpp": 0.25,
        "representation_options": {"min_area_px": 5},
        "features": {"1": 3} if has_features else {},
    }
    helper.set_model_props(model, {"histonuc": json.dumps(spec), "histonuc_min_size": "8"})
    onnx.save_model(model, str(path))
    return path


@pytest.fixture(scope="session")
def colour_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose features are colours."""
    return write_colour_model(tmp_path_factory.mktemp("model") / "colours.onnx")


@pytest.fixture(scope="session")
def predicted(colour_model, tmp_path_factory) -> tuple[Path, list[Path]]:
    """Folder of the results of three images, with embeddings, and the images. Copy to change."""
    folder = tmp_path_factory.mktemp("predicted")
    images = [draw(folder / "in" / f"{name}.png", seed) for seed, name in enumerate("abc")]
    line = ["predict", *map(str, images), "--model", str(colour_model), "--out"]
    assert cli.run([*line, str(folder / "out"), "--mpp", "0.25", "--embeddings"]) == 0
    return folder / "out", images
