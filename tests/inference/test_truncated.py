"""Slides cut off by a broken transfer: what is there is analysed."""

import json

import numpy as np
from PIL import Image

from histonuc import cli
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
from histonuc.slides import tiff_reader

from ..slides.conftest import write_pyramid


def cut(source, target, share=0.6):
    content = source.read_bytes()
    target.write_bytes(content[: round(len(content) * share)])
    return target


def test_a_truncated_slide_fails_alone(shared_slides, tmp_path, blobs):
    slide = cut(shared_slides / "cmu-1-small-region.svs", tmp_path / "cut.svs")
    Image.fromarray(blobs).save(tmp_path / "good.png")
    out = tmp_path / "out"
    words = ["predict", str(slide), str(tmp_path / "good.png"), "--out", str(out), "--mpp", "0.25"]
    assert cli.run(words) == 1
    summary = json.loads((out / "summary.json").read_text())
    (failure,) = summary["failed"]
    assert failure["source"].endswith("cut.svs")
    assert "cut.svs is damaged" in failure["error"]
    assert "\n" not in failure["error"]
    record = json.loads((tmp_path / "out" / "good" / "summary.json").read_text())
    assert record["num_nuclei"] > 100
    assert not (tmp_path / "out" / "cut" / "summary.json").exists()


def test_a_truncated_tiff_read_whole_fails(tmp_path, blobs, pixel_model):
    write_pyramid(tmp_path / "whole.tif", [blobs])
    cut(tmp_path / "whole.tif", tmp_path / "cut.tif")
    summary = predict(
        tmp_path / "cut.tif", tmp_path / "out", PredictOptions(mpp=0.25), model=pixel_model
    )
    assert "cut.tif is damaged" in summary.failed[0]["error"]


def test_a_truncated_tiff_read_by_windows_is_analysed_as_far_as_it_goes(
    tmp_path, blobs, monkeypatch, pixel_model
):
    monkeypatch.setattr(tiff_reader, "WHOLE_PIXELS", 1000)
    write_pyramid(tmp_path / "whole.tif", [np.tile(blobs, (2, 1, 1))])
    cut(tmp_path / "whole.tif", tmp_path / "cut.tif")
    options = PredictOptions(mpp=0.25, tile_px=180)
    summary = predict(tmp_path / "cut.tif", tmp_path / "out", options, model=pixel_model)
    assert summary.failed == []
    (result,) = summary.items
    skipped = result.skipped_regions
    assert 0 < len(skipped) < result.tiles_analysed
    assert all(region.box_xyxy[3] >= 500 for region in skipped)  # the lower part is missing
    assert all("file ends before this tile" in region.reason for region in skipped)
    assert any("could not be read and were skipped" in note for note in result.warnings)
    assert 200 < result.num_nuclei < 600
