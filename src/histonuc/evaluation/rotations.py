"""PanNuke's rotations of the three folds, and the scores of several as mean and spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, cast

from histonuc.evaluation.crossval_records import Crossval, RotationTables, Spread
from histonuc.evaluation.glossary import (
    CROSSVAL,
    CROSSVAL_CLASS,
    CROSSVAL_TISSUE,
    SCORES,
    name_score,
)
from histonuc.evaluation.records import Scores
from histonuc.evaluation.table_files import Column, Table
from histonuc.files import check_seal, read_json, seal, write_json

CROSSVAL_FILE = "crossval.json"
SCORES_FOLDER = "scores"
"""Where the scores of a rotation lie, in its run folder."""

CONVENTIONS = {
    "mean": "over the rotations where the score is defined; values: in the rotations' order",
    "sd": "sample standard deviation over them (divided by n - 1): how much the score changes with "
    "the folds, not a standard error; the rotations share images, so none follows from it",
    "official": "PanNuke's rotations test fold 3 twice and fold 2 never",
    "symmetric": "every fold trains, validates and tests once",
}

_SPREAD = ("_mean", "_sd")
_TABLES = (
    ("classes", "class", "per_class", CROSSVAL_CLASS),
    ("tissues", "tissue", "per_tissue", CROSSVAL_TISSUE),
    ("sources", "source", "per_source", CROSSVAL_TISSUE),
)
"""Tables in CSV and LaTeX: file, what a row is, section of the summary, scores in LaTeX."""
SHOWN_BY = (
    ("class", "per_class", CROSSVAL_CLASS),
    ("tissue", "per_tissue", CROSSVAL_TISSUE),
)
"""Tables for people: what a row is, the section of the summary, its scores."""


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """Which fold is for what."""

    train: int
    validate: int
    test: int

    @property
    def folder(self) -> str:
        """Name of its run folder.

        >>> Rotation(train=1, validate=2, test=3).folder
        'rotation-1-2-3'
        """
        return f"rotation-{self.train}-{self.validate}-{self.test}"


OFFICIAL = (
    Rotation(train=1, validate=2, test=3),
    Rotation(train=2, validate=1, test=3),
    Rotation(train=3, validate=2, test=1),
)
"""As published with PanNuke (Gamper et al. 2020); every score in the literature is of these."""
SYMMETRIC = (
    Rotation(train=1, validate=2, test=3),
    Rotation(train=2, validate=3, test=1),
    Rotation(train=3, validate=1, test=2),
)
"""Every fold is tested once, so that their tiles together are the whole data set."""


def summarise_rotations(rotations: Sequence[Rotation], scores: Sequence[Scores]) -> RotationTables:
    """Mean and spread of every overall, per-class and per-tissue score.

    Args:
        rotations: what was run.
        scores: content of each one's scores.json.

    Returns:
        JSON-able tables shaped as in scores.json, with ``{"mean", "sd", "values"}`` for a number.
    """
    by_tissue = spread([content["per_tissue"] for content in scores])
    by_source = spread([content["per_source"] for content in scores])
    return {
        "rotations": [
            {
                "train": rotation.train,
                "validate": rotation.validate,
                "test": rotation.test,
                "folder": rotation.folder,
            }
            for rotation in rotations
        ],
        "label_space": scores[0]["label_space"],
        "no_classes": scores[0]["no_classes"],
        "overall": spread([content["overall"] for content in scores]),
        "per_class": spread([content["per_class"] for content in scores]),
        # The folds name tissues and sources in different orders.
        "per_tissue": dict(sorted(by_tissue.items())),
        "per_source": dict(sorted(by_source.items())),
        "conventions": CONVENTIONS,
    }


def spread(rows: Sequence[Any]) -> Any:
    """Mean and spread of the numbers at each place of nested tables of one shape.

    Where a table lacks a place, as a fold may lack a tissue, its value is None and does not count.
    Text and lists are left out.

    >>> spread([{"bpq": 0.5, "Skin": {"tp": 3}}, {"bpq": 0.7}])["Skin"]
    {'tp': {'mean': 3.0, 'sd': None, 'values': [3, None]}}
    """
    tables = [row if isinstance(row, Mapping) else {} for row in rows]
    if any(tables):
        keys = dict.fromkeys(key for table in tables for key in table)
        places = {key: spread([table.get(key) for table in tables]) for key in keys}
        return {key: place for key, place in places.items() if place is not None}
    if not all(row is None or isinstance(row, int | float) for row in rows):
        return None
    numbers = [row for row in rows if row is not None]
    return {
        "mean": float(mean(numbers)) if numbers else None,
        "sd": float(stdev(numbers)) if len(numbers) > 1 else None,
        "values": list(rows),
    }


def write_summary(summary: Crossval, folder: Path) -> Crossval:
    """Write crossval.json with its own checksum; its content."""
    sealed = seal(summary)
    write_json(sealed, folder / CROSSVAL_FILE)
    return cast(Crossval, sealed)


def read_summary(file: Path) -> Crossval:
    """Content of a crossval.json.

    Raises:
        ValueError: a damaged file, one that was changed since it was written, or one that names a
            rotation's folder elsewhere.
    """
    summary = read_json(file, "summary of `histonuc crossval`")
    check_seal(summary, file)
    for row in summary.get("rotations", ()):
        if row["folder"] == ".." or Path(row["folder"]).name != row["folder"]:
            raise ValueError(f"{file}: the folder {row['folder']!r} leads out of {file.parent}")
    return cast(Crossval, summary)


def list_sections(summary: RotationTables) -> dict[str, dict[str, dict[str, Any]]]:
    """The tables of a summary that have several rows, by the names of their sections."""
    return {
        "per_class": summary["per_class"],
        "per_tissue": summary["per_tissue"],
        "per_source": summary["per_source"],
    }


def rotation_lines(summary: RotationTables) -> list[str]:
    """The scores in short, for people: mean ± sd."""
    rotations = "  ".join(
        f"{row['train']}/{row['validate']}/{row['test']}" for row in summary["rotations"]
    )
    overall = summary["overall"]
    lines = [
        f"train/validate/test {rotations}: mean ± sd",
        "   ".join(f"{name_score(name)} {spread_text(overall[name])}" for name in CROSSVAL),
    ]
    for title, section, names in SHOWN_BY:
        if section == "per_class" and summary["no_classes"]:
            lines.append(f"no class scores: {summary['no_classes']}")
            continue
        lines.append(f"{title:<26}" + "".join(f"{name_score(name):>18}" for name in names))
        lines += [
            f"{key or 'unknown':<26}" + "".join(f"{spread_text(row[name]):>18}" for name in names)
            for key, row in list_sections(summary)[section].items()
        ]
    return lines


def rotation_tables(summary: RotationTables) -> list[Table]:
    """All scores with their spread as tables: over all tiles, by class, tissue and data set.

    Args:
        summary: what `summarise_rotations` made.
    """
    overall = summary["overall"]
    tables = [
        Table(
            name="overall",
            columns=(
                Column(key="name", name="score"),
                Column(key="score", name="", in_latex=False),
                Column(key="value", name="mean ± sd", parts=_SPREAD),
            ),
            rows=[
                ((name_score(key),), (key,), _list_spread(overall[key]))
                for key in SCORES
                if key in overall
            ],
        )
    ]
    for name, first, section, in_latex in _TABLES:
        if section == "per_class" and summary["no_classes"]:
            continue
        rows = list_sections(summary)[section]
        keys = [key for key in SCORES if any(key in row for row in rows.values())]
        columns = [
            Column(key=key, name=name_score(key), parts=_SPREAD, in_latex=key in in_latex)
            for key in keys
        ]
        cells = [
            ((title or "unknown",), *(_list_spread(row.get(key)) for key in keys))
            for title, row in rows.items()
        ]
        first_column = Column(key=first, name=first)
        tables.append(Table(name=name, columns=(first_column, *columns), rows=cells))
    return tables


def _list_spread(score: Spread | None) -> tuple[float | None, float | None]:
    """Mean and standard deviation, None where not defined."""
    return (score["mean"], score["sd"]) if score else (None, None)


def spread_text(score: Spread) -> str:
    """Mean ± standard deviation, as far as there are such.

    >>> spread_text({"mean": 0.5, "sd": 0.01, "values": [0.51, 0.5, 0.49]})
    '0.5000 ± 0.0100'
    """
    if score["mean"] is None:
        return "-"
    return f"{score['mean']:.4f}" + ("" if score["sd"] is None else f" ± {score['sd']:.4f}")
