"""What recovers a rare class: an ablation on synthetic folds with PanNuke's share of Dead nuclei.

    python tools/rare_class.py --out RUNS [--seeds 0 1] [--tiles 600] [--epochs 6] [--rows 0 3]

Same network, budget and crops throughout. The first rows change sampling and loss on full labels.
The last rows are about partial labels: two thirds of the training tiles come from a data set that
cannot tell Neoplastic from Epithelial, nor Dead from Inflammatory. Its classes are left out, taken
for the commoner of the two (as label maps between data sets usually do), or kept as candidate sets.
Writes RUNS/table.md and a score folder a run; goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np

from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.records import TileRecord
from histonuc.data.store import Store
from histonuc.data.synthetic import write_synthetic
from histonuc.data.writer import StoreWriter
from histonuc.evaluation import TileSelection, score_model
from histonuc.models.loading import load_model
from histonuc.taxonomy import PANNUKE
from histonuc.training.config import TrainConfig
from histonuc.training.loop import train

NEO, INF, CON, DEAD, EPI = range(5)
SET_OF = np.array(
    [
        0,
        1 << NEO | 1 << EPI,
        1 << INF | 1 << DEAD,
        1 << CON,
        1 << INF | 1 << DEAD,
        1 << NEO | 1 << EPI,
    ]
)
"""Candidates that the coarse data set leaves a nucleus, by class + 1."""
COMMONER = np.array([0, 1 + NEO, 1 + INF, 1 + CON, 1 + INF, 1 + NEO])
"""Class + 1 of a label map that has to choose."""
ANY = (1 << 5) - 1
HELP = {"class_power": 0.5, "representation_options": {"class_weights": [1.0, 1.0, 1.0, 4.0, 1.0]}}
ROWS: dict[str, tuple[str, dict[str, object]]] = {
    "nothing": ("full", {}),
    "sampling: `--class-power 0.5`": ("full", {"class_power": 0.5}),
    "loss: Dead weighs 8": (
        "full",
        {"representation_options": {"class_weights": [1.0, 1.0, 1.0, 8.0, 1.0]}},
    ),
    "sampling 0.5, Dead weighs 4": ("full", HELP),
    "2/3 of the tiles coarse: their classes left out": ("unknown", HELP),
    "2/3 coarse: taken for the commoner class": ("commoner", HELP),
    "2/3 coarse: candidate sets": ("sets", HELP),
}
Change = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
COARSE: dict[str, Change] = {
    "unknown": lambda types: (np.zeros_like(types), np.full(len(types), ANY, np.uint32)),
    "commoner": lambda types: (COMMONER[types], (1 << (COMMONER[types] - 1)).astype(np.uint32)),
    "sets": lambda types: (np.zeros_like(types), SET_OF[types].astype(np.uint32)),
}
"""Types and candidates that a tile of the coarse data set gets."""


def coarsen(full: Store, out: Path, change: Change) -> None:
    """Copy a store; of the training fold, two tiles in three get coarse labels."""
    with StoreWriter(out, PANNUKE, source="synthetic") as writer:
        for tile in range(len(full)):
            fold = int(full.tiles["fold"][tile].as_py())
            types, candidates = full.types(tile)[1:], full.candidates(tile)[1:]
            if fold == 1 and tile % 3:
                types, candidates = change(types)
            writer.add(
                TileRecord(
                    image=full.image(tile),
                    instances=full.instances(tile),
                    types=types,
                    candidates=candidates,
                    original_ids=np.arange(1, len(types) + 1),
                    channels=np.full(len(types), -1),
                    fold=fold,
                    name=full.name(tile),
                    tissue=full.tissue(tile),
                    source="coarse" if fold == 1 and tile % 3 else "fine",
                    mpp=full.mpp(tile),
                )
            )


def stores(work: Path, tiles: int) -> dict[str, Path]:
    """The folds with full labels, and with each kind of coarse ones."""
    found = {name: work / f"data-{name}" for name in ("full", *COARSE)}
    if not found["full"].exists():
        write_synthetic(work / "raw", tiles=tiles, seed=3)
        prepare_pannuke(work / "raw", found["full"])
    for name, change in COARSE.items():
        if not found[name].exists():
            coarsen(Store.open(found["full"]), found[name], change)
    return found


def score(
    data: Path, test: Path, run: Path, changes: dict[str, object], seed: int, epochs: int
) -> dict:
    """The run's scores on the fully labelled fold 3, trained if they are not there yet."""
    scores = run / "scores" / "scores.json"
    if not scores.exists():
        settings = {
            "data": data,
            "out": run,
            "trunk": "compact",
            "trunk_options": {"stem_stride": 4, "widths": [128, 96, 64, 64, 64, 32], "shuffle": 2},
            "folds": (1,),
            "val_folds": (2,),
            "tile_px": 128,
            "samples_per_epoch": 800,
            "epochs": epochs,
            "first_cycle_epochs": float(epochs),
            "warmup_epochs": 0.4,
            "gamma": 1.0,
            "cycle_mult": 1.0,
            "max_lr": 1.5e-3,
            "optimizer": "adamw",
            "weight_decay": 0.02,
            "ema_decay": 0.98,
            "precision": "bf16",
            "validate_every": 100,
            "monitor": "mpq",
            "seed": seed,
        }
        if not (run / "checkpoints" / "best").exists():
            train(TrainConfig(**(settings | changes), resume=run.exists()))
        score_model(
            load_model(str(run)),
            Store.open(test),
            TileSelection(folds=(3,)),
            run / "scores",
        )
    return json.loads(scores.read_text())


def line(name: str, found: list[dict]) -> str:
    """A row of the table: medians over seeds, and the spread of Dead."""

    def median(value: Callable[[dict], float | None]) -> str:
        values = [v for v in map(value, found) if v is not None]
        return f"{statistics.median(values):.3f}" if values else "–"

    classes = [
        median(lambda s, c=c: s["per_class"][c]["pq_pooled"])
        for c in PANNUKE.classes
        if c != "Dead"
    ]
    dead = [s["per_class"]["Dead"] for s in found]
    pq = sorted(d["pq_pooled"] or 0.0 for d in dead)
    cells = [
        name,
        median(lambda s: s["overall"]["bpq"]),
        *classes,
        f"{statistics.median(pq):.3f} ({pq[0]:.3f}–{pq[-1]:.3f})",
        median(lambda s: s["per_class"]["Dead"]["recall"]),
        median(lambda s: s["per_class"]["Dead"]["precision"]),
        median(lambda s: s["overall"]["mpq_pooled"]),
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--tiles", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=6, help="of 100 steps")
    parser.add_argument(
        "--rows", type=int, nargs="+", default=range(len(ROWS)), help="which of them, from 0"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    data = stores(args.out, args.tiles)
    others = [c for c in PANNUKE.classes if c != "Dead"]
    lines = [
        "| help | bPQ | "
        + " | ".join(f"pooled PQ {c}" for c in others)
        + " | pooled PQ Dead | Dead recall | Dead precision | pooled mPQ |",
        "|---" * (len(others) + 6) + "|",
    ]
    for number in args.rows:
        name, (which, changes) = list(ROWS.items())[number]
        found = [
            score(
                data[which],
                data["full"],
                args.out / f"run-{number}-{seed}-{args.epochs}",
                changes,
                seed,
                args.epochs,
            )
            for seed in args.seeds
        ]
        lines.append(line(name, found))
        (args.out / "table.md").write_text("\n".join(lines) + "\n")
        print(lines[-1], flush=True)


if __name__ == "__main__":
    main()
