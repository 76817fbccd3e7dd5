"""Where the time of a run goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Clock:
    """Seconds spent by stage of the work, summed over threads: stages overlap."""

    seconds: dict[str, float] = field(default_factory=dict)
    _busy: dict[str, int] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time the block takes to the stage `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self._add(name, time.perf_counter() - start)

    @contextmanager
    def watched(self, name: str) -> Iterator[None]:
        """As `stage`, and ``NAME_idle`` adds the time between blocks when no thread is in one."""
        start = time.perf_counter()
        with self._lock:
            idle = self._busy.get(name, 0) == 0
            self._add(f"{name}_idle", start - self._since.get(name, start) if idle else 0.0)
            self._busy[name] = self._busy.get(name, 0) + 1
        try:
            yield
        finally:
            end = time.perf_counter()
            with self._lock:
                self._busy[name] -= 1
                self._since[name] = end
                self._add(name, end - start)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add what another clock measured."""
        with self._lock:
            for name, value in seconds.items():
                self._add(name, value)

    def _add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
