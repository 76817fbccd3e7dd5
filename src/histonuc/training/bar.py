"""What a training shows while it runs: a live bar, or a line now and then where no terminal is."""

from __future__ import annotations

import logging
import sys
import time

log = logging.getLogger(__name__)


class Bar:
    """Live progress: loss, rate, images/s and time left; sparse log lines where no terminal is."""

    _QUIET_SECONDS = 30.0

    def __init__(self, total_steps: int, done: int, *, active: bool) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._active, self._total = active, total_steps
        self._said = time.monotonic()
        self._bar: Progress | None = None
        if active and sys.stderr.isatty():
            from rich.console import Console

            self._bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task("train", total=total_steps, completed=done, note="")

    def update(self, step: int, *, loss: float, lr: float, images_per_s: float) -> None:
        """Show where the training is."""
        note = f"loss {loss:.4f}  lr {lr:.2e}  {images_per_s:.1f} images/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, note=note)
        elif self._active and time.monotonic() - self._said > self._QUIET_SECONDS:
            self._said = time.monotonic()
            log.info("step %d of %d  %s", step, self._total, note)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
