"""Class F1 by centroids with intervals over images, as a model's card states it.

    python tools/class_f1.py MODEL --data DATA [--sources consep] [--folds 3]

HoVer-Net's class F1 (`DetectionCounts.centroid_f1`) of all nuclei together, and 95 % percentile
intervals from images drawn anew 2,000 times (`histonuc.metrics.bootstrap`).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

from histonuc.data.store import Store
from histonuc.evaluation import evaluate_maps
from histonuc.metrics.bootstrap import percentile_interval, resample_sums
from histonuc.models.loading import load_model

DRAWS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sources", nargs="+", default=["consep"])
    parser.add_argument("--folds", type=int, nargs="+", default=[3])
    parser.add_argument("--precision", default="auto")
    args = parser.parse_args()
    store, model = Store.open(args.data), load_model(args.model, precision=args.precision)
    images = [
        evaluate_maps(
            store,
            [tile],
            model.maps,
            representation=model.representation,
            label_space=model.spec.label_space,
            mpp=model.spec.mpp,
        ).total.detection
        for tile in store.select(args.folds, args.sources).tolist()
    ]
    rng = np.random.default_rng(0)
    counts = np.stack([image.by_distance.ravel() for image in images]).astype(float)
    (drawn,) = resample_sums(counts, np.zeros(len(images), np.intp), 1, DRAWS, rng)
    total = reduce(add, images)
    pairs = drawn.astype(np.int64).reshape(DRAWS, *total.by_distance.shape)
    draws = np.stack([replace(total, by_distance=own).centroid_f1 for own in pairs])
    low, high = (end[0] for end in percentile_interval(draws[None]))
    print(f"{len(images)} images, {model.name} in {model.precision}\n")
    print("| class | F1 | 95 % |")
    print("|---|---|---|")
    names = ("any", *store.label_space.classes)
    for name, f1, *ends in zip(names, total.centroid_f1, low, high, strict=True):
        print(f"| {name} | {f1:.3f} | {ends[0]:.3f} to {ends[1]:.3f} |")


if __name__ == "__main__":
    main()
