"""The progress bar of a prediction: tiles, nuclei, mm² a second, time left; on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Meter:
    """Counts what is done and shows it.

    Args:
        bar: where to show it; None shows nothing.
    """

    def __init__(self, bar: Progress | None = None) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._num_nuclei = 0
        self._area_mm2 = 0.0
        self._started = time.monotonic()

    def start(self, name: str, num_tiles: int) -> None:
        """Begin with another input."""
        self._num_nuclei, self._area_mm2, self._started = 0, 0.0, time.monotonic()
        if self._bar is None:
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(name, total=num_tiles, nuclei=0, speed=0.0)

    def advance(self, num_tiles: int, num_nuclei: int, area_mm2: float) -> None:
        """Add finished tiles, their nuclei and their area."""
        self._num_nuclei += num_nuclei
        self._area_mm2 += area_mm2
        if self._bar is None or self._task is None:
            return
        seconds = max(time.monotonic() - self._started, 1e-6)
        self._bar.update(
            self._task,
            advance=num_tiles,
            nuclei=self._num_nuclei,
            speed=self._area_mm2 / seconds,
        )


@contextmanager
def open_meter() -> Iterator[Meter]:
    """A meter whose bar is visible when standard error is a terminal."""
    if not sys.stderr.isatty():
        yield Meter()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tiles  {task.fields[nuclei]:,} nuclei  {task.fields[speed]:.2f} mm²/s"),
        TimeLeft(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Meter(bar)
