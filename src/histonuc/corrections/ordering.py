"""Who knew of what: the operations of several people as a graph, in one order for everybody."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from histonuc.corrections.operations import Operation
from histonuc.corrections.parsing import parents_of


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """The operations of a log and who knew of which.

    Attributes:
        operations: each key once, in an order in which each comes after all that it knew of, and
            else by time and key: the same however files were put together.
    """

    operations: tuple[Operation, ...]

    @cached_property
    def rank(self) -> Mapping[str, int]:
        """Place of each operation in the order, by key."""
        return {operation.key: rank for rank, operation in enumerate(self.operations)}

    @cached_property
    def is_one_line(self) -> bool:
        """Whether each operation knew of all before it, as in the log of one program."""
        return all(
            before.key in parents_of(after)
            for before, after in zip(self.operations, self.operations[1:], strict=False)
        )

    def knew(self, later: str, earlier: str) -> bool:
        """Whether the writer of one operation knew of another one, both by key."""
        if self.is_one_line:
            return self.rank[earlier] < self.rank[later]
        return bool(self._ancestors[later] >> self.rank[earlier] & 1)

    @cached_property
    def _ancestors(self) -> Mapping[str, int]:
        """For each operation the set of those that it knew of, as bits by rank."""
        found: dict[str, int] = {}
        for operation in self.operations:
            known = 0
            for parent in parents_of(operation):
                if parent in found:
                    known |= found[parent] | 1 << self.rank[parent]
            found[operation.key] = known
        return found


def put_in_order(operations: Sequence[Operation]) -> History:
    """Order operations so that each comes after all that its writer knew of.

    Args:
        operations: of one log or of several; each key once.
    """
    as_written = History(operations=tuple(operations))
    if as_written.is_one_line:
        return as_written
    by_key = {operation.key: operation for operation in operations}
    waiting: dict[str, int] = {}
    children: dict[str, list[str]] = {}
    for key, operation in by_key.items():
        parents = {parent for parent in parents_of(operation) if parent in by_key}
        waiting[key] = len(parents - {key})
        for parent in parents - {key}:
            children.setdefault(parent, []).append(key)
    ready = [(by_key[key].time, key) for key, number in waiting.items() if number == 0]
    heapq.heapify(ready)
    ordered: list[Operation] = []
    while ready:
        _, key = heapq.heappop(ready)
        ordered.append(by_key[key])
        for child in children.get(key, ()):
            waiting[child] -= 1
            if waiting[child] == 0:
                heapq.heappush(ready, (by_key[child].time, child))
    placed = {operation.key for operation in ordered}  # a file made by hand may run in circles
    ordered += [operation for key, operation in by_key.items() if key not in placed]
    return History(operations=tuple(ordered))
