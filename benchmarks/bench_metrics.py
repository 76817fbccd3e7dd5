"""The official PanNuke scores, binary and of 5 classes: ours beside a plain transcription.

    .venv/bin/python benchmarks/bench_metrics.py [--tiles 500]
    .venv/bin/python benchmarks/bench_metrics.py --memory 1000 10000

Both read the same float64 masks (H, W, 6) in one process, tile by tile in turn; times are medians
of the thread's own CPU time, so that other programs on the machine count less. The transcription
takes the published script's steps (`binarize`, `remap_label`, `get_fast_pq`) one after the other.
The last time is what `histonuc evaluate` counts with: it holds label images and types. Exit code 1
where a PQ differs by more than 1e-6.

``--memory`` scores and writes so many small tiles instead, each number in a fresh process, and
prints its peak memory.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from histonuc.data.synthetic import draw_tile
from histonuc.evaluation import write_scores
from histonuc.evaluation.classes import ScoredClasses
from histonuc.evaluation.evaluate import pair_with_truth, score_tiles
from histonuc.evaluation.predictions import Prediction
from histonuc.metrics.counts import nanmean
from histonuc.metrics.official import flatten_channels, official_counts
from histonuc.metrics.panoptic import PanopticCounts, panoptic_counts
from histonuc.taxonomy import PANNUKE, TISSUES

NUM_CLASSES = 5
TOLERANCE = 1e-6
FASTER = 30
SMALL_PX = 64
NUM_DRAWN = 16


def binarize(mask: np.ndarray) -> np.ndarray:
    out = np.zeros(mask.shape[:2])
    count = 1
    for channel in range(mask.shape[2]):
        ids = np.unique(mask[:, :, channel]).tolist()
        ids.remove(0)
        for value in ids:
            own = mask[:, :, channel] == value
            out *= 1 - own
            out += count * own
            count += 1
    return out.astype("int32")


def remap_label(labels: np.ndarray) -> np.ndarray:
    ids = list(np.unique(labels))
    ids.remove(0)
    new = np.zeros(labels.shape, np.int32)
    for index, value in enumerate(ids):
        new[labels == value] = index + 1
    return new


def get_fast_pq(true: np.ndarray, pred: np.ndarray) -> float:
    true_ids, pred_ids = list(np.unique(true)), list(np.unique(pred))
    true_masks = [None] + [np.array(true == t, np.uint8) for t in true_ids[1:]]
    pred_masks = [None] + [np.array(pred == p, np.uint8) for p in pred_ids[1:]]
    pairwise = np.zeros((len(true_ids) - 1, len(pred_ids) - 1))
    for t in true_ids[1:]:
        t_mask = true_masks[t]
        for p in np.unique(pred[t_mask > 0]):
            if p == 0:
                continue
            p_mask = pred_masks[p]
            total = (t_mask + p_mask).sum()
            inter = (t_mask * p_mask).sum()
            pairwise[t - 1, p - 1] = inter / (total - inter)
    paired_true, paired_pred = np.nonzero(pairwise > 0.5)
    iou = pairwise[paired_true, paired_pred]
    tp = len(paired_true)
    fp, fn = len(pred_ids) - 1 - tp, len(true_ids) - 1 - tp
    return (tp / (tp + 0.5 * fp + 0.5 * fn)) * (iou.sum() / (tp + 1.0e-6))


def published(true: np.ndarray, pred: np.ndarray) -> tuple[float, list[float]]:
    """Binary PQ and the PQ of each class of one image."""
    true_bin, pred_bin = binarize(true[..., :NUM_CLASSES]), binarize(pred[..., :NUM_CLASSES])
    binary = math.nan if len(np.unique(true_bin)) == 1 else get_fast_pq(true_bin, pred_bin)
    classes = []
    for j in range(NUM_CLASSES):
        true_j = remap_label(true[..., j].astype("int32"))
        pred_j = remap_label(pred[..., j].astype("int32"))
        classes.append(math.nan if len(np.unique(true_j)) == 1 else get_fast_pq(true_j, pred_j))
    return binary, classes


def disturb(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """A prediction: nuclei moved by up to 2 px, a few lost, a few of another class."""
    moved = np.zeros_like(mask)
    for channel in range(NUM_CLASSES):
        for value in np.unique(mask[..., channel]):
            if value == 0 or rng.random() < 0.1:
                continue
            own = np.roll(mask[..., channel] == value, rng.integers(-2, 3, 2), (0, 1))
            target = rng.integers(NUM_CLASSES) if rng.random() < 0.1 else channel
            free = own & ~moved[..., :NUM_CLASSES].any(2)
            moved[free, target] = value
    return moved


class DrawnStore:
    """What scoring asks of a store: small tiles with own names, a few drawn ones in turn."""

    label_space = PANNUKE

    def __init__(self, num: int) -> None:
        drawn = [
            draw_tile(np.random.default_rng((1, k)), TISSUES[k], SMALL_PX) for k in range(NUM_DRAWN)
        ]
        self._images = [image for image, _ in drawn]
        self._truth = [flatten_channels(mask, NUM_CLASSES)[0] for _, mask in drawn]
        self._types = [flatten_channels(mask, NUM_CLASSES)[1].types for _, mask in drawn]
        self.tiles = pa.table(
            {
                "name": [f"tile_{i:06d}" for i in range(num)],
                "source": ["drawn"] * num,
                "tissue": [TISSUES[i % len(TISSUES)] for i in range(num)],
                "fold": [1 + i % 3 for i in range(num)],
            }
        )

    def image(self, tile: int) -> np.ndarray:
        return self._images[tile % NUM_DRAWN]

    def instances(self, tile: int) -> np.ndarray:
        return self._truth[tile % NUM_DRAWN]

    def types(self, tile: int) -> np.ndarray:
        return self._types[tile % NUM_DRAWN]

    def covered(self, tile: int) -> None:
        return None

    def mpp(self, tile: int) -> float:
        return 0.25

    def predictions(self) -> Iterator[tuple[int, Prediction]]:
        """The truth, moved by a pixel or two."""
        for tile in range(self.tiles.num_rows):
            labels = np.roll(self.instances(tile), 1 + tile % 2, axis=tile % 2)
            yield tile, Prediction(labels=labels, types=self.types(tile))


def print_peak(num: int) -> None:
    """Score and write `num` small tiles, and say how much memory this process took at most."""
    store = DrawnStore(num)
    classes = ScoredClasses(label_space=store.label_space)
    pairs = pair_with_truth(store, store.predictions(), classes)
    evaluation = score_tiles(pairs, classes)
    scored = peak_kib()
    with TemporaryDirectory() as folder:
        write_scores(evaluation, Path(folder))
    print(scored, peak_kib())


def peak_kib() -> int:
    """Of this process; getrusage would count its parent's too."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


