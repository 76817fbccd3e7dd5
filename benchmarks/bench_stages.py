"""Core time of everything but the network in `histonuc predict`, by stage, on a dense slide.

    python benchmarks/bench_stages.py [WORK_FOLDER] --slide 0.1:0.5 --repeats 3

The network's maps are computed once and kept in WORK_FOLDER, so what is timed is the rest: reading,
decoding, outlines, features, joining and writing. Times are of the threads (not of the wall) and a
megapixel is one that the network saw. Prints a Markdown table of the best of the repeats.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from synthetic_slide import build

STAGES = (  # stage, module, name; what several modules import is patched where it is called
    ("plan", "histonuc.inference.slide", "plan_slide"),
    ("thumbnail", "histonuc.slides.pyramid:Pyramid", "thumbnail"),
    ("read", "histonuc.slides.pyramid:Pyramid", "read"),
    ("outlines", "histonuc.nuclei:Nuclei", "from_instances"),
    ("features", "histonuc.inference.pipeline", "measure_features"),
    ("flag", "histonuc.inference.pipeline", "flag_image"),
    ("claim", "histonuc.inference.pipeline", "claim_nuclei"),
    ("keep", "histonuc.inference.results:ResultFolder", "save_part"),
    ("join", "histonuc.inference.seams:Seams", "add"),
    ("tally", "histonuc.inference.progress:Tally", "add_nuclei"),
    ("geojson", "histonuc.exports.geojson:_Fragments", "features"),
    ("overview", "histonuc.inference.pictures", "write_overview"),
    ("density", "histonuc.inference.pictures", "write_density"),
    ("detail", "histonuc.inference.pictures", "write_detail"),
)


class StageTimes:
    """Thread seconds by stage, summed over the threads; a stage inside another is not in it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._local = threading.local()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time added to the stage."""

        def call(*args: Any, **options: Any) -> Any:
            outer = getattr(self._local, "inside", 0.0)
            self._local.inside = 0.0
            start = time.thread_time()
            try:
                return function(*args, **options)
            finally:
                spent = time.thread_time() - start
                with self._lock:
                    self.seconds[stage] += spent - self._local.inside
                self._local.inside = outer + spent

        return call

    def patch(self, stage: str, place: str, name: str) -> None:
        """Time a function of a module, or of a class in it."""
        module, _, owner = place.partition(":")
        target = importlib.import_module(module)
        target = getattr(target, owner) if owner else target
        wrapped = self.timed(stage, getattr(target, name))
        is_static = isinstance(vars(target).get(name), staticmethod)
        setattr(target, name, staticmethod(wrapped) if is_static else wrapped)


class KeptMaps:
    """A model whose maps come from files where they were computed before."""

    def __init__(self, model: Any, folder: Path, times: StageTimes) -> None:
        self._model, self._folder = model, folder
        self._read = times.timed("maps", self._read)
        self.pixels = 0
        self.representation = model.representation
        decode = times.timed("decode", model.representation.decode)
        object.__setattr__(self.representation, "decode", decode)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def maps(self, images: np.ndarray) -> np.ndarray:
        self.pixels += images.shape[0] * images.shape[1] * images.shape[2]
        return self._read(images)

    def _read(self, images: np.ndarray) -> np.ndarray:
        path = self._folder / f"{hashlib.sha1(images.tobytes()).hexdigest()}.npy"
        if not path.exists():
            np.save(path, self._model.maps(images).astype(np.float16))
        return np.load(path).astype(np.float32)


def run(slide: Path, work: Path, repeats: int) -> tuple[dict[str, float], float]:
    """Core-ms a megapixel by stage, the best of the repeats, and the megapixels."""
    from histonuc.exports import table
    from histonuc.inference.options import PredictOptions
    from histonuc.inference.predict import predict
    from histonuc.models.engines import num_cores
    from histonuc.models.loading import load_model

    times = StageTimes()
    for stage in STAGES:
        times.patch(*stage)
    # A context manager: what it hands out is timed.
    to_table = times.timed("table columns", table.to_table)
    table.to_table = to_table
    import pyarrow.parquet as pq

    pq.ParquetWriter.write_table = times.timed("parquet", pq.ParquetWriter.write_table)
    (work / "maps").mkdir(exist_ok=True)
    model = KeptMaps(load_model(streams=num_cores()), work / "maps", times)
    options = PredictOptions(overwrite=True)
    predict(slide, work / "out", options, model=model)  # compiles, and fills the maps
    best: dict[str, float] = {}
    for _ in range(repeats):
        times.seconds.clear()
        model.pixels = 0
        start = time.process_time()
        predict(slide, work / "out", options, model=model)
        spent = dict(times.seconds)
        maps = spent.pop("maps")
        spent["everything"] = time.process_time() - start - maps
        megapixels = model.pixels / 1e6
        for name, seconds in spent.items():
            value = seconds * 1000 / megapixels
            best[name] = min(best.get(name, value), value)
    return best, megapixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    work = Path(tempfile.gettempdir()) / "histonuc-stages"
    parser.add_argument("work", type=Path, nargs="?", default=work)
    parser.add_argument("--slide", default="0.1:0.5", help="gigapixels:share of tissue")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    gigapixels, tissue = map(float, args.slide.split(":"))
    slide = args.work / f"slide-{gigapixels:g}-{tissue:g}.tif"
    if not slide.exists():
        build(slide, args.data, gigapixels, tissue)
    best, megapixels = run(slide, args.work, args.repeats)
    summary = json.loads((args.work / "out" / slide.stem / "summary.json").read_text())
    core_mpx = summary["tissue_mm2"] * 1000**2 / summary["mpp"] ** 2 / 1e6
    print(f"{megapixels:.0f} Mpx seen by the network for {core_mpx:.0f} Mpx of tissue")
    print(f"{summary['num_nuclei']:,} nuclei, numpy {np.__version__}\n")
    print("| stage | core-ms a Mpx |\n|---|---|")
    for name, value in sorted(best.items(), key=lambda item: -item[1]):
        print(f"| {name} | {value:.2f} |")


if __name__ == "__main__":
    sys.exit(main())
