"""Any sequence of operations: replayed, merged, undone; what is split and joined adds up."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.corrections import Operation, Target, Targets, apply_corrections, replay
from histonuc.corrections.merging import merge_operations
from histonuc.corrections.operations import flatten_ring
from histonuc.exports import open_source
from histonuc.taxonomy import THREE

from .drawn import draw_row, square

NUM = 5
NUCLEI = draw_row(NUM, gap=10.0)  # side by side
TARGETS = Targets(num_nuclei=NUM, label_space=THREE)
NAMES = ("Mitosis", "Plasma cell", None)
STEPS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 99), st.integers(0, 99)), max_size=12)
"""Kind of each operation, and two numbers that choose what it is about."""


def link(operations, before=(), seed="a"):
    """The operations as a log has them that were written behind some others."""
    after, linked = (before[-1].key if before else ""), []
    for rank, one in enumerate(operations):
        key = one.key or f"{seed}{len(before) + rank:015d}"
        linked.append(replace(one, key=key, after=after, time=f"2026-{len(before) + rank:04d}"))
        after = key
    return linked


def rectangles(corrections):
    """Box of each nucleus that is shown, by number, from left to right."""
    boxes = {i + 1: NUCLEI.contour(i) for i in range(NUM) if i + 1 not in corrections.deleted}
    boxes |= corrections.rings
    boxes |= {one.id: one.ring for one in corrections.made}
    return sorted(
        ((number, (*ring.min(0), *ring.max(0))) for number, ring in boxes.items()),
        key=lambda item: (item[1], item[0]),
    )


def target(corrections, number, box):
    ring = rectangle(box)
    x, y = ring.mean(0).tolist()
    return Target(id=corrections.reference(number), class_name="Connective", x=x, y=y, ring=ring)


def rectangle(box):
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)


def step(operations, kind, one, other):
    """One more operation that a page would offer; None where there is nothing to do it to."""
    corrections = replay(operations, TARGETS)
    shown = rectangles(corrections)
    if kind == 8:
        keys = [done.key for done in operations if done.do not in ("undo", "redo", "hold_out")]
        do = "undo" if one % 2 else "redo"
        return Operation(do=do, fields={"operation": keys[other % len(keys)]}) if keys else None
    if kind == 0:
        ring = flatten_ring(square(10.0 * (one % 9), 40, 5))
        return Operation(do="add", fields={"ring": ring, "class": "Mitosis"})
    if not shown:
        return None
    number, box = shown[one % len(shown)]
    x0, y0, x1, y1 = box
    chosen = target(corrections, number, box)
    if kind in (1, 2):
        return Operation(do="classify", nuclei=(chosen,), fields={"class": NAMES[other % 3]})
    if kind == 3:
        return Operation(do="delete", nuclei=(chosen,))
    if kind == 4:
        ring = flatten_ring(rectangle((x0, y0, x1, y0 + 1 + other % 9)))
        return Operation(do="redraw", nuclei=(chosen,), fields={"ring": ring})
    if kind == 5 and x1 - x0 >= 2:
        middle = (x0 + x1) / 2
        halves = [(x0, y0, middle, y1), (middle, y0, x1, y1)]
        rings = [flatten_ring(rectangle(half)) for half in halves]
        return Operation(do="split", nuclei=(chosen,), fields={"rings": rings})
    if kind == 6:
        beside = [item for item in shown if item[1][0] == x1 and item[1][1::2] == (y0, y1)]
        if not beside:
            return None
        both = (chosen, target(corrections, *beside[0]))
        ring = flatten_ring(rectangle((x0, y0, beside[0][1][2], y1)))
        return Operation(do="join", nuclei=both, fields={"ring": ring})
    return Operation(do="hold_out", nuclei=(chosen,)) if kind == 7 else None


def build(steps, before=(), seed="a", kinds=range(9)):
    operations = list(before)
    for kind, one, other in steps:
        if kind in kinds and (made := step(operations, kind, one, other)) is not None:
            operations += link([made], operations, seed)
    return operations


def outcome(corrections):
    """All that readers see."""
    return (
        dict(corrections.classes),
        corrections.deleted,
        {number: ring.tolist() for number, ring in corrections.rings.items()},
        [(one.reference, one.class_name, one.how, one.ring.tolist()) for one in corrections.made],
        corrections.held_out,
        [(one.id, [each.key for each in one.operations]) for one in corrections.conflicts],
        corrections.by,
    )


def shown_area(corrections):
    source = apply_corrections(open_source(NUCLEI), corrections)
    batches = list(source.batches())
    assert sum(len(batch.ids) for batch in batches) == source.num_nuclei
    for batch in batches:
        assert np.allclose(batch.nuclei.class_probabilities.sum(1), 1, atol=1e-6)
    return sum(float(batch.nuclei.area_px.sum()) for batch in batches)


@given(steps=STEPS)
def test_what_is_split_and_joined_adds_up(steps):
    operations = build(steps, kinds=(1, 2, 5, 6, 8))
    assert shown_area(replay(operations, TARGETS)) == pytest.approx(NUM * 100)


@given(steps=STEPS)
def test_undoing_all_is_the_prediction_and_redoing_all_is_what_was(steps):
    operations = build(steps, kinds=range(7))
    before = outcome(replay(operations, TARGETS))
    keys = [one.key for one in operations]
    undos = [Operation(do="undo", fields={"operation": key}) for key in reversed(keys)]
    operations += link(undos, operations, "u")
    nothing = replay(operations, TARGETS)
    assert outcome(nothing)[:4] == ({}, frozenset(), {}, [])
    assert apply_corrections(source := open_source(NUCLEI), nothing) is source
    redos = [Operation(do="redo", fields={"operation": key}) for key in keys]
    operations += link(redos, operations, "r")
    assert outcome(replay(operations, TARGETS)) == before


@given(steps=STEPS)
def test_numbers_never_change_their_meaning(steps):
    operations = build(steps)
    numbers = {}
    for end in range(len(operations) + 1):
        corrections = replay(operations[:end], TARGETS)
        for number, reference in corrections.references.items():
            assert numbers.setdefault(number, reference) == reference
        assert {one.id for one in corrections.made} <= set(numbers)
        assert not corrections.unmatched


@given(common=STEPS, ann=STEPS, bob=STEPS)
def test_merged_in_either_order_is_the_same(common, ann, bob):
    before = build(common, seed="c")
    one, other = build(ann, before, "a"), build(bob, before, "b")
    merged = merge_operations([one, other]).operations
    assert [o.key for o in merged] == [o.key for o in merge_operations([other, one]).operations]
    again = merge_operations([merged, one, merged]).operations
    assert [o.key for o in again] == [o.key for o in merged]
    found = outcome(replay(merged, TARGETS))
    assert outcome(replay(again, TARGETS)) == found
    if len(other) == len(before):
        assert found == outcome(replay(one, TARGETS))
    shown_area(replay(merged, TARGETS))  # it can be read whatever they did


@given(common=STEPS, ann=STEPS, bob=STEPS, choices=st.lists(st.integers(0, 9), max_size=20))
def test_each_conflict_ends_by_a_choice(common, ann, bob, choices):
    before = build(common, seed="c")
    parts = [build(ann, before, "a"), build(bob, before, "b")]
    operations = list(merge_operations(parts).operations)
    for round_number in range(20):
        corrections = replay(operations, TARGETS)
        if not corrections.conflicts:
            break
        conflict = corrections.conflicts[0]
        choice = (choices[round_number : round_number + 1] or [0])[0] % len(conflict.operations)
        chosen = conflict.operations[choice]
        made = Operation(
            do="choose", nuclei=(conflict.targets[choice],), fields={"operation": chosen.key}
        )
        operations += link([made], operations, f"x{round_number}")
    assert not replay(operations, TARGETS).conflicts


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["classify", "delete", "redraw"]),
            st.integers(1, NUM),
            st.integers(0, 2),
        ),
        max_size=15,
    )
)
def test_one_persons_log_is_what_happens_one_after_the_other(steps):
    classes, gone, rings, operations = {}, set(), {}, []
    for do, number, other in steps:
        ring = square(10, 10, 3 + other)
        name, chosen = NAMES[other], target(replay([], TARGETS), number, (10, 10, 20, 20))
        fields = {"class": name} if do == "classify" else {"ring": flatten_ring(ring)}
        operations.append(
            Operation(do=do, nuclei=(chosen,), fields={} if do == "delete" else fields)
        )
        if number in gone:
            continue
        if do == "classify":
            classes[number] = name
        elif do == "redraw":
            rings[number] = ring.tolist()
        else:
            gone.add(number)
    found = replay(link(operations), TARGETS)
    assert found.deleted == gone
    assert dict(found.classes) == {
        n: name for n, name in classes.items() if n not in gone and name is not None
    }
    assert {n: r.tolist() for n, r in found.rings.items()} == {
        n: r for n, r in rings.items() if n not in gone
    }
