"""A person corrects nuclei in the browser: by mouse, by keyboard, and after a crash."""

import json
import os
import signal
import subprocess
import sys

import pytest

from histonuc.corrections import CorrectionLog
from histonuc.viewing.serving import serve

from .conftest import assert_quiet, open_screen, write_exact
from .driving import read_json
from .test_access import _axe

BOXES = {"left": (1100, 800), "middle": (1400, 800), "right": (1700, 800), "below": (1400, 1100)}
"""Corners of four dark boxes of 90 × 60 pixels, each a nucleus of class 1."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_exact(tmp_path_factory.mktemp("corrected"))


@pytest.fixture(scope="module")
def tab(browser, folder):
    """One tab for all tests, and its viewer."""
    with serve([folder], by="ada") as viewer:
        screen = open_screen(browser, viewer)
        screen.open(at="1445,830,20")
        screen.tab("Correct")
        yield screen
        screen.page.context.close()
        # The browser itself notes what the server refused.
        screen.errors[:] = [text for text in screen.errors if "Failed to load" not in text]
        assert_quiet(screen, viewer)


@pytest.fixture
def here(tab, folder):
    """Nothing is corrected."""
    (folder / "corrections.jsonl").unlink(missing_ok=True)
    with tab.page.expect_response("**/corrections"):
        tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    tab.open(at="1445,830,20")
    tab.key("Escape")
    corrected(tab, 0)
    return tab


def corrected(screen, number):
    """Wait until so many nuclei are corrected, and drawn so."""
    text = f"{number} nucle" if number else "Nothing corrected"
    screen.page.locator("#num-corrected", has_text=text).wait_for()
    return screen.settle()


def middle(box):
    x, y = BOXES[box]
    return x + 45, y + 30


def click(screen, box, **more):
    screen.page.mouse.move(*screen.on_screen(*middle(box)))
    if more.get("shift"):
        screen.page.keyboard.down("Shift")
    screen.page.mouse.down()
    screen.page.mouse.up()
    if more.get("shift"):
        screen.page.keyboard.up("Shift")


def drag(screen, *places):
    screen.page.mouse.move(*screen.on_screen(*places[0]))
    screen.page.mouse.down()
    for place in places[1:]:
        screen.page.mouse.move(*screen.on_screen(*place), steps=6)
    screen.page.mouse.up()


def count(screen, place):
    """Nuclei of a class, as the list on the left counts them."""
    return int(screen.page.locator(".class-row .number").nth(place).inner_text())


def counted(screen, place, number):
    row = screen.page.locator(".class-row .number").nth(place)
    row.filter(has_text=str(number)).wait_for()
    assert count(screen, place) == number


def test_by_keyboard_alone(here):
    total = count(here, 1)
    page = here.page
    here.key("Enter")
    here.key("1")
    corrected(here, 1)
    counted(here, 0, 1)
    assert page.locator("canvas.marks").get_attribute("data-marked") == "1"
    here.key("Control+z")
    corrected(here, 0)
    here.key("Control+Shift+Z")
    corrected(here, 1)
    here.key("0")
    corrected(here, 0)
    here.key("Delete")
    corrected(here, 1)
    counted(here, 1, total - 1)
    here.key("a")  # corners by moving the view and Space
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft"):
        here.key(" ")
        page.keyboard.press(key)
        page.wait_for_timeout(250)
        here.settle()
    here.key("Enter")
    corrected(here, 2)
    here.open(at="1445,830,20")
    here.tab("Correct")
    here.key("d")
    page.locator("#form-name").fill("Plasma cell")
    page.keyboard.press("Enter")
    page.locator(".kind", has_text="Plasma cell").wait_for()
    here.key("q")
    here.key(" ")
    page.locator(".field").wait_for()
    here.key("w")
    page.locator(".field input:checked").wait_for()
    here.key("v")
    page.locator("#form-comment").fill("odd")
    page.locator("#form-comment").press("Tab")
    page.keyboard.press("Enter")
    page.get_by_text("odd – ada").wait_for()
    here.key("x")
    page.locator("#tool-hint", has_text="One nucleus is chosen").wait_for()


def test_by_mouse(here, folder):
    total = count(here, 1)
    # The brush gives three nuclei a class while it is dragged over them.
    here.key("b")
    here.key("3")
    drag(here, middle("left"), middle("right"))
    corrected(here, 3)
    counted(here, 2, 3)
    here.key("Escape")
    # The lasso chooses, a digit gives the class.
    here.key("o")
    drag(here, (1050, 750), (1550, 750), (1550, 1200), (1050, 1200))
    here.page.locator("#tool-hint", has_text="4 nuclei are chosen").wait_for()
    here.key("1")
    corrected(here, 5)
    counted(here, 0, 4)
    here.key("Escape")
    # Split by a line, joined again by Shift+click.
    here.key("k")
    x, y = BOXES["middle"]
    drag(here, (x + 45, y - 20), (x + 45, y + 80))
    here.page.locator("#tool-hint", has_text="2 nuclei are chosen").wait_for()
    counted(here, 0, 5)
    here.key("j")
    here.page.locator("#tool-hint", has_text="One nucleus is chosen").wait_for()
    counted(here, 0, 4)
    here.key("Escape")
    click(here, "left")
    click(here, "right", shift=True)
    here.page.locator("#tool-hint", has_text="2 nuclei are chosen").wait_for()
    here.page.locator("#map").press("j")
    here.page.locator("#notice", has_text="too far apart").wait_for()
    # A nucleus is added by clicks around it.
    here.key("Escape")
    here.key("a")
    here.key("2")
    for corner in ((1250, 900), (1290, 900), (1290, 940), (1250, 940)):
        here.page.mouse.click(*here.on_screen(*corner))
    here.key("Enter")
    corrected(here, 6)
    counted(here, 1, total - 5 + 1)
    did = [one.do for one in CorrectionLog(folder).read().operations]
    assert did == ["classify", "classify", "split", "join", "add"]


def test_axe_finds_nothing(here):
    here.key("Enter")
    here.key("1")
    here.key("q")
    here.key(" ")
    here.page.locator(".field").wait_for()
    assert _axe(here) == []
    for key in ("d", "v", "?"):
        here.key(key)
        assert _axe(here) == []
        here.page.keyboard.press("Escape")


def test_a_viewer_that_only_shows_says_so(browser, folder):
    with serve([folder], read_only=True) as viewer:
        screen = open_screen(browser, viewer)
        screen.open(at="1445,830,20")
        screen.tab("Correct")
        screen.page.locator("#why-not", has_text="--read-only").wait_for()
        screen.key("Enter")
        screen.key("1")
        screen.page.locator("#notice .bad", has_text="--read-only").wait_for()
        screen.page.context.close()
        assert_quiet(screen, viewer)


def test_a_crash_loses_nothing(browser, tmp_path):
    """The viewer is killed between two corrections; what was done is there, and can be undone."""
    folder = write_exact(tmp_path)
    command = [sys.executable, "-m", "histonuc", "view", str(folder), "--no-browser", "--by", "eve"]

    def start():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
        return process, process.stdout.readline().strip()

    process, link = start()
    page = browser.new_page()
    page.set_default_timeout(60_000)
    try:
        page.goto(f"{link}&at=1445,830,20")
        page.get_by_role("tab", name="Correct").click()
        page.wait_for_selector("canvas.nuclei[data-complete=true]", state="attached")
        page.locator("#map").press("Enter")
        page.locator("#map").press("1")
        page.locator("#num-corrected", has_text="1 nucleus").wait_for()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        page.locator("#map").press("3")
        page.locator("#notice .bad", has_text="has stopped").wait_for()
        line = (folder / "corrections.jsonl").read_text()
        with (folder / "corrections.jsonl").open("a") as file:
            file.write(line[:40])  # a second line, cut off by the crash
        process, link = start()
        page.goto("about:blank")
        page.goto(f"{link}&at=1445,830,20")
        page.get_by_role("tab", name="Correct").click()
        page.locator("#num-corrected", has_text="1 nucleus corrected (eve 1)").wait_for()
        page.get_by_text("was cut off by a crash").wait_for()
        page.locator("#map").press("Control+z")
        page.locator("#num-corrected", has_text="Nothing corrected").wait_for()
        lines = (folder / "corrections.jsonl").read_text().splitlines()
        assert [json.loads(one)["do"] for one in lines] == ["classify", "undo"]
    finally:
        page.close()
        process.kill()
        process.communicate()


def test_regions_are_exported_as_corrected(here):
    here.key("Enter")
    here.key("3")
    corrected(here, 1)
    here.tab("Regions")
    here.page.get_by_text("Add the view").click()
    here.page.locator(".region tfoot").wait_for()
    found = read_json(here.download(here.page.get_by_text("Export GeoJSON")))
    text = json.dumps(found)
    assert "Connective" in text
    here.page.locator(".region button[title^=Remove]").click()
    here.tab("Correct")


def test_a_lesson_of_the_slide_before_is_not_shown(new_screen):
    here, asked = new_screen(), []
    here.open(slide=0)
    here.tab("Correct")
    here.page.route("**/api/slides/0/teach", lambda route: asked.append(route))
    here.page.get_by_role("button", name="Teach", exact=True).click()
    here.page.wait_for_timeout(100)
    with here.page.expect_response("**/api/slides/1/teach"):
        here.page.evaluate("location.hash = location.hash.replace('slide=0', 'slide=1')")
    here.page.wait_for_timeout(200)  # that of this slide is shown first
    (route,) = asked
    route.fulfill(json={"phase": "failed", "message": "Too late."})
    here.settle()
    assert "Too late." not in here.page.locator("#lesson").text_content()
