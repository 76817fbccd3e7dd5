"""A slide whose pixels are half or twice as large as stated is noticed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from histonuc.inference.plan import make_plan
from histonuc.inference.predict import predict
from histonuc.inference.probe import probe_after, probe_scale
from histonuc.models.loading import load_model
from histonuc.slides import PlainImage


@pytest.mark.parametrize(
    ("size", "said"), [(1.0, ""), (0.5, "0.5 microns, not 0.25"), (2.0, "0.12 microns, not 0.25")]
)
def test_another_scale_than_stated_is_noticed(shared_data, size, said) -> None:
    files = sorted((shared_data / "monuseg/images").glob("*.jpg"))[:4]
    images = [np.asarray(cv2.imread(str(file)))[..., ::-1] for file in files]
    mosaic = np.concatenate([np.concatenate(images[:2], 1), np.concatenate(images[2:], 1)])
    mosaic = cv2.resize(mosaic, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    slide, runtime = PlainImage(np.ascontiguousarray(mosaic), 0.25), load_model("default")
    plan = make_plan(slide, mpp_xy=(0.25, 0.25), model_mpp=0.25, tile_px=512, margin_um=12)
    note = probe_scale(slide, plan, runtime)
    assert said in note if said else note == ""


def test_too_little_tissue_tells_nothing(pixel_model, blobs) -> None:
    slide = PlainImage(blobs, 0.25)
    plan = make_plan(slide, mpp_xy=(0.25, 0.25), model_mpp=0.25, tile_px=1024, margin_um=8)
    assert probe_scale(slide, plan, pixel_model) is None
    assert pixel_model.num_images == 0


@pytest.mark.parametrize(("size", "is_noticed"), [(1.0, False), (0.5, True), (2.0, True)])
def test_a_single_image_of_another_scale_is_noticed(
    shared_data, tmp_path, size, is_noticed
) -> None:
    picture = cv2.imread(str(sorted((shared_data / "monuseg/images").glob("*.jpg"))[2]))
    picture = cv2.resize(picture, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    (item,) = predict([tmp_path / "a.png"], tmp_path / "out", mpp=0.25).items
    assert any("give --mpp" in warning for warning in item["warnings"]) == is_noticed


def test_usual_and_few_nuclei_of_a_small_image_cost_no_pass(pixel_model, blobs) -> None:
    slide = PlainImage(blobs, 0.25)
    plan = make_plan(slide, mpp_xy=(0.25, 0.25), model_mpp=0.25, tile_px=1024, margin_um=8)
    assert probe_after(slide, plan, pixel_model, 6.0, 1000) == ""
    assert probe_after(slide, plan, pixel_model, 3.5, 10) == ""
    assert pixel_model.num_images == 0
    probe_after(slide, plan, pixel_model, 3.5, 1000)
    assert pixel_model.num_images == 2  # as it is, and twice as large
