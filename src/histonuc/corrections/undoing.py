"""Undo and redo, which are operations of the log themselves."""

from __future__ import annotations

from histonuc.corrections.ordering import History

FOR_EVER = frozenset({"hold_out", "undo", "redo", "merge"})
"""Operations that cannot be undone: what is held out has to stay so for scores to be honest."""


def find_undone(history: History) -> frozenset[str]:
    """Keys of the operations that are undone in the end."""
    undone: set[str] = set()
    for operation in history.operations:
        if operation.is_known and operation.do == "undo":
            undone.add(operation.operation)
        elif operation.is_known and operation.do == "redo":
            undone.discard(operation.operation)
    lasting = {one.key for one in history.operations if one.do in FOR_EVER}
    return frozenset(undone - lasting)


def list_undoable(history: History, by: str | None) -> tuple[str, str]:
    """Keys of the operations that undo and redo would be about now; empty for none.

    As in other programs, a new operation ends what could be redone.

    Args:
        history: of the log.
        by: whose operations they are about; None for everybody's.
    """
    done: list[str] = []
    undone: list[str] = []
    for operation in history.operations:
        if not operation.is_known or (by is not None and operation.by != by):
            continue
        if operation.do in ("undo", "redo"):
            source, target = (done, undone) if operation.do == "undo" else (undone, done)
            if operation.operation in source:
                source.remove(operation.operation)
                target.append(operation.operation)
        elif operation.do not in FOR_EVER:
            done.append(operation.key)
            undone.clear()
    return (done[-1] if done else "", undone[-1] if undone else "")
