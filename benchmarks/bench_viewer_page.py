"""The viewer's page in headless Chromium, on a slide of millions of real nuclei.

    python benchmarks/bench_viewer_page.py FOLDER --nuclei 1000000

FOLDER gets the slide and its result, see `viewer_slides.py`; what is there is used again. Chromium
draws in software (SwiftShader), so seconds that hold frames say little of a graphics card: judge
the script time a frame, the long tasks, the bytes and the memory. A jump goes to a place with
nuclei at 10x and ends when the page has handed all outlines of the view to WebGL: cold where nobody
was before, warm when the page comes back. Panning drags the slide by the mouse; its script time is
the thread's processor time, which others on the machine do not lengthen. Prints a Markdown table
with the targets beside, and the load of the machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench_viewer import start
from viewer_slides import make_result

FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SCREEN = {"width": 1920, "height": 1080}
TARGETS = {
    "first picture after the link, s": 2.0,
    "densities after the link, s": 5.0,
    "outlines after a jump, cold, 95th percentile, s": 0.8,
    "outlines after a jump, warm, 95th percentile, s": 0.3,
    "script a frame while panning, processor time, ms": 8.0,
    "longest task while panning, ms": 50.0,
    "most bytes of a view of outlines, MB": 3.0,
    "JavaScript heap after all, MB": 300.0,
    "renderer process after all, MB": 300.0,
}
WATCH = """
window.longTasks = []; window.draws = 0; localStorage.setItem('histonuc-hint-seen', '1');
new PerformanceObserver(list => list.getEntries().forEach(one => longTasks.push(one.duration)))
  .observe({entryTypes: ['longtask']});
"""
COUNT = """
new MutationObserver(() => draws++)
  .observe(document.querySelector('canvas.nuclei'), {attributeFilter: ['data-complete']});
"""
JUMP = """at => new Promise(done => {
  const canvas = document.querySelector('canvas.nuclei'), begin = performance.now();
  addEventListener('hashchange', () => {
    const watch = new MutationObserver(() => {
      if (canvas.dataset.complete !== 'true' || canvas.dataset.detail !== 'outlines') return;
      watch.disconnect();
      done((performance.now() - begin) / 1000);
    });
    watch.observe(canvas, {attributeFilter: ['data-complete']});
  }, {once: true});
  location.hash = `#slide=0&at=${at}`;
})"""


class Browser:
    """One page, and what the browser tells of it."""

    def __init__(self, chromium: Any) -> None:
        self.page = chromium.new_page(viewport=SCREEN, reduced_motion="reduce")
        self.page.set_default_timeout(120_000)
        self.page.add_init_script(WATCH)
        self._tab = self.page.context.new_cdp_session(self.page)
        self._tab.send("Performance.enable", {"timeDomain": "threadTicks"})
        self._tab.send("Network.enable")
        self.bytes = 0
        self._squares: set[str] = set()
        self._tab.on("Network.requestWillBeSent", self._note)
        self._tab.on("Network.loadingFinished", self._add)
        self._all = chromium.new_browser_cdp_session()

    def _note(self, event: dict[str, Any]) -> None:
        if "/squares/" in event["request"]["url"]:
            self._squares.add(event["requestId"])

    def _add(self, event: dict[str, Any]) -> None:
        if event["requestId"] in self._squares:
            self.bytes += int(event["encodedDataLength"])

    def metric(self, name: str) -> float:
        """A figure of the browser's own."""
        found = self._tab.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in found if one["name"] == name)

    def heap_mb(self) -> float:
        """Memory of the script after a collection."""
        self._tab.send("HeapProfiler.collectGarbage")
        return self.metric("JSHeapUsedSize") / 1e6

    def renderer_mb(self) -> float:
        """Resident memory of the largest renderer process."""
        processes = self._all.send("SystemInfo.getProcessInfo")["processInfo"]
        sizes = [_resident_mb(one["id"]) for one in processes if one["type"] == "renderer"]
        return max(sizes)


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_page(browser: Browser, link: str) -> dict[str, float]:
    """Follow the link; when the first picture of the slide, and the densities, are there."""
    begin, page = time.perf_counter(), browser.page
    with page.expect_response(lambda reply: "/tiles/" in reply.url):
        page.goto(link)
    picture = time.perf_counter() - begin
    page.wait_for_selector("canvas.nuclei[data-complete=true]", state="attached")
    page.evaluate(COUNT)
    return {
        "first picture after the link, s": picture,
        "densities after the link, s": time.perf_counter() - begin,
    }


def jump_about(browser: Browser, places: np.ndarray) -> dict[str, float]:
    """Outlines at these places, each there and back."""
    cold, warm, sizes = [], [], []
    for x, y in places:
        before = browser.bytes
        cold.append(browser.page.evaluate(JUMP, f"{x},{y},10"))
        sizes.append((browser.bytes - before) / 1e6)
        browser.page.evaluate(JUMP, f"{x + 3},{y},10")  # elsewhere in between, but for its squares
        warm.append(browser.page.evaluate(JUMP, f"{x},{y},10"))
    return {
        "outlines after a jump, cold, 95th percentile, s": float(np.percentile(cold, 95)),
        "outlines after a jump, warm, 95th percentile, s": float(np.percentile(warm, 95)),
        "most bytes of a view of outlines, MB": max(sizes),
    }


def pan(browser: Browser) -> dict[str, float]:
    """Drag the slide about."""
    page = browser.page
    page.evaluate("longTasks.length = draws = 0")
    before = browser.metric("ScriptDuration")
    page.mouse.move(900, 500)
    page.mouse.down()
    page.mouse.move(500, 300, steps=40)
    page.mouse.move(900, 600, steps=40)
    page.mouse.up()
    page.wait_for_timeout(1000)
    frames, longest = page.evaluate("[draws, Math.max(0, ...longTasks)]")
    script = browser.metric("ScriptDuration") - before
    return {
        "script a frame while panning, processor time, ms": 1000 * script / max(frames, 1),
        "longest task while panning, ms": longest,
    }


def measure(result: Path, num_jumps: int) -> dict[str, float]:
    """All figures of one page."""
    from playwright.sync_api import sync_playwright

    server, _ = start(result)
    try:
        with sync_playwright() as driver:
            path = shutil.which("chromium")
            browser = Browser(driver.chromium.launch(executable_path=path, args=FLAGS))
            found = open_page(browser, f"http://127.0.0.1:{server.port}/#token={server.token}")
            found |= jump_about(browser, places_with_nuclei(result, num_jumps)) | pan(browser)
            found["JavaScript heap after all, MB"] = browser.heap_mb()
            found["renderer process after all, MB"] = browser.renderer_mb()
            return found
    finally:
        server.process.terminate()
        server.process.wait(30)


def places_with_nuclei(result: Path, number: int) -> np.ndarray:
    """Whole pixels of the slide, int (number, 2) as (x, y)."""
    import pyarrow.parquet as pq

    table = pq.read_table(result / "nuclei.parquet", columns=["x", "y"])
    chosen = np.random.default_rng(0).integers(0, table.num_rows, number)
    return np.stack([table[name].to_numpy()[chosen] for name in "xy"], axis=1).astype(int)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nuclei", type=int, default=1_000_000)
    parser.add_argument("--jumps", type=int, default=20)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    arguments = parser.parse_args()
    result = make_result(arguments.folder, arguments.nuclei, arguments.shared)
    found = measure(result, arguments.jumps)
    print("| figure | measured | target |\n|---|---|---|")
    for name, target in TARGETS.items():
        print(f"| {name} | {found[name]:.3g} | {target:g} |")
    print(f"\nLoad of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
