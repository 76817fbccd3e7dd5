"""Images and labels at another size: the same for tiles that are scored and for slides."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from histonuc.data.store import Store

AREA_FROM = 1.3
"""Pixels are averaged by area where so many or more become one along an axis. Below, bilinear
interpolation skips none, as in training, and is quicker."""
_SAME_MPP = 0.02
"""Relative difference of resolutions below which resampling would only blur."""


def resample(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """RGB uint8 (H, W, 3) at another size: bilinear, averaged by area when much is left out."""
    rows, columns = pixels.shape[:2]
    if (columns, rows) == (width, height):
        return np.ascontiguousarray(pixels)
    shrinks = max(columns / width, rows / height) >= AREA_FROM
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method), np.uint8)


def resample_labels(labels: NDArray[np.int32], width: int, height: int) -> NDArray[np.int32]:
    """Label image (H, W) at another size: a pixel has the label that its centre lies in.

    That is what outlines at the one size, which follow pixel edges, cover at the other.
    """
    rows, columns = labels.shape
    if (columns, rows) == (width, height):
        return labels
    y = ((np.arange(height) + 0.5) * rows / height).astype(np.intp)
    x = ((np.arange(width) + 0.5) * columns / width).astype(np.intp)
    return np.ascontiguousarray(labels[y[:, None], x])


def model_size(store: Store, tile: int, mpp: float) -> tuple[int, int]:
    """Height and width of a tile at the model's resolution."""
    height, width = store.image(tile).shape[:2]
    tile_mpp = store.mpp(tile)
    scale = tile_mpp / mpp if math.isfinite(tile_mpp) else 1.0
    if abs(scale - 1) <= _SAME_MPP:
        return height, width
    return max(round(height * scale), 1), max(round(width * scale), 1)


def at_mpp(store: Store, tile: int, mpp: float) -> NDArray[np.uint8]:
    """Image uint8 (H, W, 3) of a tile, resampled where its resolution is another than `mpp`."""
    height, width = model_size(store, tile, mpp)
    return resample(store.image(tile), width, height)
