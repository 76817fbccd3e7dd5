"""A slide whose pixels are half or twice as large as stated is noticed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from histonuc.inference.plan import make_plan
from histonuc.inference.probe import probe_scale
from histonuc.inference.runtime import load_runtime
from histonuc.inference.slides import PlainImage


@pytest.mark.parametrize(
    ("size", "said"), [(1.0, ""), (0.5, "0.5 microns, not 0.25"), (2.0, "0.12 microns, not 0.25")]
)
def test_another_scale_than_stated_is_noticed(shared_data, size, said) -> None:
    files = sorted((shared_data / "monuseg/images").glob("*.jpg"))[:4]
    images = [np.asarray(cv2.imread(str(file)))[..., ::-1] for file in files]
    mosaic = np.concatenate([np.concatenate(images[:2], 1), np.concatenate(images[2:], 1)])
    mosaic = cv2.resize(mosaic, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    slide, runtime = PlainImage(np.ascontiguousarray(mosaic), 0.25), load_runtime("default")
    plan = make_plan(slide, mpp_xy=(0.25, 0.25), model_mpp=0.25, tile_px=512, margin_um=12)
    note = probe_scale(slide, plan, runtime)
    assert said in note if said else note == ""


def test_too_little_tissue_tells_nothing(pixel_runtime, blobs) -> None:
    slide = PlainImage(blobs, 0.25)
    plan = make_plan(slide, mpp_xy=(0.25, 0.25), model_mpp=0.25, tile_px=1024, margin_um=8)
    assert probe_scale(slide, plan, pixel_runtime) == ""
    assert pixel_runtime.num_images == 0
