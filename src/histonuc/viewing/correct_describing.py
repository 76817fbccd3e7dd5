"""What was corrected in a result, for the page: JSON-able."""

from __future__ import annotations

from typing import Any

from histonuc.corrections import Operation
from histonuc.plain_text import counted
from histonuc.viewing.correcting import Corrector
from histonuc.viewing.index import DELETED
from histonuc.viewing.palette import describe_classes
from histonuc.viewing.wishes import Scene

_MOST_LISTED = 200
_NOUNS = {
    "delete": "deleted",
    "split": "split",
    "join": "joined",
    "redraw": "outline drawn anew",
}


def describe_corrections(corrector: Corrector, scene: Scene) -> dict[str, Any]:
    """Everything that the page shows of them.

    Args:
        corrector: of the result.
        scene: its nuclei as corrected.
    """
    found, space = corrector.corrections, corrector.corrections.label_space
    counts: list[int | None] = [None] * len(space)
    classes = describe_classes(space.classes, space.colours, counts)
    for one in classes:
        one["digit"] = found.digits.get(one["name"])
    by_key = {one.key: one for one in corrector.operations}
    return {
        "version": corrector.version,
        "by": corrector.author.by,
        "can_write": not corrector.why_not,
        "why_not": corrector.why_not,
        "classes": classes,
        "num_corrected": found.num_corrected,
        "num_held_out": len(found.held_out),
        "people": dict(found.people),
        "can_undo": _say(by_key.get(found.can_undo)),
        "can_redo": _say(by_key.get(found.can_redo)),
        "fields": [
            {
                **{"key": one.key, "ring": one.ring.tolist(), "complete": one.complete},
                **{"by": one.by, "time": one.time},
            }
            for one in found.fields
        ],
        "comments": [
            {
                **{"key": one.key, "id": one.id, "place": list(one.place), "text": one.text},
                **{"by": one.by, "time": one.time},
            }
            for one in found.comments[-_MOST_LISTED:]
        ],
        "conflicts": [_describe_conflict(one, scene) for one in found.conflicts[:_MOST_LISTED]],
        "num_conflicts": len(found.conflicts),
        "unmatched": [
            {
                "text": f"{_say(one.operation)}, {one.operation.by}",
                "place": [one.target.x, one.target.y],
            }
            for one in found.unmatched[:_MOST_LISTED]
        ],
        "num_unmatched": len(found.unmatched),
        "notes": list(corrector.notes),
    }


def _describe_conflict(conflict: Any, scene: Scene) -> dict[str, Any]:
    index, row = scene.table.index(), conflict.id - 1
    return {
        "id": conflict.id,
        "is_there": bool(index.kind[row] != DELETED),
        "place": index.xy(row).tolist(),
        "choices": [
            {"operation": one.key, "text": _say(one), "by": one.by, "time": one.time}
            for one in conflict.operations
        ],
    }


def _say(operation: Operation | None) -> str:
    """An operation in a few words; nothing for none."""
    if operation is None:
        return ""
    num, do = len(operation.nuclei), operation.do
    nuclei = counted(num, "nucleus")
    if do == "classify":
        return f"{nuclei}: {operation.class_name or 'as predicted'}"
    if do in _NOUNS:
        return f"{nuclei}: {_NOUNS[do]}"
    if do == "add":
        return f"1 nucleus added: {operation.class_name}"
    if do == "define_class":
        return f"class {operation.fields['name']}"
    return {"field": "field", "comment": "comment"}.get(do, do)
