"""Training: one explicit loop over Lightning Fabric."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from histonuc.data.dataset import BatchKeys, TileDataset
from histonuc.data.store import Store
from histonuc.evaluation import Evaluation, evaluate
from histonuc.schedules import CosineRestarts
from histonuc.training.checkpoint import Progress, TrainState, open_run, save_state
from histonuc.training.config import TrainConfig
from histonuc.training.samples import save_samples
from histonuc.training.tracking import Bar, Tracker
from histonuc.zoo import ModelSpec, NucleusModel, build_model, save_model

if TYPE_CHECKING:
    from torch.optim import Optimizer

log = logging.getLogger(__name__)

AUX_WEIGHT = 0.5
"""Weight of an auxiliary head's loss, as in torchvision's segmentation reference."""


@dataclass(kw_only=True)
class Run:
    """The moving parts of a training, as the loop hands them around."""

    config: TrainConfig
    fabric: Fabric
    store: Store
    model: Any  # NucleusModel, wrapped by Fabric
    bare: NucleusModel
    average: NucleusModel | None
    optimizer: Any
    schedule: CosineRestarts
    dataset: TileDataset
    steps_per_epoch: int
    progress: Progress
    tracker: Tracker
    started: float
    saved: float

    @property
    def judged(self) -> NucleusModel:
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


def train(config: TrainConfig) -> Path:
    """Train one network and return its run folder.

    Raises:
        ValueError: settings that contradict each other, the store, or the run to be resumed.
    """
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=config.strategy,
        precision={"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[config.precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    run = _set_up(fabric, config)
    bar = Bar(config.epochs * run.steps_per_epoch, run.progress.step, active=fabric.is_global_zero)
    try:
        _fit(run, bar)
    finally:
        bar.close()
        run.tracker.close()
    return config.out


def _fit(run: Run, bar: Bar) -> None:
    """The loop: rate, micro-batches, clip, step, average, log, save; validate after each epoch."""
    config, fabric, progress = run.config, run.fabric, run.progress
    if progress.due:  # killed between the end of an epoch and its validation
        _validate(run)
    while progress.epoch < config.epochs and not _finished(run):
        run.model.train()
        batches = iter(_loader(run))
        while progress.batch < run.steps_per_epoch and not run.over_time:
            tick = time.monotonic()
            lr = run.schedule.at(progress.step)
            for group in run.optimizer.param_groups:
                group["lr"] = lr
            for missing in reversed(range(config.accumulate)):
                batch = fabric.to_device(next(batches))
                with fabric.no_backward_sync(run.model, enabled=missing > 0):
                    loss, parts = _loss(run, batch)
                    fabric.backward(loss / config.accumulate)
                _add(progress.window, {"loss": loss.detach(), **parts})  # CPU-GPU sync point
            norm = _clip(run)
            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=True)
            if run.average is not None:
                _update_average(run.average, run.bare, config.ema_decay, progress.step)
            progress.step += 1
            progress.batch += 1
            crops = config.batch_size * config.accumulate * fabric.world_size
            rate = crops / max(time.monotonic() - tick, 1e-9)
            if progress.step % config.log_every == 0:
                _log_step(run, lr, rate, norm)
            bar.update(progress.step, loss=float(loss.detach()), lr=lr, images_per_s=rate)
            if time.monotonic() - run.saved > 60 * config.checkpoint_minutes:
                _save(run)
        _end_epoch(run)


def _end_epoch(run: Run) -> None:
    """Validate when it is time to, and save."""
    config, progress = run.config, run.progress
    complete = progress.batch == run.steps_per_epoch
    if complete:
        progress.epoch, progress.batch = progress.epoch + 1, 0
    if run.over_time:
        log.info("stopped after %.1f minutes (--minutes)", run.seconds / 60)
    last = progress.epoch == config.epochs or run.over_time
    progress.due = last or not complete or progress.epoch % config.validate_every == 0
    _save(run)  # before validating: whatever happens there, the epoch is not lost
    if progress.due:
        _validate(run)


def _finished(run: Run) -> bool:
    patience = run.config.early_stop_epochs
    if patience and run.progress.stale >= patience:
        log.info("stopped early: no new best in %d validations", run.progress.stale)
        return True
    return run.over_time


def _set_up(fabric: Fabric, config: TrainConfig) -> Run:
    """Everything the loop needs, new or from the last checkpoint."""
    store = Store.open(config.data)
    sources = config.sources or None
    tiles = store.select(config.folds, sources)
    store.select(config.val_folds, sources)  # complain now, not after the first epoch
    torch.manual_seed(config.seed)
    model = build_model(
        ModelSpec(
            trunk=config.trunk,
            representation=config.representation,
            label_space=store.label_space,
            mpp=config.mpp,
            trunk_options=config.trunk_options,
            representation_options=config.representation_options,
        ),
        pretrained=config.pretrained and not config.resume,
    )
    if config.freeze:
        model.freeze_encoder()
    dataset = TileDataset(
        store,
        tiles,
        model.representation.encode,
        tile_px=config.tile_px,
        mpp=config.mpp,
        augment=config.augment,
        samples_per_epoch=config.samples_per_epoch,
        balance=(config.tissue_power, config.class_power, config.source_power),
        seed=config.seed,
    )
    crops_per_step = config.batch_size * config.accumulate * fabric.world_size
    steps = len(dataset) // crops_per_step
    if steps == 0:
        raise ValueError(
            f"an epoch has {len(dataset)} crops, a step needs {crops_per_step}: "
            "lower --batch-size or raise --samples-per-epoch"
        )
    state = _open_on_first(fabric, config)
    model.to(memory_format=torch.channels_last)
    optimizer = _optimizer(config, model)
    if state is not None:
        model.load_state_dict(state.model)
        optimizer.load_state_dict(dict(state.optimizer))
    average = _new_average(model, state) if config.ema_decay else None
    wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
    wrapped.mark_forward_method("forward_train")
    if average is not None:
        average.to(fabric.device)
    progress = state.progress if state is not None else Progress()
    if state is not None:  # last: building and wrapping models draws random numbers
        _set_rng(state.rng)
    now = time.monotonic()
    return Run(
        config=config,
        fabric=fabric,
        store=store,
        model=wrapped,
        bare=model,
        average=average,
        optimizer=wrapped_optimizer,
        schedule=_schedule(config, steps),
        dataset=dataset,
        steps_per_epoch=steps,
        progress=progress,
        tracker=Tracker(config, active=fabric.is_global_zero, num_lines=progress.num_log_lines),
        started=now,
        saved=now,
    )


def _open_on_first(fabric: Fabric, config: TrainConfig) -> TrainState | None:
    """The first process makes or checks the run folder, then all read the same state."""
    problem, state = "", None
    if fabric.is_global_zero:
        try:
            state = open_run(config, sys.argv)
        except ValueError as error:
            problem = str(error)
    if fabric.world_size > 1:  # all must fail together, or the others would wait for ever
        problem, resumed = fabric.broadcast((problem, state is not None))
        if resumed and not fabric.is_global_zero:
            from histonuc.training.checkpoint import load_state

            state = load_state(config.out / "checkpoints" / "last")
    if problem:
        raise ValueError(problem)
    return state


def _optimizer(config: TrainConfig, model: NucleusModel) -> Optimizer:
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(model.trainable_parameters(), lr=config.max_lr, weight_decay=config.weight_decay)


def _schedule(config: TrainConfig, steps_per_epoch: int) -> CosineRestarts:
    first = max(round(config.first_cycle_epochs * steps_per_epoch), 1)
    return CosineRestarts(
        first_cycle_steps=first,
        cycle_mult=config.cycle_mult,
        max_lr=config.max_lr,
        min_lr=config.min_lr,
        warmup_steps=min(round(config.warmup_epochs * steps_per_epoch), first - 1),
        gamma=config.gamma,
    )


def _loader(run: Run) -> Iterator[Any]:
    """Batches of the rest of the epoch."""
    config, progress = run.config, run.progress
    keys = BatchKeys(
        len(run.dataset),
        config.batch_size,
        epoch=progress.epoch,
        first_batch=progress.batch * config.accumulate,
        rank=run.fabric.global_rank,
        world=run.fabric.world_size,
    )
    # Its own generator: a loader draws a seed when it starts, and a resumed epoch starts one more.
    return iter(
        DataLoader(
            run.dataset,
            batch_sampler=keys,
            num_workers=config.workers,
            generator=torch.Generator(),
        )
    )


def _rng() -> list[Tensor]:
    """States of the generators of the processor and of every GPU (dropout draws from them)."""
    return [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]


def _set_rng(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])


def _loss(run: Run, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    # Fabric opens the autocast of `precision` around forward, but not around marked methods.
    with run.fabric.autocast():
        logits, auxiliary = run.model.forward_train(batch["image"])
    loss, parts = run.bare.representation.loss(logits, batch["targets"])
    if auxiliary is not None:
        loss = loss + AUX_WEIGHT * run.bare.representation.loss(auxiliary, batch["targets"])[0]
    return loss, parts


def _clip(run: Run) -> float:
    if run.config.clip_norm == 0:
        return math.nan
    norm = run.fabric.clip_gradients(run.model, run.optimizer, max_norm=run.config.clip_norm)
    return float(norm) if norm is not None else math.nan


def _add(window: dict[str, float], values: Mapping[str, Tensor]) -> None:
    for name, value in values.items():
        window[name] = window.get(name, 0.0) + float(value)
    window["count"] = window.get("count", 0.0) + 1


def _log_step(run: Run, lr: float, images_per_s: float, norm: float) -> None:
    """One line: the window's mean losses; then a new window."""
    window = run.progress.window
    count = window.pop("count")
    means = {name: value / count for name, value in window.items()}
    if not math.isfinite(means["loss"]):
        raise ValueError(
            f"the loss became {means['loss']} by step {run.progress.step}: lower --max-lr, or "
            f"resume with --precision 32; the last checkpoint is in {run.config.out}/checkpoints"
        )
    run.tracker.write(
        "step",
        run.progress.step,
        {
            "epoch": run.progress.step / run.steps_per_epoch,
            "lr": lr,
            **means,
            "grad_norm": norm,
            "images_per_s": images_per_s,
            "seconds": run.seconds,
        },
    )
    window.clear()


