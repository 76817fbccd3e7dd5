"""A result as people corrected it, for everything that reads nuclei."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.corrections.log import CORRECTIONS_FILE, CorrectionLog
from histonuc.corrections.matching import find_targets
from histonuc.corrections.records import Corrections, Made
from histonuc.corrections.replay import replay
from histonuc.corrections.shapes import SHAPES, measure_shape
from histonuc.exports import TABLE_FILE
from histonuc.exports.rings import ring_moments
from histonuc.exports.source import Batch, Source, open_source
from histonuc.nuclei import Nuclei
from histonuc.plain_text import counted
from histonuc.taxonomy import LabelSpace

CORRECTED, CORRECTED_BY = "corrected", "corrected_by"
"""Columns of text of a corrected table: what was corrected, and by whom."""


@dataclass(frozen=True, kw_only=True)
class ResultCorrections:
    """The corrections of one result.

    Attributes:
        corrections: what they make of the table.
        notes: sentences about lines of the log that are not applied.
    """

    corrections: Corrections
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """What everybody who reads the result is told, in sentences."""
        corrections = self.corrections
        lines = [
            f"{counted(corrections.num_corrected, 'nucleus')} "
            f"corrected by {name_people(corrections.people)}"
        ]
        if not corrections.num_corrected:
            lines = []
        if num := len(corrections.conflicts):
            lines.append(
                f"{counted(num, 'nucleus')} on which corrections disagree: as predicted, "
                "until you choose (`histonuc corrections show`)"
            )
        if num := len(corrections.unmatched):
            lines.append(
                f"{counted(num, 'correction')} of nuclei that are not in this table, and "
                "not applied (`histonuc corrections show`)"
            )
        return [*lines, *(f"{CORRECTIONS_FILE}: {note}" for note in self.notes)]


def read_corrections(folder: Path, *, by: str | None = None) -> ResultCorrections | None:
    """The corrections of the result in a folder; None where there are none.

    Args:
        folder: of the result.
        by: see `replay`.

    Raises:
        ValueError: the log or the table cannot be read.
    """
    content = CorrectionLog(folder).read()
    if not content.operations and not content.notes:
        return None
    targets = find_targets(folder / TABLE_FILE, content.operations)
    return ResultCorrections(
        corrections=replay(content.operations, targets, by=by), notes=content.notes
    )


def corrected_source(folder: Path, corrected: bool = True) -> Source:
    """The nuclei of a result as people corrected them.

    A corrected class has probability 1, and a made nucleus the score 1. The further columns of
    outlines that people drew are measured anew as far as an outline tells them, and empty else.
    Without corrections it is the table as it is.

    Args:
        folder: of the result.
        corrected: False for the prediction.

    Raises:
        ValueError: the log or the table cannot be read.
    """
    source = open_source(folder / TABLE_FILE)
    found = read_corrections(folder) if corrected else None
    return source if found is None else apply_corrections(source, found.corrections)


def open_corrected(folder: Path) -> tuple[Source, list[str]]:
    """The nuclei of a result as people corrected them, and what to tell about it.

    Raises:
        ValueError: the log or the table cannot be read.
    """
    source, found = open_source(folder / TABLE_FILE), read_corrections(folder)
    if found is None:
        return source, []
    return apply_corrections(source, found.corrections), found.lines()


def apply_corrections(source: Source, corrections: Corrections) -> Source:
    """The same nuclei as people corrected them; the source itself where nobody did.

    Args:
        source: the table that the corrections are about, as it is.
        corrections: what to apply.
    """
    space = corrections.label_space
    if not corrections.by and space == source.label_space:
        return source
    texts = (*source.text_names, CORRECTED, CORRECTED_BY)

    origins = [number for one in corrections.made for number in one.origins[:1]]
    changed = np.array([*corrections.by], np.int64), np.array([*corrections.deleted], np.int64)

    def read(rows: int) -> Iterator[Batch]:
        row, known = 0, dict[int, dict[str, str]]()
        for batch in source.batches(rows):
            numbers = np.arange(row + 1, row + 1 + len(batch.ids))
            for i in np.flatnonzero(np.isin(numbers, origins)).tolist():
                known[i + row + 1] = {n: str(text[i]) for n, text in batch.nuclei.texts.items()}
            rest = _correct(batch, numbers, changed, corrections, source)
            row += len(batch.ids)
            if len(rest.ids):
                yield rest
        made = corrections.made
        for start in range(0, len(made), rows):
            yield _make(made[start : start + rows], corrections, source, known)

    return replace(
        source,
        num_nuclei=source.num_nuclei - len(corrections.deleted) + len(corrections.made),
        label_space=space,
        text_names=texts,
        facts={**source.facts, "label_space": space.to_dict()},
        read=read,
    )


def _correct(
    batch: Batch,
    numbers: NDArray[np.int64],
    changed: tuple[NDArray[np.int64], NDArray[np.int64]],
    corrections: Corrections,
    source: Source,
) -> Batch:
    """The nuclei of a batch that are still there, as they are now.

    Args:
        batch: of the table.
        numbers: (n,), their numbers.
        changed: numbers of all nuclei that were corrected, and of those that are gone.
        corrections: what to apply.
        source: the table.
    """
    there = ~np.isin(numbers, changed[1])
    nuclei, extra = _widen(batch.nuclei, corrections.label_space), batch.extra.copy()
    redrawn: dict[int, NDArray[np.float64]] = {}
    how, who = np.full(len(numbers), "", object), np.full(len(numbers), "", object)
    for i in np.flatnonzero(there & np.isin(numbers, changed[0])).tolist():
        number = int(numbers[i])
        if (name := corrections.classes.get(number)) is not None:
            nuclei.class_probabilities[i] = _certain(name, corrections.label_space)
        if number in corrections.rings:
            redrawn[i] = corrections.rings[number]
            extra[i] = _measure(redrawn[i], source)
        how[i] = _describe(number, corrections)
        who[i] = ", ".join(corrections.by[number])
    texts = {**nuclei.texts, CORRECTED: how.astype(np.str_), CORRECTED_BY: who.astype(np.str_)}
    nuclei = replace(_redraw(nuclei, redrawn), texts=texts)
    return Batch(ids=batch.ids[there], nuclei=nuclei.select(there), extra=extra[there])


def _make(
    made: tuple[Made, ...],
    corrections: Corrections,
    source: Source,
    known: Mapping[int, Mapping[str, str]],
) -> Batch:
    """Nuclei that operations made.

    Args:
        made: some of them.
        corrections: all of them.
        source: the table.
        known: texts of the nuclei of the table that they were made of, such as the region.
    """
    space = corrections.label_space
    rings = [one.ring for one in made]
    offsets = np.cumsum([0, *map(len, rings)]).astype(np.int64)
    points = np.concatenate(rings)
    before = [known.get(one.origins[0], {}) if one.origins else {} for one in made]
    texts = {
        name: np.array([text.get(name, "") for text in before], np.str_)
        for name in source.text_names
    }
    texts[CORRECTED] = np.array([one.how for one in made], np.str_)
    texts[CORRECTED_BY] = np.array([", ".join(corrections.by[one.id]) for one in made], np.str_)
    nuclei = Nuclei(
        points=points,
        offsets=offsets,
        centroid=ring_moments(points, offsets)[1],
        class_probabilities=np.stack([_certain(one.class_name, space) for one in made]),
        score=np.ones(len(made), np.float32),
        label_space=space,
        mpp=source.mpp,
        texts=texts,
    )
    ids = np.array([one.id for one in made], np.uint32)
    extra = np.array([_measure(ring, source) for ring in rings]).reshape(len(made), -1)
    return Batch(ids=ids, nuclei=nuclei, extra=extra)


def _widen(nuclei: Nuclei, space: LabelSpace) -> Nuclei:
    """The same nuclei with probability 0 of the classes that the table does not have."""
    num_new = len(space) - len(nuclei.label_space)
    probabilities = np.pad(nuclei.class_probabilities, ((0, 0), (0, num_new)))
    return replace(nuclei, class_probabilities=probabilities, label_space=space)


def _certain(class_name: str, space: LabelSpace) -> NDArray[np.float32]:
    row = np.zeros(len(space), np.float32)
    row[space.classes.index(class_name)] = 1
    return row


def _redraw(nuclei: Nuclei, redrawn: Mapping[int, NDArray[np.float64]]) -> Nuclei:
    """The nuclei with other outlines, and the centroids of those, by their place."""
    if not redrawn:
        return nuclei
    rings = [redrawn.get(i, nuclei.contour(i)) for i in range(len(nuclei))]
    points, offsets = np.concatenate(rings), np.cumsum([0, *map(len, rings)]).astype(np.int64)
    centroid = nuclei.centroid.copy()
    places = list(redrawn)
    centroid[places] = ring_moments(points, offsets)[1][places]
    return replace(nuclei, points=points, offsets=offsets, centroid=centroid)


def _measure(ring: NDArray[np.float64], source: Source) -> list[float]:
    """The further columns of an outline, NaN for those that it does not tell."""
    shape = measure_shape(ring, source.mpp) if {*SHAPES} & {*source.extra_names} else {}
    return [shape.get(name, float("nan")) for name in source.extra_names]


def _describe(number: int, corrections: Corrections) -> str:
    named = [("class", number in corrections.classes), ("outline", number in corrections.rings)]
    return " and ".join(name for name, is_so in named if is_so)


def name_people(people: Mapping[str, int]) -> str:
    """Names with the number of nuclei that each corrected.

    >>> name_people({"ann": 31}), name_people({"ann": 31, "bob": 2})
    ('ann', 'ann (31), bob (2)')
    """
    if len(people) == 1:
        return next(iter(people))
    return ", ".join(f"{name} ({number:,})" for name, number in people.items())
