"""What ten corrected fields are worth to the network, and what it forgets meanwhile.

    python benchmarks/bench_fine_tune.py WORK_FOLDER --data STORE [--source consep7]
        [--model default]

Ten fields of 128 µm are cut from half of the images of the source in fold 3, which no training saw;
the other half is held out. `histonuc fine-tune` learns from the fields as they are drawn. Before
and after are scored on the held-out images and, for what was forgotten, on fold 3 of all other data
sets. Prints a Markdown table and the minutes; WORK_FOLDER keeps the run and the scores.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from histonuc.commands import evaluate, fine_tune
from histonuc.data.store import Store
from histonuc.data.writer import StoreWriter, TileRecord
from histonuc.nuclei import make_consecutive
from histonuc.training.tune_options import TuneOptions

FIELD_PX = 512
NUM_FIELDS = 10


def cut(store: Store, tile: int, box: tuple[slice, slice] | None, fold: int) -> TileRecord:
    """A tile of a store, or a field of it, as a tile of another fold."""
    box = box or (slice(None), slice(None))
    instances, ids = make_consecutive(store.instances(tile)[box])
    ids = ids.astype(np.int64)
    return TileRecord(
        image=np.ascontiguousarray(store.image(tile)[box]),
        instances=instances,
        types=store.types(tile)[ids],
        candidates=store.candidates(tile)[ids],
        original_ids=ids,
        channels=np.full(len(ids), -1),
        fold=fold,
        name=f"{store.name(tile)}-{box[0].start or 0}-{box[1].start or 0}",
        tissue=store.tissue(tile),
        source=store.source(tile),
        mpp=store.mpp(tile),
    )


def make_fields(store: Store, source: str, out: Path) -> None:
    """Fold 1: ten fields of half of the images; fold 2: the other half, whole."""
    tiles = [int(tile) for tile in store.select([3], [source])]
    rng = np.random.default_rng(0)
    with StoreWriter(out, store.label_space, source=source) as writer:
        for count in range(NUM_FIELDS):
            tile = tiles[::2][count % len(tiles[::2])]
            height, width = store.size(tile)
            top = int(rng.integers(0, max(height - FIELD_PX, 0) + 1))
            left = int(rng.integers(0, max(width - FIELD_PX, 0) + 1))
            box = slice(top, top + FIELD_PX), slice(left, left + FIELD_PX)
            writer.add(cut(store, tile, box, 1))
        for tile in tiles[1::2]:
            writer.add(cut(store, tile, None, 2))


def main() -> None:
    """Cut, fine-tune, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--source", default="consep7")
    parser.add_argument("--model", default="default")
    args = parser.parse_args()
    store, fields = Store.open(args.data), args.work / "fields"
    make_fields(store, args.source, fields)
    begun = time.perf_counter()
    run = args.work / "run"
    fine_tune(TuneOptions(data=fields, init=args.model, out=run))
    minutes = (time.perf_counter() - begun) / 60
    known = {store.source(int(tile)) for tile in store.select([3])}
    others = tuple(sorted(known - {args.source}))
    print("| images | model | bPQ | mPQ | class accuracy |\n|---|---|---|---|---|")
    for name, model in (("before", args.model), ("after", str(run))):
        for what, data, folds, sources in (
            ("held out", fields, (2,), ()),
            ("other sets", args.data, (3,), others),
        ):
            out = args.work / f"{name}-{what.replace(' ', '-')}"
            scores = evaluate(model, data=data, folds=folds, sources=sources, out=out).data
            overall = scores["overall"]
            shown = [overall[key] for key in ("bpq", "mpq", "class_accuracy_centroid")]
            cells = " | ".join("" if value is None else f"{value:.3f}" for value in shown)
            print(f"| {what} | {name} | {cells} |", flush=True)
    print(f"fine-tuned in {minutes:.1f} minutes, both comparisons on the held-out images included")


if __name__ == "__main__":
    main()
