"""The picture of a slide as tiles of an even grid, whatever its file has."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.inference.tissue import TissueMask, find_tissue
from histonuc.slides import RegionError, Slide, fit, open_slide
from histonuc.slides.protocol import RGB, Contents, Level
from histonuc.slides.pyramid import Pyramid, array_level

TILE_PX = 512
THUMBNAIL_PX = 512
_QUALITY = 85
_SMALLEST_PART_PX, _UNREADABLE = 64, 200
"""Side of the smallest part of a tile that is read by itself where the whole cannot be, and the
grey value of what cannot be read either."""
OVERVIEW_PX = 4096
"""Longest side of the picture of the whole slide that tiles come from where the slide's own levels
would need too many pixels: slides without small levels."""
_QUICK_READ_PX, _MAX_READ_PX = 1 << 21, 1 << 24
"""Pixels of a level that are read for one window, where the picture of the whole slide would be as
sharp, and at most."""


class SlidePicture:
    """A slide that stays open for its tiles; any number of threads may ask.

    Args:
        path: of the slide.
        scene: which picture of a file that holds several.
        icc: whether to turn its colours into sRGB.

    Raises:
        ValueError: it cannot be opened.
    """

    def __init__(self, path: Path, scene: int | None = None, *, icc: bool = False) -> None:
        self.slide: Slide = open_slide(path, scene=scene, icc=icc, lazy=True)
        weakref.finalize(self, self.slide.close)  # with the last who reads a tile
        self._overview: Pyramid | None = None
        self._tissue: dict[bool, TissueMask] = {}
        self._lock = threading.Lock()

    @property
    def num_levels(self) -> int:
        """Levels of the grid of tiles: at the last one tile shows the whole slide."""
        return max(0, -(-max(self.slide.size) // TILE_PX) - 1).bit_length() + 1

    def has_tile(self, level: int, column: int, row: int) -> bool:
        """Whether the grid has a tile."""
        if not 0 <= level < self.num_levels:
            return False
        side, (width, height) = TILE_PX << level, self.slide.size
        return column * side < width and row * side < height

    def tile(self, level: int, column: int, row: int) -> bytes:
        """JPEG of `TILE_PX` squared; white beyond the slide, grey where it is damaged.

        Args:
            level: a tile of level 0 has the slide's own pixels, each further one half as many.
            column: of the tile in the grid of its level.
            row: of the tile in the grid of its level.

        Raises:
            RegionError: nothing of it can be read.
            OSError: the storage does not answer.
        """
        side = TILE_PX << level
        return encode_jpeg(self._read_square(column * side, row * side, side, TILE_PX))

    def crop(self, box: tuple[float, float, float, float], width: int, height: int) -> RGB:
        """A window of the slide.

        Args:
            box: left, top, width and height in level-0 pixels; rounded to whole ones.
            width: of the result.
            height: of the result.

        Raises:
            RegionError: this part of the slide is damaged.
        """
        x, y = round(box[0]), round(box[1])
        return self._read(x, y, max(1, round(box[2])), max(1, round(box[3])), width, height)

    def thumbnail(self) -> bytes:
        """JPEG of the whole slide, longest side at most `THUMBNAIL_PX`."""
        return encode_jpeg(self.slide.thumbnail(THUMBNAIL_PX))

    def tissue(self, *, without_ink: bool = True) -> TissueMask:
        """Where tissue and ink are; looked for once.

        Args:
            without_ink: whether tissue under ink is left out, as in the run.
        """
        with self._lock:
            if without_ink not in self._tissue:
                self._tissue[without_ink] = find_tissue(self.slide, without_ink=without_ink)
            return self._tissue[without_ink]

    def _read_square(self, x: int, y: int, side: int, px: int) -> RGB:
        """A square of the slide, in parts where it cannot be read as a whole.

        Raises:
            RegionError: nothing of it can be read.
        """
        try:
            return self._read(x, y, side, side, px, px)
        except RegionError:
            if px <= _SMALLEST_PART_PX:
                raise
        image = np.full((px, px, 3), _UNREADABLE, np.uint8)
        failed: list[RegionError] = []
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            try:
                part = self._read_square(x + j * side // 2, y + i * side // 2, side // 2, px // 2)
            except RegionError as error:
                failed.append(error)
                continue
            image[i * px // 2 : (i + 1) * px // 2, j * px // 2 : (j + 1) * px // 2] = part
        if len(failed) == 4:
            raise failed[0]
        return image

    def _read(self, x: int, y: int, w: int, h: int, width: int, height: int) -> RGB:
        shrink = min(w / width, h / height) * 1.001
        scale = max([1.0, *(one for one in self.slide.downsamples if one <= shrink)])
        num_px = w * h / scale**2
        overview_scale = max(self.slide.size) / OVERVIEW_PX
        if num_px > _MAX_READ_PX or (num_px > _QUICK_READ_PX and overview_scale <= shrink):
            return self._read_overview(x, y, w, h, width, height)
        return self.slide.read(x, y, w, h, width, height)

    def _read_overview(self, x: int, y: int, w: int, h: int, width: int, height: int) -> RGB:
        """A window out of the picture of the whole slide, enlarged where that is too coarse."""
        with self._lock:
            if self._overview is None:
                self._overview = _add_overview(self.slide)
        scale = self._overview.downsamples[min(1, len(self._overview.levels) - 1)]
        least = max(1, min(width, round(w / scale))), max(1, min(height, round(h / scale)))
        image = self._overview.read(x, y, w, h, *least)
        if least == (width, height):
            return image
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


def _add_overview(slide: Slide) -> Pyramid:
    """A slide with a level of `OVERVIEW_PX`, which is held in memory, and smaller ones."""
    levels = [Level(size=slide.size, read=lambda x, y, w, h: slide.read(x, y, w, h, w, h))]
    image = slide.thumbnail(OVERVIEW_PX)
    if image.shape[1::-1] == slide.size:
        levels = []
    while True:
        levels.append(array_level(image))
        if max(image.shape) <= TILE_PX:
            return Pyramid(Contents(levels=tuple(levels), reader="memory"))
        half = -(-image.shape[1] // 2), -(-image.shape[0] // 2)
        image = np.asarray(cv2.resize(image, half, interpolation=cv2.INTER_AREA), np.uint8)


def draw_counts(counts: NDArray[np.integer[Any]]) -> RGB:
    """Counts (rows, columns) of nuclei as a small grey picture, for where there is no slide."""
    rows, columns = counts.shape
    width, height = fit((columns, rows), THUMBNAIL_PX)
    most = max(float(np.percentile(counts[counts > 0], 98)), 1.0) if counts.any() else 1.0
    grey = 255 - 200 * np.minimum(counts / most, 1)
    small = cv2.resize(grey.astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA)
    return np.repeat(np.asarray(small, np.uint8)[..., None], 3, axis=2)


def encode_jpeg(image: RGB) -> bytes:
    """JPEG of RGB (H, W, 3)."""
    return _encode(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])


def encode_png(image: RGB) -> bytes:
    """PNG of RGB (H, W, 3)."""
    return _encode(image, ".png", [])


def _encode(image: RGB, suffix: str, options: list[Any]) -> bytes:
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    assert done
    return bytes(data)
