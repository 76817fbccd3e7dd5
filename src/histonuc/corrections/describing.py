"""What `histonuc corrections show` says: sentences and JSON about the corrections of a result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from histonuc.corrections.merging import Renumbered
from histonuc.corrections.operations import Operation, Target
from histonuc.corrections.records import Conflict, Corrections
from histonuc.corrections.source import ResultCorrections, name_people
from histonuc.plain_text import counted

_MOST_LISTED = 20
_KEY_LETTERS = 8


def describe_lines(found: ResultCorrections) -> list[str]:
    """Who corrected what, which classes and fields there are, and what is left to choose."""
    corrections = found.corrections
    people = name_people(corrections.people)
    lines = [f"nuclei     {corrections.num_corrected:,} corrected{people and ' by ' + people}"]
    kinds = count_kinds(corrections)
    lines += [f"           {number:,} {kind}" for kind, number in kinds.items() if number]
    new = corrections.label_space.classes[corrections.num_classes :]
    if new:
        lines.append(f"classes    new: {', '.join(new)}")
    if corrections.fields:
        complete = sum(field.complete for field in corrections.fields)
        lines.append(f"fields     {len(corrections.fields)}, {complete} of them complete")
    if corrections.held_out:
        lines.append(f"held out   {counted(len(corrections.held_out), 'nucleus')}, never taught")
    lines += [
        f"comment    {comment.place[0]:.0f}, {comment.place[1]:.0f}  {comment.by}: {comment.text}"
        for comment in corrections.comments[:_MOST_LISTED]
    ]
    lines += _more("comments", len(corrections.comments))
    for conflict in corrections.conflicts[:_MOST_LISTED]:
        lines += describe_conflict(conflict)
    lines += _more("nuclei in conflict", len(corrections.conflicts))
    lines += [
        f"unmatched  {describe_operation(one.operation)} of the nucleus at {_place(one.target)}"
        for one in corrections.unmatched[:_MOST_LISTED]
    ]
    lines += _more("unmatched", len(corrections.unmatched))
    return [*lines, *(f"note       {note}" for note in found.notes)]


def describe_conflict(conflict: Conflict) -> list[str]:
    """Where people disagree, with the keys of their operations."""
    return [
        f"conflict   nucleus {conflict.id} at {_place(conflict.targets[0])}: as predicted until "
        "you choose",
        *(f"           {describe_operation(one)}" for one in conflict.operations),
    ]


def describe_operation(operation: Operation) -> str:
    """One operation in words.

    >>> describe_operation(Operation(do="delete", by="ann", key="0123456789abcdef", time="2026"))
    '01234567  ann, 2026: delete'
    """
    what = operation.do
    if operation.do == "classify":
        what = f"class {operation.class_name}" if operation.class_name else "class as predicted"
    if operation.do == "choose":
        what = f"choose {operation.operation[:_KEY_LETTERS]}"
    return f"{operation.key[:_KEY_LETTERS]}  {operation.by}, {operation.time}: {what}"


def count_kinds(corrections: Corrections) -> dict[str, int]:
    """Number of nuclei by what was done to them; a nucleus may count in several."""
    made = Counter(one.how for one in corrections.made)
    num = corrections.num_nuclei
    return {
        "with a class by hand": len(corrections.classes),
        "with an outline by hand": len(corrections.rings),
        "deleted, split or joined": sum(number <= num for number in corrections.deleted),
        "added": made["added"],
        "made by splitting": made["split"],
        "made by joining": made["joined"],
    }


def to_record(found: ResultCorrections) -> dict[str, Any]:
    """The same for programs; JSON-able."""
    corrections = found.corrections
    return {
        "num_corrected": corrections.num_corrected,
        "people": dict(corrections.people),
        "kinds": count_kinds(corrections),
        "new_classes": list(corrections.label_space.classes[corrections.num_classes :]),
        "fields": [
            {"key": one.key, "complete": one.complete, "by": one.by, "ring": one.ring.tolist()}
            for one in corrections.fields
        ],
        "num_held_out": len(corrections.held_out),
        "comments": [
            {"key": one.key, "id": one.id, "place": list(one.place), "by": one.by, "text": one.text}
            for one in corrections.comments
        ],
        "conflicts": [conflict_record(one) for one in corrections.conflicts],
        "unmatched": [
            {"operation": one.operation.to_record(), "nucleus": one.target.to_record()}
            for one in corrections.unmatched
        ],
        "notes": list(found.notes),
    }


def conflict_record(conflict: Conflict) -> dict[str, Any]:
    """A conflict for programs; JSON-able."""
    return {
        "id": conflict.id,
        "x": conflict.targets[0].x,
        "y": conflict.targets[0].y,
        "operations": [
            {"key": one.key, "by": one.by, "time": one.time, "do": one.do, **dict(one.fields)}
            for one in conflict.operations
        ],
    }


def describe_renumbered(renumbered: Sequence[Renumbered]) -> list[str]:
    """The nuclei that have another number in a merged log, for people."""
    if not renumbered:
        return []
    lines = [
        f"renumbered {one.path}: nucleus N + {one.before} is N + {one.after} now ({one.reference})"
        for one in renumbered[:_MOST_LISTED]
    ]
    lines.append("           N is the number of nuclei in the table; these were made by hand")
    return lines + _more("nuclei with another number", len(renumbered))


def _place(target: Target) -> str:
    return f"{target.x:.0f}, {target.y:.0f}"


def _more(what: str, number: int) -> list[str]:
    return [f"           … {number:,} {what} in all: see --json"] if number > _MOST_LISTED else []
