"""Tissue against glass and pen marks, from a thumbnail: cheap, so that glass costs nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.inference.ink import beside_tissue, find_ink

if TYPE_CHECKING:
    from histonuc.inference.tiles import Box
    from histonuc.slides import Slide

THUMBNAIL_PX = 2048
MIN_SATURATION = 0.05
"""Stained tissue is coloured: (max - min) / max of RGB above this."""
MIN_COLOUR = 8
"""Nearly black pixels: max - min of RGB above this, in grey values."""
MIN_DENSITY = 0.06
"""Mean optical density (log10) of the palest tissue."""
_DENSITY = -np.log10((np.arange(256, dtype=np.float32) + 1) / 256)
BLANK_RANGE = 12
"""An image whose grey values, outliers aside, vary by less is blank."""


@dataclass(frozen=True, eq=False)
class TissueMask:
    """Where tissue is, on a coarse grid over the whole slide.

    Attributes:
        mask: bool (h, w).
        size: width and height of the slide in level-0 pixels.
        area_px: in square level-0 pixels, where it is known better than by the mask.
        ink: bool (h, w), where a pen or margin dye covers the slide; None where not looked for.
        ink_fraction: share of the slide that is tissue under ink, which is no part of the mask.
    """

    mask: NDArray[np.bool_]
    size: tuple[int, int]
    area_px: float | None = None
    ink: NDArray[np.bool_] | None = None
    ink_fraction: float = 0.0

    @property
    def fraction(self) -> float:
        """Share of the slide that is tissue."""
        if self.area_px is not None:
            return self.area_px / (self.size[0] * self.size[1])
        return float(self.mask.mean())

    def fraction_in(self, boxes: Sequence[Box]) -> float:
        """Share of the slide that is tissue in any of the boxes (level-0 pixels)."""
        x, y = self._scale
        inside = np.zeros_like(self.mask)
        for box in boxes:
            rows = slice(round(box.y0 * y), round(box.y1 * y))
            inside[rows, round(box.x0 * x) : round(box.x1 * x)] = True
        whole = np.count_nonzero(self.mask)
        part = np.count_nonzero(self.mask & inside)
        return self.fraction * part / whole if whole else 0.0

    def under_ink(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the points (n, 2), in level-0 pixels, ink covers: bool (n,)."""
        return np.zeros(len(points), bool) if self.ink is None else self._at(self.ink, points)

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the points (n, 2), in level-0 pixels, lie in the mask: bool (n,)."""
        return self._at(self.mask, points)

    def _at(self, mask: NDArray[np.bool_], points: NDArray[np.float64]) -> NDArray[np.bool_]:
        height, width = mask.shape
        scale = np.array([width, height]) / self.size
        column, row = np.floor(points * scale).astype(np.int64).T
        found: NDArray[np.bool_] = mask[row.clip(0, height - 1), column.clip(0, width - 1)]
        return found

    def within(self, box: Box) -> NDArray[np.bool_]:
        """The part of the mask that lies in and at `box` (level-0 pixels): bool (h, w)."""
        top, left, bottom, right = self._place(box)
        return self.mask[top:bottom, left:right]

    def bounds(self, box: Box) -> tuple[float, float, float, float] | None:
        """Borders x0, y0, x1, y1 of the tissue in and at `box` (level-0 pixels); None without."""
        top, left, *_ = self._place(box)
        part = self.within(box)
        rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
        if not len(rows):
            return None
        x, y = self._scale
        return (
            (left + columns[0]) / x,
            (top + rows[0]) / y,
            (left + columns[-1] + 1) / x,
            (top + rows[-1] + 1) / y,
        )

    def _place(self, box: Box) -> tuple[int, int, int, int]:
        """Top, left, bottom and right border of the mask's pixels that `box` touches."""
        x, y = self._scale
        top, left = int(box.y0 * y), int(box.x0 * x)
        return top, left, max(math.ceil(box.y1 * y), top + 1), max(math.ceil(box.x1 * x), left + 1)

    @property
    def _scale(self) -> tuple[float, float]:
        """Pixels of the mask per level-0 pixel along x and y."""
        height, width = self.mask.shape
        return width / self.size[0], height / self.size[1]


def find_tissue(slide: Slide, *, without_ink: bool = True) -> TissueMask:
    """The tissue of an open slide.

    What the thumbnail could not be read of counts as tissue: it is tried again tile by tile.

    Args:
        slide: open slide.
        without_ink: whether to leave out what lies under ink; else it is tissue, where tissue is
            beside it.
    """
    unreadable: list[tuple[int, int, int, int]] = []
    thumbnail = slide.thumbnail(THUMBNAIL_PX, unreadable)
    mask, ink = tissue_mask(thumbnail), find_ink(slide, thumbnail)
    covered = beside_tissue(ink, mask)
    mask = mask & ~ink if without_ink else mask | covered
    for x0, y0, x1, y1 in unreadable:
        mask[y0:y1, x0:x1] = True
    if not without_ink:
        return TissueMask(mask, slide.size)
    return TissueMask(mask, slide.size, ink=ink, ink_fraction=float(covered.mean()))


def tissue_mask(thumbnail: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tissue pixels bool (H, W) of an RGB image (H, W, 3).

    Haematoxylin and eosin absorb green most: tissue is dense in green, purple to pink. Glass is
    pale, grey dust and black pen have no colour, and green, blue and cyan pens absorb red most.
    In an image without any colour density alone decides. See `ink_mask` for other ink.
    """
    smooth = cv2.GaussianBlur(thumbnail, (0, 0), 1.0) if min(thumbnail.shape[:2]) > 8 else thumbnail
    channels = cv2.split(smooth)  # NumPy is slow along an axis of three
    red, green, blue = (_DENSITY[channel] for channel in channels)
    brightest = np.maximum.reduce(channels).astype(np.float32)
    darkest = np.minimum.reduce(channels).astype(np.float32)
    coloured = brightest - darkest > np.maximum(MIN_SATURATION * brightest, MIN_COLOUR)
    dense = (red + green + blue) / 3 > MIN_DENSITY
    stained = (green > 1.05 * red) & (green > 0.8 * blue)
    grey = not (brightest - darkest > 2).any()
    mask = (dense if grey else coloured & dense & stained).view(np.uint8)
    radius = max(1, min(mask.shape) // 256)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel)
    return cv2.dilate(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel), kernel).astype(bool)


def is_blank(image: NDArray[np.uint8]) -> bool:
    """Whether an RGB image shows nothing at all: one grey value, up to noise.

    >>> is_blank(np.full((64, 64, 3), 240, np.uint8))
    True
    """
    low, high = np.percentile(image.min(-1), (0.5, 99.5))
    return bool(high - low < BLANK_RANGE)
