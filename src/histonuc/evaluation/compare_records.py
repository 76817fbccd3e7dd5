"""The fields of compare.json, by name. None stands for what is not defined."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class AdjustedP(TypedDict):
    """The p that is adjusted for its family, where there is one."""

    p_holm: NotRequired[float | None]


class Difference(AdjustedP):
    """One score of two models in one group of tiles: second minus first, with its interval."""

    first: float | None
    second: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    num_images: int
    num_one_sided: int


class PairComparison(TypedDict):
    """One model compared with the first: differences by score, by class, by tissue and score."""

    first: str
    second: str
    not_compared: list[str]
    class_score: str
    overall: dict[str, Difference]
    per_class: dict[str, Difference]
    per_tissue: dict[str, dict[str, Difference]]


class Comparison(TypedDict):
    """The content of compare.json."""

    format: int
    versions: dict[str, str]
    num_tiles: int
    num_tissues: int
    num_tissues_of_one_tile: int
    num_resamples: int
    confidence: float
    seed: int
    comparisons: list[PairComparison]
    conventions: dict[str, str]
