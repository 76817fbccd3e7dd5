"""The table at the top of a report: one row a set of scores, or a run that has none yet."""

from __future__ import annotations

from collections.abc import Sequence

from histonuc.evaluation.glossary import (
    EVALUATE_POINTS,
    EVALUATE_SPARSE,
    REPORT_SUMMARY,
    name_score,
)
from histonuc.evaluation.records import find_score
from histonuc.reporting.inputs import Run, ScoreSet
from histonuc.reporting.views import SummaryRow, SummaryTable

_LOWER_IS_BETTER = {"bce"}


def summarise_runs(runs: Sequence[Run], score_sets: Sequence[ScoreSet]) -> SummaryTable:
    """The table of some runs and score sets.

    Args:
        runs: runs, whose scores may be among the sets.
        score_sets: sets of scores, each of them a row.
    """
    by_name = {run.name: run for run in runs}
    kinds = {item.scores["labels"] for item in score_sets}
    keys: list[str] = [*REPORT_SUMMARY] if "outlines" in kinds or not kinds else []
    for kind, lines in (("points", EVALUATE_POINTS), ("sparse points", EVALUATE_SPARSE)):
        keys += [key for line in lines for key in line if kind in kinds and key not in keys]
    rows = [_summarise_scores(item, by_name.get(item.run), keys) for item in score_sets]
    scored = {item.run for item in score_sets}
    rows += [
        SummaryRow(
            name=run.name,
            model=_name_model(run),
            epochs=_count_epochs(run),
            tiles=None,
            nuclei=None,
            values={},
        )
        for run in runs
        if run.name not in scored
    ]
    best: dict[str, float] = {}
    for key in keys:
        numbers = [value for row in rows if (value := row.values.get(key)) is not None]
        if len(numbers) > 1:
            best[key] = (min if key in _LOWER_IS_BETTER else max)(numbers)
    return SummaryTable(
        columns={key: name_score(key) for key in keys},
        rows=rows,
        best=[
            frozenset(key for key, value in best.items() if row.values.get(key) == value)
            for row in rows
        ],
    )


def _summarise_scores(item: ScoreSet, run: Run | None, keys: Sequence[str]) -> SummaryRow:
    model = item.scores["model"]
    trunk = (_name_model(run) if run is not None else "") or " × ".join(
        str(model[key]) for key in ("trunk", "representation") if model.get(key)
    )
    return SummaryRow(
        name=item.name,
        model=trunk or model.get("name", ""),
        epochs=None if run is None else _count_epochs(run),
        tiles=item.scores["num_tiles"],
        nuclei=item.scores["num_nuclei"],
        values={key: find_score(item.scores["overall"], key) for key in keys},
    )


def _name_model(run: Run) -> str:
    return " × ".join(
        str(run.config[key]) for key in ("trunk", "representation") if key in run.config
    )


def _count_epochs(run: Run) -> str:
    last = run.epochs[-1] if run.epochs else {}
    return f"{last.get('epoch', 0):g}"
