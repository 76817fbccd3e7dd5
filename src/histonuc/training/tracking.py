"""Where a training's numbers go: metrics.jsonl always; TensorBoard, MLflow and W&B when asked.

None of them sends anything anywhere unless the user says where to: what MLflow and W&B report to
their makers is turned off, and W&B logs into the run folder.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from histonuc.extras import require
from histonuc.files import one_line
from histonuc.offline import load_mlflow, load_wandb
from histonuc.training.config import TrainConfig
from histonuc.yaml_reader import flatten

log = logging.getLogger(__name__)


class Board(Protocol):
    """A place that shows curves.

    Attributes:
        name: what the user calls it.
    """

    name: str

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Add numbers by name, as they are after that many optimiser steps."""

    def close(self) -> None:
        """Write out what is still in memory."""


class Tracker:
    """Log of one run; on processes other than the first it only counts lines.

    Args:
        config: settings of the run.
        active: whether this is the first process.
        num_lines: lines that metrics.jsonl holds already.
        step: steps done already; TensorBoard hides what a killed session wrote after them.
    """

    def __init__(self, config: TrainConfig, *, active: bool, num_lines: int, step: int = 0) -> None:
        self.num_lines = num_lines
        self._active = active
        self._file: Path = config.out / "metrics.jsonl"
        self._boards: list[Board] = []
        if not active:
            return
        if config.tensorboard:
            self._boards.append(_TensorBoard(config, step))
        if config.mlflow:
            self._boards.append(_MLflow(config))
        if config.wandb:
            self._boards.append(_WandB(config))

    def write(self, event: str, step: int, values: Mapping[str, Any]) -> None:
        """Append one line and pass its numbers on."""
        self.num_lines += 1
        if not self._active:
            return
        with self._file.open("a") as stream:  # opened anew: a full disk is noticed at once
            stream.write(json.dumps({"event": event, "step": step, **values}) + "\n")
        numbers = name_numbers(event, values)
        for board in list(self._boards):
            try:
                board.log(numbers, step)
            except Exception as error:  # a server that is gone must not end a training of days
                self._boards.remove(board)
                log.warning("%s: %s; this run logs there no more", board.name, one_line(error))

    def close(self) -> None:
        """Write out what the boards still have in memory."""
        for board in self._boards:
            board.close()


def require_trackers(config: TrainConfig) -> None:
    """Fail where an extra is missing, before anything is written.

    Raises:
        ValueError: with the command that installs it.
    """
    if config.mlflow:
        require("mlflow", "--mlflow")
    if config.wandb:
        require("wandb", "--wandb")


def check_trackers(config: TrainConfig) -> None:
    """Fail where a tracker cannot be reached, before anything is written.

    Raises:
        ValueError: with what MLflow says and the stores that work.
    """
    if config.mlflow:
        _connect_mlflow(config.mlflow)


def name_numbers(event: str, values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line by the names that boards show them under.

    >>> name_numbers("epoch", {"lr": 0.01, "best": True, "val": {"bpq": 0.5, "mpq": None}})
    {'epoch/lr': 0.01, 'val/bpq': 0.5}
    """
    named: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            named |= name_numbers(name, value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            named[f"{event}/{name}"] = float(value)
    return named


class _TensorBoard:
    name = "--tensorboard"

    def __init__(self, config: TrainConfig, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder, purge = str(config.out / "tensorboard"), step + 1 if step else None
        self._writer: Any = SummaryWriter(folder, purge_step=purge)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


def _connect_mlflow(uri: str) -> Any:
    """MLflow, with this store and the experiment ``histonuc`` in it."""
    mlflow = load_mlflow()
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("histonuc")
    except Exception as error:  # of its own, of the database, of the network
        raise ValueError(
            f"--mlflow {uri}: {str(error).strip().splitlines()[0]} Give a database, "
            "sqlite:///FILE.db, or the address of a server, http://HOST:PORT"
        ) from None
    return mlflow


class _MLflow:
    name = "--mlflow"

    def __init__(self, config: TrainConfig) -> None:
        self._mlflow = _connect_mlflow(config.mlflow)
        self._mlflow.start_run(run_name=config.out.name)
        self._mlflow.log_params(flatten(config.to_dict()))

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(numbers), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class _WandB:
    """Weights & Biases: into the run folder, unless WANDB_MODE says ``online``."""

    name = "--wandb"

    def __init__(self, config: TrainConfig) -> None:
        folder = config.out / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        wandb = self._wandb = load_wandb(folder)
        self._run: Any = wandb.init(
            project=config.wandb,
            name=config.out.name,
            dir=str(config.out),
            mode=os.environ.get("WANDB_MODE", "offline"),
            config=config.to_dict(),
            settings=wandb.Settings(
                console="off", disable_code=True, disable_git=True, silent=True
            ),
        )

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()
        self._wandb.teardown()  # its own process writes the file, and may lag behind
