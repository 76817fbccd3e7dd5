"""The progress of a prediction: inputs, tiles, nuclei, mm² a second, time left.

A bar on a terminal, a line a minute elsewhere, as in the log file of a batch job.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LINE_SECONDS = 60.0


class Meter:
    """Counts what is done and shows it.

    Args:
        num_inputs: how many there are.
        bar: where to show it; None for lines.
        say: takes a line.
        now: a clock in seconds.
    """

    def __init__(
        self,
        num_inputs: int,
        bar: Progress | None,
        say: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._num_inputs, self._input = num_inputs, 0
        self._bar, self._say, self._now = bar, say, now
        self._task: TaskID | None = None
        self._said = now()
        self.start("", 0)

    def next_input(self) -> None:
        """Go on to the next input, whether or not there is anything to do for it."""
        self._input += 1

    def start(self, name: str, num_tiles: int) -> None:
        """Begin with the tiles of an input."""
        many = self._num_inputs > 1
        self._name = f"{self._input} of {self._num_inputs}: {name}" if many else name
        self._num_tiles, self._tiles_done, self._tiles_new = num_tiles, 0, 0
        self._num_nuclei, self._area_mm2, self._started = 0, 0.0, self._now()
        if self._bar is None:
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(self._name, total=num_tiles, nuclei=0, speed=0.0)

    def advance(self, num_tiles: int, num_nuclei: int, area_mm2: float) -> None:
        """Add finished tiles, their nuclei and their area, 0 for those of an earlier run."""
        self._tiles_done += num_tiles
        self._tiles_new += num_tiles if area_mm2 else 0
        self._num_nuclei += num_nuclei
        self._area_mm2 += area_mm2
        seconds = max(self._now() - self._started, 1e-6)
        speed = self._area_mm2 / seconds
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=num_tiles, nuclei=self._num_nuclei, speed=speed)
        elif self._now() - self._said >= _LINE_SECONDS:
            self._said = self._now()
            left = (self._num_tiles - self._tiles_done) * seconds / max(self._tiles_new, 1)
            self._say(
                f"{self._name}: {self._tiles_done:,} of {self._num_tiles:,} tiles, "
                f"{self._num_nuclei:,} nuclei, {speed:.2f} mm²/s, {left / 60:.0f} min left"
            )


@contextmanager
def open_meter(num_inputs: int) -> Iterator[Meter]:
    """A meter that shows itself on standard error."""
    if not sys.stderr.isatty():
        yield Meter(num_inputs, None, lambda line: print(line, file=sys.stderr, flush=True))
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
        yield Meter(num_inputs, bar, bar.console.print)
