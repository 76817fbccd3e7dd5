"""What is drawn: the right things, in the right place, in the right colours."""

import numpy as np
import pytest

from .conftest import EXACT_BOXES
from .driving import CANVAS, MPP, close_to


@pytest.fixture
def colours(client):
    """Colours of the classes by palette."""
    classes = client.json("/api/slides")["slides"][0]["classes"]
    return {name: [one[name] for one in classes] for name in ("colour", "safe_colour")}


def test_outlines_have_the_colours_of_their_classes(screen, colours):
    screen.open(at="1250,850,20")
    without = screen.key("h").pixels()
    drawn = screen.key("h").pixels()
    for colour in colours["colour"]:
        assert close_to(drawn, colour) > close_to(without, colour) + 500
    assert screen.text("#drawn") == "20× · outlines"


def test_palette_for_colour_blind_people(screen, colours):
    before = screen.open(at="1250,850,20").pixels()
    safe = screen.key("c").pixels()
    for old, new in zip(colours["colour"], colours["safe_colour"], strict=True):
        assert close_to(safe, new) > close_to(before, new) + 500
        assert close_to(safe, old) < close_to(before, old) / 2


def _line_centre(difference, at, reach):
    """Middle of what was drawn near a place of a row of pixels."""
    first = max(0, int(at) - reach)
    weights = difference[first : int(at) + reach + 1].astype(float)
    assert weights.sum() > 100, f"nothing drawn near {at}"
    return float((weights * (np.arange(len(weights)) + first + 0.5)).sum() / weights.sum())


@pytest.mark.parametrize("screen", [1, 2], indirect=True)
def test_outlines_lie_within_half_a_pixel_of_the_slide(screen):
    for mag in (10, 20, 40):
        screen.open(slide=1, at=f"1250,830,{mag}")
        drawn = screen.pixels().astype(int)
        bare = screen.key("h").pixels().astype(int)
        screen.key("h")
        _assert_edges(screen, drawn, bare, reach=max(3, int(mag * MPP * screen.ratio * 2)))


def _assert_edges(screen, drawn, bare, reach):
    """The outline of the box nearest to the middle lies on the edges of the slide's box."""
    difference, ratio = np.abs(drawn - bare).sum(axis=-1), screen.ratio
    stage = screen.page.locator("#stage").bounding_box()
    box = min(EXACT_BOXES, key=lambda b: abs(b[0] + 45 - 1250) + abs(b[1] + 30 - 830))
    (left, top), (right, bottom) = screen.on_screen(*box[:2]), screen.on_screen(*box[2:])
    row = int(((top + bottom) / 2 - stage["y"]) * ratio)
    column = int(((left + right) / 2 - stage["x"]) * ratio)
    for line, start, place in (
        (difference[row], stage["x"], left),
        (difference[row], stage["x"], right),
        (difference[:, column], stage["y"], top),
        (difference[:, column], stage["y"], bottom),
    ):
        expected = (place - start) * ratio
        assert abs(_line_centre(line, expected, reach) - expected) <= 0.5
    # The slide itself lies there as well: dark inside, white outside.
    edge = (left - stage["x"]) * ratio
    profile = bare[row, int(edge) - 6 : int(edge) + 7].mean(axis=-1)
    assert profile[0] > 200
    assert profile[-1] < 110
    dark = (profile.max() - profile).sum() / (profile.max() - profile.min())
    assert abs((int(edge) + 7 - dark) - edge) <= 0.75


@pytest.mark.parametrize(("mag", "kind"), [(5, "points"), (1, "densities")])
def test_from_afar_points_and_densities_lie_on_their_nuclei(screen, mag, kind):
    screen.open(slide=1, at=f"1250,830,{mag}")
    assert screen.page.locator(CANVAS).get_attribute("data-detail") == kind
    drawn = screen.pixels().astype(int)
    difference = np.abs(drawn - screen.key("h").pixels().astype(int)).sum(axis=-1)
    stage = screen.page.locator("#stage").bounding_box()
    for x0, y0, x1, y1 in EXACT_BOXES[::6]:
        x, y = screen.on_screen((x0 + x1) / 2, (y0 + y1) / 2)
        x, y = int(x - stage["x"]), int(y - stage["y"])
        if 0 < x < difference.shape[1] and 0 < y < difference.shape[0]:
            assert difference[y - 1 : y + 2, x - 1 : x + 2].max() > 60
    # Between the nuclei nothing is drawn.
    x, y = screen.on_screen(1280, 680)
    assert difference[int(y - stage["y"]), int(x - stage["x"])] == 0


def test_a_class_goes_without_any_request(screen, made):
    screen.open(at="1250,850,20")
    screen.page.wait_for_load_state("networkidle")
    before, asked = screen.pixels(), len(screen.requests)
    total = screen.number("#total")
    screen.page.get_by_role("checkbox").first.uncheck()
    screen.settle()
    hidden = int((made.nuclei.class_index == 0).sum())
    assert screen.number("#total") == total - hidden
    assert (screen.pixels() != before).any()
    assert len(screen.requests) == asked


