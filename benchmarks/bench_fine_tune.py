"""What ten corrected fields are worth to the network, and what it forgets meanwhile.

    python benchmarks/bench_fine_tune.py WORK_FOLDER --data STORE
        [--source consep7] [--tissue Heart] [--model default] [--replay STORE]

Up to ten fields of 128 µm are cut from every second image of the source (of the tissue) in fold 3,
which no training saw; the other images are held out. Up to twenty more fields have no labels, as
`histonuc prepare corrections` adds them: of the same images, or, where a field takes a whole
image, of the tissue's images in other folds. `histonuc fine-tune` learns from the fields as they
are drawn. Before and after are scored on the held-out images and, for what was forgotten, on fold
3 of all other data sets. Prints a Markdown table and the minutes; WORK_FOLDER keeps the run and
the scores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from histonuc.commands import evaluate, fine_tune
from histonuc.data.records import TileRecord
from histonuc.data.store import Store
from histonuc.data.writer import StoreWriter
from histonuc.nuclei import make_consecutive
from histonuc.training.tune_options import TuneOptions

FIELD_UM, NUM_FIELDS, NUM_UNLABELLED = 128, 10, 20
SCORES = ("bpq", "f1_centroid", "class_f1_centroid", "class_accuracy_centroid")


def cut(store: Store, tile: int, box: tuple[slice, slice], fold: int) -> TileRecord:
    """A field of a tile of a store, as a tile of another fold."""
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
        name=f"{store.name(tile)}-{box[0].start}-{box[1].start}",
        tissue=store.tissue(tile),
        source=store.source(tile),
        mpp=store.mpp(tile),
    )


def hide_labels(record: TileRecord) -> TileRecord:
    """The same tile, of which nothing is known."""
    origin = {key: getattr(record, key) for key in ("fold", "tissue", "source", "mpp")}
    return TileRecord.without_outlines(record.image, name=f"unlabelled-{record.name}", **origin)


def draw_fields(store: Store, tiles: Sequence[int], num: int, seed: int) -> Iterator[TileRecord]:
    """Fields for fold 1, of the tiles in turn; a tile that is no larger than a field comes once."""
    rng, seen = np.random.default_rng(seed), set()
    for tile in islice(cycle(tiles), num):
        side = round(FIELD_UM / store.mpp(tile))
        corner = [int(rng.integers(0, max(length - side, 0) + 1)) for length in store.size(tile)]
        if (tile, *corner) not in seen:
            seen.add((tile, *corner))
            top, left = corner
            yield cut(store, tile, (slice(top, top + side), slice(left, left + side)), 1)


def make_fields(store: Store, source: str, tissue: str, out: Path) -> None:
    """Fold 1: fields of every second image, with labels and without; fold 2: the other images."""

    def find(folds: Sequence[int]) -> list[int]:
        tiles = [int(tile) for tile in store.select(folds, [source])]
        return [tile for tile in tiles if tissue in ("", store.tissue(tile))]

    taught, held_out = find([3])[::2], find([3])[1::2]
    is_large = min(store.size(taught[0])) * store.mpp(taught[0]) > 1.5 * FIELD_UM
    with StoreWriter(out, store.label_space, source=source) as writer:
        for record in draw_fields(store, taught, NUM_FIELDS, 0):
            writer.add(record)
        others = taught if is_large else find([1, 2])
        for record in draw_fields(store, others, NUM_UNLABELLED, 1):
            writer.add(hide_labels(record))
        for tile in held_out:
            height, width = store.size(tile)
            writer.add(cut(store, tile, (slice(0, height), slice(0, width)), 2))


def main() -> None:
    """Cut, fine-tune, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--source", default="consep7")
    parser.add_argument("--tissue", default="", help="of the source; all when not given")
    parser.add_argument("--model", default="default")
    parser.add_argument("--replay", default="", help="second store to learn from (its fold 1)")
    args = parser.parse_args()
    store, fields = Store.open(args.data), args.work / "fields"
    make_fields(store, args.source, args.tissue, fields)
    begun = time.perf_counter()
    run = args.work / "run"
    fine_tune(TuneOptions(data=fields, init=args.model, out=run, replay=args.replay))
    minutes = (time.perf_counter() - begun) / 60
    known = {store.source(int(tile)) for tile in store.select([3])}
    others = tuple(sorted(known - {args.source}))
    print("| images | model | bPQ | F1 of nuclei | class F1 | class accuracy |")
    print("|---|---|---|---|---|---|")
    for name, model in (("before", args.model), ("after", str(run))):
        for what, data, folds, sources in (
            ("held out", fields, (2,), ()),
            ("other sets", args.data, (3,), others),
        ):
            out = args.work / f"{name}-{what.replace(' ', '-')}"
            scores = evaluate(
                model, data=data, folds=folds, sources=sources, out=out, precision="bf16"
            )
            shown = [scores.data["overall"][key] for key in SCORES]
            cells = " | ".join("" if value is None else f"{value:.3f}" for value in shown)
            print(f"| {what} | {name} | {cells} |", flush=True)
    print(f"fine-tuned in {minutes:.1f} minutes, both comparisons on the held-out images included")


if __name__ == "__main__":
    main()
