"""The nuclei of a result as people see them now, to be found by their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.corrections.log import CorrectionLog
from histonuc.corrections.matching import TableFacts, find_targets, read_table_facts
from histonuc.corrections.operations import Target
from histonuc.corrections.records import Corrections
from histonuc.corrections.replay import replay
from histonuc.corrections.source import apply_corrections
from histonuc.exports import TABLE_FILE
from histonuc.exports.source import Source, open_source
from histonuc.nuclei import Nuclei


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownNuclei:
    """All nuclei of a result in memory, with their corrections.

    Attributes:
        nuclei: the nuclei.
        corrections: of the result.
        source: the corrected table.
        facts: of the table.
        objects: identifier in QuPath -> number, of nuclei that were added there.
        rows: number of a nucleus -> its row in `nuclei`.
    """

    nuclei: Nuclei
    corrections: Corrections
    source: Source
    facts: TableFacts
    objects: Mapping[str, int]
    rows: Mapping[int, int]

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, number: int) -> bool:
        return number in self.rows

    def numbers(self) -> list[int]:
        """Numbers of the nuclei, in order."""
        return list(self.rows)

    @property
    def num_nuclei(self) -> int:
        """Number of nuclei in the table itself."""
        return self.corrections.num_nuclei

    @cached_property
    def last_number(self) -> int:
        """The highest number of any nucleus, also of those that are gone."""
        return max([self.num_nuclei, *self.corrections.references])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, the new ones included."""
        return self.nuclei.label_space.classes

    @cached_property
    def largest_area(self) -> float:
        """Area of the largest nucleus in square level-0 pixels."""
        return float(self.nuclei.area_px.max(initial=0)) or float("inf")

    def target(self, number: int) -> Target:
        """A nucleus as operations have it.

        Raises:
            ValueError: there is no such nucleus.
        """
        if number not in self.rows:
            was = "was deleted, split or joined" if 1 <= number <= self.last_number else "never was"
            raise ValueError(
                f"nucleus {number} is not in this result: it {was}; `numbers()` lists "
                "those that are"
            )
        row = self.rows[number]
        x, y = self.nuclei.centroid[row].tolist()
        return Target(
            id=self.corrections.reference(number),
            class_name=self.classes[int(self._class_index[row])],
            x=x,
            y=y,
            ring=self.nuclei.contour(row),
        )

    @cached_property
    def _class_index(self) -> NDArray[np.int64]:
        return self.nuclei.class_index


def read_shown(folder: Path) -> ShownNuclei:
    """Read the nuclei of a result with its corrections.

    Raises:
        ValueError: the log or the table cannot be read.
    """
    table = folder / TABLE_FILE
    facts, operations = read_table_facts(table), CorrectionLog(folder).read().operations
    corrections = replay(operations, find_targets(table, operations, facts))
    source = apply_corrections(open_source(table), corrections)
    batches = list(source.batches())
    empty = source.empty_batch()
    nuclei = Nuclei.concat([batch.nuclei for batch in batches] or [empty.nuclei])
    ids = np.concatenate([batch.ids for batch in batches] or [empty.ids])
    numbers = {reference: number for number, reference in corrections.references.items()}
    return ShownNuclei(
        nuclei=nuclei,
        corrections=corrections,
        source=source,
        facts=facts,
        objects={
            str(operation.fields["object"]): numbers[f"{operation.key}:0"]
            for operation in operations
            if operation.is_known and operation.do == "add" and "object" in operation.fields
        },
        rows={number: row for row, number in enumerate(ids.tolist())},
    )
