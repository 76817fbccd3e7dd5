"""The fields of crossval.json, by name. None stands for what is not defined."""

from __future__ import annotations

from typing import Any, TypedDict


class Spread(TypedDict):
    """One score of several rotations: mean, sample standard deviation, and the values."""

    mean: float | None
    sd: float | None
    values: list[float | None]


class RotationFacts(TypedDict):
    """The folds of one rotation, and the name of its run folder."""

    train: int
    validate: int
    test: int
    folder: str


class RotationTables(TypedDict):
    """Spreads shaped as in scores.json; a row holds tables of them beside its own scores."""

    rotations: list[RotationFacts]
    label_space: dict[str, object]
    no_classes: str | None
    overall: dict[str, Spread]
    per_class: dict[str, dict[str, Any]]
    per_tissue: dict[str, dict[str, Any]]
    per_source: dict[str, dict[str, Any]]
    conventions: dict[str, str]


class Crossval(RotationTables):
    """The content of crossval.json."""

    format: int
    scheme: str
