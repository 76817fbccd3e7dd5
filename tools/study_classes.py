"""What the features of a trained network know: of classes, of tumour, of tissue it never saw.

No image is looked at that is not in the store. Five questions, each a table on the screen and in
the score file:

- ``transfer``: classes fitted to the nuclei of one set of colon, both, and other levels of the
  network, scored on images of both that nothing was learned from.
- ``gate``: is tumour told apart from healthy epithelium? One image of healthy epithelium and two of
  tumour are left out at a time.
- ``trust``: the share of images that are marked as unlike those learned from, by data set and
  organ, with all nuclei learned from and with one set of colon left out.
- ``risk``: how often the class is wrong by its probability and by the nucleus's trust, on colon
  that nothing was learned from, learned from both sets of colon or from the other one alone.
- ``embedding``: which levels of the encoder tell classes apart when few labelled nuclei teach;
  every choice has 128 numbers a nucleus. Macro F1 on CoNSeP's images of fold 3, half of which teach
  while the others are scored, in turn.

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
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fit_classes import find_threshold, fit_linear, fit_trust, image_medians, principal
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


def draw(mask: NDArray[np.bool_], most: int = MOST_NUCLEI) -> NDArray[np.int64]:
    """Rows of a mask, at most so many."""
    rows = np.flatnonzero(mask)
    return np.random.default_rng(0).permutation(rows)[:most]


def score_classes(
    x: NDArray[np.float32], candidates: NDArray[np.uint32], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Logits (n, C) of each nucleus by a linear classifier learned from some rows."""
    weights, bias = fit_linear(x[rows], candidates[rows], len(CLASSES), 1e-2)
    return np.asarray(x @ weights.T + bias, np.float32)


