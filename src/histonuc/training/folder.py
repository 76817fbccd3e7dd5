"""Run folders on disk: made new, gone on with, and a log that agrees with the checkpoint.

    RUN/config.yaml  environment.json  metrics.jsonl
    RUN/checkpoints/last/{model.safetensors, state.pt}     state.pt alone is enough to go on
    RUN/checkpoints/best/model.safetensors
    RUN/samples/*.png

Every file is written beside its place and renamed, so whichever moment a process dies at, the file
that is there is a whole one.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from histonuc.files import DRAFT_PREFIX, read_json, write_text
from histonuc.models.zoo import TRUNKS
from histonuc.parts import find_origin
from histonuc.representations import REPRESENTATIONS
from histonuc.training.checkpoint import TrainState, load_state
from histonuc.training.config import TrainConfig
from histonuc.training.loss import LOSSES
from histonuc.yaml_reader import read_yaml

MAY_CHANGE = (
    *("epochs", "minutes", "resume", "out", "data", "log_every", "checkpoint_minutes"),
    *(
        "checkpoint_steps",
        "tensorboard",
        "mlflow",
        "wandb",
        "workers",
        "threads",
        "early_stop_epochs",
    ),
    "validate_every",
)
"""Settings that a resumed run may have changed without becoming another run."""

_FOLDERS = ("checkpoints", "samples", "tensorboard", "wandb")
_FILES = ("config.yaml", "environment.json", "metrics.jsonl")


def can_resume(config: TrainConfig) -> bool:
    """Whether to go on from a checkpoint, rather than to start (a run killed before its first)."""
    return config.resume and state_file(config).is_file()


def state_file(config: TrainConfig) -> Path:
    """The checkpoint that a run goes on from; there is none before the first."""
    return config.out / "checkpoints" / "last" / "state.pt"


def open_run(config: TrainConfig, argv: list[str]) -> TrainState | None:
    """Make a new run folder, or check that this is the run to go on with.

    Returns:
        The state to go on from when resuming, else None.

    Raises:
        ValueError: the folder holds something else, or the settings are not those of the run.
    """
    run = config.out
    if run.exists() and not run.is_dir():
        raise ValueError(f"--out: {run} is a file; give a folder")
    if can_resume(config):
        _check_same(config, run / "config.yaml")
        state = load_state(run / "checkpoints" / "last")
        _truncate(run / "metrics.jsonl", state.progress.num_log_lines)
        _remove_drafts(run)
        return state
    if run.exists() and any(run.iterdir()):
        if not config.resume:
            raise ValueError(f"{run} is not empty: give --resume to go on, or another --out")
        _clear(config)
    run.mkdir(parents=True, exist_ok=True)
    write_text(run / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False))
    environment = {**describe_environment(config.seed, argv), "origins": _find_origins(config)}
    write_text(run / "environment.json", json.dumps(environment, indent=2))
    write_text(run / "metrics.jsonl", "")
    return None


def _find_origins(config: TrainConfig) -> dict[str, str]:
    """Where the run's parts came from that are not the package's, by kind."""
    origins = {
        "trunk": find_origin("trunk", config.trunk, TRUNKS),
        "representation": find_origin("representation", config.representation, REPRESENTATIONS),
        "loss": find_origin("loss", config.loss, LOSSES),
    }
    return {kind: origin for kind, origin in origins.items() if origin}


def read_origins(config: TrainConfig) -> dict[str, str]:
    """The same of a run to go on with, for the error where a part is missing; {} without a run."""
    file = config.out / "environment.json"
    if not can_resume(config) or not file.is_file():
        return {}
    origins = read_json(file, "environment of a training").get("origins", {})
    return {str(kind): str(origin) for kind, origin in origins.items()}


def explain_storage(error: OSError, config: TrainConfig) -> str:
    """What an error of the disk says, and of a full one what is left and what to do."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return str(error)
    again = "make room and give the same command again"
    if state_file(config).is_file():
        again = f"the checkpoint before it is whole: {again}, with --resume"
    return f"{error.strerror} for {error.filename or config.out}; {again}"


@contextmanager
def discarding_unsaved(config: TrainConfig, *, active: bool) -> Iterator[None]:
    """Remove the run's files where the block fails before a first checkpoint.

    What is left without one has no weights, and would stand in the way of the corrected command.

    Args:
        config: settings of the run.
        active: whether this process has just made the folder.
    """
    try:
        yield
    except BaseException:
        if active and not state_file(config).is_file():
            _remove_run_files(config.out)
            with suppress(OSError):  # something else has been put there
                config.out.rmdir()
        raise


def _clear(config: TrainConfig) -> None:
    """Empty the folder of a run that was killed before its first checkpoint, and of nothing else.

    Raises:
        ValueError: the folder holds anything that no training wrote.
    """
    run = config.out
    names = {path.name for path in run.iterdir() if not _is_draft(path)}
    strangers = sorted(names - {*_FOLDERS, *_FILES})
    if strangers or (names and "config.yaml" not in names):
        raise ValueError(
            f"--resume: {run} is no run folder (it holds {', '.join(strangers) or 'no config.yaml'}"
            "): give the folder of a run, or start without --resume in another --out"
        )
    if names:
        _check_same(config, run / "config.yaml")
    _remove_run_files(run)


def _remove_run_files(run: Path) -> None:
    for name in _FOLDERS:
        shutil.rmtree(run / name, ignore_errors=True)
    for name in _FILES:
        (run / name).unlink(missing_ok=True)
    _remove_drafts(run)


def _is_draft(path: Path) -> bool:
    return path.name.startswith(DRAFT_PREFIX)


def _remove_drafts(run: Path) -> None:
    """Half-written files of a killed session; they can be as large as the model."""
    for path in list(run.rglob(DRAFT_PREFIX + "*")):
        path.unlink()


def _check_same(config: TrainConfig, file: Path) -> None:
    before = TrainConfig.from_dict(read_yaml(file, "training settings")).to_dict()
    refuse_changes(before, config.to_dict(), file)


def refuse_changes(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    file: Path,
    may_change: Sequence[str] = MAY_CHANGE,
) -> None:
    """Refuse to go on with other settings than those of `file`.

    Args:
        before: settings that the file holds.
        now: settings given.
        file: YAML.
        may_change: settings that need not be the same.

    Raises:
        ValueError: with what changed.
    """
    changed = [k for k in now if k not in may_change and now[k] != before[k]]
    if changed:
        listed = "; ".join(f"{k}: was {before[k]}, now {now[k]}" for k in changed)
        raise ValueError(
            f"--resume: other settings than the run's ({listed}). "
            f"Give --config {file} --resume, or start anew with another --out"
        )


def _truncate(file: Path, num_lines: int) -> None:
    """Drop log lines written after the checkpoint: those steps are about to be done again."""
    lines = file.read_text().splitlines(keepends=True)
    write_text(file, "".join(lines[:num_lines]))


def describe_environment(seed: int, argv: list[str]) -> dict[str, Any]:
    """What would be needed to repeat a run elsewhere."""
    versions = {}
    for package in ("histonuc", "torch", "torchvision", "timm", "lightning-fabric", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "command": argv,
        "seed": seed,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "git_commit": _git_commit(),
        "versions": versions,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _git_commit() -> str:
    """Commit of the checkout this runs from; empty when installed from a wheel."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
