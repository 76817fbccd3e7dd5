"""What a prediction says of its progress where there is no terminal."""

from __future__ import annotations

from histonuc.inference.progress import Meter


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
