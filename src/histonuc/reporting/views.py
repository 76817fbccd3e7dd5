"""What the page of a report shows, as its template reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from histonuc.evaluation import Panel
from histonuc.evaluation.records import Scores
from histonuc.reporting.nuclei import ConfusionView
from histonuc.reporting.pictures import Picture

Facts = Sequence[tuple[str, str]]
"""Name and value of what is told in a list."""


@dataclass(frozen=True, kw_only=True)
class PanelView:
    """One row of pictures: image, truth, prediction."""

    panel: Panel
    pictures: tuple[Picture, Picture, Picture]


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """One set of scores, or a run that has none yet, in the table at the top.

    Attributes:
        name: of the set or of the run.
        model: trunk and representation, or the name of the model.
        epochs: how many the run has trained; None of a set that belongs to no run.
        tiles: number of tiles that were scored; None without scores.
        nuclei: number of their true nuclei; None without scores.
        values: score by name; empty without scores.
    """

    name: str
    model: str
    epochs: str | None
    tiles: int | None
    nuclei: int | None
    values: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class SummaryTable:
    """The table at the top.

    Attributes:
        columns: title by name of the score.
        rows: see `SummaryRow`.
        best: for each row, the names of the scores in which it is the best.
    """

    columns: Mapping[str, str]
    rows: Sequence[SummaryRow]
    best: Sequence[frozenset[str]]


@dataclass(frozen=True, kw_only=True)
class RunView:
    """A run: its learning curves as a picture's URI, its settings and where it ran."""

    name: str
    path: str
    curves: str
    config: Facts
    environment: Facts


@dataclass(frozen=True, kw_only=True)
class ScoresView:
    """A set of scores.

    Attributes:
        name: of the set.
        anchor: that links lead to.
        scores: content of scores.json.
        model: facts about the model.
        data: facts about the data.
        classes: name and CSS colour of each class.
        class_bars: URI of a figure; empty where there are no classes.
        tissue_bars: URI of a figure.
        headlines: name, value and interval of the scores over all tiles.
        nuclei_figure: URI of a figure.
        confusions: caption and matrix of nuclei.
        errors: kind, number of true and of predicted nuclei.
        panels: pictures of tiles.
        legend: CSS colour and name of the outlines' classes.
    """

    name: str
    anchor: str
    scores: Scores
    model: Facts
    data: Facts
    classes: Facts
    class_bars: str
    tissue_bars: str
    headlines: Sequence[tuple[str, float, tuple[float, float] | None]]
    nuclei_figure: str
    confusions: Sequence[tuple[str, ConfusionView]]
    errors: Sequence[tuple[str, int | None, int | None]]
    panels: Sequence[PanelView]
    legend: Facts


@dataclass(frozen=True, kw_only=True)
class RotationTable:
    """Mean ± standard deviation: a row a class or tissue, a column a score."""

    title: str
    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True, kw_only=True)
class RotationsView:
    """A cross-validation: the folds of its rotations, and its tables."""

    name: str
    rotations: Sequence[str]
    tables: Sequence[RotationTable]


@dataclass(frozen=True, kw_only=True)
class ComparisonView:
    """Several score sets side by side, as the URI of a figure."""

    bars: str
