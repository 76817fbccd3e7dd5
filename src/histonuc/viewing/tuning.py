"""Fine-tuning of the network on complete fields, from the page; nothing is replaced."""

from __future__ import annotations

import os
import shlex
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from histonuc.corrections.truth import list_classes
from histonuc.data.store import Store
from histonuc.extras import is_installed
from histonuc.plain_text import readable
from histonuc.viewing.errors import RequestError
from histonuc.viewing.opened import OpenResult
from histonuc.viewing.tune_run import LABELS, MODEL, TunePlan, TuneRun, find_done

MINUTES, MOST_MINUTES = 10.0, 600.0
"""Of a training where the page does not say, and at most."""
_LEAST_FIELDS, _MOST_FOLDS = 2, 3
_NEEDS_TORCH = (
    "Fine-tuning needs PyTorch, which is not installed. This installs it: "
    "pip install 'histonuc[train]'"
)
_NOTHING: dict[str, Any] = {
    **{"phase": "off", "message": "", "step": 0, "num_steps": 0},
    **{"share": None, "minutes_left": None, "num_held_out": 0, "scores": []},
}


class Tuner:
    """The fine-tunings of one viewer; what still runs ends with it.

    Args:
        tuned: folder for what is trained; None for beside each result.
        slides: folder in which slides are looked for that were moved; None for none.
        replay: store that may be learned from as well; None for none. The page says whether, and
            never which: it names no path of this machine.
    """

    def __init__(
        self,
        tuned: Path | None = None,
        slides: Path | None = None,
        replay: Store | None = None,
    ) -> None:
        self._tuned, self._slides, self._replay = tuned, slides, replay
        self._runs: dict[int, TuneRun] = {}
        self._earlier: dict[int, tuple[Path, dict[str, Any]] | None] = {}
        self._lock = threading.Lock()

    def describe(self, opened: OpenResult) -> dict[str, Any]:
        """What the page shows of one result: JSON-able.

        Args:
            opened: the result.

        Raises:
            ShownError: there are no nuclei that can be shown.
        """
        why_not, replay = self._why_not(opened), self._find_replay(opened)
        place, told = self._last(opened)
        return {
            **told,
            "can_start": not why_not,
            "why_not": why_not,
            "num_fields": _count_fields(opened),
            "replay": "" if replay is None else readable(replay.path.name),
            "commands": _list_commands(place, opened) if place and told["phase"] == "done" else [],
        }

    def start(
        self, opened: OpenResult, minutes: float = MINUTES, *, with_replay: bool = False
    ) -> None:
        """Begin; returns at once.

        Args:
            opened: the result whose complete fields teach.
            minutes: of the training.
            with_replay: learn from the viewer's store of other labels, too.

        Raises:
            RequestError: it cannot be begun yet, or minutes that are none; the message says why.
            ShownError: this result, or this viewer, allows no writing.
        """
        if not 0 < minutes <= MOST_MINUTES:
            raise RequestError(f"Expected minutes above 0, and at most {MOST_MINUTES:g}.")
        with self._lock:
            if _is_closed(opened):
                opened.correcting().check_writable()
            if why_not := self._why_not(opened):
                raise RequestError(why_not)
            store = self._find_replay(opened) if with_replay else None
            if with_replay and store is None:
                raise RequestError(
                    "There is no store with this result's classes to learn from as well: start "
                    "`histonuc view` with --replay STORE."
                )
            assert opened.entry.folder is not None, "it has nuclei"
            plan = TunePlan(
                result=opened.entry.folder,
                place=_make_place(self._parent(opened)),
                num_folds=min(_count_fields(opened), _MOST_FOLDS),
                model=_find_start(opened),
                minutes=minutes,
                slides=self._slides,
                replay=None if store is None else store.path,
            )
            self._runs[opened.entry.number] = TuneRun(plan)

    def stop(self, opened: OpenResult) -> None:
        """End the fine-tuning of one result, and remove what it wrote; nothing where none runs.

        Args:
            opened: the result.
        """
        run = self._runs.get(opened.entry.number)
        if run is not None:
            run.stop()

    def close(self) -> None:
        """End what runs."""
        with self._lock:
            for run in self._runs.values():
                run.stop()

    def _last(self, opened: OpenResult) -> tuple[Path | None, dict[str, Any]]:
        """Folder and state of the fine-tuning begun last: by this viewer, or one before it."""
        number = opened.entry.number
        if number in self._runs:
            return self._runs[number].plan.place, self._runs[number].describe()
        if number not in self._earlier:
            self._earlier[number] = find_done(self._parent(opened))
        if (earlier := self._earlier[number]) is None:
            return None, _NOTHING
        return earlier[0], {**_NOTHING, "phase": "done", **earlier[1]}

    def _parent(self, opened: OpenResult) -> Path:
        """Folder of all fine-tunings of one result."""
        assert opened.entry.folder is not None, "it has nuclei"
        folder = opened.entry.folder.absolute()
        return (self._tuned or folder.parent).absolute() / f"{folder.resolve().name}-tuned"

    def _find_replay(self, opened: OpenResult) -> Store | None:
        """The store that may be learned from as well, if it has the classes of a result."""
        if self._replay is None or _is_closed(opened):
            return None
        taught = list_classes([opened.correcting().corrections.label_space])
        return self._replay if self._replay.label_space.classes == taught.classes else None

    def _why_not(self, opened: OpenResult) -> str:
        """Why nothing can be begun, in one sentence; empty where it can."""
        if _is_closed(opened):
            return opened.correcting().why_not
        if not is_installed("train"):
            return _NEEDS_TORCH
        if opened.slide_path is None:
            return "The slide of this result is not found, and the network learns from its pixels."
        if missing := max(0, _LEAST_FIELDS - _count_fields(opened)):
            fields = "one more field" if missing == 1 else "two fields"
            return f"Mark {fields} complete: one is learned from, and one is held out to compare."
        if not _can_be_made(self._parent(opened)):
            return (
                "The folder beside this result cannot be written to: start "
                "`histonuc view` with --tuned FOLDER."
            )
        if any(run.is_running for run in self._runs.values()):
            return "One network is fine-tuned at a time, and one is being fine-tuned."
        return ""


