import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.inference.tiles import make_grid


@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    margin=st.integers(0, 20),
    spare=st.tuples(st.integers(1, 80), st.integers(1, 80)),
)
def test_cores_cover_every_pixel_once_and_windows_keep_their_margin(size, margin, spare):
    window = 2 * margin + spare[0], 2 * margin + spare[1]
    grid = make_grid(size, window, margin)
    covered = np.zeros(size[::-1], int)
    for tile in grid:
        core, view = tile.core, tile.window
        covered[core.y0 : core.y1, core.x0 : core.x1] += 1
        assert view.size == grid.window_size
        assert 0 <= view.x0 <= core.x0 < core.x1 <= view.x1 <= size[0]
        assert 0 <= view.y0 <= core.y0 < core.y1 <= view.y1 <= size[1]
        for near, far, length in ((core.x0, view.x0, size[0]), (core.y0, view.y0, size[1])):
            assert near == far == 0 or near - far >= margin, length
        assert core.x1 == size[0] or view.x1 - core.x1 >= margin
        assert core.y1 == size[1] or view.y1 - core.y1 >= margin
    assert (covered == 1).all()


@given(length=st.integers(1, 400), margin=st.integers(0, 15), spare=st.integers(1, 60))
def test_alone_is_exactly_what_no_other_window_touches(length, margin, spare):
    window = (2 * margin + spare,) * 2
    tiles = [tile for tile in make_grid((length, 1), window, margin) if tile.row == 0]
    seen = np.zeros(length, int)
    for tile in tiles:
        seen[tile.window.x0 : tile.window.x1] += 1
    for tile in tiles:
        mine = np.zeros(length, bool)
        mine[tile.window.x0 : tile.window.x1] = True
        expected = np.flatnonzero(mine & (seen == 1))
        actual = np.arange(tile.alone.x0, tile.alone.x1)
        assert np.array_equal(expected, actual)


def test_a_slide_smaller_than_a_tile_is_one_tile():
    (tile,) = make_grid((100, 80), (512, 512), 64)
    assert tile.core == tile.window == tile.alone == (0, 0, 100, 80)


def test_margins_that_leave_no_core_are_refused():
    with pytest.raises(ValueError, match="--tile-px"):
        make_grid((1000, 1000), (128, 128), 64)
