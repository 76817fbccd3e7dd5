"""One fine-tuning of the network: commands of `histonuc` in processes of their own, one by one."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from histonuc.evaluation.glossary import name_score
from histonuc.files import read_json, reading

log = logging.getLogger(__name__)

Phase = Literal["off", "preparing", "training", "comparing", "done", "stopped", "failed"]
RUNNING: tuple[Phase, ...] = ("preparing", "training", "comparing")
EPOCHS = 10
"""Of a fine-tuning that its minutes do not end before."""
PROGRAM = (sys.executable, "-m", "histonuc.viewing.child")
LABELS, MODEL, COMPARISON, LOG = "labels", "model", "comparison.json", "log.txt"
"""What lies in the folder of a fine-tuning: store, run folder, what was printed and told."""
_SHOWN = ("bpq", "mpq", "f1_images", "class_accuracy_centroid")
"""Scores that people look at, of the held-out fields together."""
_FAILED = "This did not work; the terminal says why."


@dataclass(frozen=True, kw_only=True)
class TunePlan:
    """What is fine-tuned.

    Attributes:
        result: folder of the result whose complete fields teach.
        place: folder that everything is written into; new.
        num_folds: folds of the fields; the last one is held out.
        model: that is started from.
        minutes: of the training.
        slides: folder in which slides are looked for that were moved; None for none.
        replay: store that is learned from as well; None for none.
    """

    result: Path
    place: Path
    num_folds: int
    model: str
    minutes: float
    slides: Path | None = None
    replay: Path | None = None

    @property
    def commands(self) -> dict[Phase, list[str]]:
        """The words behind ``histonuc`` of each command, by what it does."""
        labels, model = str(self.place / LABELS), str(self.place / MODEL)
        slides = [] if self.slides is None else ["--slides", str(self.slides.absolute())]
        replay = [] if self.replay is None else ["--replay", str(self.replay.absolute())]
        prepare = ["prepare", "corrections", str(self.result.absolute()), "--out", labels]
        tune = ["fine-tune", "--data", labels, "--out", model, "--init", self.model]
        return {
            "preparing": [*prepare, "--num-folds", str(self.num_folds), *slides, "--json"],
            "training": [
                *(*tune, "--epochs", str(EPOCHS), "--minutes", f"{self.minutes:g}"),
                *(*replay, "--json"),
            ],
        }


@dataclass(frozen=True, kw_only=True)
class TuneProgress:
    """How far a training is.

    Attributes:
        step: that was done last.
        num_steps: of the whole training; 0 where that is not known yet.
        seconds: since it began.
        is_trained: whether the training is over and models are compared.
    """

    step: int = 0
    num_steps: int = 0
    seconds: float = 0.0
    is_trained: bool = False

    def minutes_left(self, limit: float) -> float | None:
        """Minutes until the training ends at this rate or by its limit; None where unknown.

        >>> TuneProgress(step=10, num_steps=40, seconds=60).minutes_left(10)
        3.0
        """
        if self.step == 0:
            return None
        left_s = self.seconds / self.step * (self.num_steps - self.step)
        return max(0.0, min(left_s, 60 * limit - self.seconds)) / 60


class TuneRun:
    """A fine-tuning, in a thread that waits for its processes.

    Args:
        plan: what is done.
    """

    def __init__(self, plan: TunePlan) -> None:
        self.plan = plan
        self._phase: Phase = "preparing"
        self._message = ""
        self._scores: dict[str, Any] = {"num_held_out": 0, "scores": []}
        self._lock = threading.Lock()
        self._is_stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._work, name="histonuc-tune", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it is not over."""
        return self._phase in RUNNING

    def describe(self) -> dict[str, Any]:
        """How far it is, and what came of it: JSON-able."""
        phase, found = self._phase, read_progress(self.plan.place / MODEL / "metrics.jsonl")
        if phase == "training" and found.is_trained:
            phase = "comparing"
        left = found.minutes_left(self.plan.minutes) if phase == "training" else None
        return {
            "phase": phase,
            "message": self._message,
            **{"step": found.step, "num_steps": found.num_steps, "minutes_left": left},
            "share": None if left is None else found.seconds / (found.seconds + 60 * left),
            **self._scores,
        }

    def stop(self) -> None:
        """End it and remove what it wrote; nothing where it is over."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()
        self._thread.join()

    def _work(self) -> None:
        phase: Phase
        try:
            for phase, words in self.plan.commands.items():
                self._phase = phase
                self._call(words)
                if self._is_stopped:
                    shutil.rmtree(self.plan.place, ignore_errors=True)
                    self._phase = "stopped"
                    return
            self._scores = read_scores(self.plan.place)
            self._phase = "done"
        except ValueError as error:
            self._message, self._phase = self._hide_paths(str(error)), "failed"
        except Exception:
            log.exception("fine-tuning failed")
            self._message, self._phase = _FAILED, "failed"

    def _call(self, words: list[str]) -> None:
        """Run one command until it ends; what the last one prints stays in `COMPARISON`.

        Raises:
            ValueError: it failed and said why.
        """
        place = self.plan.place
        with (place / COMPARISON).open("wb") as out, (place / LOG).open("ab") as errors:
            with self._lock:
                if self._is_stopped:
                    return
                self._process = subprocess.Popen(
                    [*PROGRAM, *words],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=errors,
                    start_new_session=True,  # Ctrl-C is the viewer's, which stops this one
                )
            with self._process as process:
                code = process.wait()
        if code and not self._is_stopped:
            text = (place / LOG).read_text("utf-8", "replace")
            log.warning("fine-tuning failed: %s", text.strip() or f"exit code {code}")
            said = [line for line in text.splitlines() if line.startswith("error: ")]
            raise ValueError(said[-1].removeprefix("error: ") if said else _FAILED)

    def _hide_paths(self, text: str) -> str:
        """A message without the folders of this machine."""
        hidden = {"the run": self.plan.place, "the result": self.plan.result}
        for words, path in (hidden | {"the other store": self.plan.replay}).items():
            text = text if path is None else text.replace(str(path.absolute()), words)
        return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def read_progress(metrics: Path) -> TuneProgress:
    """How far a training is, by the log that it writes.

    Args:
        metrics: the run's ``metrics.jsonl``; may not be there yet, or end in half a line.
    """
    progress = TuneProgress()
    with suppress(OSError):
        for line in _read_lines(metrics):
            step, epoch = int(line["step"]), float(line["epoch"])
            progress = TuneProgress(
                step=step,
                num_steps=round(step / epoch * EPOCHS) if epoch else 0,
                seconds=float(line["seconds"]),
                is_trained=line["event"] == "epoch",
            )
    return progress


def _read_lines(metrics: Path) -> Iterator[Mapping[str, Any]]:
    for text in metrics.read_text("utf-8").splitlines():
        with suppress(ValueError):  # half a line: it is being written
            yield json.loads(text)


def read_scores(place: Path) -> dict[str, Any]:
    """Scores before and after on the held-out fields.

    Args:
        place: folder of a fine-tuning that is over.

    Returns:
        ``num_held_out``, the number of fields, and ``scores``: by score that people look at, then
        by class, ``name``, ``before`` and ``after`` with ``interval_before`` and
        ``interval_after``, and ``interval``, that of the paired difference. Intervals are of 95 %,
        and None where fields are too few.

    Raises:
        ValueError: a file is not what `histonuc fine-tune` writes.
    """
    with reading(place / COMPARISON, "comparison of a fine-tuning"):
        return _read_scores(place)


def _read_scores(place: Path) -> dict[str, Any]:
    comparison = read_json(place / COMPARISON, "comparison")["comparison"]
    (pair,) = comparison["comparisons"]
    first, second = (
        read_json(place / MODEL / "scores" / name / "scores.json", "scores")
        for name in ("before", "after")
    )
    rows = [
        {
            **{"name": name_score(key), "interval": _interval(pair["overall"].get(key))},
            **{"before": first["overall"].get(key), "after": second["overall"].get(key)},
            "interval_before": first["intervals"].get(key),
            "interval_after": second["intervals"].get(key),
        }
        for key in _SHOWN
    ]
    rows += [
        {
            "name": f"{name_score(pair['class_score'])}, {name}",
            **{"before": row["first"], "after": row["second"], "interval": _interval(row)},
            **{"interval_before": None, "interval_after": None},
        }
        for name, row in pair["per_class"].items()
    ]
    known = [row for row in rows if row["before"] is not None and row["after"] is not None]
    return {"num_held_out": comparison["num_tiles"], "scores": known}


def find_done(parent: Path) -> tuple[Path, dict[str, Any]] | None:
    """The last fine-tuning that came to its end, and its scores as of `read_scores`, if any.

    Args:
        parent: folder of all fine-tunings of one result, each with a number as its name.
    """
    places = [one for one in parent.glob("*") if one.name.isdecimal()]
    for place in sorted(places, key=lambda one: int(one.name), reverse=True):
        with suppress(ValueError):  # it was cut short, and has no comparison
            return place, read_scores(place)
    return None


def _interval(row: Mapping[str, Any] | None) -> list[float] | None:
    """Ends of the 95 % interval of a difference."""
    return None if row is None or row["low"] is None else [row["low"], row["high"]]
