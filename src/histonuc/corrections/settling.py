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


_Memo = dict[frozenset[str], Settled]
"""Keys of operations -> what they make of a nucleus."""


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
    return _settle_branches(list(operations), history, {})


def _settle_branches(operations: list[Operation], history: History, memo: _Memo) -> Settled:
    """As `settle`, each set of operations once: both sides of a fork ask for what was before."""
    keys = frozenset(one.key for one in operations)
    if keys not in memo:
        memo[keys] = _settle_heads(operations, history, memo)
    return memo[keys]


def _settle_heads(operations: list[Operation], history: History, memo: _Memo) -> Settled:
    """What the last operations make of those before, one after the other as long as they know."""
    later: list[Operation] = []
    while len(heads := _find_heads(operations, history)) == 1 and heads[0].do != "choose":
        later.append(heads[0])
        operations = [one for one in operations if one is not heads[0]]
    if not heads:
        settled = Settled(state=State())
    elif len(heads) == 1:
        settled = _settle_choice(operations, heads[0], history, memo)
    else:
        settled = _settle_fork(operations, heads, history, memo)
    if not later:
        return settled
    state = settled.state
    for operation in reversed(later):
        state = state.then(operation)
    return Settled(state=state)


def _find_heads(operations: list[Operation], history: History) -> list[Operation]:
    """Those of some operations that none of the others knew of."""
    return [
        one
        for rank, one in enumerate(operations)
        if not any(history.knew(later.key, one.key) for later in operations[rank + 1 :])
    ]


def _settle_fork(
    operations: list[Operation], heads: list[Operation], history: History, memo: _Memo
) -> Settled:
    """The same where several operations did not know of each other."""
    branches = [
        _settle_branches(_known_to(head, operations, history), history, memo).state
        for head in heads
    ]
    shared = [one for one in operations if all(history.knew(h.key, one.key) for h in heads)]
    before = _settle_branches(shared, history, memo)
    merged = _merge(before.state, branches)
    if merged is None:
        return Settled(state=before.state, conflict=tuple(heads))
    return Settled(state=merged)


def _settle_choice(
    operations: list[Operation], choice: Operation, history: History, memo: _Memo
) -> Settled:
    """The same where somebody who knew of all others chose one."""
    before = [one for one in operations if one is not choice]
    chosen = next((one for one in before if one.key == choice.operation), None)
    known = before if chosen is None else _known_to(chosen, before, history)
    return _settle_branches(known, history, memo)


def _known_to(
    operation: Operation, operations: list[Operation], history: History
) -> list[Operation]:
    """An operation and those that its writer knew of."""
    return [one for one in operations if one is operation or history.knew(operation.key, one.key)]


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