def test_one_class_alone_and_back(screen, made):
    screen.open(at="1250,850,20")
    before = screen.pixels()
    screen.key("Shift+Digit2")
    assert screen.number("#total") == int((made.nuclei.class_index == 1).sum())
    screen.key("Shift+Digit2")
    assert screen.number("#total") == len(made.nuclei)
    assert (screen.pixels() == before).all()


def test_filled_and_opacity(screen):
    outlines = screen.open(at="1250,850,20").pixels()
    filled = screen.key("f").pixels()
    assert (filled != outlines).any(axis=-1).sum() > 3 * (filled.size // 300)
    assert screen.page.get_by_role("radio", name="Filled").get_attribute("aria-checked") == "true"
    screen.page.locator("#opacity").fill("0.2")
    assert (screen.settle().pixels() != filled).any()


def test_the_picture_comes_back_after_a_lost_context(screen):
    before = screen.open(at="1250,850,20").pixels()
    screen.page.evaluate(
        """new Promise(done => {
          const canvas = document.querySelector('canvas.nuclei');
          const loss = canvas.getContext('webgl2').getExtension('WEBGL_lose_context');
          canvas.addEventListener('webglcontextlost', () => setTimeout(() => loss.restoreContext()));
          canvas.addEventListener('webglcontextrestored', () => done());
          loss.loseContext();
        })"""
    )
    assert (screen.settle().pixels() == before).all()


_DRAWN_ALPHA = """() => [...document.querySelectorAll('#map canvas:not([class])')]
  .map((canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data)
  .map((data) => data.reduce((sum, value, i) => (i % 4 === 3 ? sum + value : sum), 0))
  .filter((sum, i) => i > 0)"""
"""Of each canvas over that of the slide: the sum of its alpha."""


def test_areas_leave_the_screen_with_their_place(screen):
    screen.key("Home")  # where the skipped corner is seen
    away = screen.open(at="1250,850,20").pixels()
    assert screen.page.evaluate(_DRAWN_ALPHA) == [
        1
    ]  # a canvas that was only cleared may stay on the screen
    screen.tab("Slide")
    screen.page.get_by_label("Draw these areas").uncheck()
    without = screen.settle().pixels()
    screen.page.get_by_label("Draw these areas").check()
    assert (away == without).all()


def test_colours_by_a_column_have_a_legend(screen):
    before = screen.open(at="1250,850,20").pixels()
    screen.page.locator("#colour-by").select_option("trust")
    screen.settle()
    assert (screen.pixels() != before).any()
    low, high = screen.page.locator("#legend .ends span").all_inner_texts()
    assert float(low) < 0.01
    assert float(high) > 0.99


def test_densities_have_the_colour_of_the_mean(screen):
    classes = screen.open(at="1250,850,1").pixels().astype(int)
    screen.page.locator("#colour-by").select_option("trust")  # 0.5 on average: #21918c
    means = screen.settle().pixels().astype(int)
    drawn = (means != classes).any(axis=-1)
    assert drawn.sum() > 2000
    red, green, blue = means[drawn].mean(axis=0)
    assert min(green, blue) > red + 40
    screen.page.locator("#colour-by").select_option("class")
    assert (screen.settle().pixels() == classes).all()


def test_one_damaged_square_does_not_take_others_along(new_screen):
    screen = new_screen()
    damaged = {"error": "Damaged.", "word": "damaged"}

    def answer(route):
        if ";" in route.request.url or "places=0,0" in route.request.url:
            route.fulfill(status=409, json=damaged)
        else:
            route.continue_()

    screen.page.route("**/squares/0?**", answer)
    screen.open(at="1024,512,20")
    difference = (screen.pixels() != screen.key("h").pixels()).any(axis=-1)
    middle = difference.shape[1] // 2  # pixel 1024 of the slide, where the second square begins
    assert difference[:, middle + 20 :].mean() > 0.05
    assert difference[: difference.shape[0] // 2, : middle - 20].mean() < 0.005
    screen.errors.clear()  # the console names the refused requests


def test_what_leaves_the_view_is_cancelled(new_screen):
    screen = new_screen()
    screen.page.route("**/tiles/**", lambda route: None)  # they never come
    screen.page.goto(f"{screen.link}&slide=0&at=300,300,40")
    with screen.page.expect_event("requestfailed", lambda request: "/tiles/" in request.url):
        screen.page.wait_for_selector(f"{CANVAS}[data-complete=true]", state="attached")
        screen.page.wait_for_timeout(300)
        screen.page.goto(f"{screen.link}&slide=0&at=2200,1400,40")