def classify(
    x: NDArray[np.float32], candidates: NDArray[np.uint32], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Most probable class of each nucleus by a linear classifier learned from some rows."""
    return np.asarray(score_classes(x, candidates, rows).argmax(1), np.int64)


def merge_truth(candidates: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The true class of three, tumour and healthy epithelium as one; -1 where it is unknown."""
    bits = (candidates[:, None].astype(np.int64) >> np.arange(len(CLASSES)) & 1).astype(bool)
    allowed = np.stack([bits[:, 0] | bits[:, 3], bits[:, 1], bits[:, 2]], axis=1)
    return np.where(allowed.sum(1) == 1, allowed.argmax(1), -1)


def share_right(
    found: NDArray[np.int64], candidates: NDArray[np.uint32], rows: NDArray[np.bool_]
) -> dict[str, float]:
    """Share right and mean share of the three classes, tumour and healthy epithelium as one."""
    truth = merge_truth(candidates[rows])
    known = truth >= 0
    truth, answer = truth[known], np.array([0, 1, 2, 0])[found[rows][known]]
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
    return rows


def feature_sets(pooled: Pooled, learned: NDArray[np.bool_]) -> Iterator[tuple[str, Any]]:
    """Sets of projected features that trust may read, by name."""
    sizes = ({4: 16}, {4: 24}, {8: 40}, {16: 64}, {4: 24, 8: 16, 16: 48, 32: 40})
    for wanted in sizes:
        yield ", ".join(f"{k}: {v}" for k, v in wanted.items()), project(pooled, learned, wanted)


def project(
    pooled: Pooled, learned: NDArray[np.bool_], wanted: Mapping[int, int]
) -> NDArray[np.float32]:
    """Principal components of levels of the encoder, so many by stride, as a model gives them."""
    parts = []
    for stride, number in wanted.items():
        x = pooled.encoder[stride]
        matrix, shift = principal(x[learned], min(number, x.shape[1]))
        parts.append(x @ matrix.T + shift)
    return np.concatenate(parts, axis=1)


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
    threshold = find_threshold(trust, pooled, calibrating)

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


def study_risk(pooled: Pooled) -> list[dict[str, Any]]:
    """Share of wrong classes by probability and by trust, of colon not learned from."""
    plain, held = pooled.copy == 0, pooled.fold == 3
    truth = merge_truth(pooled.candidates)
    rows = []
    for taught, asked in ((COLON, COLON), (COLON[:1], COLON[1:]), (COLON[1:], COLON[:1])):
        learned = plain & ~held & np.isin(pooled.source, taught)
        here = plain & np.isin(pooled.source, asked) & (truth >= 0)
        here &= held if taught == asked else True
        logits = score_classes(pooled.levels, pooled.candidates, draw(learned))
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p = np.stack([p[:, 0] + p[:, 3], p[:, 1], p[:, 2]], axis=1)
        matrix, shift = principal(pooled.encoder[4][learned], 24)
        x = pooled.encoder[4] @ matrix.T + shift
        like = plain & held & np.isin(pooled.source, taught)
        trust = fit_trust(x[learned], x[like], np.ones(x.shape[1], bool)).judge(x)
        wrong = p[here].argmax(1) != truth[here]
        for name, value, edges in (
            ("probability", p[here].max(1), (0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01)),
            ("trust", trust[here], (0, 0.01, 0.05, 0.2, 0.5, 1.01)),
        ):
            for low, high in pairwise(edges):
                inside = (value >= low) & (value < high)
                share = float(wrong[inside].mean()) if inside.any() else None
                rows.append(
                    {
                        "taught by": taught,
                        "asked of": asked,
                        "by": name,
                        "from": low,
                        "to": min(high, 1),
                        "nuclei": int(inside.sum()),
                        "wrong": share,
                    }
                )
    return rows


EMBEDDINGS: tuple[Mapping[int, int], ...] = (
    {4: 24, 8: 40, 16: 64},
    {16: 64, 32: 64},
    {4: 24, 16: 48, 32: 56},
    {4: 24, 8: 16, 16: 48, 32: 40},
    {4: 16, 8: 16, 16: 48, 32: 48},
)


def study_embedding(pooled: Pooled) -> list[dict[str, Any]]:
    """Macro F1 with few labels, by the levels that the 128 numbers come from."""
    plain = pooled.copy == 0
    learned = plain & np.isin(pooled.source, COLON) & (pooled.fold != 3)
    truth = merge_truth(pooled.candidates)
    asked = plain & (pooled.source == "consep7") & (pooled.fold == 3) & (truth >= 0)
    sets = [(str(dict(wanted)), project(pooled, learned, wanted)) for wanted in EMBEDDINGS]
    matrix, shift = principal(pooled.levels[learned], 128)
    sets.append(("128 of the decoder's levels", pooled.levels @ matrix.T + shift))
    return [
        {"features": name, **score_few_labels(x[asked], truth[asked], pooled.tile[asked])}
        for name, x in sets
    ]


def score_few_labels(
    x: NDArray[np.float32], truth: NDArray[np.int64], tile: NDArray[np.int64], draws: int = 8
) -> dict[str, float]:
    """Macro F1 with 50, 200 and 800 labels: half of the tiles teach, the others are scored.

    Args:
        x: features (n, D).
        truth: class (n,) of each nucleus.
        tile: tile (n,) that it lies in.
        draws: of halves and labels; their mean is returned.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    found: dict[str, float] = {}
    for labels in (50, 200, 800):
        scores = []
        for draw_number in range(draws):
            rng = np.random.default_rng(draw_number)
            order = rng.permutation(np.unique(tile))
            for half in (order[::2], order[1::2]):
                inside = np.isin(tile, half)
                rows = np.flatnonzero(inside)
                taught = rng.choice(rows, min(labels, len(rows)), replace=False)
                model = LogisticRegression(C=0.03, max_iter=500, class_weight="balanced")
                answer = model.fit(x[taught], truth[taught]).predict(x[~inside])
                scores.append(f1_score(truth[~inside], answer, average="macro"))
        found[f"{labels} labels"] = float(np.mean(scores))
    return found


def lay_out(name: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A study as a Markdown table; nested values become columns of their own."""
    flat = [dict(_flatten(row)) for row in rows]
    columns = list(dict.fromkeys(column for row in flat for column in row))
    yield f"\n## {name}\n"
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in flat:
        yield f"| {' | '.join(_shown(row.get(column)) for column in columns)} |"


def _flatten(row: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values; those of a mapping follow its name. Organs stay in the score file."""
    for key, value in row.items():
        name = f"{before} {key}".strip()
        if isinstance(value, Mapping) and key != "by organ":
            yield from _flatten(value, "" if key in ("scores", "images marked") else name)
        elif key != "by organ":
            yield name, value


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):  # a share and of how many
        return f"{value[0]:.2f}"
    return "" if value is None else " and ".join(value) if isinstance(value, tuple) else str(value)


STUDIES = {
    "transfer": study_transfer,
    "gate": study_gate,
    "trust": study_trust,
    "risk": study_risk,
    "embedding": study_embedding,
}


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
    for name, rows in results.items():
        print(*lay_out(name, rows), sep="\n")
    write_text(args.out, json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
