"""From the operations of a log to what they make of a table of nuclei."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from histonuc.corrections.classes import define_classes
from histonuc.corrections.operations import Operation, Target
from histonuc.corrections.ordering import History, put_in_order
from histonuc.corrections.records import (
    Comment,
    Conflict,
    Corrections,
    Field,
    How,
    Made,
    Targets,
    Unmatched,
)
from histonuc.corrections.settling import Settled, State, settle
from histonuc.corrections.undoing import find_undone, list_undoable

_HOW: Mapping[str, How] = {"add": "added", "split": "split", "join": "joined"}
_ON_NUCLEI = ("classify", "delete", "redraw", "split", "join", "choose")


def replay(
    operations: Sequence[Operation], targets: Targets, *, by: str | None = None
) -> Corrections:
    """What operations make of a table.

    Args:
        operations: in the order of their file, which numbers the nuclei that they make.
        targets: the table.
        by: whose operations undo and redo are about; None for everybody's.

    Raises:
        ValueError: more classes than a table can hold.
    """
    history = put_in_order(operations)
    undone = find_undone(history)
    nuclei = _Nuclei(
        numbers=_number_made(operations, targets.num_nuclei),
        history=history,
        active=tuple(one for one in history.operations if one.is_known and one.key not in undone),
        targets=targets,
    )
    nuclei.settle_all()
    return _collect(nuclei, list_undoable(history, by))


def _number_made(operations: Sequence[Operation], num_nuclei: int) -> Mapping[str, int]:
    """Reference of each nucleus that operations make, those undone included -> its number."""
    references = dict.fromkeys(
        f"{operation.key}:{place}"
        for operation in operations
        if operation.is_known and operation.do in _HOW
        for place in range(len(operation.rings))
    )
    return {reference: num_nuclei + 1 + rank for rank, reference in enumerate(references)}


class _Nuclei:
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
            if operation.do in _HOW and operation.key not in self._refused
            for place in range(len(operation.rings))
        }


def _collect(nuclei: _Nuclei, undoable: tuple[str, str]) -> Corrections:
    """All that is known in the end."""
    num, replaced = nuclei.targets.num_nuclei, nuclei.targets.replaced
    there = {n: found for n, found in nuclei.settled.items() if nuclei.exists(n)}
    gone = {n for n, found in there.items() if found.state.gone_by is not None}
    made = tuple(_make(nuclei, n) for n in sorted(nuclei.made_by) if n not in gone)
    used = [one.class_name for one in made]
    space, digits = define_classes(nuclei.targets.label_space, nuclei.active, used)
    covered = {replaced[one.reference] for one in made if one.reference in replaced}
    given = {n: nuclei.class_of(n)[0] for n in {*there, *nuclei.made_by} - gone}
    rings = {n: found.state.ring_by for n, found in there.items() if n <= num and n not in gone}
    return Corrections(
        classes={n: name for n, name in sorted(given.items()) if name is not None},
        deleted=frozenset({n for n in gone if n <= num} | covered),
        rings={n: one.ring for n, one in rings.items() if one is not None},
        made=made,
        label_space=space,
        digits=digits,
        fields=_list_fields(nuclei.active),
        comments=_list_comments(nuclei),
        held_out=_find_held_out(nuclei),
        conflicts=tuple(
            _describe_conflict(nuclei, n, found)
            for n, found in sorted(there.items())
            if found.conflict
        ),
        unmatched=tuple(nuclei.unmatched),
        by=_find_people(nuclei, there, made),
        can_undo=undoable[0],
        can_redo=undoable[1],
        num_nuclei=num,
        num_classes=len(nuclei.targets.label_space),
        references={number: reference for reference, number in nuclei.numbers.items()},
    )


def _describe_conflict(nuclei: _Nuclei, number: int, found: Settled) -> Conflict:
    targets = [
        next(one for one in operation.nuclei if nuclei.number(operation, one) == number)
        for operation in found.conflict
    ]
    return Conflict(id=number, operations=found.conflict, targets=tuple(targets))


def _make(nuclei: _Nuclei, number: int) -> Made:
    maker, place = nuclei.made_by[number]
    redrawn = nuclei.state(number).ring_by
    return Made(
        id=number,
        reference=f"{maker.key}:{place}",
        key=maker.key,
        ring=maker.rings[place] if redrawn is None else redrawn.ring,
        class_name=nuclei.class_of(number)[1],
        how=_HOW[maker.do],
    )


def _find_people(
    nuclei: _Nuclei, there: Mapping[int, Settled], made: Sequence[Made]
) -> Mapping[int, tuple[str, ...]]:
    """Number of each corrected nucleus -> who corrected it."""
    people: dict[int, set[str]] = {one.id: {nuclei.made_by[one.id][0].by} for one in made}
    for number, found in there.items():
        state = found.state
        if number not in people and number > nuclei.targets.num_nuclei:
            continue  # made and gone again
        changed = [state.ring_by, state.gone_by]
        if state.class_by is not None and state.class_by.class_name is not None:
            changed.append(state.class_by)
        names = {operation.by for operation in changed if operation is not None}
        if names:
            people.setdefault(number, set()).update(names)
    return {number: tuple(sorted(names)) for number, names in sorted(people.items())}


def _list_fields(active: Sequence[Operation]) -> tuple[Field, ...]:
    """What was said last of each field."""
    fields = {
        tuple(operation.fields["ring"]): Field(
            key=operation.key,
            ring=operation.ring,
            complete=operation.fields["complete"],
            by=operation.by,
            time=operation.time,
        )
        for operation in active
        if operation.do == "field"
    }
    return tuple(fields.values())


def _list_comments(nuclei: _Nuclei) -> tuple[Comment, ...]:
    comments = []
    for operation in nuclei.active:
        if operation.do != "comment":
            continue
        target = operation.nuclei[0] if operation.nuclei else None
        place = operation.fields["place"] if target is None else (target.x, target.y)
        comments.append(
            Comment(
                key=operation.key,
                id=None if target is None else nuclei.number(operation, target),
                place=(float(place[0]), float(place[1])),
                text=operation.fields["text"],
                by=operation.by,
                time=operation.time,
            )
        )
    return tuple(comments)


def _find_held_out(nuclei: _Nuclei) -> frozenset[int]:
    """The nuclei that are held out, and what was made of them."""
    held = {
        number
        for operation in nuclei.active
        if operation.do == "hold_out"
        for target in operation.nuclei
        if (number := nuclei.number(operation, target)) is not None
    }
    for maker in nuclei.active:
        made = {n for n, (operation, _) in nuclei.made_by.items() if operation is maker}
        if made and held & {nuclei.number(maker, target) for target in maker.nuclei}:
            held |= made
    return frozenset(held)
