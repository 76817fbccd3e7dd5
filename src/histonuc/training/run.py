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
from torch import Tensor

from histonuc.data.dataset import InTurn, TileDataset
from histonuc.data.store import Store
from histonuc.models.model import ModelSpec
from histonuc.models.network import Network
from histonuc.models.zoo import save_network
from histonuc.schedules import CosineRestarts
from histonuc.training.averaging import make_average, mix_with_start
from histonuc.training.checkpoint import Progress, TrainState, load_state, save_state
from histonuc.training.config import TrainConfig
from histonuc.training.crops import open_crops
from histonuc.training.folder import (
    discarding_unsaved,
    explain_storage,
    open_run,
    read_origins,
)
from histonuc.training.loss import Loss, find_loss
from histonuc.training.starting import make_network, read_start
from histonuc.training.teacher import Teacher
from histonuc.training.tracking import Tracker, check_trackers

if TYPE_CHECKING:
    from torch.optim import Optimizer


@dataclass(kw_only=True)
class Run:
    """The moving parts of a training, as the loop hands them around.

    Attributes:
        config: its settings.
        fabric: devices, number format and processes.
        store: the data.
        model: the network as Fabric wraps it.
        bare: the same network without the wrapping.
        average: the moving average of its weights; None where there is none.
        start: weights by name that it started from, where they are part of what is saved.
        loss: what is minimised.
        teacher: model that the network learns from beside the labels; None without one.
        optimizer: as Fabric wraps it.
        schedule: learning rate by step.
        dataset: the training crops.
        steps_per_epoch: optimiser steps an epoch.
        progress: where the training stands; changed by the loop.
        tracker: the log.
        started: `time.monotonic` when this session began.
        saved: the same of its last checkpoint.
        stepping: seconds that the last optimiser step took.
        saving: seconds that the last checkpoint took to write.
    """

    config: TrainConfig
    fabric: Fabric
    store: Store
    model: Any
    bare: Network
    average: Network | None
    start: Mapping[str, Tensor]
    loss: Loss
    teacher: Teacher | None
    optimizer: Any
    schedule: CosineRestarts
    dataset: TileDataset | InTurn
    steps_per_epoch: int
    progress: Progress
    tracker: Tracker
    started: float
    saved: float
    stepping: float = 0.0
    saving: float = 0.0

    @property
    def judged(self) -> Network:
        """The weights that are validated and saved: the average, mixed with the start's.

        With ``init_share`` it is a new network each time.
        """
        network = self.average if self.average is not None else self.bare
        if not self.start:
            return network
        return mix_with_start(network, self.start, self.config.init_share)

    @property
    def seconds(self) -> float:
        """Wall time spent on this run, earlier sessions included."""
        return self.progress.seconds + time.monotonic() - self.started

    @property
    def over_time(self) -> bool:
        """Whether a step more would leave too few of the minutes to validate and save.

        The first process decides for all.
        """
        over = self._used_time > 1
        return bool(self.fabric.broadcast(over)) if self.fabric.world_size > 1 else over

    def learning_rate(self, step: int) -> float:
        """Rate of a step that is taken now, counted from 0.

        With ``rate_by_minutes`` it is that of the later of two steps: this one, and the one at
        the share of the schedule that the time used is of the minutes (budgeted training, Li et
        al. 2020, arXiv 1905.04753). The first process decides for all.
        """
        if self.config.rate_by_minutes:
            num_steps = self.config.epochs * self.steps_per_epoch
            used = self._used_time
            if self.fabric.world_size > 1:
                used = self.fabric.broadcast(used)
            step = max(step, min(int(used * num_steps), num_steps - 1))
        return self.schedule.at(step)

    @property
    def _used_time(self) -> float:
        """Share of the minutes that is used, what ending the run will take included."""
        if self.config.minutes <= 0:
            return 0.0
        closing = self.stepping + self.saving + self.progress.validation_seconds
        return (self.seconds + closing) / (60 * self.config.minutes)


def set_up(fabric: Fabric, config: TrainConfig) -> Run:
    """Everything the loop needs, new or from the last checkpoint.

    Raises:
        ValueError: settings that the store or the run to be resumed contradict.
    """
    store = Store.open(config.data)
    origins = read_origins(config)
    loss = find_loss(config.loss, origins.get("loss", ""))
    torch.manual_seed(config.seed)
    model = make_network(config, store, origins)
    representation, world_size = model.representation, fabric.world_size
    dataset, steps_per_epoch = open_crops(config, store, representation, world_size)
    state = _open_on_first(fabric, config)
    with discarding_unsaved(config, active=state is None and fabric.is_global_zero):
        if state is not None:
            model.load_state_dict(state.model)
        model.to(memory_format=torch.channels_last)
        average = make_average(model, state) if config.ema_decay else None
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
        tracker = Tracker(
            config,
            active=fabric.is_global_zero,
            num_lines=progress.num_log_lines,
            step=progress.step,
        )
    now = time.monotonic()
    return Run(
        config=config,
        fabric=fabric,
        store=store,
        model=wrapped,
        bare=model,
        average=average,
        start=read_start(config, model),
        loss=loss,
        teacher=_teacher(config, model.spec, fabric.device),
        optimizer=optimizer,
        schedule=_schedule(config, steps_per_epoch),
        dataset=dataset,
        steps_per_epoch=steps_per_epoch,
        progress=progress,
        tracker=tracker,
        started=now,
        saved=now,
    )


def save_last(run: Run) -> None:
    """Write the last checkpoint; state.pt first, as it alone is enough to go on."""
    begun = time.monotonic()
    run.progress.num_log_lines = run.tracker.num_lines
    if run.fabric.is_global_zero:
        _save(run, run.config.out / "checkpoints" / "last")
    run.saved = time.monotonic()
    run.saving = run.saved - begun


def _save(run: Run, folder: Path) -> None:
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


def _teacher(config: TrainConfig, spec: ModelSpec, device: torch.device) -> Teacher | None:
    if not config.teacher:
        return None
    return Teacher(config.teacher, spec, device, classes=config.teacher_where == "unknown")


def _open_on_first(fabric: Fabric, config: TrainConfig) -> TrainState | None:
    """The first process makes or checks the run folder, then all read the same state."""
    problem, state = "", None
    if fabric.is_global_zero:
        try:
            check_trackers(config)
            state = open_run(config, sys.argv)
        except ValueError as error:
            problem = str(error)
        except OSError as error:
            problem = explain_storage(error, config)
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
