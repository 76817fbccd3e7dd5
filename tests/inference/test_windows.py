"""Windows fitted to the tissue: what they cover, what they leave out, and what is told of it."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.inference import slide as slide_module
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
from histonuc.inference.tissue import TissueMask
from histonuc.inference.windows import LEAST_STEPS, MAX_HEIGHT, STEP_PX, lay_tiles

from ..slides.conftest import write_pyramid

MASKS = st.tuples(
    st.integers(1, 40),
    st.integers(1, 30),
    st.integers(0, 10_000),
    st.sampled_from([0.05, 0.5, 1.0]),
)
"""Width, height, seed and share of tissue of a mask."""


def draw_mask(width, height, seed, share):
    """Tissue in blobs that may touch the borders; at least one pixel of it."""
    field = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    field = cv2.GaussianBlur(field, (0, 0), 1.5)
    return field >= np.quantile(field, 1 - share)


@given(
    mask=MASKS,
    pixel=st.sampled_from([1, 7, 16.5]),
    tile_px=st.integers(40, 300),
    margin=st.integers(0, 13),
    scale=st.sampled_from([(1.0, 1.0), (0.5, 0.5), (1.3, 1.25)]),
)
def test_cores_hold_all_tissue_once_and_windows_keep_their_margin(
    mask, pixel, tile_px, margin, scale
):
    tissue = TissueMask(draw_mask(*mask), (round(mask[0] * pixel), round(mask[1] * pixel)))
    width, height = tissue.size
    tiles = lay_tiles(tissue, tile_px, scale, margin)
    # Tissue and cores in level-0 pixels; a pixel belongs to a mask's pixel if it touches it.
    x, y = np.arange(width) * mask[0] / width, np.arange(height) * mask[1] / height
    full = tissue.mask[np.ix_(y.astype(int), x.astype(int))]
    cores, windows = np.zeros((height, width), int), np.zeros((height, width), int)
    for tile in tiles:
        core, window = tile.core, tile.window
        cores[core.y0 : core.y1, core.x0 : core.x1] += 1
        windows[window.y0 : window.y1, window.x0 : window.x1] += 1
        assert 0 <= window.x0 <= core.x0 < core.x1 <= window.x1 <= width
        assert 0 <= window.y0 <= core.y0 < core.y1 <= window.y1 <= height
        seen = full[core.y0 : core.y1, core.x0 : core.x1]
        assert (
            seen.any() or pixel < 16
        )  # an empty window would be waste; rims touch at small scales
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        if len(rows):
            # Borders are rounded to whole level-0 pixels.
            least_x, least_y = (math.floor(margin * s - 0.5) for s in scale)
            assert window.y0 <= max(core.y0 + rows[0] - least_y, 0)
            assert window.y1 >= min(core.y0 + rows[-1] + 1 + least_y, height)
            assert window.x0 <= max(core.x0 + columns[0] - least_x, 0)
            assert window.x1 >= min(core.x0 + columns[-1] + 1 + least_x, width)
    assert cores.max(initial=0) <= 1
    assert (cores[full] == 1).all()
    for tile in tiles:
        alone, window = tile.alone, tile.window
        assert (windows[alone.y0 : alone.y1, alone.x0 : alone.x1] <= 1).all()
        most, step = (
            (tile_px, math.floor(MAX_HEIGHT * tile_px)),
            min(STEP_PX, tile_px // LEAST_STEPS),
        )
        at_end = window.x1 == width, window.y1 == height
        for axis in (0, 1):
            length = tile.input_px[axis]
            assert 1 <= length <= most[axis]
            assert length % step == 0 or at_end[axis]
            aligned = round(window[axis] / scale[axis] / step) * step * scale[axis]
            assert abs(window[axis] - aligned) <= 0.5  # the network sees each pixel in one phase
            assert abs(window.size[axis] - length * scale[axis]) <= max(1, scale[axis])


def test_alone_is_all_that_no_other_window_touches_where_all_is_tissue():
    tiles = lay_tiles(TissueMask(np.ones((20, 30), bool), (3000, 2000)), 512, (1.0, 1.0), 48)
    windows = np.zeros((2000, 3000), int)
    for tile in tiles:
        windows[tile.window.y0 : tile.window.y1, tile.window.x0 : tile.window.x1] += 1
    assert sum(math.prod(tile.alone.size) for tile in tiles) == (windows == 1).sum()
    assert len(tiles) > 20


def test_a_slide_smaller_than_a_tile_is_one_tile():
    (tile,) = lay_tiles(TissueMask(np.ones((8, 10), bool), (100, 80)), 512, (2.0, 2.0), 64)
    assert tile.core == tile.window == tile.alone == (0, 0, 100, 80)
    assert tile.input_px == (50, 40)


def test_glass_between_pieces_of_tissue_is_not_read():
    mask = np.zeros((100, 200), bool)  # a pixel is 20 level-0 pixels
    mask[10:20, 10:30] = mask[60:65, 150:170] = True
    first, second = lay_tiles(TissueMask(mask, (4000, 2000)), 1024, (1.0, 1.0), 48)
    assert first.window == (128, 128, 672, 448)  # 48 more than 200, 200, 600, 400, and aligned
    assert second.window == (2944, 1152, 3456, 1376)
    assert (first.row, second.row) == (0, 1)


def test_margins_that_leave_no_core_are_refused():
    with pytest.raises(ValueError, match="--tile-px"):
        lay_tiles(TissueMask(np.ones((1, 1), bool), (1000, 1000)), 128, (1.0, 1.0), 64)


def test_the_summary_tells_what_went_through_the_network(tmp_path, blobs, pixel_model, monkeypatch):
    """On glass around tissue it is little more than the tissue, and much less than the slide."""
    monkeypatch.setattr(slide_module, "choose_probes", lambda *_: [])  # it runs the network too
    image = np.full((4200, 4000, 3), 245, np.uint8)
    image[1000:1500, 3000:3700] = blobs
    image[3000:3500, 500:1200] = blobs
    write_pyramid(tmp_path / "slide.tif", [image, image[::4, ::4]])
    seen = []
    maps = pixel_model.maps

    def counted(images):
        seen.append(images[..., 0].size)
        return maps(images)

    pixel_model.maps = counted
    options = PredictOptions(mpp=0.25, tile_px=512)
    summary = predict([tmp_path / "slide.tif"], tmp_path / "out", options, model=pixel_model)
    record = json.loads((tmp_path / "out" / "slide" / "summary.json").read_text())
    tissue_px = record["tissue_mm2"] / 0.25**2 * 1e6
    assert record["network_ratio"] == pytest.approx(sum(seen) / tissue_px, rel=0.01)
    assert 1 < record["network_ratio"] < 2
    assert summary.items[0].num_nuclei > 500
