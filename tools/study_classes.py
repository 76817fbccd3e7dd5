"""What the features of a trained network know: of classes, of tumour, of tissue it never saw.

No image is looked at that is not in the store. Three questions, each a table on the screen and in
the score file:

- ``transfer``: classes fitted to the nuclei of one set of colon, both, and other levels of the
  network, scored on images of both that nothing was learned from.
- ``gate``: is tumour told apart from healthy epithelium? One image of healthy epithelium and two of
  tumour are left out at a time.
- ``trust``: the share of images that are marked as unlike those learned from, by data set and
  organ, with all nuclei learned from and with one set of colon left out.

    python tools/study_classes.py MODEL --data STORE --out scores.json

The store has the classes Neoplastic, Inflammatory, Connective and Epithelial
(`src/histonuc/configs/classes/four.yaml`), and outlines for the points of crchisto
(`histonuc prepare outline`).
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fit_classes import fit_linear, fit_trust, principal
from numpy.typing import NDArray
from pooled import Pooled, collect

from histonuc.data.store import Store
from histonuc.files import write_text
from histonuc.models.loading import find_checkpoint
from histonuc.models.zoo import load_network

log = logging.getLogger(__name__)

COLON = ("consep7", "crchisto")
CLASSES = ("Neoplastic", "Inflammatory", "Connective", "Epithelial")
NEOPLASTIC, CONNECTIVE, EPITHELIAL = 0, 2, 3
NOT_NEOPLASTIC = 0b1110
MOST_NUCLEI = 16_000
"""Nuclei of a data set that classes are fitted to, drawn at random."""
MIN_NUCLEI = 10
"""Of an image whose median trust is taken."""
MARKED = 0.05
"""Share of the images of colon, never trained on, that the threshold of trust marks."""


def draw(mask: NDArray[np.bool_], most: int = MOST_NUCLEI) -> NDArray[np.int64]:
    """Rows of a mask, at most so many."""
    rows = np.flatnonzero(mask)
    return np.random.default_rng(0).permutation(rows)[:most]


def classify(
    x: NDArray[np.float32], candidates: NDArray[np.uint32], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Most probable class of each nucleus by a linear classifier learned from some rows."""
    weights, bias = fit_linear(x[rows], candidates[rows], len(CLASSES), 1e-2)
    return np.asarray((x @ weights.T + bias).argmax(1), np.int64)


def share_right(
    found: NDArray[np.int64], candidates: NDArray[np.uint32], rows: NDArray[np.bool_]
) -> dict[str, float]:
    """Share right and mean share of the three classes, tumour and healthy epithelium as one."""
    merged = np.array([0, 1, 2, 0])
    bits = (candidates[rows, None].astype(np.int64) >> np.arange(len(CLASSES)) & 1).astype(bool)
    allowed = np.stack([bits[:, 0] | bits[:, 3], bits[:, 1], bits[:, 2]], axis=1)
    known = allowed.sum(1) == 1
    truth, answer = allowed[known].argmax(1), merged[found[rows][known]]
    by_class = [float((answer[truth == k] == k).mean()) for k in range(3)]
    return {"right": float((answer == truth).mean()), "mean of classes": float(np.mean(by_class))}


def study_transfer(pooled: Pooled) -> list[dict[str, Any]]:
    """Classes from one set of colon or both, by levels of the network."""
    plain, held = pooled.copy == 0, pooled.fold == 3
    strides = [stride for stride in sorted(pooled.encoder) if stride >= 4]
    levels = {
        "all decoder levels": pooled.levels,
        "encoder strides 4 to 32": pooled.join_encoder(strides),
    }
    rows = []
    for name, x in levels.items():
        for taught in (COLON[:1], COLON[1:], COLON):
            chosen = [draw(plain & ~held & (pooled.source == source)) for source in taught]
            found = classify(x, pooled.candidates, np.concatenate(chosen))
            scores = {
                source: share_right(
                    found, pooled.candidates, plain & held & (pooled.source == source)
                )
                for source in COLON
            }
            rows.append({"features": name, "taught by": " and ".join(taught), "scores": scores})
            log.info("%s", rows[-1])
    return rows


def study_gate(pooled: Pooled, repetitions: int = 2) -> list[dict[str, Any]]:
    """Tumour against healthy epithelium, on images left out and on normal organs."""
    con = (pooled.source == "consep7") & (pooled.copy == 0)
    normal = (pooled.source == "nuinsseg") & (pooled.fold == 3)
    organs = draw((pooled.source == "nuinsseg") & (pooled.fold != 3), 2_500)
    healthy = con & (pooled.candidates == 1 << EPITHELIAL)
    tumour = con & (pooled.candidates == 1 << NEOPLASTIC)
    large, rng = (
        [t for t in np.unique(pooled.tile[tumour]) if (pooled.tile == t).sum() > 60],
        (np.random.default_rng(0)),
    )
    rows = []
    for name, x in (
        ("all decoder levels", pooled.levels),
        ("encoder strides 4 to 32", pooled.join_encoder([4, 8, 16, 32])),
    ):
        for with_organs in (False, True):
            candidates = pooled.candidates.copy()
            if with_organs:
                candidates[pooled.source == "nuinsseg"] = NOT_NEOPLASTIC
            for image in np.unique(pooled.tile[healthy]):
                for _ in range(repetitions):
                    left_out = [image, *rng.permutation(large)[:2]]
                    learned = draw(con & ~np.isin(pooled.tile, left_out))
                    learned = np.concatenate([learned, organs]) if with_organs else learned
                    found = classify(x, candidates, learned)
                    two = tumour & np.isin(pooled.tile, left_out[1:])
                    here = healthy & (pooled.tile == image)
                    rows.append(
                        {
                            "features": name,
                            "organs": with_organs,
                            "image": int(image),
                            "healthy called Epithelial": float((found[here] == EPITHELIAL).mean()),
                            "tumour called Neoplastic": float((found[two] == NEOPLASTIC).mean()),
                            "organs called Neoplastic": float((found[normal] == NEOPLASTIC).mean()),
                        }
                    )
                    log.info("%s", rows[-1])
    return rows


