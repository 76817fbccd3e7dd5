"""One training's moving parts: made anew or from the last checkpoint, and saved."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric

from histonuc.data.dataset import TileDataset
from histonuc.data.store import Store
from histonuc.models.loading import find_checkpoint
from histonuc.models.model import ModelSpec
from histonuc.models.network import Network
from histonuc.models.zoo import build_network, load_network, save_network, start_from
from histonuc.schedules import CosineRestarts
from histonuc.training.checkpoint import (
    Progress,
    TrainState,
    can_resume,
    load_state,
    open_run,
    read_origins,
    save_state,
)
from histonuc.training.config import TrainConfig
from histonuc.training.loss import Loss, find_loss
from histonuc.training.tracking import Tracker

if TYPE_CHECKING:
    from torch.optim import Optimizer


@dataclass(kw_only=True)
class Run:
    """The moving parts of a training, as the loop hands them around."""

    config: TrainConfig
    fabric: Fabric
    store: Store
    model: Any  # Network, wrapped by Fabric
    bare: Network
    average: Network | None
    loss: Loss
    optimizer: Any
    schedule: CosineRestarts
    dataset: TileDataset
    steps_per_epoch: int
    progress: Progress
    tracker: Tracker
    started: float
    saved: float

    @property
    def judged(self) -> Network:
        """The weights that are validated and saved: the average where there is one."""
        return self.average if self.average is not None else self.bare

    @property
    def seconds(self) -> float:
        """Wall time spent on this run, earlier sessions included."""
        return self.progress.seconds + time.monotonic() - self.started

    @property
    def over_time(self) -> bool:
        """Whether the budget of minutes is used up; the first process decides for all."""
        if self.config.minutes <= 0:
            return False
        over = self.seconds > 60 * self.config.minutes
        return bool(self.fabric.broadcast(over)) if self.fabric.world_size > 1 else over


def set_up(fabric: Fabric, config: TrainConfig) -> Run:
    """Everything the loop needs, new or from the last checkpoint.

    Raises:
        ValueError: settings that the store or the run to be resumed contradict.
    """
    store = Store.open(config.data)
    origins = read_origins(config)
    loss = find_loss(config.loss, origins.get("loss", ""))
    torch.manual_seed(config.seed)
    model = _model(config, store, origins)
    dataset, steps_per_epoch = _dataset(fabric, config, store, model)
    state = _open_on_first(fabric, config)
    if state is not None:
        model.load_state_dict(state.model)
    model.to(memory_format=torch.channels_last)
    average = _average(config, model, state)
    wrapped, optimizer = fabric.setup(model, _optimizer(config, model))
    wrapped.mark_forward_method("forward_train")
    if average is not None:
        average.to(fabric.device)
    progress = Progress()
    if state is not None:
        progress = state.progress
        # After set-up: torch puts the moments on the device that the weights are on by then.
        optimizer.load_state_dict(dict(state.optimizer))
        fabric.strategy.precision.load_state_dict(dict(state.scaler))
    now = time.monotonic()
    return Run(
        config=config,
        fabric=fabric,
        store=store,
        model=wrapped,
        bare=model,
        average=average,
        loss=loss,
        optimizer=optimizer,
        schedule=_schedule(config, steps_per_epoch),
        dataset=dataset,
        steps_per_epoch=steps_per_epoch,
        progress=progress,
        tracker=Tracker(
            config,
            active=fabric.is_global_zero,
            num_lines=progress.num_log_lines,
            step=progress.step,
        ),
        started=now,
        saved=now,
    )


def save_last(run: Run) -> None:
    """Write the last checkpoint; state.pt first, as it alone is enough to go on."""
    run.saved = time.monotonic()
    run.progress.num_log_lines = run.tracker.num_lines
    if not run.fabric.is_global_zero:
        return
    folder = run.config.out / "checkpoints" / "last"
    save_state(
        TrainState(
            progress=replace(run.progress, seconds=run.seconds),
            model=run.bare.state_dict(),
            ema=run.average.state_dict() if run.average is not None else {},
            optimizer=run.optimizer.state_dict(),
            scaler=run.fabric.strategy.precision.state_dict(),
        ),
        folder,
    )
    save_network(run.judged, folder)


def _model(config: TrainConfig, store: Store, origins: Mapping[str, str]) -> Network:
    model = build_network(
        ModelSpec(
            trunk=config.trunk,
            representation=config.representation,
            label_space=store.label_space,
            mpp=config.mpp,
            trunk_options=config.trunk_options,
            representation_options=config.representation_options,
            origins=origins,
        ),
        pretrained=config.pretrained and not config.init and not can_resume(config),
    )
    if config.init and not can_resume(config):
        start_from(model, load_network(find_checkpoint(Path(config.init)) or Path(config.init)))
    if config.freeze:
        model.freeze_encoder()
    return model


def _dataset(
    fabric: Fabric, config: TrainConfig, store: Store, model: Network
) -> tuple[TileDataset, int]:
    """The training crops and the optimiser steps an epoch of them makes."""
    sources = config.sources or None
    tiles = store.select(config.folds, sources)
    _check_source_weights(config, {store.source(int(tile)) for tile in tiles})
    dataset = TileDataset(
        store,
        tiles,
        model.representation.encode,
        tile_px=config.tile_px,
        mpp=config.mpp,
        augment=config.augment,
        samples_per_epoch=config.samples_per_epoch,
        balance=(config.tissue_power, config.class_power, config.source_power),
        source_weights=config.source_weights,
        seed=config.seed,
    )
    # Complain about the validation tiles now, not after the first epoch.
    num_val = len(store.select(config.val_folds, sources))
    if num_val < fabric.world_size:
        raise ValueError(
            f"--val-folds has {num_val} tiles for {fabric.world_size} processes: "
            "each must have one; lower --devices or --num-nodes"
        )
    crops_per_step = config.batch_size * config.accumulate * fabric.world_size
    if len(dataset) < crops_per_step:
        raise ValueError(
            f"an epoch has {len(dataset)} crops, a step needs {crops_per_step}: "
            "lower --batch-size or raise --samples-per-epoch"
        )
    return dataset, len(dataset) // crops_per_step


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


def _open_on_first(fabric: Fabric, config: TrainConfig) -> TrainState | None:
    """The first process makes or checks the run folder, then all read the same state."""
    problem, state = "", None
    if fabric.is_global_zero:
        try:
            state = open_run(config, sys.argv)
        except (ValueError, OSError) as error:
            problem = str(error)
    if fabric.world_size > 1:  # all must fail together, or the others would wait for ever
        problem, resumed = fabric.broadcast((problem, state is not None))
        if resumed and not fabric.is_global_zero:
            state = load_state(config.out / "checkpoints" / "last")
    if problem:
        raise ValueError(problem)
    return state


def _optimizer(config: TrainConfig, model: Network) -> Optimizer:
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(model.trainable_parameters(), lr=config.max_lr, weight_decay=config.weight_decay)


def _schedule(config: TrainConfig, steps_per_epoch: int) -> CosineRestarts:
    first = max(round(config.first_cycle_epochs * steps_per_epoch), 1)
    return CosineRestarts(
        first_cycle_steps=first,
        cycle_mult=config.cycle_mult,
        max_lr=config.max_lr,
        min_lr=config.min_lr,
        # Rounding may make an almost equal warm-up as long as its cycle.
        warmup_steps=min(round(config.warmup_epochs * steps_per_epoch), first - 1),
        gamma=config.gamma,
    )


def _average(config: TrainConfig, model: Network, state: TrainState | None) -> Network | None:
    """The model whose weights will be the moving average, if one is wanted."""
    if not config.ema_decay:
        return None
    average = build_network(model.spec)
    average.load_state_dict(model.state_dict() if state is None else state.ema)
    average.to(memory_format=torch.channels_last)
    return average.eval().requires_grad_(False)
