"""Cross-validation over PanNuke's rotations: train, test, and summarise; goes on where it stopped.

RUN/config.yaml                     settings of every rotation
RUN/rotation-1-2-3/                 run folder of train/validate/test 1/2/3
RUN/rotation-1-2-3/scores/          its test scores; they are there when the rotation is done
RUN/crossval.json                   mean and spread, when all are done
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import yaml

from histonuc.data.store import Store
from histonuc.evaluation import TileSelection, score_lines, score_model
from histonuc.evaluation.crossval_records import Crossval
from histonuc.evaluation.folder import SCORES_FILE, read_head
from histonuc.evaluation.records import Scores
from histonuc.evaluation.rotations import (
    OFFICIAL,
    SCORES_FOLDER,
    SYMMETRIC,
    Rotation,
    rotation_tables,
    summarise_rotations,
    write_summary,
)
from histonuc.evaluation.table_files import write_tables
from histonuc.files import reading, write_text
from histonuc.models.loading import load_model
from histonuc.training.config import TrainConfig
from histonuc.training.folder import MAY_CHANGE, refuse_changes
from histonuc.training.loop import train
from histonuc.yaml_reader import read_yaml

log = logging.getLogger(__name__)

_ALL_ALIKE = ("epochs", "minutes", "early_stop_epochs", "validate_every")
"""Settings that one run may change when it goes on, but not between rotations."""
_ROTATED = ("folds", "val_folds")


def crossval(config: TrainConfig, *, symmetric: bool = False) -> Crossval:
    """Train and test one network on each rotation.

    Args:
        config: settings of every training; its folds are the rotation's, whatever it says.
        symmetric: the rotations in which every fold is tested once, in place of the official ones.

    Returns:
        The content of ``crossval.json``.

    Raises:
        ValueError: what `train` raises; more than one device; a store without the three folds; or
            an output folder that holds something else or was begun with other settings.
    """
    if config.devices > 1 or config.num_nodes > 1:
        raise ValueError(
            f"--devices {config.devices} --num-nodes {config.num_nodes}: `histonuc crossval` "
            "trains on one device; on more, run `histonuc train` and `histonuc evaluate` for "
            "each rotation"
        )
    for name in _ROTATED:
        if getattr(config, name) != getattr(TrainConfig, name):
            log.warning("%s: ignored, the rotations choose the folds", name)
    rotations = SYMMETRIC if symmetric else OFFICIAL
    store = Store.open(config.data)
    for rotation in rotations:  # complain about a missing fold now, not after a training
        for fold in (rotation.train, rotation.validate, rotation.test):
            store.select([fold], config.sources or None, labels=None)
    _open(config, symmetric)
    scores = []
    for number, rotation in enumerate(rotations, 1):
        log.info("%s (%d of %d)", rotation.folder, number, len(rotations))
        scores.append(_rotate(config, rotation))
    summary: Crossval = {
        "format": 1,
        "scheme": "symmetric" if symmetric else "official",
        **summarise_rotations(rotations, scores),
    }
    write_tables(rotation_tables(summary), config.out)
    return write_summary(summary, config.out)


def _rotate(config: TrainConfig, rotation: Rotation) -> Scores:
    """Scores of one rotation: read back, or made by finishing its training and testing it."""
    run = config.out / rotation.folder
    file = run / SCORES_FOLDER / SCORES_FILE
    if file.is_file():  # it appears last, so the rotation is done
        return read_head(file.parent, ())
    train(
        replace(
            config,
            out=run,
            folds=(rotation.train,),
            val_folds=(rotation.validate,),
            resume=True,  # of a finished run no step is left to do
        )
    )
    _, scores = score_model(
        load_model(str(run), config.accelerator),
        Store.open(config.data),
        TileSelection(folds=(rotation.test,), sources=config.sources),
        file.parent,
    )
    log.info("test fold %d: %s", rotation.test, score_lines(scores)[1])
    return scores


def _open(config: TrainConfig, symmetric: bool) -> None:
    """Write the settings into a new folder, or check that they are those it was begun with."""
    out, file = config.out, config.out / "config.yaml"
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out: {out} is a file; give a folder")
    settings = _settings(config, symmetric)
    if not out.exists() or not any(out.iterdir()):
        write_text(file, yaml.safe_dump(settings, sort_keys=False))
        return
    if not config.resume:
        raise ValueError(f"{out} is not empty: give --resume to go on, or another --out")
    before = read_yaml(file, "settings of `histonuc crossval`") if file.is_file() else {}
    if "symmetric" not in before:
        raise ValueError(f"--resume: {out} is no folder of `histonuc crossval`; give another --out")
    was_symmetric = before.pop("symmetric")
    with reading(file, "settings of `histonuc crossval`"):
        written = _settings(TrainConfig.from_dict(before), was_symmetric)
    refuse_changes(
        written,
        settings,
        file,
        may_change=[name for name in MAY_CHANGE if name not in _ALL_ALIKE],
    )


def _settings(config: TrainConfig, symmetric: bool) -> dict[str, Any]:
    record = config.to_dict()
    for name in _ROTATED:
        del record[name]
    return {**record, "symmetric": symmetric}
