"""Accuracy against speed: models and number formats, on real validation tiles.

    python benchmarks/bench_front.py [MODEL ...] [--images 12]

Every model in fp32, bf16 (where the processor multiplies it natively) and int8 (its own version, or
one made here of its checkpoint, ranges from training folds), each on the same images of fold 3 of
../shared/data: binary PQ over tissues, and the network's Mpx/s on one core (1024 px, the formats in
turn, medians). Without MODEL: the shipped ones.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from histonuc.data.formats import prepare_folder
from histonuc.data.store import Store
from histonuc.evaluation import evaluate
from histonuc.inference.engines import GraphRuntime
from histonuc.inference.model_export import export_model
from histonuc.inference.runtime import Runtime, find_checkpoint, list_shipped, load_runtime

SIDE_PX = 1024


def formats_of(model: str, store: Path, folder: Path) -> dict[str, Runtime]:
    """The model's runtimes on one core."""
    found: dict[str, Runtime] = {}
    for precision in ("fp32", "bf16", "int8"):
        try:
            found[precision] = load_runtime(model, precision=precision, threads=1)
        except ValueError as error:  # a processor without bf16, a model without an int8 version
            print(f"{model}: {error}")
    if "int8" not in found and find_checkpoint(Path(model)) is not None:
        out = folder / "int8.onnx"
        export_model(Path(model), out, precision="int8", data=store, folds=[1, 2])
        found["int8"] = GraphRuntime(out, threads=1)
    return found


def megapixels_a_second(runtimes: list[Runtime], repeats: int = 7) -> list[float]:
    """Medians, the runtimes in turn."""
    image = np.random.default_rng(0).integers(0, 256, (1, SIDE_PX, SIDE_PX, 3), np.uint8)
    seconds: list[list[float]] = [[] for _ in runtimes]
    for _ in range(repeats + 1):
        for runtime, spent in zip(runtimes, seconds, strict=True):
            start = time.perf_counter()
            runtime.maps(image)
            spent.append(time.perf_counter() - start)
    return [SIDE_PX**2 / 1e6 / statistics.median(spent[1:]) for spent in seconds]


def score(runtime: Runtime, store: Store, rows: np.ndarray) -> float:
    evaluation = evaluate(
        store,
        rows,
        runtime.maps,
        representation=runtime.representation,
        label_space=runtime.label_space,
        mpp=runtime.mpp,
        panels=False,
    )
    return float(evaluation.summary()["bpq"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=[model.name for model in list_shipped()])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--images", type=int, default=12, help="of each data set")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        prepare_folder(args.data, folder / "store", label_space="three")
        store = Store.open(folder / "store")
        by_source: dict[str, list[int]] = {}
        for row in store.select([3]).tolist():
            by_source.setdefault(store.source(row), []).append(row)
        rows = np.array(sorted(r for some in by_source.values() for r in some[: args.images]))
        print(f"{len(rows)} images of {len(by_source)} data sets, load {os.getloadavg()[0]:.1f}\n")
        print("| model | arithmetic | bPQ over tissues | Mpx/s, one core |")
        print("|---|---|---|---|")
        for model in args.models:
            runtimes = formats_of(model, folder / "store", folder)
            speeds = megapixels_a_second(list(runtimes.values()))
            for (name, runtime), speed in zip(runtimes.items(), speeds, strict=True):
                bpq = score(runtime, store, rows)
                print(f"| {model} | {name} | {bpq:.4f} | {speed:.1f} |", flush=True)


if __name__ == "__main__":
    main()
