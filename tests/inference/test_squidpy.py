"""AnnData of a prediction: with the picture of its slide, and as scanpy and squidpy take it."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histonuc import cli
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict

from .conftest import draw_blobs

anndata = pytest.importorskip("anndata", reason="an extra: pip install 'histonuc[spatial]'")

ROOT = Path(__file__).parents[2]
SPATIAL_PYTHON = ROOT / ".venv-spatial" / "bin" / "python"


@pytest.fixture
def results(pixel_model, tmp_path):
    """Two results of one run, of images of one name."""
    images = []
    for seed, folder in enumerate("ab"):
        image = draw_blobs((900, 700), 300, seed)
        image[350:] = 240  # glass
        (tmp_path / folder).mkdir()
        images.append(tmp_path / folder / "slide.png")
        Image.fromarray(image).save(images[-1])
    summary = predict(images, tmp_path / "out", PredictOptions(mpp=0.5), model=pixel_model)
    assert not summary.failed
    return tmp_path / "out"


def test_the_file_shows_the_slide_wherever_it_is_run_from(results, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path / "a")
    assert cli.run(["export", str(results), "--to", "anndata"]) == 0
    assert "note" not in capsys.readouterr().out
    for name in ("slide", "slide-2"):
        read = anndata.read_h5ad(results / name / "nuclei.h5ad")
        record = read.uns["spatial"][name]
        picture, scale = record["images"]["hires"], record["scalefactors"]["tissue_hires_scalef"]
        assert picture.shape == (700, 900, 3)
        x, y = (read.obsm["spatial"] * scale).astype(int).T
        assert picture[y, x, 0].max() < 120  # every centroid lies on a dark disc
        assert list(read.obs_names) == [f"{name}-{i}" for i in read.obs["id"]]


def test_a_slide_that_is_gone_is_told_and_can_be_named(results, tmp_path, capsys):
    moved = (tmp_path / "a" / "slide.png").rename(tmp_path / "elsewhere.png")
    result = str(results / "slide")
    assert cli.run(["export", result, "--to", "anndata"]) == 0
    (note,) = [line for line in capsys.readouterr().out.splitlines() if "note" in line]
    assert "it holds no picture of the slide" in note
    assert "give --slide" in note
    assert not anndata.read_h5ad(results / "slide" / "nuclei.h5ad").uns["spatial"]["slide"][
        "images"
    ]
    assert cli.run(["export", result, "--to", "anndata", "--slide", str(moved)]) == 0
    read = anndata.read_h5ad(results / "slide" / "nuclei.h5ad")
    assert read.uns["spatial"]["slide"]["images"]["hires"].dtype == np.uint8


@pytest.mark.skipif(
    not SPATIAL_PYTHON.exists(), reason="no environment of scanpy and squidpy: run `make spatial`"
)
def test_scanpy_and_squidpy_take_it_as_it_is(results, tmp_path):
    assert cli.run(["export", str(results), "--to", "anndata"]) == 0
    files = [str(results / name / "nuclei.h5ad") for name in ("slide", "slide-2")]
    script = ROOT / "tests" / "exports" / "spatial" / "check.py"
    done = subprocess.run(
        [str(SPATIAL_PYTHON), str(script), str(tmp_path / "shown.png"), *files],
        capture_output=True,
        text=True,
        timeout=280,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with Image.open(tmp_path / "shown.png") as shown:
        assert shown.size == (600, 600)