def compare_memory(numbers: list[int]) -> None:
    peaks = []
    print("peak memory in MiB when tiles are scored, and when the scores are written")
    for num in numbers:
        command = [sys.executable, __file__, "--peak-of", str(num)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(np.array(done.stdout.split(), int))
        scored, written = peaks[-1] / 1024
        print(f"{num:>9,} tiles of {SMALL_PX} px {scored:9.1f} {written:9.1f}", flush=True)
    if len(numbers) > 1:
        scored, written = (peaks[-1] - peaks[0]) / (numbers[-1] - numbers[0])
        print(f"KiB a further tile {scored:14.2f} {written:9.2f}")


def compare_times(tiles: int) -> bool:
    """Print the times, and whether every PQ is the published one."""
    names = ("published", "ours, from masks", "ours, from label images")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    first = np.zeros((8, 8, 6))
    start = time.thread_time()
    official_counts(first, first)  # numba, its kernels, from their cache from the second run on
    print(f"first call {time.thread_time() - start:.2f} s, left out below")
    num_nuclei, num_flat, worst = 0, 0, 0.0
    mean_of_images: list[tuple[float, float]] = []
    total = PanopticCounts.zero(NUM_CLASSES)
    for tile in range(tiles):
        rng = np.random.default_rng((0, tile))
        true = draw_tile(rng, TISSUES[tile % len(TISSUES)])[1].astype(np.float64)
        pred = disturb(rng, true)
        (true_flat, true_rest), (pred_flat, pred_rest) = (
            flatten_channels(mask, NUM_CLASSES) for mask in (true, pred)
        )
        types = true_rest.types, pred_rest.types

        start = time.thread_time()
        binary, classes = published(true, pred)
        seconds[names[0]].append(time.thread_time() - start)
        start = time.thread_time()
        counts = official_counts(true, pred)
        seconds[names[1]].append(time.thread_time() - start)
        start = time.thread_time()
        flat = panoptic_counts(true_flat, pred_flat, *types, num_classes=NUM_CLASSES)
        seconds[names[2]].append(time.thread_time() - start)

        expected = np.array([binary, *classes])
        worst = max(worst, largest_difference(counts, expected))
        if len(true_rest) + len(pred_rest) == 0:  # else label images hold less than the masks
            num_flat += 1
            worst = max(worst, largest_difference(flat, expected))
        mean_of_images.append((binary, nanmean(classes)))
        num_nuclei += int(counts.tp[0] + counts.fn[0])
        total = total + counts
    print(f"{tiles} tiles of 256 px, {num_nuclei / tiles:.1f} nuclei a tile, one thread, medians")
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    for name, value in medians.items():
        ratio = medians[names[0]] / value
        verdict = "" if name == names[0] else f"   at least {FASTER}: {says(ratio >= FASTER)}"
        print(f"  {name:<26}{1e3 * value:9.3f} ms a tile {ratio:9.1f} times as fast{verdict}")
    bpq, mpq = (nanmean(column) for column in zip(*mean_of_images, strict=True))
    same = worst <= TOLERANCE
    print(f"largest difference of a tile's PQ, binary or class: {worst:.1e}")
    print(f"  at most {TOLERANCE:.0e}: {says(same)}")
    print(f"  (from label images where no nuclei overlap, {num_flat} tiles)")
    print(f"mean over images: bPQ {bpq:.9f} and {total.image_pq[0]:.9f} (ours)")
    print(f"                  mPQ {mpq:.9f} and {total.image_mpq:.9f} (ours)")
    return same


def largest_difference(counts: PanopticCounts, expected: np.ndarray) -> float:
    """Of the PQ of one tile, binary and of each class; infinite where only one of them has it."""
    own = np.where(counts.image_count > 0, counts.image_pq, np.nan)
    if not np.array_equal(np.isnan(own), np.isnan(expected)):
        return math.inf
    return float(np.nanmax(np.abs(own - expected), initial=0))


def says(is_so: bool) -> str:
    return "yes" if is_so else "NO"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=500)
    parser.add_argument("--memory", type=int, nargs="+", help="numbers of tiles; no times then")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        print_peak(options.peak_of)
    elif options.memory:
        compare_memory(options.memory)
    elif not compare_times(options.tiles):
        sys.exit(1)


if __name__ == "__main__":
    main()
