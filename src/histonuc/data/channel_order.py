"""Notices masks in PanNuke's shape whose background is the first channel instead of the last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class ChannelOrder:
    """Looks at one mask after the other.

    Where the background comes first, its channel is 1 exactly where all others are 0, and the last
    channel holds the ids of nuclei. One nucleus of the first class looks alike in a single tile, so
    a tile tells only where its last channel has ids above 1; otherwise all tiles together do.
    """

    def __init__(self) -> None:
        self._num_classes, self._first_max = 0, 0.0
        self._pixels = self._first_pixels = self._last_pixels = 0

    def add(self, mask: NDArray[Any], where: str) -> None:
        """Look at one mask.

        Args:
            mask: numbers (H, W, C + 1).
            where: file and row, for the error.

        Raises:
            ValueError: its background is the first channel.
        """
        self._num_classes = mask.shape[-1] - 1
        first, last = np.ascontiguousarray(mask[..., 0]), np.ascontiguousarray(mask[..., -1])
        first_max = float(first.max(initial=0))
        if first_max == 1 < last.max(initial=0):
            alone = ~(mask[..., 1:] != 0).any(-1)
            if np.array_equal(first != 0, alone):
                raise self._describe(where)
        self._first_max = max(self._first_max, first_max)
        self._pixels += first.size
        self._first_pixels += int(np.count_nonzero(first))
        self._last_pixels += int(np.count_nonzero(last))

    def finish(self, where: str) -> None:
        """Judge all masks together.

        Args:
            where: file, for the error.

        Raises:
            ValueError: the background is the first channel.
        """
        half = self._pixels / 2
        if self._first_max == 1 and self._first_pixels > half > self._last_pixels:
            raise self._describe(where)

    def _describe(self, where: str) -> ValueError:
        return ValueError(
            f"{where}: expected the {self._num_classes} classes and then the background (channel "
            f"{self._num_classes}), got the background in channel 0: save numpy.roll(masks, -1, "
            "axis=-1)"
        )
