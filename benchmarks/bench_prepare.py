"""`histonuc prepare pannuke`: time and peak memory beside loading the official files as numpy does.

    .venv/bin/python benchmarks/bench_prepare.py [--tiles 500]

Writes folds of drawn tissue in the official layout (float64, 256 px) to a temporary folder, then
runs, each in a fresh process: prepare; `np.load` of images and masks with the flattening of every
tile to one instance map (what loaders of the field do). Peak memory is the process's own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PREPARE = """
from pathlib import Path
from histonuc.data.pannuke import prepare_pannuke
prepare_pannuke(Path({raw!r}), Path({out!r}))
"""

NAIVE = """
import numpy as np
from pathlib import Path
for folder in sorted(Path({raw!r}).glob("Fold *")):
    images = np.load(next(folder.rglob("images.npy"))).astype(np.uint8)
    masks = np.load(next(folder.rglob("masks.npy")))
    for mask in masks:
        flat = np.zeros(mask.shape[:2], np.int32)
        count = 0
        for channel in range(5):
            for value in np.unique(mask[..., channel])[1:]:
                count += 1
                flat[mask[..., channel] == value] = count
"""


def measure(code: str) -> tuple[float, float]:
    """Seconds and peak MB of a fresh process."""
    report = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code + "\n" + report], capture_output=True, text=True, check=True
    )
    return time.perf_counter() - start, int(done.stdout.split()[-1]) / 1024


DRAW = """
from pathlib import Path
from histonuc.data.synthetic import write_synthetic
write_synthetic(Path({raw!r}), tiles={tiles}, folds=1)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=500)
    tiles = parser.parse_args().tiles
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        # In a process of its own: a child's peak starts at its parent's.
        measure(DRAW.format(raw=str(raw), tiles=tiles))
        size = sum(file.stat().st_size for file in raw.rglob("*.npy")) / 1e9
        print(f"{tiles} tiles, {size:.2f} GB of float64 files; memory includes mapped file pages")
        for name, code in (("np.load and flatten", NAIVE), ("histonuc prepare", PREPARE)):
            seconds, peak = measure(code.format(raw=str(raw), out=str(Path(folder) / "store")))
            print(
                f"  {name:<22}{seconds:8.1f} s {1e3 * seconds / tiles:8.1f} ms/tile {peak:9.0f} MB"
            )
        store = sum(f.stat().st_size for f in (Path(folder) / "store").rglob("*") if f.is_file())
        print(f"  the store is {store / 1e6:.0f} MB, {size * 1e9 / store:.0f} times smaller")


if __name__ == "__main__":
    main()
