"""Contours of all nuclei of a label image: `trace_contours` beside a loop over OpenCV crops.

    .venv/bin/python benchmarks/bench_contours.py [--repeats 9]

Prints the median of interleaved runs in one process, on a CoNSeP image where ../shared is present
and on a drawn grid of discs otherwise.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from histonuc.contours import trace_contours


def opencv_loop(labels: np.ndarray, num_labels: int) -> list[np.ndarray]:
    """`cv2.findContours` on each nucleus's bounding box: pixel-centre outlines."""
    ys, xs = np.nonzero(labels)
    ids = labels[ys, xs] - 1
    low = np.full((num_labels, 2), 1 << 30)
    high = np.zeros((num_labels, 2), int)
    np.minimum.at(low, ids, np.stack([ys, xs], 1))
    np.maximum.at(high, ids, np.stack([ys, xs], 1) + 1)
    contours = []
    for i in range(num_labels):
        (y0, x0), (y1, x1) = low[i], high[i]
        mask = (labels[y0:y1, x0:x1] == i + 1).astype(np.uint8)
        found, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        contours.append(max(found, key=len)[:, 0] + (x0, y0))
    return contours


def label_image() -> tuple[str, np.ndarray]:
    """A real label image, or discs."""
    real = Path(__file__).parents[2] / "shared/data/consep/instances/train_1.png"
    if real.is_file():
        raw = cv2.imread(str(real), cv2.IMREAD_UNCHANGED)
        return "consep train_1", np.unique(raw, return_inverse=True)[1].reshape(raw.shape)
    labels = np.zeros((1000, 1000), np.int32)
    for i in range(900):
        cv2.circle(labels, (16 + 33 * (i % 30), 16 + 33 * (i // 30)), 11, i + 1, -1)
    return "discs", labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    cv2.setNumThreads(1)
    name, labels = label_image()
    labels = labels.astype(np.int32)
    num = int(labels.max())
    times: dict[str, list[float]] = {"trace_contours": [], "loop over cv2.findContours": []}
    for _ in range(repeats):
        for label, function in (
            ("trace_contours", trace_contours),
            ("loop over cv2.findContours", opencv_loop),
        ):
            start = time.perf_counter()
            function(labels, num)
            times[label].append(time.perf_counter() - start)
    pixels = np.bincount(labels.ravel())[1:].sum()
    loop_area = sum(cv2.contourArea(c.astype(np.int32)) for c in opencv_loop(labels, num))
    points, offsets = trace_contours(labels, num)
    ours_area = sum(
        cv2.contourArea(points[a:b].astype(np.float32)) for a, b in itertools.pairwise(offsets)
    )
    print(f"{name}: {num} nuclei, {labels.shape}, one thread, median of {repeats} interleaved runs")
    for label, area in (("trace_contours", ours_area), ("loop over cv2.findContours", loop_area)):
        print(f"  {label:<28}{median(times[label]) * 1e3:8.1f} ms   area kept {area / pixels:.3f}")


if __name__ == "__main__":
    main()
