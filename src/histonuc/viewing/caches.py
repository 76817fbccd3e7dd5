"""A bounded memory of values that take long to make."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """Values by key; those that nobody asked for the longest go when there are too many bytes.

    Any number of threads may ask at once. A value that is being made is waited for and not made
    twice. The value that was asked for last stays, however large it is.

    Args:
        max_bytes: of all values together.
        size: bytes of a value.
    """

    def __init__(self, max_bytes: int, size: Callable[[V], int]) -> None:
        self._max_bytes, self._size = max_bytes, size
        self._values: OrderedDict[K, V] = OrderedDict()
        self._making: dict[K, Future[V]] = {}
        self._lock = threading.Lock()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        return key in self._values

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key, made by `make` where it is not there.

        Raises:
            Exception: whatever `make` raises; nothing is kept then.
        """
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            future = self._making.get(key)
            is_ours = future is None
            if future is None:
                future = self._making[key] = Future()
        if is_ours:
            self._fill(key, make, future)
        return future.result()

    def clear(self) -> None:
        """Let go of all values."""
        with self._lock:
            self._values.clear()
            self.num_bytes = 0

    def _fill(self, key: K, make: Callable[[], V], future: Future[V]) -> None:
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[key]
            future.set_exception(error)
            return
        with self._lock:
            del self._making[key]
            self._values[key] = value
            self.num_bytes += self._size(value)
            while self.num_bytes > self._max_bytes and len(self._values) > 1:
                _, dropped = self._values.popitem(last=False)
                self.num_bytes -= self._size(dropped)
        future.set_result(value)
