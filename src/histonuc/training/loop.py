"""Training: one explicit loop over Lightning Fabric."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from histonuc.training.averaging import update_average
from histonuc.training.bar import Bar
from histonuc.training.config import TrainConfig
from histonuc.training.crops import load_batches
from histonuc.training.folder import discarding_unsaved, explain_storage
from histonuc.training.run import Run, save_last, set_up
from histonuc.training.teacher import teacher_loss
from histonuc.training.tracking import require_trackers
from histonuc.training.validation import expect_validation, validate

log = logging.getLogger(__name__)

AUX_WEIGHT = 0.5
"""Weight of an auxiliary head's loss, as in torchvision's segmentation reference."""


def train(config: TrainConfig) -> Path:
    """Train one network and return its run folder.

    Where several processes train together, each calls this, and the first one speaks for all.

    Raises:
        ValueError: settings that contradict each other, the machine, the store, or the run to be
            resumed; or a training that diverged.
        OSError: the disk is full; what was saved before is whole.
    """
    require_trackers(config)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it greets from each process
    fabric = _fabric(config)
    fabric.launch()
    if config.threads:  # after the launch, which shares the cores out among the processes
        torch.set_num_threads(config.threads)
    if not fabric.is_global_zero:
        logging.getLogger("histonuc").setLevel(logging.ERROR)
    with _telling_once(fabric):
        run = set_up(fabric, config)
    is_new = run.progress.step == 0 and fabric.is_global_zero
    bar = Bar(config.epochs * run.steps_per_epoch, run.progress.step, active=fabric.is_global_zero)
    with discarding_unsaved(config, active=is_new), _explaining_full_disk(config):
        try:
            with _telling_once(fabric):
                expect_validation(run)
            _fit(run, bar)
        finally:
            bar.close()
            run.tracker.close()
    return config.out


def is_first_process() -> bool:
    """Whether this process speaks for all that train together, or trains alone."""
    return not (torch.distributed.is_initialized() and torch.distributed.get_rank())


@contextmanager
def _telling_once(fabric: Fabric) -> Iterator[None]:
    """Of an error that all processes meet, the first one tells; the others just end."""
    try:
        yield
    except ValueError:
        if fabric.is_global_zero:
            raise
        raise SystemExit(2) from None


@contextmanager
def _explaining_full_disk(config: TrainConfig) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        explained = explain_storage(error, config)
        if explained == str(error):
            raise
        raise OSError(explained) from None


def _fit(run: Run, bar: Bar) -> None:
    """The loop: rate, micro-batches, clip, step, average, log, save; validate after each epoch."""
    config, fabric, progress = run.config, run.fabric, run.progress
    if progress.due:  # killed between the end of an epoch and its validation
        validate(run)
    while progress.epoch < config.epochs and not _finished(run):
        run.model.train()
        batches = load_batches(
            run.dataset,
            config,
            epoch=progress.epoch,
            first_batch=progress.batch * config.accumulate,
            rank=fabric.global_rank,
            world=fabric.world_size,
        )
        while progress.batch < run.steps_per_epoch and not run.over_time:
            tick = time.monotonic()
            lr = run.learning_rate(progress.step)
            for group in run.optimizer.param_groups:
                group["lr"] = lr
            torch.manual_seed(_step_seed(config.seed, progress.step, fabric.global_rank))
            for missing in reversed(range(config.accumulate)):
                batch = fabric.to_device(next(batches))
                with fabric.no_backward_sync(run.model, enabled=missing > 0):
                    loss, terms = _loss(run, batch)
                    fabric.backward(loss / config.accumulate)
                _add(run, {"loss": loss.detach(), **terms})  # CPU-GPU sync point
            norm = _clip(run)
            run.optimizer.step()
            run.optimizer.zero_grad(set_to_none=True)
            if run.average is not None:
                update_average(run.average, run.bare, config.ema_decay, progress.step)
            progress.step += 1
            progress.batch += 1
            crops = config.batch_size * config.accumulate * fabric.world_size
            run.stepping = time.monotonic() - tick
            rate = crops / max(run.stepping, 1e-9)
            if progress.step % config.log_every == 0:
                _log_step(run, lr, rate, norm)
            bar.update(progress.step, loss=float(loss.detach()), lr=lr, images_per_s=rate)
            if _save_is_due(run):
                save_last(run)
        _end_epoch(run)


def _end_epoch(run: Run) -> None:
    """Validate when it is time to, and save."""
    config, progress = run.config, run.progress
    complete = progress.batch == run.steps_per_epoch
    if complete:
        progress.epoch, progress.batch = progress.epoch + 1, 0
    over_time = run.over_time
    if over_time:
        log.info("stopped after %.1f minutes (--minutes)", run.seconds / 60)
    last = progress.epoch == config.epochs or over_time
    progress.due = last or not complete or progress.epoch % config.validate_every == 0
    save_last(run)  # before validating: whatever happens there, the epoch is not lost
    if progress.due:
        validate(run)


def _finished(run: Run) -> bool:
    patience = run.config.early_stop_epochs
    if patience and run.progress.stale >= patience:
        log.info("stopped early: no new best in %d validations", run.progress.stale)
        return True
    return run.over_time


def _save_is_due(run: Run) -> bool:
    """Whether to save within an epoch: so many minutes or steps have passed."""
    every = run.config.checkpoint_steps
    if every and run.progress.step % every == 0:
        return True
    return time.monotonic() - run.saved > 60 * run.config.checkpoint_minutes


_FORMATS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def _fabric(config: TrainConfig) -> Fabric:
    if config.precision == "16" and not torch.cuda.is_available():  # Fabric would take bf16
        raise ValueError("--precision 16 needs a GPU and there is none here: use bf16 or 32")
    try:
        return Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy=config.strategy,
            precision=_FORMATS[config.precision],  # type: ignore[arg-type]
        )
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise ValueError(
            f"--accelerator {config.accelerator} --devices {config.devices} "
            f"--strategy {config.strategy} cannot be had here: {error}"
        ) from None


def _step_seed(seed: int, step: int, rank: int) -> int:
    """Seed of dropout in one step of one process: a resumed run needs no generator's state."""
    return int(np.random.SeedSequence((seed, 2, step, rank)).generate_state(1, np.uint64)[0])


