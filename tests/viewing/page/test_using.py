"""What a person does: filter, click, list, draw regions, count, export, take snapshots."""

import csv
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import shapely
from PIL import Image

from histonuc.taxonomy import THREE

from .driving import read_json

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def here(screen):
    """The drawn slide at 20×."""
    return screen.open(at="1250,850,20")


def add_filter(screen, column, low=None, high=None):
    """Add a filter and type its limits."""
    screen.page.locator("#add-filter").select_option(column)
    card = screen.page.locator(".filter").last
    for word, value in (("least", low), ("most", high)):
        if value is not None:
            field = card.locator(f"input[placeholder={word}]")
            field.fill(str(value))
            field.press("Enter")
    return card


def counted(screen, number):
    """Wait until so many nuclei are shown."""
    screen.page.locator("#total", has_text=f"{number:,}").wait_for()
    screen.settle()


def test_filters_count_what_they_draw(here, made):
    before = here.pixels()
    trust = made.nuclei.features["trust"]
    add_filter(here, "trust", low=0.5)
    inside = trust >= np.float32(0.5)
    counted(here, int(inside.sum()))
    assert (here.pixels() != before).any()
    add_filter(here, "circularity", high=0.4)
    inside &= made.nuclei.features["circularity"] <= np.float32(
        0.4
    )  # nuclei without a value are out
    counted(here, int(inside.sum()))
    here.page.get_by_role("button", name="Clear").click()
    counted(here, len(made.nuclei))
    assert (here.pixels() == before).all()


def test_the_histogram_is_the_filter(here):
    card = add_filter(here, "trust")
    box = card.locator("canvas").bounding_box()
    mouse, y = here.page.mouse, box["y"] + 30
    mouse.move(box["x"] + box["width"] * 0.25, y)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 0.75, y, steps=3)
    mouse.up()
    low, high = (float(card.locator("input").nth(i).input_value()) for i in (0, 1))
    assert low == pytest.approx(0.25, abs=0.02)
    assert high == pytest.approx(0.75, abs=0.02)


def test_what_is_to_be_known_of_the_classes_is_said(here):
    here.page.get_by_text("Classes are a guess here.").wait_for()


def test_a_click_shows_the_nucleus(here, made):
    x0, y0, x1, y1 = here.view_box()
    x, y = made.nuclei.centroid.T
    far = 380  # nothing lies over the middle of the view
    inside = np.flatnonzero((x > x0 + far) & (x < x1 - far) & (y > y0 + far) & (y < y1 - far))
    outlines = [
        shapely.Polygon(made.nuclei.points[a:b])
        for a, b in zip(made.nuclei.offsets[:-1], made.nuclei.offsets[1:], strict=True)
    ]
    tree = shapely.STRtree(outlines)
    alone = next(i for i in inside if len(tree.query(shapely.Point(x[i], y[i]))) == 1)
    here.page.mouse.click(*here.on_screen(x[alone], y[alone]))
    here.page.locator("#nucleus-id", has_text=f"No. {alone + 1}").wait_for()
    assert here.text("#nucleus-class") == THREE.classes[made.nuclei.class_index[alone]]
    shares = here.page.locator(".bars .number").all_inner_texts()
    wanted = made.nuclei.class_probabilities[alone]
    assert shares == [f"{100 * p:.1f} %" for p in wanted]
    here.key("Escape")
    assert here.page.locator("#nucleus-id").is_hidden()


def test_the_list_is_sorted_and_one_key_goes_on(here, made):
    here.tab("List")
    here.page.locator("#sort-by").select_option("trust")
    here.page.get_by_label("Largest first").check()
    order = np.argsort(-made.nuclei.features["trust"], kind="stable") + 1
    rows = here.page.locator("#list tbody tr")
    here.page.locator(f"#list tbody tr:first-child button:text-is('{order[0]}')").wait_for()
    assert rows.count() == 100
    rows.first.click()
    here.key("n")
    here.page.locator(f"#list tr[aria-selected=true] button:text-is('{order[1]}')").wait_for()
    for _ in range(2):
        here.key("Shift+N")  # from the first round to the last
    here.page.locator(f"#list tr[aria-selected=true] button:text-is('{order[-1]}')").wait_for()
    assert here.text("#list-place") == "3,901–4,000 of 4,000"
    x, y, mag = here.place()
    assert np.hypot(*(made.nuclei.centroid[order[-1] - 1] - (x, y))) < 1
    assert mag == 20


