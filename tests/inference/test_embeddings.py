"""`predict --embeddings`: the network's features of each nucleus, beside the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from histonuc.exports import read_table
from histonuc.exports.embeddings import EMBEDDINGS_FILE, open_embeddings, read_embeddings
from histonuc.inference import tiles as tiles_module
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
from histonuc.models.outputs import Outputs
from histonuc.representations.cells import Cells

OPTIONS = PredictOptions(mpp=0.25, tile_px=192, geojson=False, embeddings=True)
WHITE = 70_000.0
"""What white is as a feature: more than float16 holds."""


@pytest.fixture
def model(pixel_model, monkeypatch):
    """Its features are the pixels themselves, of which the mean over a nucleus is known."""

    def outputs(images: np.ndarray) -> Outputs:
        values = images.transpose(0, 3, 1, 2).astype(np.float32)
        values[values == 255] = WHITE
        return Outputs(maps=pixel_model.maps(images), features=(Cells(values=values, stride=1),))

    pixel_model.outputs = outputs
    pixel_model.spec = replace(pixel_model.spec, features={"1": 3})
    monkeypatch.setattr(tiles_module, "PART_TILES", 2)
    return pixel_model


@pytest.fixture
def image(tmp_path, blobs) -> Path:
    path = tmp_path / "blobs.png"
    cv2.imwrite(str(path), blobs[..., ::-1])
    return path


def test_rows_are_those_of_the_table(model, image, blobs, tmp_path) -> None:
    (item,) = predict([image], tmp_path / "out", OPTIONS, model=model).items
    folder = tmp_path / "out" / "blobs"
    nuclei = read_table(folder / "nuclei.parquet")
    found = read_embeddings(folder / EMBEDDINGS_FILE, item.num_nuclei)
    assert found.values.dtype == np.float16
    assert found.values.shape == (len(nuclei), 3)
    assert found.model_sha256 == model.sha256
    table = pq.read_table(folder / EMBEDDINGS_FILE)
    assert table["id"].to_pylist() == list(range(1, len(nuclei) + 1))
    labels = nuclei.to_labels(*blobs.shape[:2])
    for i in range(0, len(nuclei), 17):
        expected = blobs[labels == i + 1].mean(0)
        assert np.abs(found.values[i] - expected).max() < 1  # a pixel's corner, and three digits


def test_the_table_is_the_same_with_and_without(model, image, tmp_path) -> None:
    predict([image], tmp_path / "with", OPTIONS, model=model)
    predict([image], tmp_path / "without", replace(OPTIONS, embeddings=False), model=model)
    tables = [
        (tmp_path / name / "blobs" / "nuclei.parquet").read_bytes() for name in ("with", "without")
    ]
    assert tables[0] == tables[1]
    assert not (tmp_path / "without" / "blobs" / EMBEDDINGS_FILE).exists()


def test_an_interrupted_run_ends_in_the_same_bytes(model, image, tmp_path, monkeypatch) -> None:
    predict([image], tmp_path / "whole", OPTIONS, model=model)
    outputs, calls = model.outputs, []

    def fail(images):
        calls.append(1)
        if len(calls) > 5:
            raise MemoryError("enough")
        return outputs(images)

    model.outputs = fail
    assert predict([image], tmp_path / "out", OPTIONS, model=model).failed
    assert list((tmp_path / "out" / "blobs" / "parts").glob("part-*.npz"))
    model.outputs = outputs
    (item,) = predict([image], tmp_path / "out", OPTIONS, model=model).items
    assert item.tiles_resumed > 0
    for name in ("nuclei.parquet", EMBEDDINGS_FILE):
        files = [(tmp_path / folder / "blobs" / name).read_bytes() for folder in ("whole", "out")]
        assert files[0] == files[1], name


def test_a_result_without_is_done_again_with_and_stays_then(model, image, tmp_path) -> None:
    out = tmp_path / "out"
    predict([image], out, replace(OPTIONS, embeddings=False), model=model)
    assert not predict([image], out, OPTIONS, model=model).skipped
    assert predict([image], out, OPTIONS, model=model).skipped
    (out / "blobs" / EMBEDDINGS_FILE).unlink()
    assert not predict([image], out, OPTIONS, model=model).skipped
    predict([image], out, replace(OPTIONS, embeddings=False), model=model)
    assert not (out / "blobs" / EMBEDDINGS_FILE).exists()


def test_what_float16_cannot_hold_is_its_largest_number(model, image, tmp_path) -> None:
    picture = cv2.imread(str(image))
    picture[..., 0] = 255  # blue
    cv2.imwrite(str(image), picture)
    (item,) = predict([image], tmp_path / "out", OPTIONS, model=model).items
    values = read_embeddings(tmp_path / "out" / "blobs" / EMBEDDINGS_FILE, item.num_nuclei).values
    assert (values[:, 2] == np.finfo(np.float16).max).all()


def test_a_model_without_features_is_refused(pixel_model, image, tmp_path) -> None:
    with pytest.raises(ValueError, match="--embeddings: the model pixels gives no features"):
        predict([image], tmp_path / "out", OPTIONS, model=pixel_model)


def test_damaged_files_are_refused(tmp_path) -> None:
    path = tmp_path / EMBEDDINGS_FILE
    facts = {"model": "pixels", "model_sha256": "0" * 64}
    with open_embeddings(path, 3, facts) as append:
        append(np.ones((5, 3), np.float16))
        append(np.zeros((0, 3), np.float16))
    assert (read_embeddings(path, 5).values == 1).all()
    with pytest.raises(ValueError, match="expected 6 rows"):
        read_embeddings(path, 6)
    with open_embeddings(path, 3, facts) as append:
        append(np.full((5, 3), np.nan, np.float16))
    with pytest.raises(ValueError, match="finite"):
        read_embeddings(path, 5)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="damaged"):
        read_embeddings(path, 5)
