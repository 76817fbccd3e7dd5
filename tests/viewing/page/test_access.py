"""Who may use the page: people with a keyboard, a screen reader or fingers, and nobody from elsewhere."""

import http.server
import threading

import pytest

from .conftest import EXACT_BOXES, assert_quiet, open_screen
from .driving import CANVAS


def _axe(screen):
    """Names of the rules of WCAG that the page breaks, with what breaks them."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = axe.run(screen.page, options={"runOnly": {"type": "tag", "values": tags}}).response
    return [
        (one["id"], [node["html"][:160] for node in one["nodes"][:3]])
        for one in found["violations"]
    ]


def test_axe_finds_nothing(screen):
    screen.open(at="1250,850,20")
    screen.page.locator("#add-filter").select_option("trust")
    screen.page.locator("#colour-by").select_option("trust")
    screen.page.get_by_role("button", name="Only", exact=False).first.click()
    screen.settle()
    screen.key("Enter")
    screen.page.locator("#nucleus-id").wait_for()
    assert _axe(screen) == []
    screen.tab("List")
    screen.page.locator("#list tbody tr").first.wait_for()
    assert _axe(screen) == []
    screen.tab("Regions")
    screen.page.get_by_text("Add the view").click()
    screen.page.locator(".region tfoot").wait_for()
    assert _axe(screen) == []
    screen.tab("Slide")
    border = screen.page.get_by_label("Draw the border of the tissue")
    with screen.page.expect_response(lambda reply: "kind=tissue" in reply.url):
        border.check()
    border.uncheck()
    for key in ("?", "g", "s"):
        screen.key(key)
        assert _axe(screen) == []
        screen.page.keyboard.press("Escape")


def test_everything_by_keyboard(new_screen):
    screen = new_screen()
    screen.open(at="1250,850,20")
    page = screen.page
    assert page.evaluate("document.activeElement.id") == "map"
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(300)
    screen.settle()
    assert screen.place()[0] > 1250
    page.keyboard.press("+")
    page.wait_for_timeout(500)
    screen.settle()
    assert screen.place()[2] > 20
    page.keyboard.press("Enter")
    page.locator("#nucleus-id").wait_for()
    first = screen.text("#nucleus-id")
    page.keyboard.press("n")
    page.locator("#nucleus-id", has_not_text=first).wait_for()
    page.keyboard.press("?")
    assert page.locator("dialog").inner_text().startswith("Keys")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "map"
    page.keyboard.press("Tab")  # on to the tabs, and with the arrows to the regions
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator("#panel-regions").is_visible()
    page.locator("#panel-regions").press("Tab")
    page.keyboard.press("Enter")
    page.locator(".region tfoot").wait_for()


@pytest.fixture
def touched(browser, shown):
    """The exact slide on a screen for fingers."""
    screen = open_screen(browser, shown, has_touch=True)
    yield screen.open(slide=1, at="1250,830,20")
    screen.page.context.close()
    assert_quiet(screen, shown)


def move_fingers(screen, *ways):
    """Put one finger down for each way, a list of places, move all of them along, lift them."""
    tab = screen.page.context.new_cdp_session(screen.page)
    for step, places in enumerate(zip(*ways, strict=True)):
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
        kind = "touchMove" if step else "touchStart"
        tab.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    tab.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    screen.page.wait_for_timeout(300)
    screen.settle()


def test_fingers_move_enlarge_and_choose(touched):
    x, y = touched.on_screen(1250, 830)
    move_fingers(touched, [(x - 20 * k, y - 10 * k) for k in range(6)])
    u, v, mag = touched.place()
    assert (u, v) == (pytest.approx(1250 + 200, abs=40), pytest.approx(830 + 100, abs=40))
    assert mag == 20
    apart = range(40, 101, 10)
    move_fingers(touched, [(x - d, y) for d in apart], [(x + d, y) for d in apart])
    assert touched.place()[2] == pytest.approx(20 * 100 / 40, rel=0.3)
    x0, y0, x1, y1 = min(EXACT_BOXES, key=lambda box: abs(box[0] - u) + abs(box[1] - v))
    touched.page.touchscreen.tap(*touched.on_screen((x0 + x1) / 2, (y0 + y1) / 2))
    touched.page.locator("#nucleus-id").wait_for()
    number = int(touched.text("#nucleus-id").split()[1])
    assert sorted(EXACT_BOXES, key=lambda box: box[1] // 425)[number - 1][0] == x0


def test_keys_are_quiet_outside_the_slide(screen):
    screen.open(at="1250,850,20")
    screen.page.locator("#slide-button").press("h")
    assert screen.page.get_by_role("radio", name="Off").get_attribute("aria-checked") == "false"
    screen.key("5")  # plain digits do nothing: they are for correcting
    assert screen.number("#total") == 4000


def test_the_token_leaves_the_address_and_a_reload_works(screen):
    screen.open(at="1250,850,20")
    assert "token" not in screen.page.url
    assert screen.page.url.endswith("#slide=0&at=1250,850,20")
    screen.page.reload()
    screen.settle()
    assert screen.place() == (1250, 850, 20)
    assert not any("token" in url or screen.link.split("=")[1] in url for url in screen.requests)


def test_a_link_pasted_into_the_tab_is_followed(screen):
    screen.open(at="1250,850,20")
    screen.page.evaluate("location.hash = '#slide=1&at=500,500,40'")
    screen.page.locator("#slide-button", has_text="exact.png").wait_for()
    assert screen.settle().place() == (500, 500, 40)


def test_the_hint_comes_once(new_screen):
    screen = new_screen(hint=True)
    screen.open()
    screen.page.get_by_role("button", name="Got it").click()
    screen.page.reload()
    screen.settle()
    assert screen.page.locator("#hint").is_hidden()


def test_without_a_token_nothing_is_shown(new_screen):
    screen = new_screen()
    screen.page.goto(screen.link.split("#")[0])
    screen.page.locator("#notice .bad").wait_for()
    assert screen.page.locator(f"{CANVAS}[data-complete=true]").count() == 0
    screen.errors.clear()


class _Other(http.server.BaseHTTPRequestHandler):
    """A page of somebody else, on another port of this machine."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>other</title><body>")

    def log_message(self, *_):
        """Nothing."""


def test_a_page_of_another_origin_gets_nothing(browser, shown):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    try:
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        address = f"http://127.0.0.1:{shown.port}"
        ask = """async ([url, headers]) => {
            try { const reply = await fetch(url, {headers}); return [reply.status, await reply.text()] }
            catch (error) { return 'refused' }
        }"""
        # Even with the token: the browser gives another page nothing of the answer.
        token = {"Authorization": f"Bearer {shown.token}"}
        assert page.evaluate(ask, [f"{address}/api/slides", token]) == "refused"
        assert page.evaluate(ask, [f"{address}/", {}]) == "refused"
        frame = """url => new Promise(done => { const frame = document.createElement('iframe'); frame.src = url;
            frame.onload = () => { try { done(frame.contentDocument?.title ?? 'closed') } catch { done('closed') } };
            document.body.append(frame) })"""
        assert page.evaluate(frame, f"{address}/") == "closed"
    finally:
        page.close()
        server.shutdown()
        server.server_close()
