"""What is read of a window that tissue fills only in part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.inference.plan import VIEW_STEP_PX, Plan
from histonuc.inference.tiles import make_grid
from histonuc.inference.tissue import TissueMask

SIZE = (3000, 2200)


def make_plan(mask: np.ndarray, scale: float = 1.0, margin_px: int = 48, small: bool = False):
    grid = make_grid(SIZE, (round(1024 * scale),) * 2, margin_px)
    return Plan(
        grid=grid,
        tiles=tuple(grid),
        tissue=TissueMask(mask, SIZE),
        input_px=(
            round(grid.window_size[0] / scale),
            round(grid.window_size[1] / scale),
        ),
        margin_px=margin_px,
        mpp_xy=(0.25, 0.25),
        skip_blank=small,
    )


@given(
    x=st.integers(0, 149), y=st.integers(0, 109), w=st.integers(1, 60), h=st.integers(1, 60),
    scale=st.sampled_from([1.0, 0.5, 1.3]),
)  # fmt: skip
def test_a_view_holds_the_tissue_of_its_window_and_a_margin(x, y, w, h, scale):
    mask = np.zeros((110, 150), bool)  # a pixel is 20 level-0 pixels
    mask[y : y + h, x : x + w] = True
    tissue = np.array([x, y, min(x + w, 150), min(y + h, 110)]) * 20
    plan = make_plan(mask, scale)
    for tile in plan.tiles:
        view, window = plan.view(tile), np.array(tile.window)
        box = np.array(view.box)
        assert (box[:2] >= window[:2]).all()
        assert (box[2:] <= window[2:]).all()
        seen = np.concatenate(
            [np.maximum(tissue[:2], window[:2]), np.minimum(tissue[2:], window[2:])]
        )
        if (seen[:2] >= seen[2:]).any():
            continue  # no tissue: the tile is not analysed
        assert (box[:2] <= np.maximum(seen[:2] - 48, window[:2]) + 1).all()
        assert (box[2:] >= np.minimum(seen[2:] + 48, window[2:]) - 1).all()
        for length, whole, border in zip(
            view.input_px, plan.input_px, box[2:] < window[2:], strict=True
        ):
            assert length % VIEW_STEP_PX == 0 or (length <= whole and not border)
        assert np.array(view.box.size) / view.input_px == pytest.approx(scale, rel=0.01)


def test_small_images_and_full_windows_are_read_whole():
    corner = np.zeros((110, 150), bool)
    corner[:2, :2] = True
    for plan in (make_plan(corner, small=True), make_plan(np.ones((110, 150), bool))):
        for tile in plan.tiles:
            assert plan.view(tile).box == tile.window
            assert plan.view(tile).input_px == plan.input_px
