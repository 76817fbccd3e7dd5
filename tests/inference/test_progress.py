"""What a prediction says of its progress where there is no terminal."""

from __future__ import annotations

import io
import re
import sys
import time

import pytest

from histonuc.inference.clock import Clock
from histonuc.inference.progress import Meter, open_meter


def test_a_line_a_minute_tells_how_far_it_is_and_how_long_it_takes() -> None:
    clock, lines = [0.0], []
    meter = Meter(3, None, lines.append, now=lambda: clock[0])
    meter.next_input()
    meter.next_input()
    meter.start("slide.svs", 100)
    meter.advance(40, 400, 0.0)  # of an earlier run: no part of the speed
    for seconds in (30.0, 61.0, 90.0, 122.0):
        clock[0] = seconds
        meter.advance(10, 100, 6.1)
    assert lines == [
        "2 of 3: slide.svs: 60 of 100 tiles, 600 nuclei, 0.20 mm²/s, 2 min left",
        "2 of 3: slide.svs: 80 of 100 tiles, 800 nuclei, 0.20 mm²/s, 1 min left",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", ["160", "80"])
def test_a_terminal_shows_a_bar_with_speed_and_time_left(monkeypatch, width) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("TERM", "xterm")
    with open_meter(12) as meter:
        meter.next_input()
        meter.start("case-[b]-of-a-study-with-a-name-of-many-letters-for-a-slide.svs", 5678)
        meter.say_resumed(1000)
        meter.advance(1234, 1_234_567, 0.5)
        meter._bar.refresh()
        meter.advance(25, 1234, 0.5)
        meter._bar.refresh()
    shown = terminal.getvalue()
    for text in ("1 of 12: ", "1259/5678", "1,235,801 nuclei", "mm²/s"):
        assert text in shown
    assert re.search(r"\d:\d\d:\d\d", shown)  # time left
    told = " ".join(shown.split())
    assert "case-[b]-of-a-study" in told
    assert "1,000 of 5,678 tiles are done" in told


def test_idle_time_is_that_when_no_thread_is_at_work(monkeypatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = Clock()
    with clock.watched("network"):
        now[0] += 2
    now[0] += 5
    with clock.watched("network"):
        now[0] += 1
        with clock.watched("network"):  # as another thread does
            now[0] += 1
        now[0] += 1
    assert clock.seconds == {"network_idle": 5.0, "network": 2.0 + 3.0 + 1.0}
