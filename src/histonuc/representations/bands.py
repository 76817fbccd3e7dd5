"""Maps read in bands of rows: what is read twice in a row comes from the processor's cache.

A large tile's maps do not fit in it. Read pixel by pixel where the nuclei are, they come from
memory five times as slowly as the whole of them read in order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_BAND_PIXELS = 1 << 16


def bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """First row, and one past the last, of bands that cover all rows once."""
    rows = max(_BAND_PIXELS // max(width, 1), 1)
    for row in range(0, height, rows):
        yield row, min(row + rows, height)


def check_finite(maps: NDArray[np.float32]) -> None:
    """Refuse maps (K, H, W) with NaN or infinite values."""
    for channel in maps:
        # One pass: NaN and infinity survive in a sum of squares, and nothing cancels.
        flat = channel.ravel()
        if not np.isfinite(np.dot(flat, flat)):
            raise ValueError("maps hold NaN or infinite values: the network diverged")
