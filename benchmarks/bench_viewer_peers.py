"""`histonuc view` beside other viewers, on the same nuclei and the same slide.

    python benchmarks/bench_viewer_peers.py RESULT FOLDER --export-only
    python benchmarks/bench_viewer_peers.py RESULT FOLDER --viewers histonuc tissuumaps islide

RESULT is a folder of `histonuc predict` whose slide OpenSlide reads; FOLDER gets what the peers
read and two pictures of each viewer. Every peer lives in an environment of its own,
VENVS/peers-NAME: `pip install tissuumaps openslide-bin "pyvips[binary]"`, and `pip install
jupyter-islide openslide-bin jupyterlab`. Each viewer is told which place to show first, at 20x.
The clock runs from the start of its server to the first screenshot with nuclei, and to the first
of four equal ones; then from a jump to the far end of the tissue to the first of four equal ones.
Screenshots have nuclei when many pixels are near the colours of the classes, which all viewers
are given. Prints a Markdown table; look at the pictures as well.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from bench_viewer_page import FLAGS, Browser
from numpy.typing import NDArray
from viewer_peers import Case, Viewer, export, viewers

CLIP = {"x": 500, "y": 300, "width": 700, "height": 400}
LEAST_PIXELS, NEAR, SAME_SHOTS = 500, 60, 4
HIDE = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]


def start(viewer: Viewer, log: Path, limit: float) -> tuple[subprocess.Popen, str]:
    """The server in a process group of its own, and the address of its page."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [part.replace("PORT", str(port)) for part in viewer.command]
    path = f"{Path(command[0]).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    with log.open("w") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    end = time.monotonic() + limit
    while time.monotonic() < end and process.poll() is None:
        link = re.search(r"http://\S+#token=\S+", log.read_text())
        if viewer.address is None and link:
            return process, link.group()
        if viewer.address and not socket.socket().connect_ex(("127.0.0.1", port)):
            return process, viewer.address.replace("PORT", str(port))
        time.sleep(0.05)
    stop(process)
    raise TimeoutError(f"the server does not answer: {log.read_text()[-300:]}")


def stop(process: subprocess.Popen) -> None:
    """End the server and what it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def take(page) -> NDArray[np.int16]:
    """The middle of the page, int16 (400, 700, 3) RGB."""
    data = np.frombuffer(page.screenshot(clip=CLIP, timeout=30_000), np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.int16)


def keep_picture(page, path: Path) -> None:
    """Write what the page shows, if it answers."""
    from playwright.sync_api import Error

    with suppress(Error):
        page.screenshot(path=path, timeout=30_000)


def differs(one: NDArray, other: NDArray) -> float:
    """Share of the pixels that differ visibly."""
    return float((np.abs(one - other).max(axis=-1) > 12).mean())


def watch(page, case: Case, begin: float, limit: float, before: NDArray | None):
    """Seconds to the first picture with nuclei and to the one that stays, None for never; it."""
    from playwright.sync_api import Error

    first = settled = last = None
    same = 0
    while time.perf_counter() - begin < limit:
        try:
            shot = take(page)
        except Error:
            continue
        now = time.perf_counter() - begin
        far = np.min([np.linalg.norm(shot - np.array(c), axis=-1) for c in case.colours], axis=0)
        moved = before is None or differs(shot, before) > 0.05
        if first is None and moved and (far < NEAR).sum() >= LEAST_PIXELS:
            first = now
        if last is None or differs(shot, last) > 0.001:
            settled, same = now, 0
        same, last = same + 1, shot
        if first is not None and same >= SAME_SHOTS:
            return first, settled, shot
    return first, None, last


def measure(case: Case, name: str, viewer: Viewer, limit: float) -> list[str]:
    """The row of one viewer."""
    from playwright.sync_api import Error, sync_playwright

    begin = time.perf_counter()
    try:
        process, address = start(viewer, case.folder / f"{name}.log", limit)
    except TimeoutError as error:
        return [name, "never", "", "", "", str(error).replace("\n", " ")]
    try:
        with sync_playwright() as driver:
            path = shutil.which("chromium")
            browser = Browser(driver.chromium.launch(executable_path=path, args=[*FLAGS, *HIDE]))
            page = browser.page
            try:
                page.goto(address, wait_until="commit")
                if viewer.opened:
                    page.wait_for_function(viewer.ready, timeout=1000 * limit)
                    page.evaluate(viewer.opened)
                first, settled, shot = watch(page, case, begin, limit, None)
                keep_picture(page, case.folder / f"{name}-1.png")
                jump, jumped = time.perf_counter(), None
                if first is not None:
                    page.evaluate(viewer.jump)
                    _, jumped, _ = watch(page, case, jump, limit / 2, shot)
                    keep_picture(page, case.folder / f"{name}-2.png")
                times = [f"{s:.1f}" if s else "never" for s in (first, settled, jumped)]
                return [name, *times, f"{browser.renderer_mb():.0f}", ""]
            except Error as error:
                return [name, "never", "", "", "", str(error).splitlines()[0]]
    finally:
        stop(process)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("result", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--viewers", nargs="+", default=["histonuc", "tissuumaps", "islide"])
    parser.add_argument("--venvs", type=Path, default=Path("/work/venvs"))
    parser.add_argument("--limit", type=float, default=60, help="Seconds for the first nuclei.")
    parser.add_argument("--export-only", action="store_true")
    arguments = parser.parse_args()
    case = export(arguments.result.absolute(), arguments.folder.absolute())
    if arguments.export_only:
        return
    known = viewers(case, arguments.venvs)
    print("| viewer | first nuclei, s | settled, s | after a jump, s | renderer, MB | |")
    print("|---|---|---|---|---|---|")
    for name in arguments.viewers:
        print("|", " | ".join(measure(case, name, known[name], arguments.limit)), "|", flush=True)
    print(f"\nLoad {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
