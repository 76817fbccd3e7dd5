"""A small hand-made graph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from histonuc.taxonomy import LABEL_SPACES


@pytest.fixture
def onnx_model(tmp_path: Path) -> Path:
    """A hand-made graph: background = red / 255, class = 1 - red / 255; images from 8 pixels up."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    node = helper.make_node
    weights = np.array([[1, 0, 0], [-1, 0, 0]], np.float32).reshape(2, 3, 1, 1) / 255
    nodes = [
        node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        node("Conv", ["planes", "weights", "bias"], ["maps"]),
    ]
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["b", "h", "w", 3])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["b", 2, "h", "w"])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([0, 1], np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    spec = {
        "trunk": "red",
        "representation": "semantic",
        "label_space": LABEL_SPACES["nucleus"].to_dict(),
        "mpp": 0.5,
        "representation_options": {"min_area_px": 5},
    }
    helper.set_model_props(model, {"histonuc": json.dumps(spec), "histonuc_min_size": "8"})
    path = tmp_path / "red.onnx"
    onnx.save_model(model, str(path))
    return path
