"""Choose a model's decoder options on validation tiles.

    python tools/tune_decoder.py MODEL --data DATA [--folds 3]

The network runs once; then one option after the other is changed while the score rises. The score
is the mean over data sets of five or more tiles of the image means of binary PQ. Prints the options
as `histonuc export-model` takes them. What is chosen so is no test score on the same tiles.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from histonuc.data.resampling import at_mpp, resample_labels
from histonuc.data.store import Store
from histonuc.metrics.panoptic import panoptic_counts
from histonuc.models.engines import num_cores
from histonuc.models.loading import load_model

GRID: dict[str, tuple[float, ...]] = {
    "threshold": (0.4, 0.45, 0.5, 0.55, 0.6, 0.65),
    "min_score": (0.0, 0.6, 0.7, 0.75, 0.8, 0.85),
    "prominence": (0.15, 0.25, 0.35, 0.5, 0.7),
    "blur_px": (0.8, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0),
    "min_area_px": (20, 30, 40, 60, 80),
}


class Tuner:
    """Maps of all tiles, and scores of options on them."""

    def __init__(self, model: str, data: Path, folds: list[int]) -> None:
        self.model = load_model(model)
        store = Store.open(data)
        self.tiles: list[tuple[str, np.ndarray, np.ndarray]] = []
        for tile in store.select(folds).tolist():
            maps = self.model.maps(at_mpp(store, tile, self.model.spec.mpp)[None])[0]
            # float16: ten bits of a probability or of a few pixels are more than they are worth
            self.tiles.append((store.source(tile), store.instances(tile), maps.astype(np.float16)))
        sources = [source for source, _, _ in self.tiles]
        self.sources = sorted({s for s in sources if sources.count(s) >= 5} - {"nucls15"})
        self.known: dict[Any, dict[str, float]] = {}

    def score(self, options: dict[str, Any]) -> dict[str, float]:
        """Image means of binary PQ by data set."""
        key = tuple(sorted(options.items()))
        if key not in self.known:
            decoder = replace(self.model.representation, **options)  # type: ignore[type-var]

            def bpq(tile: tuple[str, np.ndarray, np.ndarray]) -> float:
                found = decoder.decode(tile[2].astype(np.float32))
                labels = resample_labels(found.labels, *tile[1].shape[::-1])
                counts = panoptic_counts(tile[1], labels)
                return float(counts.pq[0]) if tile[1].any() else np.nan

            with ThreadPoolExecutor(num_cores()) as pool:
                scores = list(pool.map(bpq, self.tiles))
            self.known[key] = {
                name: float(
                    np.nanmean([s for s, t in zip(scores, self.tiles, strict=True) if t[0] == name])
                )
                for name in self.sources
            }
        return self.known[key]

    def total(self, options: dict[str, Any]) -> float:
        """Mean over data sets."""
        return float(np.mean(list(self.score(options).values())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[3])
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    tuner = Tuner(args.model, args.data, args.folds)
    best = {name: getattr(tuner.model.representation, name) for name in GRID}
    print("start", best, f"{tuner.total(best):.4f}", flush=True)
    for _ in range(args.rounds):
        before = dict(best)
        for name, values in GRID.items():
            best = max(({**best, name: value} for value in (best[name], *values)), key=tuner.total)
            print(f"{name} {best[name]}: {tuner.total(best):.4f}", flush=True)
        if best == before:
            break
    print({name: round(value, 4) for name, value in tuner.score(best).items()})
    print(
        " ".join(
            f"--representation-options.{name.replace('_', '-')} {value}"
            for name, value in best.items()
        )
    )


if __name__ == "__main__":
    main()
