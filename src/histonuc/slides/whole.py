"""Pictures that are held in memory, decoded when their pixels are first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable

from histonuc.slides.protocol import RGB, Level


class Whole:
    """A picture that is decoded as a whole, once.

    Args:
        decode: gives its RGB (H, W, 3).
        size: its width and height.
    """

    def __init__(self, decode: Callable[[], RGB], size: tuple[int, int]) -> None:
        self._decode = decode
        self._lock = threading.Lock()
        self._pixels: RGB | None = None
        self.level = Level(size=size, read=self._read)

    def pixels(self) -> RGB:
        """RGB (H, W, 3) of all of it.

        Raises:
            Exception: whatever the decoder raises on damage, each time anew.
        """
        with self._lock:
            if self._pixels is None:
                self._pixels = self._decode()
            return self._pixels

    def _read(self, x: int, y: int, w: int, h: int) -> RGB:
        return self.pixels()[y : y + h, x : x + w]
