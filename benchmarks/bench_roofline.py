"""How near the network comes to what the processor can multiply, and where a slide's time goes.

    python benchmarks/bench_roofline.py [--model NAME] [--summary OUT/NAME/summary.json]

Counts the multiply-adds of the exported graph at 1024² pixels, measures the largest rate of a
matrix product of the same data type on the same cores in the same process, and the network's own.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from histonuc.models.engines import ExportedModel, num_cores
from histonuc.models.exported import INT8_SUFFIX, openvino_core
from histonuc.models.loading import DEFAULT_MODEL, shipped_files
from histonuc.offline import load_openvino

SIDE = 1024
PRODUCT = 4096


def count_multiply_adds(path: Path, side: int) -> int:
    """Multiply-adds of all convolutions for one image of side x side pixels."""
    graph = openvino_core().read_model(path)
    graph.reshape({0: [1, side, side, 3]})
    total = 0
    for node in graph.get_ordered_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution"):
            weights = list(node.input(1).get_shape())
            inputs = weights[-3] if node.get_type_name() == "Convolution" else weights[2]
            kernel = math.prod(weights[-2:])
            total += math.prod(node.output(0).get_shape()) * inputs * kernel
    return total


def median_seconds(call: Callable[[], object], runs: int = 7) -> float:
    """Median time of a call after one to warm up."""
    call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_rate(precision: str) -> float:
    """Multiply-adds a second of a square matrix product through the same engine."""
    openvino = load_openvino()
    opset13 = openvino.opset13
    left = opset13.parameter([PRODUCT, PRODUCT], np.float32)
    right = opset13.constant(np.random.default_rng(0).random((PRODUCT, PRODUCT), np.float32))
    if precision == "int8":
        left_low, low, high = (np.float32(value) for value in (0, -1, 1))
        activations = opset13.fake_quantize(left, left_low, high, left_low, high, 256)
        weights = opset13.fake_quantize(right, low, high, low, high, 255)
        product = opset13.matmul(activations, weights, False, False)
    else:
        product = opset13.matmul(left, right, False, False)
    model = openvino.Model([product], [left])
    compiled = openvino_core().compile_model(
        model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": num_cores(),
            "ENABLE_CPU_PINNING": False,
        },
    )
    request = compiled.create_infer_request()
    data = np.random.default_rng(1).random((PRODUCT, PRODUCT), np.float32)
    seconds = median_seconds(lambda: request.infer([data], share_inputs=True), 5)
    return PRODUCT**3 / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="")
    parser.add_argument("--summary", type=Path)
    args = parser.parse_args()
    shipped = shipped_files()
    path = Path(args.model) if Path(args.model).is_file() else shipped.get(args.model)
    if path is None:
        path = shipped[DEFAULT_MODEL]
    macs = count_multiply_adds(path, SIDE)
    print(f"{path.stem}: {macs / SIDE**2 / 1e3:.1f} k multiply-adds a pixel, {num_cores()} cores")
    print("| data type | peak GMAC/s | network GMAC/s | share | Mpx/s |")
    print("|---|---|---|---|---|")
    image = np.random.default_rng(2).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    for precision in ("fp32", "bf16", "int8"):
        file = path.with_name(path.stem + INT8_SUFFIX) if precision == "int8" else path
        try:
            runtime = ExportedModel(file, precision=precision)
        except ValueError as error:
            print(f"| {precision} | {error} |")
            continue
        peak = peak_rate(precision)
        seconds = median_seconds(lambda runtime=runtime: runtime.maps(image))
        rate = macs / seconds
        print(
            f"| {precision} | {peak / 1e9:.0f} | {rate / 1e9:.0f} | {rate / peak:.0%} "
            f"| {SIDE**2 / seconds / 1e6:.2f} |"
        )
    if args.summary:
        spent = json.loads(args.summary.read_text())["seconds"]
        total = sum(v for k, v in spent.items() if k not in ("total", "network_idle"))
        print("\n| part | thread-seconds | share |\n|---|---|---|")
        for name, value in spent.items():
            if name not in ("total", "network_idle"):
                print(f"| {name} | {value:.1f} | {value / total:.0%} |")


if __name__ == "__main__":
    main()
