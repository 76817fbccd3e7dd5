"""The official PanNuke scores, binary and of 5 classes: ours beside a plain transcription.

    .venv/bin/python benchmarks/bench_metrics.py [--tiles 500]

Both read the same float64 masks (H, W, 6) in one process, tile by tile in turn; times are the
thread's own CPU time, so that other programs on the machine count less. The transcription
takes the published script's steps (`binarize`, `remap_label`, `get_fast_pq`) one after the other.
The last line is what `histonuc evaluate` counts with: it holds label images and types.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

from histonuc.data.synthetic import draw_tile
from histonuc.metrics.counts import nanmean
from histonuc.metrics.official import flatten_channels, official_counts
from histonuc.metrics.panoptic import PanopticCounts, panoptic_counts
from histonuc.taxonomy import TISSUES

NUM_CLASSES = 5


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=500)
    tiles = parser.parse_args().tiles
    names = ("published", "ours, from masks", "ours, from label images")
    seconds = dict.fromkeys(names, 0.0)
    first = np.zeros((8, 8, 6))
    start = time.thread_time()
    official_counts(first, first)  # numba, its kernels, from their cache from the second run on
    print(f"first call {time.thread_time() - start:.2f} s, left out below")
    num_nuclei, worst = 0, 0.0
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
        seconds[names[0]] += time.thread_time() - start
        start = time.thread_time()
        counts = official_counts(true, pred)
        seconds[names[1]] += time.thread_time() - start
        start = time.thread_time()
        panoptic_counts(true_flat, pred_flat, *types, num_classes=NUM_CLASSES)
        seconds[names[2]] += time.thread_time() - start

        own = np.where(counts.image_count > 0, counts.image_pq, np.nan)
        expected = np.array([binary, *classes])
        assert np.array_equal(np.isnan(own), np.isnan(expected))
        worst = max(worst, float(np.nanmax(np.abs(own - expected), initial=0)))
        mean_of_images.append((binary, nanmean(classes)))
        num_nuclei += int(counts.tp[0] + counts.fn[0])
        total = total + counts
    print(f"{tiles} tiles of 256 px, {num_nuclei / tiles:.1f} nuclei a tile, one thread")
    for name, value in seconds.items():
        ratio = seconds[names[0]] / value
        print(f"  {name:<26}{1e3 * value / tiles:9.3f} ms a tile {ratio:9.1f} times as fast")
    bpq, mpq = (nanmean(column) for column in zip(*mean_of_images, strict=True))
    print(f"largest difference of a tile's PQ, binary or class: {worst:.1e}")
    print(f"mean over images: bPQ {bpq:.9f} and {total.image_pq[0]:.9f} (ours)")
    print(f"                  mPQ {mpq:.9f} and {total.image_mpq:.9f} (ours)")


if __name__ == "__main__":
    main()
