"""The corrections of several people in one log, and a person's choice where they disagree."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from histonuc.corrections.log import CorrectionLog
from histonuc.corrections.operations import Operation
from histonuc.corrections.ordering import History, put_in_order
from histonuc.corrections.parsing import find_heads, merge_line
from histonuc.corrections.records import Conflict, Corrections, Targets
from histonuc.corrections.replay import replay
from histonuc.corrections.targeted import number_made
from histonuc.taxonomy import NUCLEUS

_ANY_NUMBER = 2**32
"""More nuclei than a table has."""


@dataclass(frozen=True, kw_only=True)
class Renumbered:
    """A nucleus that was added, or that a split or a join made, and that has another number now.

    Attributes:
        path: the log in which it had its old number.
        reference: how all logs name it, "KEY:0": this stays.
        before: its old number, counted from 1 behind the nuclei of the table.
        after: the new one, counted in the same way.
    """

    path: Path
    reference: str
    before: int
    after: int


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What a merge did.

    Attributes:
        path: the log that holds all operations now.
        num_operations: how many it holds.
        num_new: how many of them it did not hold before.
        conflicts: nuclei that a person has to choose for.
        notes: sentences about lines that are not applied, by file.
        renumbered: nuclei that were made by hand and have another number in the merged log.
    """

    path: Path
    num_operations: int
    num_new: int
    conflicts: tuple[Conflict, ...]
    notes: tuple[str, ...]
    renumbered: tuple[Renumbered, ...] = ()


def merge_operations(parts: Sequence[Sequence[Operation]]) -> History:
    """The operations of several logs, each once, and a line that knows of all where they part.

    The same in whatever order the logs are given, and however often.

    Args:
        parts: the operations of each log.

    Raises:
        ValueError: two logs hold different lines of one key.
    """
    by_key: dict[str, tuple[Operation, Set[str]]] = {}
    for part in parts:
        keys = {operation.key for operation in part}
        for operation in part:
            other, others_keys = by_key.setdefault(operation.key, (operation, keys))
            if replace(other, after=operation.after).to_record() != operation.to_record():
                raise ValueError(
                    f"the files hold different lines of the key {operation.key}: one of them was "
                    "changed by hand or damaged"
                )
            # Of a file whose line before is damaged, the one before that was read: see `LogParser`.
            if other.after != operation.after and operation.after not in others_keys:
                by_key[operation.key] = operation, keys
    history = put_in_order([operation for operation, _ in by_key.values()])
    if len(heads := find_heads(history.operations)) > 1:
        joined = merge_line(heads, history.operations)
        history = History(operations=(*history.operations, joined))
    return history


def merge_logs(places: Sequence[Path], out: Path) -> Merged:
    """Put the operations of several logs into one, which may hold some already.

    Args:
        places: folders of results, or files.
        out: folder of a result, or a file; lines that are there stay where they are.

    Raises:
        ValueError: no corrections at a place, a log that cannot be read, or more classes together
            than a table can hold.
    """
    parts, paths, notes = [], [], []
    for place in places:
        log = CorrectionLog(place)
        if not log.path.is_file():
            raise ValueError(f"no corrections at {log.path}")
        content = log.read()
        parts.append(content.operations)
        paths.append(log.path)
        notes += [f"{log.path}: {note}" for note in content.notes]
    target = CorrectionLog(out)
    there = target.read().operations
    merged = merge_operations([*parts, there])
    known = {operation.key for operation in there}
    new = [operation for operation in merged.operations if operation.key not in known]
    conflicts = find_conflicts(merged.operations)  # before anything is written: it may raise
    numbers = number_made([*there, *new], 0)
    renumbered = [
        Renumbered(path=log, reference=reference, before=before, after=numbers[reference])
        for log, part in zip(paths, parts, strict=True)
        for reference, before in number_made(part, 0).items()
        if numbers[reference] != before
    ]
    target.append(*new)
    return Merged(
        path=target.path,
        num_operations=len(merged.operations),
        num_new=len(new),
        conflicts=conflicts,
        notes=tuple(notes),
        renumbered=tuple(renumbered),
    )


def find_conflicts(operations: Sequence[Operation]) -> tuple[Conflict, ...]:
    """Nuclei on which operations disagree, without their table."""
    return replay(operations, Targets(num_nuclei=_ANY_NUMBER, label_space=NUCLEUS)).conflicts


def choose_operations(
    corrections: Corrections,
    *,
    keys: Sequence[str] = (),
    prefer: str = "",
    nuclei: Sequence[int] = (),
    by: str,
) -> list[Operation]:
    """Operations that end conflicts.

    Args:
        corrections: with conflicts.
        keys: of the operations that count, whole or their beginnings.
        prefer: name of a person whose operations count.
        nuclei: numbers of the nuclei that this is about; empty for all in conflict.
        by: who chooses.

    Raises:
        ValueError: there is no such conflict.
    """
    chosen: list[Operation] = []
    for conflict in corrections.conflicts:
        if nuclei and conflict.id not in nuclei:
            continue
        wanted = [
            one
            for one in conflict.operations
            if any(one.key.startswith(key) for key in keys) or (prefer and one.by == prefer)
        ]
        if len(wanted) > 1:
            raise ValueError(
                f"nucleus {conflict.id}: more than one of its operations is meant: give one key"
            )
        chosen += [_choose(conflict, one, by) for one in wanted]
    if not chosen:
        raise ValueError(
            "no nucleus in conflict has such an operation: `histonuc corrections show` lists the "
            "conflicts and the keys of their operations"
        )
    return chosen


def _choose(conflict: Conflict, operation: Operation, by: str) -> Operation:
    return Operation(
        do="choose",
        nuclei=(conflict.targets[conflict.operations.index(operation)],),
        fields={"operation": operation.key},
        by=by,
        table=operation.table,
        model=operation.model,
    )
