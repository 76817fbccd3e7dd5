"""Slides cut off by a broken transfer, from the command line: what is there is analysed."""

import json

import numpy as np
import pytest
from PIL import Image

from histonuc import cli
from histonuc.inference import predict as predict_module
from histonuc.slides import tiff_reader

from ..slides.conftest import write_pyramid


@pytest.fixture(autouse=True)
def runtime(pixel_model, monkeypatch):
    monkeypatch.setattr(predict_module, "load_model", lambda *_, **__: pixel_model)


def cut(source, target, share=0.6):
    content = source.read_bytes()
    target.write_bytes(content[: round(len(content) * share)])
    return target


def run(paths, out, *options):
    """Exit code and summary of `histonuc predict`."""
    words = ["predict", *map(str, paths), "--out", str(out), "--mpp", "0.25", *options]
    code = cli.run(words)
    return code, json.loads((out / "summary.json").read_text())


def test_a_truncated_slide_fails_alone(shared_slides, tmp_path, blobs):
    slide = cut(shared_slides / "cmu-1-small-region.svs", tmp_path / "cut.svs")
    Image.fromarray(blobs).save(tmp_path / "good.png")
    code, summary = run([slide, tmp_path / "good.png"], tmp_path / "out")
    assert code == 1
    (failure,) = summary["failed"]
    assert failure["source"].endswith("cut.svs")
    assert "cut.svs is damaged" in failure["error"]
    assert "\n" not in failure["error"]
    record = json.loads((tmp_path / "out" / "good" / "summary.json").read_text())
    assert record["num_nuclei"] == 300
    assert not (tmp_path / "out" / "cut" / "summary.json").exists()


def test_a_truncated_tiff_read_whole_fails(tmp_path, blobs):
    write_pyramid(tmp_path / "whole.tif", [blobs])
    cut(tmp_path / "whole.tif", tmp_path / "cut.tif")
    code, summary = run([tmp_path / "cut.tif"], tmp_path / "out")
    assert code == 1
    assert "cut.tif is damaged" in summary["failed"][0]["error"]


def test_a_truncated_tiff_read_by_windows_is_analysed_as_far_as_it_goes(
    tmp_path, blobs, monkeypatch
):
    monkeypatch.setattr(tiff_reader, "WHOLE_PIXELS", 1000)
    write_pyramid(tmp_path / "whole.tif", [np.tile(blobs, (2, 1, 1))])
    cut(tmp_path / "whole.tif", tmp_path / "cut.tif")
    code, summary = run([tmp_path / "cut.tif"], tmp_path / "out", "--tile-px", "256")
    assert code == 0
    assert summary["failed"] == []
    record = json.loads((tmp_path / "out" / "cut" / "summary.json").read_text())
    skipped = record["skipped_regions"]
    assert 0 < len(skipped) < record["tiles"]
    assert all(region["box_xyxy"][3] > 500 for region in skipped)  # the lower part is missing
    assert all("file ends before this tile" in region["reason"] for region in skipped)
    assert any("could not be read and were skipped" in note for note in record["warnings"])
    assert 200 < record["num_nuclei"] < 600
