"""The page driven as a person does it: what can be clicked, typed and seen."""

import io
import json
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

MPP = 0.25
"""Of the drawn slides."""
CANVAS = "canvas.nuclei"
_TWO_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 40))))"
"""And a moment: OpenLayers says that it loads only after a frame."""

_RESET = """() => {
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
  const choose = (selector, value, name) => each(selector, (field) => {
    field.value = value;
    field.dispatchEvent(new Event(name));
  });
  each('.region button[title^=Remove]', (button) => button.click());
  each('.filter button[aria-label^=Remove]', (button) => button.click());
  each('[aria-label=Classes] .heading button', (button) => button.textContent === 'All' && button.click());
  choose('#colour-by', 'class', 'change');
  choose('#opacity', '0.9', 'input');
  each('[role=radio]', (button) => button.textContent === 'Outlines' && button.click());
  each('button[aria-label^=Colour-blind][aria-pressed=true]', (button) => button.click());
}"""
"""Everything as it was, without the time that a person's clicks take."""


@dataclass
class Screen:
    """One tab.

    Attributes:
        page: Playwright's page.
        link: of the viewer, with its token.
        ratio: device pixels a CSS pixel.
        requests: addresses asked for so far.
        awaited: requests without an answer yet, but those for tiles: the page itself says when it has these.
        errors: what went wrong in the page.
    """

    page: object
    link: str
    ratio: int = 1
    requests: list = field(default_factory=list)
    awaited: set = field(default_factory=set)
    errors: list = field(default_factory=list)

    def open(self, slide=0, at=None):
        """Follow the link to a slide, and to a place X,Y,MAG."""
        link = f"{self.link}&slide={slide}" + (f"&at={at}" if at else "")
        if self.page.url == "about:blank":
            self.page.goto(link)
        else:  # the page itself follows the link: what it does at once is done before ours is called
            self.page.evaluate(
                "hash => new Promise(done => { addEventListener('hashchange', done, {once: true}); location.hash = hash; })",
                link.split("#")[1],
            )
        return self.settle()

    def reset(self):
        """As after opening, but for the place: tests share a tab, which takes a second to load."""
        page = self.page
        if page.url == "about:blank":
            return self.open()
        while page.locator("dialog").count():
            page.keyboard.press("Escape")
        if "#slide=0&" not in page.url:
            self.open()
        page.evaluate(_RESET)
        page.locator("#map").press("Escape")
        self.key("Home")
        self.tab("Nucleus")
        return self

    def ask(self, request):
        """Note a request."""
        self.requests.append(request.url)
        if "/tiles/" not in request.url:
            self.awaited.add(request)

    def answered(self, request):
        """Note that an answer came, or that none will."""
        self.awaited.discard(request)

    def settle(self):
        """Wait until everything of the view is drawn, with what the server tells of it: areas, counts and the like."""
        self.page.evaluate(_TWO_FRAMES)
        while self.awaited:
            self.page.wait_for_timeout(5)
        for drawn in (f"{CANVAS}[data-complete=true]", "#map[aria-busy=false]"):
            self.page.wait_for_selector(drawn, state="attached")
        self.page.evaluate(_TWO_FRAMES)
        return self

    def key(self, name):
        """Press a key on the slide."""
        self.page.locator("#map").press(name)
        return self.settle()

    def magnify(self, mag):
        """Press a button of the magnifications."""
        self.page.get_by_role("button", name=f"Magnification {mag}", exact=True).click()
        return self.settle()

    def tab(self, name):
        """Open a tab on the right."""
        self.page.get_by_role("tab", name=name).click()

    def text(self, selector):
        """What stands somewhere."""
        return self.page.locator(selector).inner_text()

    def number(self, selector):
        """The count that stands somewhere."""
        return int(self.text(selector).replace(",", ""))

    def pixels(self):
        """The slide's part of the screen, without what lies over it: uint8 (H, W, 3) in device pixels."""
        hide = "for (const id of ['overview', 'status', 'scale-bar', 'hint', 'notice']) document.getElementById(id).style.opacity = "
        self.page.evaluate(hide + "0")  # at once; OpenLayers lets the scale bar's visibility fade
        box = self.page.locator("#stage").bounding_box()
        shot = self.page.screenshot(clip=box)
        self.page.evaluate(hide + "''")
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))

    def place(self):
        """The view in the address: x, y, magnification."""
        return tuple(float(v) for v in self.page.url.split("at=")[1].split(","))

    def on_screen(self, x, y):
        """Where a slide pixel lies, in CSS pixels of the page; the view must not be turned."""
        box = self.page.locator("#map").bounding_box()
        cx, cy, mag = self.place()
        scale = mag * MPP / 10
        left, top = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        return left + (x - cx) * scale, top + (y - cy) * scale

    def view_box(self):
        """The slide pixels in view, x0, y0, x1, y1."""
        box = self.page.locator("#map").bounding_box()
        cx, cy, mag = self.place()
        w, h = (box[side] * 10 / (mag * MPP) / 2 for side in ("width", "height"))
        return cx - w, cy - h, cx + w, cy + h

    def download(self, button):
        """Press a button and take the file."""
        with self.page.expect_download() as waiting:
            button.click()
        return waiting.value


def close_to(pixels, colour, within=40):
    """How many pixels have about a colour, "#rrggbb"."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(pixels.astype(int) - wanted).max(axis=-1) <= within).sum())


def read_json(download):
    """The content of a file that was given."""
    with open(download.path(), encoding="utf-8") as file:
        return json.load(file)
