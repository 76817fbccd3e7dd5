"""Nuclei that the model is sure of teach the classes of which few or none are labelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.exports import TABLE_FILE
from histonuc.exports.facts import from_facts, schema_facts
from histonuc.files import reading
from histonuc.taxonomy import UNCERTAIN
from histonuc.teaching.labels import ResultLabels

FILLED_UP = 50
"""Until so many nuclei of a class of the model are labelled, those that the model is sure of make
up the number."""
_SURE = 204
"""Probability, in steps of 1 / 255, from which on the model is sure: 0.8."""
_DRAWN = 200_000
"""Nuclei of each slide that are looked at, drawn at random."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedClasses:
    """What the model and people say of the n nuclei of one table.

    Attributes:
        classes: names of the model's classes.
        kind: uint8 (n,), number of the model's class of each nucleus.
        probability: uint8 (n,), of that class, in steps of 1 / 255.
        labels: class by number of each nucleus that teaches, from 1.
        touched: numbers of the nuclei that people did something to: see `labels.list_touched`.
    """

    classes: Sequence[str]
    kind: NDArray[np.uint8]
    probability: NDArray[np.uint8]
    labels: Mapping[int, str]
    touched: Collection[int]


def fill_up(tables: Sequence[PredictedClasses]) -> list[dict[int, str]]:
    """Labels of nuclei that the model is sure of, for classes of which few or none are labelled.

    Without them a classifier would never give a class that nobody labelled, and know one that was
    labelled only where the model was wrong. A model of a single class tells no classes apart, and
    fills up none.

    Args:
        tables: of the slides that teach together; each of them gives nuclei by turns.

    Returns:
        For each table the class by number of a nucleus.
    """
    filled: list[dict[int, str]] = [{} for _ in tables]
    candidates = [_draw_sure(table) for table in tables]
    given = Counter(name for table in tables for name in table.labels.values())
    for name in dict.fromkeys(chain.from_iterable(candidates)):
        wanted = max(FILLED_UP - given[name], 0)
        numbers = [found.get(name, [])[:wanted] for found in candidates]
        by_turns = [
            (place, number)
            for turn in zip_longest(*numbers)
            for place, number in enumerate(turn)
            if number is not None
        ]
        for place, number in by_turns[:wanted]:
            filled[place][number] = name
    return filled


def read_predicted(folder: Path, found: ResultLabels) -> PredictedClasses:
    """The model's classes of the nuclei of a result.

    Args:
        folder: of the result.
        found: its labels.

    Raises:
        ValueError: the table cannot be read.
    """
    import pyarrow.parquet as pq

    path = folder / TABLE_FILE
    with reading(path, "table of nuclei"):
        classes = from_facts(schema_facts(pq.read_schema(path)))[0].classes
        names = ["class_index", *(f"p_{name}" for name in classes)]
        kind, *shares = (pq.read_table(path, columns=[name])[name].to_numpy() for name in names)
        probability = np.choose(kind, shares).astype(np.float64)
    return PredictedClasses(
        classes=classes,
        kind=kind.astype(np.uint8),
        probability=np.floor(np.clip(probability, 0, 1) * 255 + 0.5).astype(np.uint8),
        labels=found.taught,
        touched=found.touched,
    )


def _draw_sure(table: PredictedClasses) -> dict[str, list[int]]:
    """Numbers of nuclei that the model is sure of and nobody touched, by class."""
    classes = [name for name in table.classes if name != UNCERTAIN]
    if len(classes) < 2:
        return {}
    rows = np.random.default_rng(0).permutation(len(table.kind))[:_DRAWN]
    known = np.array([*table.touched, *table.labels], np.int64) - 1
    rows = rows[(table.probability[rows] >= _SURE) & ~np.isin(rows, known)]
    return {
        name: (rows[table.kind[rows] == number][:FILLED_UP] + 1).tolist()
        for number, name in enumerate(table.classes)
        if name != UNCERTAIN
    }
