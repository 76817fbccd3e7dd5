"""What a training goes on from: one file, written whole or not at all, read with its checksums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from histonuc.files import one_line, replacing


@dataclass(kw_only=True)
class Progress:
    """Where a training stands; everything but tensors.

    Attributes:
        step: optimiser steps done.
        epoch: epochs finished.
        batch: batches done of the current epoch.
        best: best monitored value so far.
        stale: validations since then.
        due: an epoch is finished but not yet validated.
        seconds: wall time spent training, over all sessions.
        validation_seconds: wall time that a validation takes, as far as that is known.
        num_log_lines: lines of metrics.jsonl that belong to this state.
        window: sums of the losses since the last log line, and their count.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: float = float("-inf")
    stale: int = 0
    due: bool = False
    seconds: float = 0.0
    validation_seconds: float = 0.0
    num_log_lines: int = 0
    window: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Everything a run needs to go on bit for bit.

    Attributes:
        progress: counters.
        model: raw weights and buffers.
        ema: moving average of them; empty when there is none.
        optimizer: the state of the optimiser, such as its moments.
        scaler: the state of the loss scaler in fp16; else empty.

    Random numbers need none: crops and dropout are functions of seed, step and process.
    """

    progress: Progress
    model: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    scaler: Mapping[str, Any]


def save_state(state: TrainState, folder: Path) -> None:
    """Write ``state.pt``, whole or not at all.

    Raises:
        OSError: the disk is full, or does not answer; what was there before is still there.
    """
    file = folder / "state.pt"
    record = {f.name: getattr(state, f.name) for f in fields(state)}
    record["progress"] = asdict(state.progress)
    for name in ("model", "ema", "optimizer", "scaler"):
        record[name] = dict(record[name])
    with replacing(file) as draft, draft.open("wb") as stream:
        try:
            torch.save(record, stream)
        except RuntimeError as error:  # of torch's own, for whatever the operating system said
            cause = error.__context__
            if isinstance(cause, OSError):
                raise OSError(cause.errno, cause.strerror, str(file)) from None
            raise


def load_state(folder: Path) -> TrainState:
    """Read ``state.pt``; the checksums in it must be right, and no pickled code is run.

    Raises:
        ValueError: nothing to go on from, or a damaged file.
    """
    file = folder / "state.pt"
    if not file.is_file():
        raise ValueError(f"--resume: no checkpoint at {file}; start without --resume")
    try:
        with ZipFile(file) as archive:  # torch itself does not look at the checksums it writes
            damaged = archive.testzip()
        if damaged is not None:
            raise BadZipFile(f"{damaged} has another checksum than when it was written")
        record = torch.load(file, map_location="cpu", weights_only=True)
        return TrainState(**{**record, "progress": Progress(**record["progress"])})
    except (BadZipFile, RuntimeError, TypeError, KeyError, UnpicklingError) as error:
        raise ValueError(
            f"{file} is damaged or of another version: {one_line(error)}; start anew with another "
            "--out, from its last best weights with --init"
        ) from None
