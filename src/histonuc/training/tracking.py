"""Where a training's numbers go: metrics.jsonl always, progress bar, TensorBoard and MLflow."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from histonuc.extras import require
from histonuc.offline import load_mlflow
from histonuc.training.config import TrainConfig

log = logging.getLogger(__name__)


class Tracker:
    """Log of one run; on processes other than the first every call does nothing.

    Args:
        config: the run's settings.
        active: whether this is the first process.
        num_lines: lines that metrics.jsonl holds already.
        step: steps done already; TensorBoard hides what a killed session wrote after them.
    """

    def __init__(self, config: TrainConfig, *, active: bool, num_lines: int, step: int = 0) -> None:
        self.num_lines = num_lines
        self._active = active
        self._file: Path = config.out / "metrics.jsonl"
        self._board = _tensorboard(config, step) if active and config.tensorboard else None
        self._mlflow = _mlflow(config) if active and config.mlflow else None

    def write(self, event: str, step: int, values: Mapping[str, Any]) -> None:
        """Append one line and pass its numbers on."""
        self.num_lines += 1
        if not self._active:
            return
        with self._file.open("a") as stream:  # opened anew: a full disk is noticed at once
            stream.write(json.dumps({"event": event, "step": step, **values}) + "\n")
        numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(f"{event}/{name}", value, step)
        if self._mlflow is not None:
            named = {f"{event}.{name}": float(v) for name, v in numbers.items()}
            self._mlflow.log_metrics(named, step=step)

    def close(self) -> None:
        """Flush what buffers."""
        if self._board is not None:
            self._board.close()
        if self._mlflow is not None:
            self._mlflow.end_run()


def require_trackers(config: TrainConfig) -> None:
    """Fail before anything is written.

    Raises:
        ValueError: an extra is missing; the message holds the command that installs it.
    """
    if config.mlflow:
        require("mlflow", "--mlflow")


def _tensorboard(config: TrainConfig, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(config.out / "tensorboard"), purge_step=step + 1 if step else None)


def _mlflow(config: TrainConfig) -> Any:
    mlflow = load_mlflow()

    try:
        mlflow.set_tracking_uri(config.mlflow)
        mlflow.set_experiment("histonuc")
        mlflow.start_run(run_name=config.out.name)
    except mlflow.exceptions.MlflowException as error:
        raise ValueError(f"--mlflow {config.mlflow}: {error.message}") from None
    plain = {k: v for k, v in config.to_dict().items() if not isinstance(v, dict)}
    mlflow.log_params(plain)
    return mlflow


class Bar:
    """Live progress: loss, rate, images/s and time left; sparse log lines where no terminal is."""

    _QUIET_SECONDS = 30.0

    def __init__(self, total_steps: int, done: int, *, active: bool) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._active, self._total = active, total_steps
        self._said = time.monotonic()
        self._bar: Progress | None = None
        if active and sys.stderr.isatty():
            from rich.console import Console

            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task("train", total=total_steps, completed=done, note="")

    def update(self, step: int, *, loss: float, lr: float, images_per_s: float) -> None:
        """Show where the training is."""
        note = f"loss {loss:.4f}  lr {lr:.2e}  {images_per_s:.1f} images/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, note=note)
        elif self._active and time.monotonic() - self._said > self._QUIET_SECONDS:
            self._said = time.monotonic()
            log.info("step %d of %d  %s", step, self._total, note)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
