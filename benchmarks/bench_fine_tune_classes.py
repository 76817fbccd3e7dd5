"""What labels of classes are worth to the network, beside a classifier that is taught the same.

    python benchmarks/bench_fine_tune_classes.py WORK_FOLDER --data STORE --source consep7
        [--numbers 50 200 800] [--model default]

The images of the source in fold 3, which no training saw, are split into three parts; labels are
drawn at random from two of them, and the nuclei of the third are scored, as they are outlined by
the labels: macro F1 of the classes. "taught" is the classifier of `histonuc teach` on embeddings.
"fine-tuned" is `histonuc fine-tune` on a store in which these nuclei have their class and nothing
else is known, as `histonuc prepare corrections` makes it of single clicks. One draw each.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from bench_teach import PARTS, at_random, select

from histonuc.data.point_outlines import FOLDER, write_outlines
from histonuc.data.records import TileRecord
from histonuc.data.resampling import at_mpp, resample_labels
from histonuc.data.store import Store
from histonuc.data.writer import StoreWriter
from histonuc.models.loading import load_model
from histonuc.models.model import Model
from histonuc.nuclei import PointLabels
from histonuc.teaching import LiveClassifier
from histonuc.teaching.labelled import LabelledNuclei, describe_store
from histonuc.teaching.quality import judge
from histonuc.training.loop import train
from histonuc.training.tune_options import TuneOptions
from histonuc.training.tuning import make_config


def mark(store: Store, found: LabelledNuclei, rows: np.ndarray, out: Path) -> None:
    """Fold 1: tiles in which the nuclei of some rows have their class and nothing else is known.

    Fold 2 has one tile more, of no use: a training wants something to validate.
    """
    outlines: list[tuple[int, int, np.ndarray]] = []
    with StoreWriter(out, store.label_space, source="labels") as writer:
        for tile in np.unique(found.tile[rows]).tolist():
            here = rows[found.tile[rows] == tile]
            whole = store.labels(tile).instances
            instances = np.zeros_like(whole)
            positions = []
            for count, row in enumerate(here.tolist(), 1):
                inside = whole == found.instance[row]
                instances[inside] = count
                positions.append(np.argwhere(inside).mean(0)[::-1] + 0.5)
            points = PointLabels(
                position=np.array(positions), candidates=(1 << found.classes[here]).astype("u4")
            )
            number = writer.add(_record(store, tile, points, fold=1))
            outlines.append((number, 1, instances))
        number = writer.add(_record(store, tile, points, fold=2))
        outlines.append((number, 2, instances))
    with TemporaryDirectory(dir=out) as draft:
        folder = Path(draft) / FOLDER
        folder.mkdir()
        write_outlines(out, iter(outlines), draft=folder, model={"name": "labels"})


def _record(store: Store, tile: int, points: PointLabels, fold: int) -> TileRecord:
    origin = {"name": f"{store.name(tile)}-{fold}", "source": "labels", "mpp": store.mpp(tile)}
    return TileRecord.without_outlines(store.image(tile), points, fold=fold, **origin)


def classify(model: Model, store: Store, found: LabelledNuclei, rows: np.ndarray) -> np.ndarray:
    """Most probable class of each row's nucleus, by the network's own classes over its outline."""
    given = np.full(len(found.classes), -1)
    for tile in np.unique(found.tile[rows]).tolist():
        image = at_mpp(store, tile, model.spec.mpp)
        labels = resample_labels(store.labels(tile).instances, *image.shape[1::-1])
        outputs = model.outputs(image[None])
        assert outputs.classes is not None
        here = rows[found.tile[rows] == tile]
        probabilities = outputs.classes[0].pool(labels, int(labels.max()))
        given[here] = probabilities[found.instance[here] - 1].argmax(1)
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, teach, fine-tune, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--source", default="consep7")
    parser.add_argument("--numbers", nargs="*", type=int, default=[50, 200, 800])
    parser.add_argument("--model", default="default")
    args = parser.parse_args(arguments)
    store, model = Store.open(args.data), load_model(args.model)
    tiles = store.select([3], [args.source], labels=None)
    found, space = describe_store(store, tiles.tolist(), model), store.label_space
    images = np.random.default_rng(0).permutation(np.unique(found.tile))
    is_held = np.isin(found.tile, np.array_split(images, PARTS)[0])
    held, taught = np.flatnonzero(is_held), np.flatnonzero(~is_held)

    def f1(given: np.ndarray) -> float:
        quality = judge(found.classes[held], given, found.tile[held], space.classes)
        values = [row.f1 for row in quality.classes.values()]
        return float(np.mean([value for value in values if value is not None]))

    print(f"{len(held)} nuclei of {len(np.unique(found.tile[held]))} images are scored")
    if model.spec.label_space.classes == space.classes:
        print(f"the model as it is: {f1(classify(model, store, found, held)[held]):.3f}\n")
    print("| labels | taught | fine-tuned | minutes |\n|---|---|---|---|", flush=True)
    for number in args.numbers:
        live = LiveClassifier(features=select(found.features, taught))
        labels = at_random(live, found.classes[taught], space, number, seed=0)
        classifier = live.fit(labels, space)
        index = np.array([space.classes.index(n) for n in classifier.label_space.classes])
        by_teaching = index[classifier.classify(select(found.features, held)).class_index]
        data, run = args.work / f"labels{number}", args.work / f"run{number}"
        mark(store, found, taught[np.array(sorted(labels)) - 1], data)
        begun = time.perf_counter()
        train(make_config(TuneOptions(data=data, init=args.model, out=run)))
        minutes = (time.perf_counter() - begun) / 60
        by_network = classify(load_model(str(run)), store, found, held)[held]
        scores = f"{f1(by_teaching):.3f} | {f1(by_network):.3f}"
        print(f"| {number} | {scores} | {minutes:.1f} |", flush=True)


if __name__ == "__main__":
    main()
