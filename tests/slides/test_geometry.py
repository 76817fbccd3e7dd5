"""No reader at any level or mpp moves a window: pictures that encode their own coordinates."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histonuc.slides import open_slide
from histonuc.slides.protocol import Contents
from histonuc.slides.pyramid import Pyramid, array_level

from .conftest import KINDS, coordinate_picture, levels_of, write_slide

WIDTH, HEIGHT = 701, 533  # odd at every halving
FACTORS = (1, 2, 4)


@pytest.fixture(scope="module")
def slide_of(tmp_path_factory):
    """Gives an open slide of a kind, written once."""
    with ExitStack() as stack:

        @cache
        def opened(kind):
            folder = tmp_path_factory.mktemp("slide")
            path = write_slide(kind, folder, levels_of(WIDTH, HEIGHT, FACTORS))
            return stack.enter_context(open_slide(path))

        yield opened


def shift_px(image, x, y, w, h):
    """How far (level-0 pixels) what an image shows lies from where it ought to, by axis.

    Only pixels at least two of the coarsest level's away from the border of the slide count.
    """
    rows, columns = image.shape[:2]
    at_x, at_y = (
        x + (np.arange(columns) + 0.5) * w / columns,
        y + (np.arange(rows) + 0.5) * h / rows,
    )
    slack = 2 * max(max(FACTORS), w / columns, h / rows)
    inside_x = (at_x > slack) & (at_x < WIDTH - slack)
    inside_y = (at_y > slack) & (at_y < HEIGHT - slack)
    part = image[inside_y][:, inside_x].astype(float)
    if not part.size:
        return 0.0, 0.0
    shown_x, shown_y = (part[..., 0] - 20) * 4, (part[..., 1] - 20) * 4
    # Grey values are rounded, which means to half a value, two pixels; means know better.
    off_x = (shown_x - at_x[inside_x]).mean(0)
    off_y = (shown_y - at_y[inside_y, None]).mean(1)
    return float(off_x.mean()), float(off_y.mean())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_windows_lie_where_they_say(slide_of, kind, data):
    slide = slide_of(kind)
    assert slide.size == (WIDTH, HEIGHT)
    assert slide.levels == tuple((WIDTH // f, HEIGHT // f) for f in FACTORS)
    w, h = data.draw(st.integers(200, 600)), data.draw(st.integers(200, 500))
    x, y = data.draw(st.integers(-100, WIDTH - 150)), data.draw(st.integers(-100, HEIGHT - 150))
    scale = data.draw(st.floats(0.5, 7.3))
    image = slide.read(x, y, w, h, max(8, round(w / scale)), max(8, round(h / scale)))
    off_x, off_y = shift_px(image, x, y, w, h)
    half = 0.5 * max(1.0, scale)
    assert abs(off_x) < half + blind_px(w / image.shape[1])
    assert abs(off_y) < half + blind_px(h / image.shape[0])


def blind_px(scale):
    """What the picture cannot tell: near some scales all its grey values are rounded alike."""
    return 2.0 if abs(scale / 2 - round(scale / 2)) < 0.06 else 0.0


@pytest.mark.parametrize(
    ("sizes", "downsamples"),
    [
        (((1000, 600), (400, 240), (143, 86)), (1, 2.5, 7)),  # 1000 / 143 is 6.99
        (((1001, 601), (500, 300), (125, 75)), (1, 2, 8)),
        (((1000, 600), (370, 222)), (1, 1000 / 370)),
    ],
)
def test_levels_of_odd_ratios(sizes, downsamples):
    picture = coordinate_picture(*sizes[0])
    levels = []
    for width, height in sizes:  # resized to fit, or cropped to whole pixels
        fx, fy = (
            round(a / b) if abs(a / round(a / b) - b) < 1 else a / b
            for a, b in zip(sizes[0], (width, height), strict=True)
        )
        values = np.zeros((height, width, 3))
        values[..., 0] = (np.arange(width) + 0.5) * fx / 4 + 20
        values[..., 1] = (np.arange(height) + 0.5)[:, None] * fy / 4 + 20
        levels.append(array_level(np.rint(values).clip(0, 255).astype(np.uint8)))
    assert picture.shape[:2][::-1] == sizes[0]
    slide = Pyramid(Contents(levels=tuple(levels), reader="test"))
    assert slide.downsamples == pytest.approx(downsamples)
    for scale, x in itertools.product((1, 1.7, 2.5, 3.1, 7.4), (0, 1, 37, 301)):
        image = slide.read(x, 50, 420, 400, round(420 / scale), round(400 / scale))
        columns = x + (np.arange(image.shape[1]) + 0.5) * 420 / image.shape[1]
        shown = (image[..., 0].mean(0) - 20) * 4
        inside = (columns > 15) & (columns < 700)
        assert abs((shown - columns)[inside].mean()) < 0.5 * max(scale, 1)


def test_thumbnail_shows_everything_in_place(slide_of):
    for kind in KINDS:
        thumb = slide_of(kind).thumbnail(90)
        assert thumb.shape == (68, 90, 3)
        off_x, off_y = shift_px(thumb, 0, 0, WIDTH, HEIGHT)
        assert abs(off_x) < 4, kind
        assert abs(off_y) < 4, kind


@pytest.mark.parametrize("kind", KINDS)
def test_beyond_the_slide_is_white_and_the_last_pixel_is_not(slide_of, kind):
    slide = slide_of(kind)
    image = slide.read(WIDTH - 40, HEIGHT - 40, 80, 80, 20, 20)
    assert (image[11:] == 255).all()
    assert (image[:, 11:] == 255).all()
    assert (image[:9, :9, 2] < 140).all()
    assert (slide.read(-500, -500, 100, 100, 50, 50) == 255).all()


@pytest.mark.parametrize("kind", KINDS)
def test_threads_read_what_one_reads(slide_of, kind):
    slide = slide_of(kind)
    windows = [(x, y, 150, 130, 75, 65) for x in range(-50, 700, 90) for y in range(-50, 500, 90)]
    alone = [slide.read(*window) for window in windows]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda window: slide.read(*window), windows * 3))
    for one, other in zip(alone * 3, together, strict=True):
        assert np.array_equal(one, other)
