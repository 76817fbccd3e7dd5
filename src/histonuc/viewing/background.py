"""What a viewer does in threads beside its answers, and how that ends."""

from __future__ import annotations

import threading
from collections.abc import Iterable


class Background:
    """Threads that the end waits for; whatever of them has not begun by then is left out.

    None is a daemon: one that computes in Arrow or in compiled code while Python ends may abort
    the whole program.

    Attributes:
        has_ended: whether nothing more is to be begun.
    """

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.has_ended = False

    def start(self, name: str, steps: Iterable[object]) -> None:
        """Take one step after the other in a new thread; nothing happens after the end.

        Args:
            name: of the thread.
            steps: each is done once the iterable has handed it out; what it hands out is dropped.
        """

        def run() -> None:
            for _ in steps:
                if self.has_ended:
                    return

        with self._lock:
            if self.has_ended:
                return
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            self._threads.append(threading.Thread(target=run, name=name))
            self._threads[-1].start()

    def end(self) -> None:
        """Wait for the steps that are being taken; the next ones are not."""
        with self._lock:
            self.has_ended = True
        for thread in self._threads:
            thread.join()