def _new_average(model: NucleusModel, state: TrainState | None) -> NucleusModel:
    average = build_model(model.spec)
    average.load_state_dict(model.state_dict() if state is None else state.ema)
    average.to(memory_format=torch.channels_last)
    return average.eval().requires_grad_(False)


@torch.no_grad()
def _update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average; a young one forgets faster, or it would remember the start."""
    weight = 1 - min(decay, (1 + step) / (10 + step))
    for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value.to(mean.dtype), weight)
        else:
            mean.copy_(value)


def _validate(run: Run) -> None:
    """Score the validation tiles, log, and keep the best."""
    evaluation = _evaluate(run)
    summary = evaluation.summary()
    value = summary[run.config.monitor]
    progress = run.progress
    better = value is not None and value > progress.best
    progress.stale = 0 if better else progress.stale + 1
    if better:
        progress.best = float(value)  # type: ignore[arg-type]
    run.tracker.write(
        "epoch",
        progress.step,
        {
            "epoch": progress.step / run.steps_per_epoch,
            "lr": run.schedule.at(max(progress.step - 1, 0)),
            "val": summary,
            "best": better,
            "seconds": run.seconds,
        },
    )
    log.info(
        "epoch %.1f  %s%s",
        progress.step / run.steps_per_epoch,
        "  ".join(f"{k} {v:.4f}" for k, v in summary.items() if v is not None),
        "  (best)" if better else "",
    )
    if better and run.fabric.is_global_zero:
        save_model(run.judged, run.config.out / "checkpoints" / "best")
        save_samples(evaluation, run.config.out / "samples")
    progress.due = False
    _save(run)


def _evaluate(run: Run) -> Evaluation:
    """Each process scores its share; counts are added."""
    fabric, model = run.fabric, run.judged
    tiles = run.store.select(run.config.val_folds, run.config.sources or None)
    model.eval()

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(fabric.device)
        with torch.inference_mode(), fabric.autocast():
            maps = model.representation.activate(model(batch))
        array: NDArray[np.float32] = maps.float().cpu().numpy()
        return array

    own = tiles[fabric.global_rank :: fabric.world_size]
    if len(own) == 0:
        raise ValueError(f"{fabric.world_size} processes cannot share {len(tiles)} tiles")
    part = evaluate(
        run.store,
        own,
        predict,
        representation=model.representation,
        label_space=run.store.label_space,
        mpp=run.config.mpp,
    )
    if fabric.world_size == 1:
        return part
    parts: list[Evaluation] = [None] * fabric.world_size  # type: ignore[list-item]
    torch.distributed.all_gather_object(parts, part)
    total = parts[0]
    for other in parts[1:]:
        total = total + other
    return total


def _save(run: Run) -> None:
    """Write the last checkpoint; state.pt first, as it alone is enough to go on."""
    run.saved = time.monotonic()
    progress = run.progress
    progress.num_log_lines = run.tracker.num_lines
    if not run.fabric.is_global_zero:
        return
    elapsed, run_seconds = progress.seconds, run.seconds
    progress.seconds = run_seconds
    folder = run.config.out / "checkpoints" / "last"
    save_state(
        TrainState(
            progress=progress,
            model=run.bare.state_dict(),
            ema=run.average.state_dict() if run.average is not None else {},
            optimizer=run.optimizer.state_dict(),
            rng=_rng(),
        ),
        folder,
    )
    progress.seconds = elapsed
    save_model(run.judged, folder)
