"""Embeddings of one network by torch and by the exported file: the same within stated bounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from histonuc.exports.embeddings import to_embedding
from histonuc.models.engines import ExportedModel, TorchModel
from histonuc.models.model import ModelSpec
from histonuc.models.onnx import export_onnx
from histonuc.models.zoo import build_network, save_network
from histonuc.taxonomy import LABEL_SPACES

TO_SPREAD = 0.02
"""Largest difference of an embedding between engines, as a share of the feature's spread over
nuclei: two units in the last place of float16, and the order of sums."""


def test_torch_and_the_exported_file_give_the_same_embeddings(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(
        trunk="compact",
        representation="offset",
        label_space=LABEL_SPACES["four"],
        mpp=0.25,
        trunk_options={"widths": [8, 8, 8, 8, 8]},
        features={"4": 4, "8": 6, "16": 8},
    )
    network = build_network(spec).eval()
    save_network(network, tmp_path / "model.safetensors")
    export_onnx(network, tmp_path / "model.onnx")
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 128, 3)).astype(np.uint8)
    labels = np.zeros((96, 128), np.int32)
    for number in range(48):
        y, x = divmod(number, 8)
        labels[16 * y + 2 : 16 * y + 12, 16 * x + 3 : 16 * x + 13] = number + 1
    models = (
        TorchModel(tmp_path / "model.safetensors", "cpu"),
        ExportedModel(tmp_path / "model.onnx"),
    )
    first, second = (
        to_embedding(model.outputs(image).pool_features(labels, 48, 0)).astype(float)
        for model in models
    )
    assert first.shape == (48, 18)
    spread = first.std(0)
    assert (spread > 0).all()
    assert (np.abs(first - second).max(0) / spread).max() < TO_SPREAD
