"""What a log makes of a table: plain records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from histonuc.corrections.operations import Operation, Target
from histonuc.taxonomy import LabelSpace

How = Literal["added", "split", "joined"]
"""How a nucleus was made that is not in the table."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The table that corrections are applied to.

    Attributes:
        num_nuclei: N; the nuclei are numbered 1..N.
        label_space: its classes.
        table: SHA-256 of its footer.
        matches: (SHA-256 of another table, number of a nucleus there) -> its number here, for the
            nuclei of other tables that are found here.
        replaced: reference of a nucleus that an operation on another table made -> number of the
            nucleus of this table that is the same one.
    """

    num_nuclei: int
    label_space: LabelSpace
    table: str = ""
    matches: Mapping[tuple[str, int], int] = field(default_factory=dict)
    replaced: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """A nucleus that an operation made.

    Attributes:
        id: its number, from N + 1 on.
        reference: how the log names it, "KEY:0".
        key: of the operation.
        ring: float64 (k, 2), its outline.
        class_name: its class: given, or that of the nuclei that it was made of.
        how: what made it.
        origins: numbers of the nuclei of the table that it was made of; empty of added ones.
    """

    id: int
    reference: str
    key: str
    ring: NDArray[np.float64]
    class_name: str
    how: How
    origins: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Field:
    """A field of truth.

    Attributes:
        key: of the operation that says so.
        ring: float64 (k, 2), its border.
        complete: whether all nuclei with centroid in it are right.
        by: who said so.
        time: when.
    """

    key: str
    ring: NDArray[np.float64]
    complete: bool
    by: str
    time: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Comment:
    """A comment.

    Attributes:
        key: of the operation.
        id: number of the nucleus; None for a place.
        place: (x, y) in level-0 pixels.
        text: what was said.
        by: who said it.
        time: when.
    """

    key: str
    id: int | None
    place: tuple[float, float]
    text: str
    by: str
    time: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Conflict:
    """A nucleus on which operations disagree that did not know of each other.

    Attributes:
        id: its number.
        operations: one of which is to be chosen.
        targets: the nucleus as each of them saw it.
    """

    id: int
    operations: tuple[Operation, ...]
    targets: tuple[Target, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Unmatched:
    """A nucleus of an operation that is not there.

    Attributes:
        operation: which one.
        target: the nucleus as it was.
    """

    operation: Operation
    target: Target


@dataclass(frozen=True, kw_only=True, eq=False)
class Corrections:
    """What the operations of a log make of a table.

    Attributes:
        classes: number of a nucleus -> class that a person gave it; of made nuclei as well.
        deleted: numbers of the nuclei of the table that are no more: deleted, split or joined.
        rings: number -> float64 (k, 2), the outline that a person gave it; not of `made`.
        made: nuclei that operations made and that are still there, by number.
        label_space: of the table, with the new classes in the order of their definition.
        digits: class -> the key 1 to 9 that gives it, as far as there are.
        fields: fields of truth.
        comments: comments.
        held_out: numbers of the nuclei that are never taught.
        conflicts: nuclei that a person has to choose for.
        unmatched: nuclei of operations that are not there.
        by: number of a corrected nucleus -> who corrected it, by name.
        can_undo: key of the operation that undo would take back; empty for none.
        can_redo: key of the operation that redo would bring back; empty for none.
        num_nuclei: N, of the table.
        num_classes: number of the classes of the table.
        references: number of every nucleus that was ever made -> how the log names it.
    """

    classes: Mapping[int, str]
    deleted: frozenset[int]
    rings: Mapping[int, NDArray[np.float64]]
    made: tuple[Made, ...]
    label_space: LabelSpace
    digits: Mapping[str, int]
    fields: tuple[Field, ...]
    comments: tuple[Comment, ...]
    held_out: frozenset[int]
    conflicts: tuple[Conflict, ...]
    unmatched: tuple[Unmatched, ...]
    by: Mapping[int, tuple[str, ...]]
    can_undo: str
    can_redo: str
    num_nuclei: int
    num_classes: int
    references: Mapping[int, str]

    @property
    def num_corrected(self) -> int:
        """Number of nuclei that are not as predicted: of the table, and added ones."""
        return sum(1 for _ in self._corrected())

    @property
    def people(self) -> Mapping[str, int]:
        """Name -> number of nuclei that the person corrected; the most first."""
        counted = Counter(name for number in self._corrected() for name in self.by[number])
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    def _corrected(self) -> Iterator[int]:
        """The nuclei that count: those that a split or join made stand for others that do."""
        added = {one.id for one in self.made if one.how == "added"}
        return (number for number in self.by if number <= self.num_nuclei or number in added)

    def reference(self, number: int) -> int | str:
        """How the log names a nucleus: targets have it as `id`."""
        return self.references.get(number, number)
