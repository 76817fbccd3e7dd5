"""Class F1 by centroids with intervals over images, as a model's card states it.

    python benchmarks/class_f1.py MODEL --data DATA [--sources consep] [--folds 3]

HoVer-Net's class F1 (`DetectionCounts.centroid_f1`) of all nuclei together, and 95 % percentile
intervals from images drawn anew 2,000 times. Of a few images such intervals are too short.
"""

from __future__ import annotations

import argparse
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

from histonuc.data.store import Store
from histonuc.evaluation import evaluate
from histonuc.inference.runtime import load_runtime

DRAWS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sources", nargs="+", default=["consep"])
    parser.add_argument("--folds", type=int, nargs="+", default=[3])
    parser.add_argument("--precision", default="auto")
    args = parser.parse_args()
    store, runtime = Store.open(args.data), load_runtime(args.model, precision=args.precision)
    images = [
        evaluate(
            store,
            [tile],
            runtime.maps,
            representation=runtime.representation,
            label_space=runtime.label_space,
            mpp=runtime.mpp,
            panels=False,
        ).total.detection
        for tile in store.select(args.folds, args.sources).tolist()
    ]
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(images), size=(DRAWS, len(images)))
    draws = np.array([reduce(add, [images[i] for i in some]).centroid_f1 for some in drawn])
    low, high = np.nanpercentile(draws, [2.5, 97.5], axis=0)
    print(f"{len(images)} images, {runtime.name} in {runtime.precision}\n")
    print("| class | F1 | 95 % |")
    print("|---|---|---|")
    names = ("any", *store.label_space.classes)
    for name, f1, *ends in zip(names, reduce(add, images).centroid_f1, low, high, strict=True):
        print(f"| {name} | {f1:.3f} | {ends[0]:.3f} to {ends[1]:.3f} |")


if __name__ == "__main__":
    main()
