"""The scores of an evaluation for people: lines on the screen, and tables in CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from histonuc.evaluation.glossary import (
    CLASS_SCORES,
    EVALUATE,
    EVALUATE_CLASS,
    EVALUATE_POINTS,
    EVALUATE_SPARSE,
    SCORES,
    name_score,
)
from histonuc.evaluation.records import Calibration, ScoreTables, find_score
from histonuc.evaluation.table_files import Column, Table
from histonuc.plain_text import counted

_OVERALL = {
    "outlines": EVALUATE,
    "points": EVALUATE_POINTS,
    "sparse points": EVALUATE_SPARSE,
}
"""Overall scores that are printed, line by line, by kind of the labels."""
_INTERVAL = ("", "_low", "_high")
_SECTIONS: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("classes", "class", "per_class", EVALUATE_CLASS),
    ("tissues", "tissue", "per_tissue", ("bpq", "mpq", "foreground_dice")),
    ("sources", "source", "per_source", ("bpq", "mpq", "foreground_dice")),
)
"""Tables: name of the files, what a row is, section of scores.json, scores that LaTeX has."""


def score_lines(scores: ScoreTables) -> list[str]:
    """The scores in short.

    Args:
        scores: content of scores.json, or what `score_tables` makes.
    """
    overall, kind = scores["overall"], scores["labels"]
    what = "nuclei" if kind == "outlines" else "points"
    num = counted(scores["num_nuclei"], "nucleus" if kind == "outlines" else "point")
    spurious = f", {overall['fp']} spurious" if kind != "sparse points" else ""
    lines = [
        f"{counted(scores['num_tiles'], 'tile')}, {num}, {overall['tp']} found, "
        f"{overall['fn']} missed{spurious}",
        *(
            "   ".join(f"{name_score(key)} {_format(find_score(overall, key))}" for key in keys)
            for keys in _OVERALL[kind]
        ),
        _describe_calibration(scores["calibration"]),
        *(f"warning: {warning}" for warning in scores["warnings"]),
    ]
    if scores["no_classes"]:
        return [*lines, f"no class scores: {scores['no_classes']}"]
    keys = CLASS_SCORES[kind]
    widths = {key: max(len(name_score(key)) + 2, 11) for key in keys}
    header = f"{'class':<26}{what:>8}" + "".join(
        f"{name_score(key):>{width}}" for key, width in widths.items()
    )
    rows = [
        f"{name:<26}{row['num_nuclei']:>8}"
        + "".join(f"{_format(find_score(row, key)):>{width}}" for key, width in widths.items())
        for name, row in scores["per_class"].items()
    ]
    return [*lines, header, *rows]


def list_tables(scores: ScoreTables) -> list[Table]:
    """All scores as tables: over all tiles, by class, by tissue and by data set.

    Args:
        scores: content of scores.json.
    """
    intervals = scores["intervals"]
    sections: Mapping[str, Mapping[str, Mapping[str, object]]] = {
        "per_class": scores["per_class"],
        "per_tissue": scores["per_tissue"],
        "per_source": scores["per_source"],
    }
    return [
        _list_overall(scores["overall"], intervals),
        *(
            _list_rows(name, first, sections[section], intervals[section], in_latex)
            for name, first, section, in_latex in _SECTIONS
            if not (section == "per_class" and scores["no_classes"])
        ),
    ]


def _list_overall(overall: Mapping[str, Any], intervals: Mapping[str, Any]) -> Table:
    """A row a score."""
    return Table(
        name="overall",
        columns=(
            Column(key="score", name="score"),
            Column(key="name", name="", in_latex=False),
            Column(key="value", name="value", parts=("", "_low", "_high")),
        ),
        rows=[
            ((name_score(key),), (key,), _bound(overall[key], intervals.get(key)))
            for key in SCORES
            if overall.get(key) is not None
        ],
    )


def _list_rows(
    name: str,
    first: str,
    rows: Mapping[str, Any],
    intervals: Mapping[str, Any],
    in_latex: Sequence[str],
) -> Table:
    """A row a class, tissue or data set; a column a score that any of them has."""
    counts = [key for key in ("num_tiles", "num_nuclei", "num_images") if _is_there(rows, key)]
    keys = [key for key in SCORES if _is_there(rows, key)]
    bounded = {key for key in keys if any(key in row for row in intervals.values())}
    columns = [Column(key=first, name=first)]
    columns += [
        Column(key=key, name=key.removeprefix("num_"), in_latex=key == "num_nuclei")
        for key in counts
    ]
    columns += [
        Column(
            key=key,
            name=name_score(key),
            parts=_INTERVAL if key in bounded else ("",),
            in_latex=key in in_latex,
        )
        for key in keys
    ]
    return Table(
        name=name,
        columns=tuple(columns),
        rows=[
            (
                (title or "unknown",),
                *((row[key],) for key in counts),
                *_list_cells(row, intervals[title], keys, bounded),
            )
            for title, row in rows.items()
        ],
    )


def _list_cells(
    row: Mapping[str, Any], intervals: Mapping[str, Any], keys: Sequence[str], bounded: set[str]
) -> Iterator[tuple[float | None, ...]]:
    for key in keys:
        value = row.get(key)
        yield _bound(value, intervals.get(key)) if key in bounded else (value,)


def _is_there(rows: Mapping[str, Any], key: str) -> bool:
    return any(row.get(key) is not None for row in rows.values())


def _bound(
    value: float | None, interval: Sequence[float] | None
) -> tuple[float | None, float | None, float | None]:
    """A value and the ends of its interval, None where there is none."""
    low, high = interval or (None, None)
    return value, low, high


def _describe_calibration(calibration: Calibration) -> str:
    score = f"ECE of the score {_format(calibration['score']['ece'])}"
    by_class = calibration["class"]
    if by_class["temperature"] is None:
        return score
    return (
        f"ECE of the class {_format(by_class['ece'])}, {_format(by_class['ece_fitted'])} at "
        f"{by_class['temperature']:.3f} times the temperature   {score}"
    )


def _format(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
