"""How far a model's classes can be trusted, from its features to the column of the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from histonuc.exports.embeddings import to_embedding
from histonuc.models.engines import ExportedModel, TorchModel
from histonuc.models.model import ModelSpec
from histonuc.models.onnx import export_onnx
from histonuc.models.trust import Trust
from histonuc.models.zoo import build_network, save_network
from histonuc.taxonomy import LABEL_SPACES


def _fit(features: np.ndarray, held_out: np.ndarray) -> Trust:
    mean = features.mean(0)
    inverse = np.linalg.inv(np.cov(features.T))
    plain = Trust(
        centres=mean[None].astype(np.float32),
        whitening=np.linalg.cholesky(inverse).T.astype(np.float32),
        distances=np.ones(1, np.float32),
    )
    quantiles = np.quantile(plain.measure(held_out), np.linspace(0, 1, 51))
    return replace(plain, distances=quantiles.astype(np.float32))


def test_trust_is_even_among_the_known_and_none_among_the_unknown() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 6))
    known = rng.normal(size=(3000, 6)) @ mixing + 5
    trust = _fit(known[:1500], known[1500:2200])
    judged = trust.judge(known[2200:])
    np.testing.assert_allclose(np.quantile(judged, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.05)
    assert trust.judge(known[2200:] + 20).max() < 0.01
    distance = trust.measure(known[:1])
    difference = known[0] - known[:1500].mean(0)
    expected = np.sqrt(difference @ np.linalg.inv(np.cov(known[:1500].T)) @ difference)
    np.testing.assert_allclose(distance, [expected], rtol=1e-4)


def test_the_nearest_centre_counts() -> None:
    trust = Trust(
        centres=np.array([[0, 0], [10, 0]], np.float32),
        whitening=np.eye(2, dtype=np.float32),
        distances=np.array([0, 5], np.float32),
    )
    np.testing.assert_allclose(trust.measure(np.array([[1, 0], [9.5, 0], [5, 0]])), [1, 0.5, 5])
    np.testing.assert_allclose(trust.judge(np.array([[0, 0], [5, 0], [99, 0]])), [1, 0, 0])


def test_the_text_is_read_back_and_damage_is_refused() -> None:
    rng = np.random.default_rng(0)
    trust = _fit(rng.normal(size=(50, 3)), rng.normal(size=(50, 3)))
    again = Trust.from_text(trust.to_text())
    for name in ("centres", "whitening", "distances"):
        np.testing.assert_array_equal(getattr(again, name), getattr(trust, name))
    for text in ("", "[]", trust.to_text()[:-40], trust.to_text().replace("[3, 3]", "[3, 2]")):
        with pytest.raises(ValueError, match="trust: damaged text"):
            Trust.from_text(text)
    with pytest.raises(ValueError, match="ascending order"):
        replace(trust, distances=trust.distances[::-1])
    with pytest.raises(ValueError, match=r"expected arrays \(K, D\)"):
        replace(trust, centres=trust.centres[:, :2])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network whose classes are learned from dark nuclei, as checkpoint and exported."""
    torch.manual_seed(0)
    spec = ModelSpec(
        trunk="compact",
        representation="offset",
        label_space=LABEL_SPACES["four"],
        mpp=0.25,
        trunk_options={"widths": [8, 8, 8, 8, 8]},
        features={"4": 2, "8": 3},
        deviations={"8": 2},
    )
    network = build_network(spec).eval()
    rng = np.random.default_rng(0)
    network.trust = _fit(rng.normal(size=(90, 5)), rng.normal(size=(90, 5)))
    folder = tmp_path_factory.mktemp("model")
    save_network(network, folder / "model.safetensors")
    return folder / "model.safetensors", export_onnx(network, folder / "model.onnx")


TO_SPREAD = {"fp32": 0.005, "bf16": 0.2}
"""Largest difference of an embedding between torch and the exported file, as a share of its spread
over nuclei, by the file's arithmetic; `docs/how-to/teach.md` states it."""


def test_torch_and_the_exported_file_give_the_same_embeddings(files: tuple[Path, Path]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 128, 3)).astype(np.uint8)
    labels = np.zeros((96, 128), np.int32)
    for number in range(48):
        y, x = divmod(number, 8)
        labels[16 * y + 2 : 16 * y + 12, 16 * x + 3 : 16 * x + 13] = number + 1

    def embed(model: TorchModel | ExportedModel) -> np.ndarray:
        return to_embedding(model.outputs(image).embed(model.spec, labels, 48, 0)).astype(float)

    expected = embed(TorchModel(files[0], "cpu"))
    spread = expected.std(0)
    assert expected.shape == (48, 7)
    assert (spread > 0).all()
    for precision in ("fp32", "auto"):  # auto is bf16 where the processor has it
        exported = ExportedModel(files[1], precision=precision)
        difference = np.abs(embed(exported) - expected).max(0)
        assert (difference / spread).max() < TO_SPREAD[exported.precision]


def test_embeddings_are_means_and_deviations_over_the_pixels(files: tuple[Path, Path]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    labels = np.zeros((64, 64), np.int32)
    labels[5:30, 3:22], labels[33:60, 30:63], labels[8, 40] = 1, 2, 3
    model = TorchModel(files[0], "cpu")
    outputs = model.outputs(image)
    found = outputs.embed(model.spec, labels, 3, 0)
    fine, coarse = (cells[0].spread(64, 64) for cells in outputs.features)
    for number, row in enumerate(found, 1):
        inside = labels == number
        pixels = [channel[inside] for channel in (*fine, *coarse)]
        wanted = [p.mean() for p in pixels] + [p.std() for p in pixels[2:4]]
        np.testing.assert_allclose(row, wanted, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(found[:, :5], outputs.pool_features(labels, 3, 0))


@pytest.mark.parametrize("deviations", [{"4": 3}, {"16": 1}, {"8": 0}, {"8": 1.5}])
def test_deviations_are_those_of_features(files: tuple[Path, Path], deviations) -> None:
    record = {**TorchModel(files[0], "cpu").spec.to_dict(), "deviations": deviations}
    with pytest.raises(ValueError, match="deviations"):
        ModelSpec.from_dict(record)


def test_every_kind_of_file_carries_it(files: tuple[Path, Path]) -> None:
    for model in (TorchModel(files[0], "cpu"), ExportedModel(files[1])):
        assert model.trust is not None
        assert model.trust.num_features == 5
    damaged = files[1].with_name("other.onnx")
    damaged.write_bytes(files[1].read_bytes().replace(b'"float32"', b'"float3x"'))
    with pytest.raises(ValueError, match="damaged"):
        ExportedModel(damaged)
