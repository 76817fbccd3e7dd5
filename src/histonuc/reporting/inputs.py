"""Read what a report shows: run folders and score folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histonuc.evaluation import Panel, load_panels
from histonuc.evaluation.crossval_records import Crossval
from histonuc.evaluation.folder import PANELS_FILE, SCORES_FILE, read_head, read_label_space
from histonuc.evaluation.records import Scores
from histonuc.evaluation.rotations import CROSSVAL_FILE, read_summary
from histonuc.files import read_json, reading
from histonuc.taxonomy import LabelSpace
from histonuc.yaml_reader import flatten, read_yaml

_LAST_STEP = 10**9
"""Beyond it a log is damaged: ticks and curves would take memory for every step."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A folder of `histonuc train`.

    Attributes:
        name: short, unique among the runs of the report.
        path: the folder.
        config: content of config.yaml, flattened to ``a.b`` keys.
        environment: content of environment.json, flattened in the same way.
        steps: rows of metrics.jsonl with ``"event": "step"``, flattened.
        epochs: those with ``"event": "epoch"``, flattened.
    """

    name: str
    path: Path
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    steps: Sequence[Mapping[str, Any]]
    epochs: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class ScoreSet:
    """A folder of `histonuc evaluate`.

    Attributes:
        name: short, unique among the score sets of the report.
        path: the folder.
        run: name of the run it lies in, empty when it lies elsewhere.
        scores: content of scores.json.
        label_space: classes of the scores, with their colours.
        panels: pictures; empty when the folder has none.
    """

    name: str
    path: Path
    run: str
    scores: Scores
    label_space: LabelSpace
    panels: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True)
class RotationSet:
    """A finished folder of `histonuc crossval`.

    Attributes:
        name: name of the folder.
        summary: content of crossval.json.
    """

    name: str
    summary: Crossval


def load_rotations(folders: Sequence[Path]) -> tuple[list[RotationSet], list[Path]]:
    """The cross-validations among some folders, and all the run folders: each rotation is a run."""
    found, runs = [], []
    for folder in folders:
        inside = sorted(file.parent for file in folder.glob("rotation-*/metrics.jsonl"))
        if (folder / CROSSVAL_FILE).is_file():
            summary = read_summary(folder / CROSSVAL_FILE)
            found.append(RotationSet(name=folder.resolve().name, summary=summary))
        runs += inside or [folder]
    return found, runs


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """Read run folders.

    Raises:
        ValueError: a folder is no run.
    """
    names = _unique_names(folders)
    return [_load_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def load_score_sets(runs: Sequence[Run], extra: Sequence[Path]) -> list[ScoreSet]:
    """Read the score folders inside the runs, then those given.

    Raises:
        ValueError: a folder holds no scores.
    """
    found: list[tuple[str, Path]] = []
    for run in runs:
        inside = sorted(file.parent for file in run.path.glob(f"**/{SCORES_FILE}"))
        found += [(run.name, folder) for folder in inside]
    known = {folder.resolve() for _, folder in found}
    for folder in extra:
        if folder.resolve() not in known:
            found.append(("", folder))
            known.add(folder.resolve())
    per_run = [run for run, _ in found]
    labels = [
        run if run and per_run.count(run) == 1 else f"{run}/{folder.name}" if run else folder.name
        for run, folder in found
    ]
    labels = [
        label if labels.count(label) == 1 else str(folder)
        for label, (_, folder) in zip(labels, found, strict=True)
    ]
    return [
        _load_scores(folder, name, run) for name, (run, folder) in zip(labels, found, strict=True)
    ]


def _load_run(folder: Path, name: str) -> Run:
    metrics = folder / "metrics.jsonl"
    if not metrics.is_file():
        raise ValueError(f"{folder} is no run folder of `histonuc train`: it has no metrics.jsonl")
    rows = _read_log(metrics)
    config, environment = folder / "config.yaml", folder / "environment.json"
    return Run(
        name=name,
        path=folder,
        config=flatten(read_yaml(config, "settings of `histonuc train`"))
        if config.is_file()
        else {},
        environment=flatten(read_json(environment, "environment of a run"))
        if environment.is_file()
        else {},
        steps=[row for row in rows if row.get("event") == "step"],
        epochs=[row for row in rows if row.get("event") == "epoch"],
    )


def _read_log(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file; a last line that a killed run left unfinished is passed over."""
    rows = []
    with reading(path, "log of `histonuc train`"):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                rows.append(flatten(json.loads(line)))
            except json.JSONDecodeError as error:
                if number < len(lines):
                    raise ValueError(f"{path}, line {number}: {error}") from None
                continue
            _check_row(rows[-1], f"{path}, line {number}")
    return rows


def _check_row(row: Mapping[str, Any], place: str) -> None:
    """Refuse what cannot be drawn; losses may be infinite."""
    for name in ("step", "epoch", "loss", "lr"):
        value = row.get(name, 0)
        if type(value) not in ((int,) if name == "step" else (int, float)):
            raise ValueError(f"{place}: expected a number for {name}, got {value!r}")
        if name in ("step", "epoch") and not 0 <= value <= _LAST_STEP:
            raise ValueError(f"{place}: expected {name} from 0 to {_LAST_STEP:,}, got {value}")


def _load_scores(folder: Path, name: str, run: str) -> ScoreSet:
    beside = [PANELS_FILE] if (folder / PANELS_FILE).is_file() else []
    scores = read_head(folder, beside)
    return ScoreSet(
        name=name,
        path=folder,
        run=run,
        scores=scores,
        label_space=read_label_space(scores, folder),
        panels=load_panels(folder / PANELS_FILE) if beside else (),
    )


def _unique_names(folders: Sequence[Path]) -> list[str]:
    """Folder names, or the whole paths where two folders have the same name."""
    names = [folder.resolve().name for folder in folders]
    return [
        name if names.count(name) == 1 else str(folder)
        for name, folder in zip(names, folders, strict=True)
    ]
