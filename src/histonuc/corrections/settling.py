"""What becomes of one nucleus that several operations are about, of one person or of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from histonuc.corrections.operations import Operation
from histonuc.corrections.ordering import History


@dataclass(frozen=True, kw_only=True)
class State:
    """What is known of a nucleus beyond its prediction.

    Attributes:
        class_by: the operation whose class it has; None for the predicted one.
        ring_by: the operation whose outline it has; None for the predicted one.
        gone_by: the operation that took it away: it was deleted, split or joined.
    """

    class_by: Operation | None = None
    ring_by: Operation | None = None
    gone_by: Operation | None = None

    def then(self, operation: Operation) -> State:
        """The state after one more operation; nothing happens to a nucleus that is gone."""
        if self.gone_by is not None:
            return self
        if operation.do == "classify":
            return State(class_by=operation, ring_by=self.ring_by)
        if operation.do == "redraw":
            return State(class_by=self.class_by, ring_by=operation)
        if operation.do in ("delete", "split", "join"):
            return State(class_by=self.class_by, ring_by=self.ring_by, gone_by=operation)
        return self


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What a nucleus is in the end.

    Attributes:
        state: as far as all agree.
        conflict: the operations that disagree and do not know of each other; empty if none.
    """

    state: State
    conflict: tuple[Operation, ...] = ()


def settle(operations: Sequence[Operation], history: History) -> Settled:
    """Put together what several operations say of one nucleus.

    Those that did not know of each other are compared with what they both knew, as programs that
    merge texts do: a class and an outline go together, two classes do not. An operation that knew
    of a disagreement ends it.

    Args:
        operations: that are about the nucleus, in the order of the history.
        history: who knew of what.
    """
    if history.is_one_line:
        state = State()
        for operation in operations:
            state = state.then(operation)
        return Settled(state=state)
    return _settle_branches(list(operations), history)


def _settle_branches(operations: list[Operation], history: History) -> Settled:
    heads = [
        one
        for rank, one in enumerate(operations)
        if not any(history.knew(later.key, one.key) for later in operations[rank + 1 :])
    ]
    if not heads:
        return Settled(state=State())
    if len(heads) == 1:
        return _settle_last(operations, heads[0], history)
    branches = [
        _settle_branches(
            [one for one in operations if one is head or history.knew(head.key, one.key)], history
        ).state
        for head in heads
    ]
    shared = [one for one in operations if all(history.knew(h.key, one.key) for h in heads)]
    before = _settle_branches(shared, history)
    merged = _merge(before.state, branches)
    if merged is None:
        return Settled(state=before.state, conflict=tuple(heads))
    return Settled(state=merged)


def _settle_last(operations: list[Operation], last: Operation, history: History) -> Settled:
    """The same where one operation knew of all others."""
    before = [one for one in operations if one is not last]
    if last.do != "choose":
        return Settled(state=_settle_branches(before, history).state.then(last))
    chosen = next((one for one in before if one.key == last.operation), None)
    if chosen is None:
        return _settle_branches(before, history)
    known = [one for one in before if one is chosen or history.knew(chosen.key, one.key)]
    return _settle_branches(known, history)


def _merge(before: State, branches: Sequence[State]) -> State | None:
    """What all branches say together; None where they disagree."""
    merged = before
    for name in ("class_by", "ring_by", "gone_by"):
        known = _outcome(getattr(before, name))
        changed = [one for one in branches if _outcome(getattr(one, name)) != known]
        if len({_outcome(getattr(one, name)) for one in changed}) > 1:
            return None
        if changed and name == "gone_by" and len(changed) < len(branches):
            return None
        if changed:
            merged = replace(merged, **{name: getattr(changed[0], name)})
    return merged


def _outcome(operation: Operation | None) -> Any:
    """What an operation does, whoever did it."""
    if operation is None or (operation.do == "classify" and operation.class_name is None):
        return None
    if operation.do == "classify":
        return operation.class_name
    if operation.do == "split":
        return ("split", tuple(tuple(ring) for ring in operation.fields["rings"]))
    if operation.do == "join":
        members = sorted(str(target.id) for target in operation.nuclei)
        return ("join", tuple(operation.fields["ring"]), tuple(members))
    return (operation.do, tuple(operation.fields.get("ring", ())))
