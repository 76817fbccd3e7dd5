"""The closed-form schedule against the published stepper, and what the stepper got wrong."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.schedules import CosineRestarts


class KatsuraStepper:
    """Transcription of katsura's CosineAnnealingWarmupRestarts.step(), one call a step."""

    def __init__(self, first, mult, max_lr, min_lr, warmup, gamma) -> None:
        self.mult, self.base_max, self.max_lr, self.min_lr = mult, max_lr, max_lr, min_lr
        self.warmup, self.gamma, self.length = warmup, gamma, first
        self.cycle, self.step_in_cycle = 0, 0

    def rate(self) -> float:
        if self.step_in_cycle < self.warmup:
            return (self.max_lr - self.min_lr) * self.step_in_cycle / self.warmup + self.min_lr
        fallen = (self.step_in_cycle - self.warmup) / (self.length - self.warmup)
        return self.min_lr + (self.max_lr - self.min_lr) * (1 + math.cos(math.pi * fallen)) / 2

    def step(self) -> None:
        self.step_in_cycle += 1
        if self.step_in_cycle >= self.length:
            self.cycle += 1
            self.step_in_cycle -= self.length
            self.length = int((self.length - self.warmup) * self.mult) + self.warmup
        self.max_lr = self.base_max * self.gamma**self.cycle


@pytest.mark.timeout(10)
def test_cycles_that_cannot_grow_by_a_step_need_no_counting() -> None:
    schedule = CosineRestarts(first_cycle_steps=10, cycle_mult=1.05, warmup_steps=3)
    assert schedule.cycle(10**12 + 7) == (10**11, 7, 10)


settings = st.fixed_dictionaries(
    {
        "first": st.integers(2, 40),
        "mult": st.sampled_from([1.0, 1.05, 1.5, 2.0, 3.0]),
        "gamma": st.sampled_from([0.5, 0.9, 1.0]),
        "warmup": st.integers(0, 10),
    }
).filter(lambda s: s["warmup"] < s["first"])


@given(settings)
def test_equals_the_published_stepper(s) -> None:
    ours = CosineRestarts(
        first_cycle_steps=s["first"],
        cycle_mult=s["mult"],
        max_lr=1e-3,
        min_lr=1e-6,
        warmup_steps=s["warmup"],
        gamma=s["gamma"],
    )
    theirs = KatsuraStepper(s["first"], s["mult"], 1e-3, 1e-6, s["warmup"], s["gamma"])
    for step in range(300):
        expected = theirs.rate()
        # Once gamma has brought the peak below the floor the stepper falls below it; ours stays.
        assert ours.at(step) == pytest.approx(max(expected, 1e-6), rel=1e-9), step
        theirs.step()


@given(settings, st.lists(st.integers(0, 500), min_size=2, max_size=10))
def test_the_order_of_questions_does_not_matter(s, steps) -> None:
    schedule = CosineRestarts(
        first_cycle_steps=s["first"],
        cycle_mult=s["mult"],
        warmup_steps=s["warmup"],
        gamma=s["gamma"],
    )
    forwards = [schedule.at(step) for step in sorted(steps)]
    backwards = [schedule.at(step) for step in sorted(steps, reverse=True)]
    assert forwards == backwards[::-1]


def test_the_seeds_settings() -> None:
    """T0 10, x2, peak 1e-3, warm-up 3, gamma 0.5: cycles of 10, 17, 31 epochs."""
    schedule = CosineRestarts(
        first_cycle_steps=10, cycle_mult=2, max_lr=1e-3, min_lr=1e-6, warmup_steps=3, gamma=0.5
    )
    starts = [step for step in range(60) if schedule.cycle(step)[1] == 0]
    assert starts == [0, 10, 10 + 17, 10 + 17 + 31]
    assert [schedule.at(start + 3) for start in starts[:3]] == pytest.approx([1e-3, 5e-4, 2.5e-4])
    assert [schedule.at(start) for start in starts] == pytest.approx([1e-6] * 4)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"first_cycle_steps": 3, "warmup_steps": 3}, "warm-up must be shorter"),
        ({"first_cycle_steps": 3, "cycle_mult": 0.5}, "cycle_mult >= 1"),
        ({"first_cycle_steps": 3, "gamma": 0.0}, "gamma"),
        ({"first_cycle_steps": 3, "max_lr": 1e-6, "min_lr": 1e-3}, "min_lr <= max_lr"),
    ],
)
def test_bad_settings_are_refused(bad, message) -> None:
    with pytest.raises(ValueError, match=message):
        CosineRestarts(**bad)


def test_negative_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        CosineRestarts(first_cycle_steps=5).at(-1)
