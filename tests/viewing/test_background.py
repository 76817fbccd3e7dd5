"""Threads of the viewer: the end waits for a step and begins no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from histonuc.viewing.background import Background


def test_the_end_waits_for_the_step_that_is_taken_and_begins_no_other() -> None:
    begun, may_go_on, done = threading.Event(), threading.Event(), []

    def steps() -> Iterator[None]:
        begun.set()
        assert may_go_on.wait(100)
        done.append("first")
        yield
        done.append("second")

    background = Background()
    background.start("steps", steps())
    assert begun.wait(100)
    ending = threading.Thread(target=background.end)
    ending.start()
    while not background.has_ended:
        time.sleep(0.001)
    assert ending.is_alive()
    assert not done
    may_go_on.set()
    ending.join(100)
    assert done == ["first"]
    background.start("late", steps())
    assert done == ["first"]


def test_the_end_of_nothing_is_at_once() -> None:
    background = Background()
    background.start("none", ())
    background.end()
    assert background.has_ended
