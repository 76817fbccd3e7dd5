"""What labels are worth: F1 of the classes that `histonuc teach` learns, by number of labels.

    histonuc prepare folder ../shared/classes --only consep7 --classes consep7 \
        --label-space consep7 --out consep7
    python benchmarks/bench_teach.py consep7 --model MODEL --folds 3 \
        --merge "Epithelial=Healthy epithelial,Dysplastic or malignant epithelial" \
        --merge "Spindle=Fibroblast,Muscle,Endothelial" --unscored Other

The nuclei are outlined as the labels say. Images are split into three parts by turns; labels are
drawn from two of them, and all nuclei of the third are scored: mean F1 of the classes, over all
parts together, and then over the repeats (the least and the most in brackets). "next" are labels
that `LiveClassifier.propose` chooses, twenty at a time, after twenty at random. Take images that
the model's training never saw, or say so.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from histonuc.data.store import Store
from histonuc.models.loading import load_model
from histonuc.taxonomy import LabelSpace
from histonuc.teaching import LiveClassifier, NucleusFeatures
from histonuc.teaching.labelled import LabelledNuclei, describe_store
from histonuc.teaching.quality import judge

NUMBERS = (20, 50, 100, 200, 400, 800)
PARTS = 3
AT_ONCE = 20
Choose = Callable[[LiveClassifier, np.ndarray, LabelSpace, int, int], dict[int, str]]


def merge_classes(space: LabelSpace, merges: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the merged classes, and which of them each class of the store is."""
    into = {}
    for merge in merges:
        name, _, parts = merge.partition("=")
        into |= dict.fromkeys(parts.split(","), name)
    if unknown := set(into) - set(space.classes):
        raise SystemExit(f"--merge: {sorted(unknown)} are not among {list(space.classes)}")
    merged = [into.get(name, name) for name in space.classes]
    names = tuple(dict.fromkeys(merged))
    return names, np.array([names.index(name) for name in merged])


def select(features: NucleusFeatures, rows: np.ndarray) -> NucleusFeatures:
    return replace(
        features,
        embedding=features.embedding[rows],
        measured=features.measured[rows],
        centroid_um=features.centroid_um[rows],
    )


def side_by_side(found: LabelledNuclei) -> NucleusFeatures:
    """The images beside each other, as if they were one slide: proposals spread over them."""
    number = np.unique(found.tile, return_inverse=True)[1]
    columns = int(np.ceil(np.sqrt(number.max() + 1)))
    shift = np.column_stack([number % columns, number // columns]) * 300.0
    return replace(found.features, centroid_um=found.features.centroid_um + shift)


def at_random(live, classes, space, num, seed) -> dict[int, str]:
    rows = np.random.default_rng(seed).permutation(len(classes))[:num]
    return {int(row) + 1: space.classes[classes[row]] for row in rows}


def by_next(live, classes, space, num, seed) -> dict[int, str]:
    """As a person would who labels whatever the page proposes, without those held out."""
    labels = at_random(live, classes, space, min(num, AT_ONCE), seed)
    while len(labels) < num:
        try:
            classified = live.classify(live.fit(labels, space))
        except ValueError:  # one class so far
            classified = None
        wanted = min(AT_ONCE, num - len(labels))
        asked = live.propose(labels, (), classified, num=round(wanted / 0.7), seed=len(labels))
        labels |= {i: space.classes[classes[i - 1]] for i in asked.teach[:wanted]}
    return labels


def score(
    features: NucleusFeatures,
    classes: np.ndarray,
    image: np.ndarray,
    space: LabelSpace,
    unscored: list[str],
    choose: Choose,
    num: int,
    seed: int,
) -> tuple[float, float]:
    """Mean F1 of the scored classes, and seconds of one fit."""
    images = np.random.default_rng(seed).permutation(np.unique(image))
    given, seconds = np.full(len(classes), -1), []
    for part in np.array_split(images, PARTS):
        tested, taught = np.flatnonzero(np.isin(image, part)), np.flatnonzero(~np.isin(image, part))
        live = LiveClassifier(features=select(features, taught))
        labels = choose(live, classes[taught], space, num, seed)
        start = time.perf_counter()
        classifier = live.fit(labels, space)
        seconds.append(time.perf_counter() - start)
        index = [space.classes.index(name) for name in classifier.label_space.classes]
        found = classifier.classify(select(features, tested)).class_index
        given[tested] = np.array(index)[found]
    quality = judge(classes, given, image, space.classes)
    scored = [row.f1 for name, row in quality.classes.items() if name not in unscored]
    return float(np.mean([value for value in scored if value is not None])), np.mean(seconds)


def rows(args: argparse.Namespace, found: LabelledNuclei, names, merged) -> Iterator[dict]:
    classes, space = merged[found.classes], LabelSpace(name="merged", classes=names)
    whole = side_by_side(found)
    alone = whole.without_embedding()
    kinds: list[tuple[str, NucleusFeatures, Choose]] = [
        ("shape, stain, neighbourhood", alone, at_random)
    ]
    if whole.embedding.shape[1]:
        kinds += [("and embeddings", whole, at_random), ("and embeddings, next", whole, by_next)]
    for name, features, choose in kinds:
        for num in args.numbers:
            found_scores = [
                score(features, classes, found.tile, space, args.unscored, choose, num, seed)
                for seed in range(args.repeats)
            ]
            f1, seconds = np.array(found_scores).T
            yield {
                "features": name,
                "labels": num,
                "f1": float(f1.mean()),
                "least": float(f1.min()),
                "most": float(f1.max()),
                "seconds": float(seconds.mean()),
            }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="a store")
    parser.add_argument("--model", default="default")
    parser.add_argument("--sources", nargs="*", default=[])
    parser.add_argument("--folds", nargs="*", type=int, default=[])
    parser.add_argument("--merge", action="append", default=[], metavar="NAME=CLASS,CLASS")
    parser.add_argument("--unscored", nargs="*", default=[])
    parser.add_argument("--numbers", nargs="*", type=int, default=list(NUMBERS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    args = parser.parse_args()
    store, model = Store.open(args.data), load_model(args.model)
    tiles = store.select(args.folds or None, args.sources or None, labels=None)
    start = time.perf_counter()
    found = describe_store(store, tiles.tolist(), model)
    names, merged = merge_classes(store.label_space, args.merge)
    counts = np.bincount(merged[found.classes], minlength=len(names)).tolist()
    told = ", ".join(f"{name} {count:,}" for name, count in zip(names, counts, strict=True))
    print(
        f"{len(tiles)} images, {told}; {found.features.embedding.shape[1]} features of {model.name}"
    )
    print(f"features in {time.perf_counter() - start:.0f} s\n")
    print("| features | labels | macro F1 | seconds a fit |\n|---|---|---|---|")
    results = []
    for row in rows(args, found, names, merged):
        results.append(row)
        ends = f"{row['least']:.3f} to {row['most']:.3f}"
        print(
            f"| {row['features']} | {row['labels']} | {row['f1']:.3f} ({ends}) | "
            f"{row['seconds']:.3f} |",
            flush=True,
        )
    if args.out:
        args.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
