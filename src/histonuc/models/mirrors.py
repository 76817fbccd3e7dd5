"""Test-time flips: the mean of what a model says of an image and of its mirror images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.models.loading import Runtime


class Mirrored:
    """A runtime that runs another on four mirrorings and averages their maps, mirrored back.

    Args:
        runtime: any.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.name, self.sha256 = runtime.name, runtime.sha256
        self.label_space, self.representation = runtime.label_space, runtime.representation
        self.mpp, self.precision = runtime.mpp, runtime.precision
        self._runtime = runtime

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Activated maps float32 (B, C, H, W) of RGB images uint8 (B, H, W, 3)."""
        total: NDArray[np.float32] | None = None
        for down in (False, True):
            for right in (False, True):
                axes = tuple(axis for axis, flipped in ((1, down), (2, right)) if flipped)
                maps = self._runtime.maps(np.ascontiguousarray(np.flip(images, axes)))
                maps = self.representation.mirror(maps, down=down, right=right)
                total = maps.copy() if total is None else total + maps
        assert total is not None
        return total / np.float32(4)
