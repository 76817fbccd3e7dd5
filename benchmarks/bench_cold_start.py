"""From a fresh process to the nuclei of one tile on disk, beside the start of other programs.

    python benchmarks/bench_cold_start.py [--repeats 7]

``histonuc predict tile.png`` (512 x 512 px of the demo's kind) in a process of its own each time,
compiled kernels cached as after any first run; beside it, in turn, processes that only import
NumPy, and torch where it is installed. Medians of wall time, and the largest resident memory.
Last, the first decoding with nothing compiled yet, as on the day of the installation.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from histonuc.data.synthetic import draw_tile

FIRST_DECODING = """
import time
import numpy as np
from histonuc.representations import build_representation
maps = np.zeros((6, 256, 256), np.float32)
maps[0, 20:60, 20:60] = maps[0, 100:130, 40:90] = 1
offset = build_representation("offset", 3)
start = time.perf_counter()
offset.decode(maps)
print(time.perf_counter() - start)
"""


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds and peak MB of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        tile = Path(folder) / "tile.png"
        image, _ = draw_tile(np.random.default_rng(0), "Breast", 512)
        cv2.imwrite(str(tile), image[..., ::-1])
        predict = [sys.executable, "-m", "histonuc", "predict", str(tile), "--mpp", "0.25"]
        commands = {
            "histonuc predict tile.png": [*predict, "--overwrite", "--out", f"{folder}/out"],
            "import numpy": [sys.executable, "-c", "import numpy"],
        }
        if importlib.util.find_spec("torch"):
            commands["import torch"] = [sys.executable, "-c", "import torch"]
        measure(commands["histonuc predict tile.png"])  # compiles what is not cached
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(repeats):
            for name, command in commands.items():
                runs[name].append(measure(command))
    first = [time_first_decoding() for _ in range(3)]
    print(f"| {repeats} runs each, load {os.getloadavg()[0]:.1f} | seconds (median) | MB |")
    print("|---|---|---|")
    for name, results in runs.items():
        seconds = statistics.median(result[0] for result in results)
        print(f"| {name} | {seconds:.2f} | {max(result[1] for result in results):.0f} |")
    print(
        f"First decoding by `offset`, nothing compiled yet: {statistics.median(first):.2f} s "
        f"({min(first):.2f} to {max(first):.2f})"
    )


def time_first_decoding() -> float:
    """Seconds of the first `decode` of a process, Numba's cache empty."""
    with tempfile.TemporaryDirectory() as cache:
        result = subprocess.run(
            [sys.executable, "-c", FIRST_DECODING],
            env=os.environ | {"NUMBA_CACHE_DIR": cache},
            check=True,
            capture_output=True,
            text=True,
        )
    return float(result.stdout)


if __name__ == "__main__":
    main()