def _loss(run: Run, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    # Fabric opens the autocast of `precision` around forward, but not around marked methods.
    with run.fabric.autocast():
        logits, auxiliary = run.model.forward_train(batch["image"])
    representation, targets = run.bare.representation, batch["targets"]
    loss, terms = run.loss(representation, logits, targets)
    if auxiliary is not None:
        loss = loss + AUX_WEIGHT * run.loss(representation, auxiliary, targets)[0]
    if run.teacher is not None:
        seed = _step_seed(run.config.seed, run.progress.step, run.fabric.global_rank)
        maps = run.teacher.maps(batch["image"], seed)
        where = targets["ignore"] if run.config.teacher_where == "unknown" else None
        known = targets["candidates"] != 0 if where is not None else None
        distance, more = teacher_loss(representation, logits, maps, where, known)
        loss, terms = loss + run.config.teacher_weight * distance, {**terms, **more}
    return loss, terms


def _clip(run: Run) -> float:
    """Shorten the gradient to `clip_norm` and return its length before.

    Raises:
        ValueError: the training diverged; the weights are as they were before this step.
    """
    norm = run.fabric.clip_gradients(
        run.model,
        run.optimizer,
        max_norm=run.config.clip_norm or math.inf,
        error_if_nonfinite=False,
    )
    length, loss = float(norm), run.progress.window["loss"]  # type: ignore[arg-type]
    # In fp16 a gradient may overflow: the scaler skips that step and scales less from then on.
    if not math.isfinite(loss) or (run.config.precision != "16" and not math.isfinite(length)):
        with _telling_once(run.fabric):
            raise ValueError(
                f"the training diverged in step {run.progress.step + 1} (loss {loss}, gradient "
                f"{length}): start anew with a lower --max-lr, or with --precision 32 if it was "
                f"not; weights saved before, if any, are in {run.config.out}/checkpoints"
            )
    return length


def _add(run: Run, terms: Mapping[str, Tensor]) -> None:
    """Add a batch's losses, averaged over the processes, to the window."""
    window = run.progress.window
    for name, value in terms.items():
        if run.fabric.world_size > 1:
            value = run.fabric.all_reduce(value, reduce_op="mean")  # type: ignore[assignment]
        window[name] = window.get(name, 0.0) + float(value)
    window["count"] = window.get("count", 0.0) + 1


def _log_step(run: Run, lr: float, images_per_s: float, norm: float) -> None:
    """One line: the mean losses over the window and all processes; then a new window."""
    window = run.progress.window
    count = window.pop("count")
    run.tracker.write(
        "step",
        run.progress.step,
        {
            "epoch": run.progress.step / run.steps_per_epoch,
            "lr": lr,
            **{name: value / count for name, value in window.items()},
            "grad_norm": norm if math.isfinite(norm) else None,  # JSON knows no infinity
            "images_per_s": images_per_s,
            "seconds": run.seconds,
        },
    )
    window.clear()
