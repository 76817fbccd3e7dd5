"""The nuclei that the operations of a log are about, by their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from histonuc.corrections.operations import Operation, Target
from histonuc.corrections.ordering import History
from histonuc.corrections.records import How, Targets, Unmatched
from histonuc.corrections.settling import Settled, State, settle

HOW: Mapping[str, How] = {"add": "added", "split": "split", "join": "joined"}
"""Operations that make nuclei -> what is said of those."""
_ON_NUCLEI = ("classify", "delete", "redraw", "split", "join", "choose")


def number_made(operations: Sequence[Operation], num_nuclei: int) -> Mapping[str, int]:
    """Reference of each nucleus that operations make, those undone included -> its number."""
    references = dict.fromkeys(
        f"{operation.key}:{place}"
        for operation in operations
        if operation.is_known and operation.do in HOW
        for place in range(len(operation.rings))
    )
    return {reference: num_nuclei + 1 + rank for rank, reference in enumerate(references)}


class TargetedNuclei:
    """The nuclei that operations are about.

    Args:
        numbers: reference of each nucleus that operations make -> its number.
        history: all operations.
        active: those that are known and not undone, in order.
        targets: the table.
    """

    def __init__(
        self,
        *,
        numbers: Mapping[str, int],
        history: History,
        active: Sequence[Operation],
        targets: Targets,
    ) -> None:
        self.numbers, self.history, self.targets = numbers, history, targets
        self.active = active
        self.unmatched: list[Unmatched] = []
        self.settled: dict[int, Settled] = {}
        self._about: dict[int, list[Operation]] = {}
        self._refused: set[str] = set()
        self._make_all()

    def number(self, operation: Operation, target: Target) -> int | None:
        """Number of a nucleus of an operation; None where it is not in this table."""
        if isinstance(target.id, str):
            maker = target.id.rpartition(":")[0]
            is_known = target.id in self.numbers and self.history.knew(operation.key, maker)
            return self.numbers[target.id] if is_known else None
        if operation.table and self.targets.table and operation.table != self.targets.table:
            return self.targets.matches.get((operation.table, target.id))
        return target.id if target.id <= self.targets.num_nuclei else None

    def settle_all(self) -> None:
        """Settle each nucleus; again where a split or join turns out to be impossible."""
        for operation in self.active:
            if operation.do in _ON_NUCLEI:
                for number in self._find(operation):
                    self._about.setdefault(number, []).append(operation)
        waiting = set(self._about)
        while waiting:
            for number in waiting:
                before = self.settled.get(number)
                if before is not None and before.conflict:
                    continue  # what does not count because of a conflict does not end it
                counted = [one for one in self._about[number] if one.key not in self._refused]
                self.settled[number] = settle(counted, self.history)
            waiting = self._refuse_impossible()

    def state(self, number: int) -> State:
        """What is known of a nucleus."""
        found = self.settled.get(number)
        return State() if found is None else found.state

    def exists(self, number: int) -> bool:
        """Whether a nucleus is of the table, or was made by an operation that counts."""
        return number <= self.targets.num_nuclei or number in self.made_by

    def class_of(self, number: int, shown: str = "") -> tuple[str | None, str]:
        """The class that a person gave a nucleus, None for none, and the one that it has.

        Args:
            number: of the nucleus.
            shown: its class before, where no person gave one.
        """
        given = self.state(number).class_by
        if given is not None and given.class_name is not None:
            return given.class_name, given.class_name
        if number not in self.made_by:
            return None, shown
        maker, _ = self.made_by[number]
        if maker.do == "add":
            return maker.class_name, maker.class_name or shown
        before = []
        for target in maker.nuclei:
            origin = self.number(maker, target)
            before.append(self.class_of(origin, target.class_name) if origin else (None, shown))
        agreed = before[0][0] if len({one[0] for one in before}) == 1 else None
        return agreed, before[0][1]

    def origins(self, number: int) -> Iterator[int]:
        """Numbers of the nuclei of the table that a nucleus was made of, or its own."""
        if number <= self.targets.num_nuclei:
            yield number
        elif number in self.made_by:
            maker, _ = self.made_by[number]
            for target in maker.nuclei:
                if (origin := self.number(maker, target)) is not None:
                    yield from self.origins(origin)

    def _find(self, operation: Operation) -> Iterator[int]:
        """Numbers of the nuclei of an operation, as far as they are there."""
        for target in operation.nuclei:
            number = self.number(operation, target)
            if number is None:
                self.unmatched.append(Unmatched(operation=operation, target=target))
            else:
                yield number

    def _refuse_impossible(self) -> set[int]:
        """Refuse splits and joins of nuclei that are not theirs; the nuclei to settle again."""
        waiting: set[int] = set()
        for operation in self.active:
            if operation.do not in ("split", "join") or operation.key in self._refused:
                continue
            numbers = [self.number(operation, target) for target in operation.nuclei]
            if not all(self._is_gone_by(number, operation) for number in numbers):
                self._refused.add(operation.key)
                waiting |= {number for number in numbers if number is not None}
        self._make_all()
        return waiting

    def _is_gone_by(self, number: int | None, operation: Operation) -> bool:
        return (
            number is not None and self.exists(number) and self.state(number).gone_by is operation
        )

    def _make_all(self) -> None:
        """Number of each made nucleus -> the operation that counts, and its place among those."""
        self.made_by = {
            self.numbers[f"{operation.key}:{place}"]: (operation, place)
            for operation in self.active
            if operation.do in HOW and operation.key not in self._refused
            for place in range(len(operation.rings))
        }
