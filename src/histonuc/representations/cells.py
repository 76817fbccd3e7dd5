"""Values on a coarser grid than the pixels, and their means over nuclei.

What a nucleus is, and how it looks to the network, is known at a stride of several pixels: each
value then stands for a square cell of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.representations.kernels.pooling import add_cells


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Values of square cells of pixels, of one image or of a batch.

    Attributes:
        values: float32 (..., C, h, w). Cell ``[y, x]`` covers the pixels from ``[stride * y,
            stride * x]`` on; all pixels are covered, the last cells may reach past them.
        stride: side of a cell in pixels.
    """

    values: NDArray[np.float32]
    stride: int

    def __getitem__(self, index: int) -> Cells:
        """Those of one image of a batch."""
        return Cells(values=self.values[index], stride=self.stride)

    def spread(self, height: int, width: int) -> NDArray[np.float32]:
        """The value of each pixel's cell, float32 (..., C, height, width)."""
        rows, columns = (np.arange(side) // self.stride for side in (height, width))
        return self.values[..., rows[:, None], columns[None, :]]

    def pool(self, labels: NDArray[np.int32], num: int) -> NDArray[np.float64]:
        """Means over the pixels of each label.

        Args:
            labels: int32 (H, W), ids 0..num.
            num: number of labels.

        Returns:
            float64 (num, C); zeros for a label without pixels.

        Raises:
            ValueError: cells that do not cover the labels, or NaN or infinite values.
        """
        num_channels, *cells = self.values.shape
        if any(n * self.stride < side for n, side in zip(cells, labels.shape, strict=True)):
            raise ValueError(
                f"expected cells of {self.stride} pixels that cover {labels.shape}, got {cells}"
            )
        if not np.isfinite(self.values).all():
            raise ValueError("maps hold NaN or infinite values: the network diverged")
        sums, area = np.zeros((num + 1, num_channels)), np.zeros(num + 1, np.int64)
        # A cell's channels side by side, since each nucleus reads all of them.
        channels_last = np.ascontiguousarray(np.moveaxis(self.values, 0, -1))
        add_cells(labels, channels_last, self.stride, sums, area)
        means: NDArray[np.float64] = sums[1:] / np.maximum(area[1:], 1)[:, None]
        return means