def draw_rectangle(screen, x0, y0, x1, y1):
    """Two clicks, slide pixels."""
    screen.key("r")
    for place in ((x0, y0), (x1, y1)):
        screen.page.mouse.move(*screen.on_screen(*place))
        screen.page.mouse.click(*screen.on_screen(*place))
    screen.page.locator(".region tfoot").wait_for()


def region_count(screen):
    """Nuclei of the only region."""
    return int(screen.text(".region tfoot td:nth-child(2)").replace(",", ""))


def test_regions_count_by_class_at_once(here, made):
    draw_rectangle(here, 1000, 700, 1500, 1000)
    x, y = made.nuclei.centroid.T
    inside = (x > 1000) & (x < 1500) & (y > 700) & (y < 1000)
    by_class = np.bincount(made.nuclei.class_index[inside], minlength=3)
    shown = here.page.locator(".region tbody td:nth-child(2)").all_inner_texts()
    assert (
        np.abs(np.array(shown, int) - by_class).max() <= 1
    )  # a click has whole pixels of the screen
    here.requests.clear()
    here.page.get_by_role("checkbox").first.uncheck()
    assert region_count(here) == sum(int(n) for n in shown[1:])
    assert not any("regions" in url for url in here.requests)


def test_regions_are_named_and_exported_and_read_again(here, tmp_path):
    draw_rectangle(here, 1000, 700, 1500, 1000)
    number = region_count(here)
    here.page.get_by_label("Name of the region").fill("core")
    here.page.get_by_label("Name of the region").press("Enter")
    here.page.locator(".region select").select_option("Tumor")
    geojson = here.download(here.page.get_by_role("button", name="Export GeoJSON"))
    feature = read_json(geojson)["features"][0]
    assert feature["properties"]["name"] == "core"
    assert feature["properties"]["classification"]["name"] == "Tumor"
    bounds = shapely.geometry.shape(feature["geometry"]).bounds
    assert np.abs(np.array(bounds) - (1000, 700, 1500, 1000)).max() <= 2
    table = here.download(here.page.get_by_role("button", name="Export CSV"))
    with open(table.path(), encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    assert (row["region"], int(row["num_nuclei"])) == ("core", number)
    geojson.save_as(tmp_path / "again.geojson")
    here.page.get_by_role("button", name="Remove core").click()
    here.page.locator("#import-file").set_input_files(tmp_path / "again.geojson")
    here.page.locator(".region tfoot").wait_for()
    assert here.page.get_by_label("Name of the region").input_value() == "core"
    assert region_count(here) == number


@pytest.mark.parametrize("tool", ["p", "l"])
def test_polygon_and_freehand(here, tool):
    corners = [
        here.on_screen(x, y) for x, y in ((1000, 700), (1500, 700), (1500, 1000), (1000, 1000))
    ]
    here.key(tool)
    mouse = here.page.mouse
    if tool == "p":
        for corner in corners:
            mouse.move(*corner)
            mouse.click(*corner)
            here.page.wait_for_timeout(50)
        here.page.keyboard.press("Enter")
    else:
        mouse.move(*corners[0])
        mouse.down()
        for corner in (*corners[1:], corners[0]):
            mouse.move(*corner, steps=4)
        mouse.up()
    here.page.locator(".region tfoot").wait_for()
    area = float(here.text(".region .muted").split()[1])
    assert area == pytest.approx(500 * 300 * 0.25e-3**2, rel=0.05)


def test_snapshot_png_has_the_chosen_width(here):
    here.key("s")
    here.page.locator("#snapshot-width").fill("1500")
    file = here.download(here.page.get_by_role("button", name="Save"))
    assert file.suggested_filename == "slide-snapshot.png"
    picture = Image.open(file.path())
    stage = here.page.locator("#map").bounding_box()
    assert picture.width == 1500
    assert picture.height > 1500 * stage["height"] / stage["width"]  # and the strip
    assert len(picture.convert("RGB").getcolors(1 << 24)) > 500


def test_snapshot_svg_has_every_outline_as_a_vector(here, made):
    draw_rectangle(here, 1000, 700, 1500, 1000)
    here.key("s")
    here.page.locator("#snapshot-format").select_option("svg")
    file = here.download(here.page.get_by_role("button", name="Save"))
    svg = ET.parse(file.path()).getroot()
    x0, y0, x1, y1 = here.view_box()
    x, y = made.nuclei.centroid.T
    inside = int(((x > x0) & (x < x1) & (y > y0) & (y < y1)).sum())
    paths = svg.findall(f".//{SVG}path")
    assert len(paths) >= inside
    assert len(svg.findall(f".//{SVG}polygon")) == 1  # the region
    words = [element.text for element in svg.iter(f"{SVG}text")]
    assert any("at 1250,850,20" in word for word in words)
    assert any(word.endswith("µm") for word in words)


def test_copy_place_gives_the_command(here):
    here.page.get_by_role("button", name="Copy place").click()
    here.page.locator("#notice div").wait_for()
    copied = here.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("histonuc view ")
    assert copied.endswith(" --at 1250,850,20")


def test_turned_views_draw_and_pick(here, made):
    before = here.pixels()
    straight = here.number("#in-view")
    for _ in range(6):
        here.key("]")
    assert (here.pixels() != before).any()
    # A quarter turn: what was high is wide, and the count is that of the turned view.
    width, height = (here.page.locator("#map").bounding_box()[side] for side in ("width", "height"))
    x, y = np.abs(made.nuclei.centroid - (1250, 850)).T
    inside = int(((x < height) & (y < width)).sum())  # 20x: two slide pixels a pixel of the screen
    here.page.locator("#in-view", has_text=f"{inside:,}").wait_for()
    assert inside != straight
    here.tab("List")
    here.page.get_by_label("This view only").check()
    here.page.locator("#list-place", has_text=f" of {inside:,}").wait_for()
    here.page.get_by_label("This view only").uncheck()
    here.key("Enter")
    here.page.locator("#nucleus-id").wait_for()
    nucleus = int(here.text("#nucleus-id").split()[1]) - 1
    assert np.hypot(*(made.nuclei.centroid[nucleus] - (1250, 850))) < 100


def test_gallery_shows_all_results(new_screen):
    screen = new_screen()
    screen.page.goto(screen.link)
    cards = screen.page.locator(".card")
    cards.nth(3).wait_for()
    assert "4,000 nuclei" in cards.nth(0).inner_text()
    assert "Slide not found" in cards.nth(2).inner_text()
    cards.nth(1).click()
    screen.settle()
    assert screen.text("#slide-button") == "exact.png"


def test_a_result_without_its_slide_shows_nuclei_on_blank(screen):
    screen.open(slide=2, at="1250,850,20")
    assert "not found" in screen.text("#notice")
    drawn = screen.pixels()
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10
    white = (screen.key("h").pixels() > 240).all(axis=-1)
    assert white.mean() > 0.95


def test_a_damaged_result_is_told_and_harms_nothing(new_screen):
    screen = new_screen()
    screen.page.goto(f"{screen.link}&slide=3")
    screen.page.locator("#notice .bad").wait_for()
    assert screen.text("#notice")
    screen.errors.clear()  # the console names the refused requests
    screen.page.locator("#slide-button").click()
    screen.page.locator(".card").nth(0).click()
    screen.settle()
    assert screen.number("#total") == 4000
