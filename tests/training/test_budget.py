"""Time and threads: --minutes is for everything, and --threads is what the arithmetic gets."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from histonuc.training import loop, validation
from histonuc.training import run as run_module
from histonuc.training.loop import train


class Clock:
    """A clock that each step and each validation of a test moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """Ten seconds a step, thirty a validation tile; everything else takes none."""
    clock = Clock()
    for module in (loop, run_module, validation):
        monkeypatch.setattr(module, "time", clock)
    clip, score = loop._clip, validation._score_share

    def slow_step(run: loop.Run) -> float:
        clock.now += 10
        return clip(run)

    def slow_score(run: loop.Run, tiles: object) -> object:
        clock.now += 30 * len(tiles)  # type: ignore[arg-type]
        return score(run, tiles)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "_clip", slow_step)
    monkeypatch.setattr(validation, "_score_share", slow_score)
    return clock


def rows(run: object, event: str) -> list[dict]:
    lines = (run / "metrics.jsonl").read_text().splitlines()  # type: ignore[operator]
    return [row for row in map(json.loads, lines) if row["event"] == event]


def test_minutes_include_the_validation_at_the_end(settings, clock: Clock) -> None:
    """Eight tiles are validated at the end: 240 s. Finding that out takes 30 + 240 s."""
    run = train(settings(epochs=5000, minutes=15.0, validate_every=5000))
    last = rows(run, "epoch")[-1]
    assert last["seconds"] <= 15 * 60
    assert last["seconds"] > 15 * 60 - 20, "it could have trained for longer"
    assert last["step"] == len(rows(run, "step")) == (900 - 270 - 240) // 10
    # Resumed with more time, it knows how long a validation takes.
    begun = clock.now
    train(settings(epochs=5000, minutes=20.0, validate_every=5000, resume=True))
    assert clock.now - begun <= 5 * 60
    assert rows(run, "epoch")[-1]["step"] > last["step"]


def test_the_rate_falls_to_its_end_by_the_minutes(settings, clock: Clock) -> None:
    """39 steps of 10 s are left of 15 minutes, of a schedule of 20,000 steps."""
    slow = {"epochs": 5000, "minutes": 15.0, "validate_every": 5000}
    schedule = {"first_cycle_epochs": 5000.0, "warmup_epochs": 500.0, "max_lr": 1e-3}
    rates = {}
    for by_minutes in (False, True):
        run = train(settings(str(by_minutes), **slow, **schedule, rate_by_minutes=by_minutes))
        rates[by_minutes] = [row["lr"] for row in rows(run, "step")]
    assert max(rates[False]) < 5e-5, "without it the rate is still rising"
    assert max(rates[True]) > 4e-4
    assert rates[True][-1] < 2e-5
    assert len(rates[True]) == len(rates[False]) == 39


def test_a_rate_by_minutes_needs_minutes(settings) -> None:
    with pytest.raises(ValueError, match="--rate-by-minutes needs --minutes"):
        settings(rate_by_minutes=True)


def test_minutes_too_few_for_a_validation_are_refused_at_once(settings, clock: Clock) -> None:
    config = settings(minutes=4.0)
    with pytest.raises(
        ValueError, match=r"--minutes 4 includes .* of 8 tiles alone .* 4.0 minutes"
    ):
        train(config)
    assert not config.out.exists()


def test_a_training_has_the_threads_that_are_asked_for(settings, monkeypatch) -> None:
    used: list[int] = []
    clip = loop._clip

    def spy(run: loop.Run) -> float:
        used.append(torch.get_num_threads())
        return clip(run)

    monkeypatch.setattr(loop, "_clip", spy)
    train(settings("two", threads=2))
    assert set(used) == {2}
    torch.set_num_threads(1)
    train(settings("as before"))
    assert used[-1] == 1


@pytest.fixture(autouse=True)
def _same_threads_afterwards(tiny_trunk: Callable[..., None]) -> None:
    """`tiny_trunk` puts the number back."""
