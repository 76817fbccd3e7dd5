"""Accuracy against speed: models, engines and number formats, on real validation tiles.

    python benchmarks/bench_front.py [MODEL ...] [--images 12] [--threads 1]

Every model in fp32, bf16 (where the processor multiplies it natively) and int8 (its own version, or
one made here of its checkpoint, ranges from training folds) by OpenVINO, the same files by ONNX
Runtime, and its checkpoint by torch, each on the same images of fold 3 of ../shared/data: binary PQ
over tissues, and the network's Mpx/s (1024 px, all in turn, medians). Without MODEL: the shipped
ones.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from histonuc.data.folder import FolderOptions, prepare_folder
from histonuc.data.store import Store
from histonuc.evaluation import evaluate_maps, summarise
from histonuc.models.engines import ExportedModel, TorchModel
from histonuc.models.export import export_model
from histonuc.models.exported import INT8_SUFFIX
from histonuc.models.loading import (
    DEFAULT_MODEL,
    find_checkpoint,
    list_shipped,
    shipped_files,
)
from histonuc.models.model import SPEC_KEY, ModelSpec

SIDE_PX = 1024


class OnnxRuntime:
    """One of our ONNX files by ONNX Runtime, as far as `score` and the clock need it."""

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.spec = ModelSpec.from_json(metadata[SPEC_KEY])
        self.representation = self.spec.build_representation()

    def maps(self, images: np.ndarray) -> np.ndarray:
        """As `Model.maps`."""
        return np.asarray(self._session.run(None, {self._input: images})[0])


def variants_of(model: str, store: Path, folder: Path, threads: int) -> dict[str, Any]:
    """The model's runtimes by engine and number format."""
    model = DEFAULT_MODEL if model == "default" else model
    checkpoint, path = find_checkpoint(Path(model)), Path(model)
    exact = shipped_files().get(model, path)
    if exact.suffix != ".onnx":  # a run
        exact = folder / "fp32.onnx"
        export_model(path, exact, precision="fp32")
    quantised = exact.with_suffix(INT8_SUFFIX)
    if not quantised.is_file() and checkpoint is not None:
        quantised = folder / "int8.onnx"
        export_model(checkpoint, quantised, precision="int8", data=store, folds=[1, 2])
    found: dict[str, Any] = {}
    for precision in ("fp32", "bf16"):
        try:
            found[f"OpenVINO {precision}"] = ExportedModel(exact, threads, precision=precision)
        except ValueError as error:  # a processor without bf16
            print(f"{model}: {error}")
    found["ONNX Runtime fp32"] = OnnxRuntime(exact, threads)
    if quantised.is_file():
        found["OpenVINO int8"] = ExportedModel(quantised, threads)
        found["ONNX Runtime int8"] = OnnxRuntime(quantised, threads)
    if checkpoint is not None:
        torch.set_num_threads(threads)
        for precision in ("fp32", "bf16"):
            found[f"torch {precision}"] = TorchModel(checkpoint, "cpu", precision=precision)
    return found


def megapixels_a_second(runtimes: list[Any], repeats: int = 7) -> list[float]:
    """Medians, the runtimes in turn."""
    image = np.random.default_rng(0).integers(0, 256, (1, SIDE_PX, SIDE_PX, 3), np.uint8)
    seconds: list[list[float]] = [[] for _ in runtimes]
    for _ in range(repeats + 1):
        for runtime, spent in zip(runtimes, seconds, strict=True):
            start = time.perf_counter()
            runtime.maps(image)
            spent.append(time.perf_counter() - start)
    return [SIDE_PX**2 / 1e6 / statistics.median(spent[1:]) for spent in seconds]


def score(runtime: Any, store: Store, rows: np.ndarray) -> float:
    evaluation = evaluate_maps(
        store,
        rows,
        runtime.maps,
        representation=runtime.representation,
        label_space=runtime.spec.label_space,
        mpp=runtime.spec.mpp,
    )
    return float(summarise(evaluation)["bpq"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=[model.name for model in list_shipped()[0]])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--images", type=int, default=12, help="of each data set")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        prepare_folder(args.data, folder / "store", FolderOptions(label_space="three"))
        store = Store.open(folder / "store")
        by_source: dict[str, list[int]] = {}
        for row in store.select([3]).tolist():
            by_source.setdefault(store.source(row), []).append(row)
        rows = np.array(sorted(r for some in by_source.values() for r in some[: args.images]))
        print(f"{len(rows)} images of {len(by_source)} data sets, load {os.getloadavg()[0]:.1f}\n")
        print(f"| model | engine | bPQ over tissues | Mpx/s, threads: {args.threads} |")
        print("|---|---|---|---|")
        for model in args.models:
            runtimes = variants_of(model, folder / "store", folder, args.threads)
            speeds = megapixels_a_second(list(runtimes.values()))
            for (name, runtime), speed in zip(runtimes.items(), speeds, strict=True):
                bpq = score(runtime, store, rows)
                print(f"| {model} | {name} | {bpq:.4f} | {speed:.1f} |", flush=True)


if __name__ == "__main__":
    main()
