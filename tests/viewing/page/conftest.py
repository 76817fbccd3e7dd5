"""One browser and one viewer for all tests of the page."""

import os
import shutil

import cv2
import numpy as np
import pytest

from histonuc.nuclei import Nuclei
from histonuc.taxonomy import THREE
from histonuc.viewing.serving import serve

from ..made_result import SIZE, write_result, write_slide
from .driving import MPP, Screen

FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EXACT_BOXES = [(x, y, x + 90, y + 60) for y in range(200, 1600, 300) for x in range(200, 2400, 300)]
"""Nuclei of the exact slide: dark boxes on white, x0, y0, x1, y1."""


def write_exact(folder):
    """A slide with dark boxes, and nuclei whose outlines are their edges."""
    image = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
    for x0, y0, x1, y1 in EXACT_BOXES:
        image[y0:y1, x0:x1] = 60
    slide = folder / "exact.png"
    cv2.imwrite(str(slide), image)
    boxes = np.array(EXACT_BOXES, np.float64)
    points = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 2)
    num = len(boxes)
    nuclei = Nuclei(
        points=points,
        offsets=np.arange(num + 1) * 4,
        centroid=(boxes[:, :2] + boxes[:, 2:]) / 2,
        class_probabilities=np.tile(np.float32([0.1, 0.8, 0.1]), (num, 1)),
        score=np.full(num, 0.9, np.float32),
        label_space=THREE,
        mpp=MPP,
        features={},
    )
    write_result(folder / "exact", slide, nuclei)
    return folder / "exact"


def find_chromium():
    """Chromium; without it the tests are skipped, but never in CI."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if path is None:
        reason = "no chromium: `apt-get install chromium` to run the tests of the page"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return path


@pytest.fixture(scope="module")
def browser():
    """Chromium with WebGL in software.

    Playwright keeps an event loop running in this thread, in which no other test could start one:
    it ends with each module.
    """
    path = find_chromium()
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def shown(made, tmp_path_factory):
    """A viewer of several results: 0 drawn, 1 exact, 2 without its slide, 3 damaged."""
    folder = tmp_path_factory.mktemp("shown")
    os.environ.setdefault("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    gone = write_slide(folder / "gone.png")
    write_result(folder / "gone", gone)
    gone.unlink()
    write_result(folder / "damaged", write_slide(folder / "damaged.png"))
    table = folder / "damaged" / "nuclei.parquet"
    table.write_bytes(table.read_bytes()[:-2000])
    with serve([made.folder, write_exact(folder), folder / "gone", folder / "damaged"]) as viewer:
        yield viewer


def open_screen(browser, viewer, ratio=1, hint=False, **options):
    """A tab that notes what it asks for and what goes wrong."""
    context = browser.new_context(
        viewport={"width": 1180, "height": 640},
        device_scale_factor=ratio,
        reduced_motion="reduce",
        permissions=["clipboard-read", "clipboard-write"],
        **options,
    )
    if not hint:
        context.add_init_script("localStorage.setItem('histonuc-hint-seen', '1')")
    page = context.new_page()
    page.set_default_timeout(60_000)  # the machine may be busy
    screen = Screen(page, viewer.link(), ratio)
    page.on("request", screen.ask)
    page.on("requestfinished", screen.answered)
    page.on("requestfailed", screen.answered)
    page.on("pageerror", lambda error: screen.errors.append(str(error)))
    page.on("console", lambda line: line.type == "error" and screen.errors.append(line.text))
    return screen


def assert_quiet(screen, viewer):
    """Whatever a test does: no error in the page, and nothing leaves the machine."""
    here = f"http://127.0.0.1:{viewer.port}/"
    assert screen.errors == []
    assert [url for url in screen.requests if not url.startswith((here, f"blob:{here}"))] == []


@pytest.fixture
def new_screen(browser, shown):
    """New tabs, for what only happens in those."""
    screens = []

    def make(hint=False):
        screens.append(open_screen(browser, shown, hint=hint))
        return screens[-1]

    yield make
    for screen in screens:
        screen.page.context.close()
        assert_quiet(screen, shown)


@pytest.fixture(scope="module")
def tabs(browser, shown):
    """One tab for each device ratio, shared by the tests."""
    tabs = {ratio: open_screen(browser, shown, ratio) for ratio in (1, 2)}
    yield tabs
    for screen in tabs.values():
        screen.page.context.close()


@pytest.fixture
def screen(request, tabs, shown):
    """The shared tab of a device ratio (1 unless a test asks for another), as after opening."""
    screen = tabs[getattr(request, "param", 1)]
    screen.requests.clear()
    screen.errors.clear()
    yield screen.reset()
    assert_quiet(screen, shown)
