"""From the operations of a log to what they make of a table of nuclei."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from histonuc.corrections.classes import define_classes
from histonuc.corrections.operations import Operation
from histonuc.corrections.ordering import put_in_order
from histonuc.corrections.records import Comment, Conflict, Corrections, Field, Made, Targets
from histonuc.corrections.settling import Settled
from histonuc.corrections.targeted import HOW, TargetedNuclei, number_made
from histonuc.corrections.undoing import find_undone, list_undoable


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
    nuclei = TargetedNuclei(
        numbers=number_made(operations, targets.num_nuclei),
        history=history,
        active=tuple(one for one in history.operations if one.is_known and one.key not in undone),
        targets=targets,
    )
    nuclei.settle_all()
    return _collect(nuclei, list_undoable(history, by))


def _collect(nuclei: TargetedNuclei, undoable: tuple[str, str]) -> Corrections:
    """All that is known in the end."""
    num, replaced = nuclei.targets.num_nuclei, nuclei.targets.replaced
    there = {n: found for n, found in nuclei.settled.items() if nuclei.exists(n)}
    gone = {n for n, found in there.items() if found.state.gone_by is not None}
    made = tuple(_make(nuclei, n) for n in sorted(nuclei.made_by) if n not in gone)
    table_space, used = nuclei.targets.label_space, [one.class_name for one in made]
    space, digits = define_classes(table_space, nuclei.active, used)
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
        conflicts=_list_conflicts(nuclei, there),
        unmatched=tuple(nuclei.unmatched),
        by=_find_people(nuclei, there, made),
        can_undo=undoable[0],
        can_redo=undoable[1],
        num_nuclei=num,
        num_classes=len(table_space),
        references={number: reference for reference, number in nuclei.numbers.items()},
    )


def _list_conflicts(nuclei: TargetedNuclei, there: Mapping[int, Settled]) -> tuple[Conflict, ...]:
    conflicts = []
    for number, found in sorted(there.items()):
        targets = tuple(
            next(one for one in operation.nuclei if nuclei.number(operation, one) == number)
            for operation in found.conflict
        )
        if targets:
            conflicts.append(Conflict(id=number, operations=found.conflict, targets=targets))
    return tuple(conflicts)


def _make(nuclei: TargetedNuclei, number: int) -> Made:
    maker, place = nuclei.made_by[number]
    redrawn = nuclei.state(number).ring_by
    return Made(
        id=number,
        reference=f"{maker.key}:{place}",
        key=maker.key,
        ring=maker.rings[place] if redrawn is None else redrawn.ring,
        class_name=nuclei.class_of(number)[1],
        how=HOW[maker.do],
        origins=tuple(nuclei.origins(number)),
    )


def _find_people(
    nuclei: TargetedNuclei, there: Mapping[int, Settled], made: Sequence[Made]
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


def _list_comments(nuclei: TargetedNuclei) -> tuple[Comment, ...]:
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


def _find_held_out(nuclei: TargetedNuclei) -> frozenset[int]:
    """The nuclei that are held out, and what was made of them."""
    held = {
        number
        for operation in nuclei.active
        if operation.do == "hold_out"
        for target in operation.nuclei
        if (number := nuclei.number(operation, target)) is not None
    }
    made: dict[str, set[int]] = {}
    for number, (maker, _) in nuclei.made_by.items():
        made.setdefault(maker.key, set()).add(number)
    for maker in nuclei.active:
        if maker.key in made and held & {nuclei.number(maker, one) for one in maker.nuclei}:
            held |= made[maker.key]
    return frozenset(held)