def image_medians(
    trust: NDArray[np.float32], pooled: Pooled, rows: NDArray[np.bool_], by: str
) -> dict[str, list[float]]:
    """Median trust of each image with enough nuclei, by data set or organ."""
    medians: dict[str, list[float]] = {}
    names = getattr(pooled, by)
    for tile in np.unique(pooled.tile[rows]):
        here = rows & (pooled.tile == tile)
        if here.sum() >= MIN_NUCLEI:
            medians.setdefault(str(names[here][0]), []).append(float(np.median(trust[here])))
    return medians


def feature_sets(pooled: Pooled, learned: NDArray[np.bool_]) -> Iterator[tuple[str, Any]]:
    """Sets of projected features that trust may read, by name."""
    sizes = ({4: 16}, {4: 24}, {8: 40}, {16: 64}, {4: 24, 8: 16, 16: 48, 32: 40})
    for wanted in sizes:
        parts = []
        for stride, number in wanted.items():
            x = pooled.encoder[stride]
            matrix, shift = principal(x[learned], min(number, x.shape[1]))
            parts.append(x @ matrix.T + shift)
        yield ", ".join(f"{k}: {v}" for k, v in wanted.items()), np.concatenate(parts, axis=1)


def study_trust(pooled: Pooled) -> list[dict[str, Any]]:
    """Shares of images marked as unlike those learned from."""
    plain, held = pooled.copy == 0, pooled.fold == 3
    rows = []
    for taught in (COLON, COLON[:1], COLON[1:]):
        colon = np.isin(pooled.source, taught)
        for copies in (False, True):
            learned = colon & ~held & (plain | copies)
            if copies and not (pooled.copy[learned] > 0).any():
                continue
            for name, x in feature_sets(pooled, learned):
                row = mark_images(pooled, x, learned, colon & held & plain)
                rows.append({"features": name, "copies": copies, "taught by": taught, **row})
                log.info("%s", {k: v for k, v in rows[-1].items() if k != "by organ"})
    return rows


def mark_images(
    pooled: Pooled,
    x: NDArray[np.float32],
    learned: NDArray[np.bool_],
    calibrating: NDArray[np.bool_],
) -> dict[str, Any]:
    """Share of images below the threshold that marks one in twenty images like those learned from.

    Args:
        pooled: of which nuclei.
        x: float32 (n, D), their features.
        learned: rows that the distance is learned from.
        calibrating: rows like them that nothing was learned from.
    """
    trust = fit_trust(x[learned], x[calibrating], np.ones(x.shape[1], bool)).judge(x)
    others = (pooled.copy == 0) & ~learned
    inside = [
        m for group in image_medians(trust, pooled, calibrating, "source").values() for m in group
    ]
    threshold = float(np.quantile(inside, MARKED))

    def shares(by: str, rows: NDArray[np.bool_]) -> Mapping[str, list[float]]:
        return {
            name: [float(np.mean(np.array(values) < threshold)), len(values)]
            for name, values in image_medians(trust, pooled, rows, by).items()
        }

    organs = others & (pooled.source == "nuinsseg")
    return {
        "threshold": threshold,
        "images marked": shares("source", others),
        "by organ": shares("organ", organs),
    }


STUDIES = {"transfer": study_transfer, "gate": study_gate, "trust": study_trust}


def main(arguments: Sequence[str] | None = None) -> None:
    """Collect features, ask, print and write, from the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="run, checkpoint or shipped model of the trunk compact")
    parser.add_argument("--data", type=Path, required=True, help="store")
    parser.add_argument("--out", type=Path, required=True, help="score file to write (.json)")
    parser.add_argument("--features", type=Path, help="file that keeps the features (.npz)")
    parser.add_argument("--studies", nargs="+", choices=STUDIES, default=[*STUDIES])
    parser.add_argument("--copies", type=int, default=2, help="changed copies of images of colon")
    parser.add_argument("--most", type=int, default=100, help="images of a data set")
    args = parser.parse_args(arguments)
    torch.manual_seed(0)
    if args.features and args.features.exists():
        pooled = Pooled.load(args.features)
    else:
        store = Store.open(args.data)
        sources = sorted({store.source(int(t)) for t in store.select(None, None, labels=None)})
        network = load_network(find_checkpoint(Path(args.model)))
        copies = dict.fromkeys(COLON, args.copies)
        pooled = collect(network, store, sources, copies=copies, most=args.most)
        if args.features:
            pooled.save(args.features)
    results = {name: STUDIES[name](pooled) for name in args.studies}
    write_text(args.out, json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
