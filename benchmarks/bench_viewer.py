"""The viewer's server on a slide of millions of real nuclei: times, memory and bytes.

    python benchmarks/bench_viewer.py FOLDER --nuclei 1000000
    python benchmarks/bench_viewer.py FOLDER --nuclei 10000000 --jumps 500

FOLDER gets the slide and its result, see `viewer_slides.py`; what is there is used again. The
server runs in a process of its own, as people start it, and is asked over six connections, as
browsers do. A jump asks for all outlines of a screen of 1920 x 1080 px at 10x, at a place with
tissue: cold where nobody was before, warm when it is asked for again at once. Times are of the
clock, and so depend on the load; "processor time" is the server's alone. Writes
FOLDER/viewer_server.json and prints a Markdown table, with the targets beside.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import shapely
from viewer_slides import make_result

from histonuc.viewing.wire import unpack

SCREEN, CONNECTIONS = (1920, 1080), 6
TOGETHER = 6
"""Squares that the page asks for in one request."""
TARGETS = {
    "link, s": 1.0,
    "first picture after the start, s": 2.0,
    "densities after the start, s": 5.0,
    "outlines after a jump, cold, 95th percentile, s": 0.8,
    "outlines after a jump, warm, 95th percentile, s": 0.3,
    "most bytes of a screen of outlines, MB": 3.0,
    "slide tile, median, s": 0.05,
    "counts of a region, slowest, s": 0.3,
    "densities counted anew, score and area, s": 0.5,
    "densities counted anew, column in memory, s": 0.5,
    "server memory after all, MB": 750.0,
    "memory that all jumps but the first 100 added, MB": 30.0,
}


@dataclass(frozen=True)
class Server:
    """The program in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    token: str
    started: float

    def memory_mb(self) -> float:
        """Resident memory now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def processor_s(self) -> float:
        """Processor time so far, of all its threads."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def since_start(self) -> float:
        """Seconds since it was started."""
        return time.perf_counter() - self.started


class Asker:
    """Six connections that stay open, as a browser has them."""

    def __init__(self, server: Server) -> None:
        self._server, self._local = server, threading.local()
        self._pool = ThreadPoolExecutor(CONNECTIONS)
        self._opened: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown()
        for connection in self._opened:
            connection.close()

    def ask(self, path: str, body: Any = None) -> bytes:
        """Ask one thing; anew where the connection had rested for too long."""
        data = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {self._server.token}"}
        try:
            reply = self._send(path, data, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError):
            del self._local.connection
            reply = self._send(path, data, headers)
        content = reply.read()
        if reply.status != 200:
            raise SystemExit(f"{path}: {reply.status} {content[:200]!r}")
        return content

    def _send(self, path: str, data: str | None, headers: dict[str, str]):
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection("127.0.0.1", self._server.port)
            self._opened.append(self._local.connection)
        self._local.connection.request("GET" if data is None else "POST", path, data, headers)
        return self._local.connection.getresponse()

    def ask_all(self, paths: list[str]) -> list[bytes]:
        """Ask many things at once."""
        return list(self._pool.map(self.ask, paths))


