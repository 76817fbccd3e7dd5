"""The crops of a training: drawn from the store, prepared here or elsewhere, in batches."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from histonuc.data.dataset import BatchKeys, InTurn, Sampling, TileDataset
from histonuc.data.store import Store
from histonuc.evaluation import TileSelection
from histonuc.representations import Representation
from histonuc.training.config import TrainConfig

log = logging.getLogger(__name__)


def open_crops(
    config: TrainConfig, store: Store, representation: Representation, world_size: int
) -> tuple[TileDataset | InTurn, int]:
    """The training crops and the optimiser steps an epoch of them makes.

    Raises:
        ValueError: folds, data sets or weights that the store does not have, or too few crops.
    """
    parts = [_draw_from(store, config, representation)]
    rest = replace(config, samples_per_epoch=len(parts[0]), sources=(), source_weights={})
    unlabelled = find_unlabelled_tiles(config, store)
    if len(unlabelled):
        parts.append(_make_crops(store, unlabelled, rest, representation))
    if config.replay:
        parts.append(_draw_from(_open_replay(config, store), rest, representation))
    dataset = InTurn(*parts) if len(parts) > 1 else parts[0]
    # Complain about the validation tiles now, not after the first epoch.
    validated = find_validation_tiles(config, store)
    left_out = len(store.select(config.val_folds, config.sources or None, labels=None))
    left_out -= len(validated)
    if not store.has_outlines(int(validated[0])):
        score = "class F1 by centroid"
        if store.is_sparse(int(validated[0])):
            score = "share of the found points with the right class"
        log.info(
            "the validation tiles have points and no outlines: their %s decides which checkpoint "
            "is the best",
            score,
        )
    elif left_out:
        log.info("%d tiles with points do not validate, as others have outlines", left_out)
    num_val = len(validated)
    if num_val < world_size:
        raise ValueError(
            f"--val-folds has {num_val} tiles for {world_size} processes: "
            "each must have one; lower --devices or --num-nodes"
        )
    crops_per_step = config.batch_size * config.accumulate * world_size
    if len(dataset) < crops_per_step:
        raise ValueError(
            f"an epoch has {len(dataset)} crops, a step needs {crops_per_step}: "
            "lower --batch-size or raise --samples-per-epoch"
        )
    return dataset, len(dataset) // crops_per_step


def _draw_from(store: Store, config: TrainConfig, representation: Representation) -> TileDataset:
    """Crops of the training folds of a store, where they have labels."""
    tiles = find_training_tiles(config, store)
    _check_source_weights(config, {store.source(int(tile)) for tile in tiles})
    return _make_crops(store, tiles, config, representation)


def _make_crops(
    store: Store, tiles: NDArray[np.int64], config: TrainConfig, representation: Representation
) -> TileDataset:
    return TileDataset(
        store,
        tiles,
        representation.encode,
        tile_px=config.tile_px,
        mpp=config.mpp,
        augment=config.augment,
        sampling=Sampling(
            samples_per_epoch=config.samples_per_epoch,
            balance=(config.tissue_power, config.class_power, config.source_power),
            source_weights=config.source_weights,
            seed=config.seed,
        ),
    )


def _open_replay(config: TrainConfig, store: Store) -> Store:
    """The replayed store.

    Raises:
        ValueError: no such store, or one of other classes.
    """
    replayed = Store.open(Path(config.replay))
    if replayed.label_space.classes != store.label_space.classes:
        raise ValueError(
            f"--replay {config.replay} has the classes {', '.join(replayed.label_space.classes)}; "
            f"expected those of {config.data}: {', '.join(store.label_space.classes)}; prepare "
            "it with the same --label-space"
        )
    return replayed


def find_training_tiles(config: TrainConfig, store: Store) -> NDArray[np.int64]:
    """Tiles with outlines, and those with points once a model outlined what these mark.

    Raises:
        ValueError: folds or data sets that the store does not have, or no tile to train on.
    """
    chosen = store.select(config.folds, config.sources or None, labels=None)
    pointed = [tile for tile in chosen.tolist() if not store.has_outlines(tile)]
    if not pointed:
        return chosen
    sources = ", ".join(sorted({store.source(tile) for tile in pointed}))
    if store.point_outlines is None:
        advice = f"`histonuc prepare outline {store.path}` makes training learn their classes"
        if len(pointed) == len(chosen):
            raise ValueError(f"{len(pointed)} tiles of {sources} have points alone: {advice}")
        log.info("%s", advice)
        return store.select(config.folds, config.sources or None)
    log.info("%d tiles of %s have points: only classes are learned there", len(pointed), sources)
    if len(pointed) == len(chosen):
        log.warning("no tile has outlines: nothing holds those of the model as they are")
    return chosen


def find_unlabelled_tiles(config: TrainConfig, store: Store) -> NDArray[np.int64]:
    """Tiles in which nothing is known, of the training folds, where a teacher speaks there.

    Without a teacher there are none: they teach nothing.

    Raises:
        ValueError: folds or data sets that the store does not have.
    """
    tiles = store.select_unlabelled(config.folds, config.sources or None)
    if len(tiles) and not (config.teacher and config.teacher_weight):
        log.info(
            "%d tiles without labels: left out, as nothing but --teacher knows them", len(tiles)
        )
        return tiles[:0]
    if len(tiles):
        log.info("%d tiles have no labels: the teacher alone is learned from there", len(tiles))
    return tiles


def find_validation_tiles(config: TrainConfig, store: Store) -> NDArray[np.int64]:
    """Tiles with outlines, or those with points where the validation folds have nothing else.

    Raises:
        ValueError: folds or data sets that the store does not have.
    """
    return TileSelection(folds=config.val_folds, sources=config.sources).find_tiles(store)


def _check_source_weights(config: TrainConfig, sources: set[str]) -> None:
    """Refuse weights of data sets that are not there, and those that leave nothing to draw."""
    unknown = sorted(set(config.source_weights) - sources)
    if unknown:
        raise ValueError(
            f"--source-weights: the training folds have no data set {', '.join(unknown)}; "
            f"they have {', '.join(sorted(sources))}"
        )
    if not any(config.source_weights.get(source, 1.0) for source in sources):
        raise ValueError("--source-weights: every data set of the training folds has weight 0")


def load_batches(
    dataset: TileDataset | InTurn,
    config: TrainConfig,
    *,
    epoch: int,
    first_batch: int,
    rank: int,
    world: int,
) -> Iterator[Any]:
    """Batches of the rest of an epoch, for one process.

    Args:
        dataset: the crops.
        config: settings of the run.
        epoch: number of the epoch, which with the seed decides the order.
        first_batch: batches of this process that are done already.
        rank: number of this process.
        world: number of processes.

    Raises:
        ValueError: what a process that prepares crops says, in one line.
        OSError: the same, of the disk.
    """
    # Its own generator: a loader draws a seed when it starts, and a resumed epoch starts one more.
    loader = DataLoader(
        dataset,
        batch_sampler=BatchKeys(
            len(dataset),
            config.batch_size,
            epoch=epoch,
            first_batch=first_batch,
            rank=rank,
            world=world,
        ),
        num_workers=config.workers,
        generator=torch.Generator(),
    )
    try:
        yield from loader
    except (OSError, RuntimeError, ValueError) as error:
        raise _plain_error(error, config.workers) from None


def _plain_error(error: Exception, workers: int) -> Exception:
    """One line for what torch reports of another process with all of its traceback."""
    text = str(error)
    if "shared memory" in text:
        return ValueError(
            f"--workers {workers}: the processes that prepare crops hand them over in /dev/shm, "
            "which is full: give --workers 0, or enlarge it (docker run --shm-size 2g)"
        )
    if text.startswith("Caught ") and not isinstance(error, RuntimeError):
        return type(error)(text.strip().splitlines()[-1].partition(": ")[2])
    return error
