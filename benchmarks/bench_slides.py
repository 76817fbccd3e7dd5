"""Time, memory and throughput of `histonuc predict` on synthetic slides of real tissue.

    python benchmarks/bench_slides.py [WORK_FOLDER] --slides 1:0.5 4:0.5 64:0.02 --repeats 3
        [--models default compact-offset-fast-2]

Each slide is given as gigapixels:share of tissue; it is built from ../shared/data where missing and
analysed in a process of its own, by several models in turn. Of several repeats the run of median
time counts, and the slowest and fastest are shown. Prints a Markdown table and writes
WORK_FOLDER/slide_scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from multiprocessing import get_context
from pathlib import Path

from synthetic_slide import build

COLUMNS = (
    "gigapixels",
    "model",
    "tissue mm²",
    "nuclei",
    "seconds",
    "fastest",
    "slowest",
    "mm²/s",
    "peak memory MB",
    "network idle",
    "result MB",
)


def run(slide: Path, out: Path, model: str) -> dict[str, float]:
    """One prediction from a fresh process; memory is the process's largest resident set."""
    command = [sys.executable, "-m", "histonuc", "predict", str(slide), "--out", str(out)]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--model", model], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    folder = out / slide.stem
    summary = json.loads((folder / "summary.json").read_text())
    spent = summary["seconds"]
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return {
        "gigapixels": summary["size_px"][0] * summary["size_px"][1] / 1e9,
        "tissue mm²": summary["tissue_mm2"],
        "nuclei": summary["num_nuclei"],
        "seconds": seconds,
        "mm²/s": summary["tissue_mm2"] / seconds,
        "peak memory MB": usage.ru_maxrss / 1024,
        "network idle": spent["network_idle"] / spent["total"],
        "result MB": size / 1e6,
        "parts": spent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    work = Path(tempfile.gettempdir()) / "histonuc-slides"
    parser.add_argument("work", type=Path, nargs="?", default=work)
    parser.add_argument("--slides", nargs="+", default=["1:0.5", "4:0.5", "16:0.12", "64:0.02"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", nargs="+", default=["default"])
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    if not (args.data / "monuseg").is_dir():
        raise SystemExit(f"no monuseg and consep in {args.data}: give --data ../shared/data")
    args.work.mkdir(parents=True, exist_ok=True)
    rows = []
    for text in args.slides:
        gigapixels, tissue = map(float, text.split(":"))
        slide = args.work / f"slide-{gigapixels:g}-{tissue:g}.tif"
        if not slide.exists():  # elsewhere: a child's peak memory begins with its parent's
            builder = get_context("spawn").Process(
                target=build, args=(slide, args.data, gigapixels, tissue)
            )
            builder.start()
            builder.join()
            if builder.exitcode:
                raise SystemExit(f"{slide} could not be built")
        out, runs = args.work / "out", defaultdict(list)
        for model in args.models * args.repeats:
            shutil.rmtree(out, ignore_errors=True)
            runs[model].append(run(slide, out, model))
        for model, some in runs.items():
            some.sort(key=lambda row: row["seconds"])
            ends = {"fastest": some[0]["seconds"], "slowest": some[-1]["seconds"]}
            rows.append({"model": model} | some[len(some) // 2] | ends)
            print(json.dumps(rows[-1]), flush=True)
        (args.work / "slide_scale.json").write_text(json.dumps(rows, indent=2))
    print(f"\n{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} at the end\n")
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for row in rows:
        cells = (row[name] for name in COLUMNS)
        texts = (one if isinstance(one, str) else f"{one:,.3g}" for one in cells)
        print("| " + " | ".join(texts) + " |")


if __name__ == "__main__":
    main()