def start(result: Path) -> tuple[Server, float]:
    """The server, and the seconds until its link was there."""
    command = [sys.executable, "-m", "histonuc", "view", str(result), "--no-browser"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    port, token = re.search(r":(\d+)/#token=([\w-]+)", process.stdout.readline()).groups()
    return Server(process, int(port), token, started), time.perf_counter() - started


def timed(call, *arguments) -> tuple[float, Any]:
    """Seconds of a call, and what it gave."""
    begin = time.perf_counter()
    result = call(*arguments)
    return time.perf_counter() - begin, result


def squares_of_screen(slide: dict[str, Any], centre, magnification: float) -> list[str]:
    """Requests for the squares that a screen shows."""
    px = 10 / magnification / slide["mpp"]
    grid, over = slide["squares"][0], slide["overhang_px"]
    low = [
        (c - px * side / 2 - over) // grid["side_px"]
        for c, side in zip(centre, SCREEN, strict=True)
    ]
    high = [
        (c + px * side / 2 + over) // grid["side_px"]
        for c, side in zip(centre, SCREEN, strict=True)
    ]
    columns = range(max(0, int(low[0])), min(grid["columns"], int(high[0]) + 1))
    rows = range(max(0, int(low[1])), min(grid["rows"], int(high[1]) + 1))
    places = [f"{column},{row}" for row in rows for column in columns]
    return [
        f"/api/slides/0/squares/0?detail=rough&places={';'.join(places[k : k + TOGETHER])}"
        for k in range(0, len(places), TOGETHER)
    ]


def jump(server: Server, asker: Asker, slide, counts, density, number: int, rng):
    """Seconds, processor seconds and megabytes of random jumps to places with nuclei."""
    found: dict[str, list[float]] = {name: [] for name in ("cold", "warm", "mb", "processor")}
    places = np.argwhere(counts.sum(axis=0) > 0)
    for row, column in rng.choice(places, number):
        centre = (np.array([column, row]) + 0.5) * density["cell_px"]
        paths = squares_of_screen(slide, centre, 10)
        before = server.processor_s()
        cold, replies = timed(asker.ask_all, paths)
        found["processor"].append(server.processor_s() - before)
        warm, _ = timed(asker.ask_all, paths)
        found["cold"].append(cold)
        found["warm"].append(warm)
        found["mb"].append(sum(map(len, replies)) / 1e6)
    return found


def wavy_ring(size, rng, vertices: int = 2000) -> list[list[float]]:
    """A region as a hand may draw it, over most of a slide."""
    angle = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    wave = 1 + 0.1 * np.sin(rng.integers(3, 60) * angle)
    sides = np.array(size) * rng.uniform(0.2, 0.45)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * wave[:, None] * sides
    return (ring + np.array(size) / 2).tolist()


def check_region(result: Path, ring, counted: dict[str, Any]) -> bool:
    """Whether Shapely counts the same by brute force."""
    area, total = shapely.Polygon(ring), 0
    shapely.prepare(area)
    file = pq.ParquetFile(result / "nuclei.parquet")
    for batch in file.iter_batches(1 << 18, columns=["x", "y"]):
        total += int(shapely.contains_xy(area, batch["x"].to_numpy(), batch["y"].to_numpy()).sum())
    return total == counted["num_nuclei"]


def measure(result: Path, jumps: int) -> dict[str, float]:
    """All figures of one server."""
    server, link = start(result)
    with closing(Asker(server)) as asker:
        try:
            return {"link, s": link} | ask_everything(server, asker, result, jumps)
        finally:
            server.process.send_signal(signal.SIGINT)
            server.process.communicate(timeout=30)


def ask_everything(server: Server, asker: Asker, result: Path, jumps: int) -> dict[str, float]:
    """What the page asks, one after the other."""
    rng, found = np.random.default_rng(0), {}
    slide = json.loads(asker.ask("/api/slides/0"))
    top = slide["picture_levels"]["count"] - 1
    asker.ask(f"/api/slides/0/tiles/{top}/0/0")
    found["first picture after the start, s"] = server.since_start()
    facts, arrays = unpack(asker.ask("/api/slides/0/density", {}))
    found["densities after the start, s"] = server.since_start()
    found["densities after the start, processor time, s"] = server.processor_s()
    shape = facts["num_classes"], facts["rows"], facts["columns"]
    counts = arrays["counts"].reshape(shape)
    asker.ask_all(squares_of_screen(slide, np.array(slide["size_px"]) / 2, 10))
    found["server memory after the first screen, MB"] = server.memory_mb()

    early = min(100, jumps)
    first = jump(server, asker, slide, counts, facts, early, rng)
    memory = server.memory_mb()
    more = jump(server, asker, slide, counts, facts, jumps - early, rng)
    found["memory that all jumps but the first 100 added, MB"] = server.memory_mb() - memory
    all_jumps = {name: first[name] + more[name] for name in first}
    for name in ("cold", "warm"):
        key = f"outlines after a jump, {name}, 95th percentile, s"
        found[key] = float(np.percentile(all_jumps[name], 95))
        found[f"outlines after a jump, {name}, median, s"] = float(np.median(all_jumps[name]))
    mean = float(np.mean(all_jumps["processor"]))
    found["outlines after a jump, cold, mean processor time, s"] = mean
    found["most bytes of a screen of outlines, MB"] = max(all_jumps["mb"])
    return found | ask_counts(server, asker, result, slide, min(200, 2 * jumps), rng)


def ask_counts(
    server: Server, asker: Asker, result: Path, slide, num_tiles: int, rng
) -> dict[str, float]:
    """Tiles, regions and filters."""
    found = {}
    tiles, before = [], server.processor_s()
    for _ in range(num_tiles):
        level = rng.integers(slide["picture_levels"]["count"])
        column, row = (rng.integers(-(-side // (512 << level))) for side in slide["size_px"])
        tiles.append(timed(asker.ask, f"/api/slides/0/tiles/{level}/{column}/{row}")[0])
    found["slide tile, mean processor time, s"] = (server.processor_s() - before) / len(tiles)
    found["slide tile, median, s"] = float(np.median(tiles))
    found["slide tile, 95th percentile, s"] = float(np.percentile(tiles, 95))
    rings = [wavy_ring(slide["size_px"], rng) for _ in range(min(12, num_tiles))]
    before = server.processor_s()
    answers = [
        timed(asker.ask, "/api/slides/0/regions/count", {"regions": [{"rings": [ring]}]})
        for ring in rings
    ]
    spent = server.processor_s() - before
    found["counts of a region, mean processor time, s"] = spent / len(rings)
    counted = [json.loads(reply)["regions"][0] for _, reply in answers]
    found["counts of a region, median, s"] = float(np.median([seconds for seconds, _ in answers]))
    found["counts of a region, slowest, s"] = max(seconds for seconds, _ in answers)
    same = [check_region(result, *pair) for pair in list(zip(rings, counted, strict=True))[:3]]
    found["regions that Shapely counts alike, of 3"] = sum(same)
    for name, ranges in (
        ("score and area", {"score": [0.7, None], "area_um2": [15, 60]}),
        ("column not in memory", {"circularity": [0.7, None]}),
        ("column in memory", {"circularity": [0.8, None]}),
    ):
        body = {"filters": {"ranges": ranges}}
        before = server.processor_s()
        seconds, _ = timed(asker.ask, "/api/slides/0/density", body)
        found[f"densities counted anew, {name}, s"] = seconds
        spent = server.processor_s() - before
        found[f"densities counted anew, {name}, processor time, s"] = spent
    body = {"sort": "area_um2", "descending": True, "limit": 100}
    found["first page of a list by area, s"], _ = timed(asker.ask, "/api/slides/0/list", body)
    found["server memory after all, MB"] = server.memory_mb()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nuclei", type=int, default=1_000_000)
    parser.add_argument("--jumps", type=int, default=500)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    arguments = parser.parse_args()
    result = make_result(arguments.folder, arguments.nuclei, arguments.shared)
    before = os.getloadavg()[0]
    found = measure(result, arguments.jumps)
    num_nuclei = json.loads((result / "summary.json").read_text())["num_nuclei"]
    record = {"num_nuclei": num_nuclei, "jumps": arguments.jumps, "cores": os.cpu_count()}
    record |= {"load": [before, os.getloadavg()[0]], "measured": found}
    (arguments.folder / "viewer_server.json").write_text(json.dumps(record, indent=2))
    print(f"{num_nuclei:,} nuclei, {os.cpu_count()} cores, load {before:.1f} before the run")
    print("\n| what | measured | target |\n|---|---|---|")
    for name, value in found.items():
        target = f"{TARGETS[name]:g}" if name in TARGETS else ""
        print(f"| {name} | {value:.3g} | {target} |")


if __name__ == "__main__":
    main()
