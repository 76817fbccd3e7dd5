"""Make a model's detection score a probability: scale and shift of its logit (Platt 1999).

Fitted to every nucleus that the model finds on validation tiles; one is right where its overlap
with a true nucleus is above one half. Prints the expected calibration error as it is, and that of
tiles left out of the fit (each tile is in one of five parts), and the options for
`histonuc export-model`.

    python tools/fit_score.py MODEL --data STORE [--folds 3]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from histonuc.data.resampling import at_mpp, resample_labels
from histonuc.data.store import Store
from histonuc.metrics.calibration import calibration_counts
from histonuc.metrics.matching import contingency, match
from histonuc.models.loading import load_model
from histonuc.representations.pooling import calibrate_score

PARTS = 5


def collect(name: str, data: Path, folds: list[int]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Score, whether it is right, number of the tile and data set of every nucleus found."""
    model, store = load_model(name), Store.open(data)
    plain = replace(model.representation, score_scale=1.0, score_shift=0.0)  # type: ignore[type-var]
    scores, rights, tiles, sources = [], [], [], []
    for tile in map(int, store.select(folds)):
        outputs = model.outputs(at_mpp(store, tile, model.spec.mpp)[None])
        found = outputs.decode(plain, 0)
        truth = store.instances(tile)
        labels = resample_labels(found.labels, *truth.shape[::-1])
        right = np.zeros(len(found.score), bool)
        table = contingency(truth, labels)
        right[table.prediction_ids[match(table).prediction] - 1] = True
        scores.append(found.score)
        rights.append(right)
        tiles += [tile] * len(right)
        sources += [store.source(tile)] * len(right)
    return np.concatenate(scores), np.concatenate(rights), np.array(tiles), np.array(sources)


def fit(score: NDArray, right: NDArray) -> tuple[float, float]:
    """Scale and shift of least negative log likelihood."""

    def loss(values: NDArray) -> float:
        p = np.clip(calibrate_score(score.astype(float), np.exp(values[0]), values[1]), 1e-9, 1)
        return float(-np.where(right, np.log(p), np.log(np.maximum(1 - p, 1e-9))).mean())

    scale, shift = minimize(loss, [0.0, 0.1], method="Nelder-Mead").x
    return float(np.exp(scale)), float(shift)


def ece(score: NDArray, right: NDArray) -> float:
    """Expected calibration error of the score."""
    return calibration_counts(np.zeros((0, 1)), np.zeros(0, int), score, right).score_ece


def main() -> None:
    """Fit and print, from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[3])
    args = parser.parse_args()
    score, right, tile, source = collect(args.model, args.data, args.folds)
    mended = np.zeros(len(score))
    for part in range(PARTS):
        here = tile % PARTS == part
        mended[here] = calibrate_score(score[here].astype(float), *fit(score[~here], right[~here]))
    for name in ("all", *np.unique(source)):
        rows = (source == name) | (name == "all")
        print(
            f"{name:10s} {rows.sum():6d} nuclei, {right[rows].mean():.3f} right   "
            f"ECE {ece(score[rows], right[rows]):.3f} -> {ece(mended[rows], right[rows]):.3f}"
        )
    scale, shift = fit(score, right)
    print(
        f"--representation-options.score-scale {scale:.4f} "
        f"--representation-options.score-shift {shift:.4f}"
    )


if __name__ == "__main__":
    main()