def _is_closed(opened: OpenResult) -> bool:
    """Whether nothing may be made of a result, wherever that is written."""
    return opened.correcting().author.read_only or opened.state in ("damaged", "unfinished")


def _count_fields(opened: OpenResult) -> int:
    return sum(field.complete for field in opened.correcting().corrections.fields)


def _can_be_made(folder: Path) -> bool:
    """Whether a folder, which may be there, can be written into."""
    nearest = next(one for one in (folder, *folder.parents) if one.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK)


def _make_place(parent: Path) -> Path:
    """A new folder with the next number as its name.

    Raises:
        OSError: it cannot be made.
    """
    parent.mkdir(parents=True, exist_ok=True)
    taken = [int(one.name) for one in parent.iterdir() if one.name.isdecimal()]
    place = parent / str(max(taken, default=0) + 1)
    place.mkdir()
    return place


def _find_start(opened: OpenResult) -> str:
    """The model that found the nuclei where it can be trained, or else the default one."""
    from histonuc.models.loading import find_checkpoint

    model = (opened.record.fact("settings", dict) or {}).get("model")
    with suppress(ValueError):  # it has left the package
        if isinstance(model, str) and find_checkpoint(Path(model)) is not None:
            return model
    return "default"


def _list_commands(place: Path, opened: OpenResult) -> list[str]:
    """What to type to use the tuned model."""
    file, slide = place / "tuned.onnx", opened.slide_path or Path("SLIDE")
    model, labels, onnx, source, out = (
        shlex.quote(readable(str(path)))
        for path in (place / MODEL, place / LABELS, file, slide, place / "result")
    )
    return [
        f"histonuc export-model {model} --out {onnx} --precision fp16 --data {labels}",
        f"histonuc predict {source} --model {onnx} --out {out}",
    ]
