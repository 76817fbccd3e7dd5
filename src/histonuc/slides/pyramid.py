"""Windows at any scale out of pyramid levels, without a shift.

Windows are given in level-0 pixels; reading takes the nearest finer level and resamples it. Beyond
the border everything is white.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Self

import cv2
import numpy as np

from histonuc.data.resampling import resample
from histonuc.files import STORAGE_ERRORS, one_line
from histonuc.slides.protocol import RGB, Contents, Level, RefusedError, RegionError
from histonuc.slides.resolution import Scale

STRIP_PIXELS = 1 << 24
"""Thumbnails are read in strips of so many pixels of a level."""
CELL_PX = 1024
"""A strip that cannot be read is read again in cells of this side, in pixels of the level."""
_WARP_PX = 1 << 14
"""OpenCV warps no larger pictures than twice this; windows so large are moved by half a pixel."""

Size = tuple[int, int]


class Pyramid:
    """The one implementation of `Slide`, on what a reader found.

    Raises:
        ValueError: no level, or an empty one.
    """

    def __init__(self, contents: Contents) -> None:
        if not contents.levels or min(min(level.size) for level in contents.levels) < 1:
            raise ValueError("expected at least one pixel, the image is empty")
        self._contents = contents
        self.levels: tuple[Size, ...] = tuple(level.size for level in contents.levels)
        self.size: Size = self.levels[0]
        self._scales = tuple(level_scale(self.size, size) for size in self.levels)
        self.downsamples: tuple[float, ...] = tuple(sum(scale) / 2 for scale in self._scales)
        scale = contents.scale
        self.mpp_xy = None if scale is None else scale.mpp_xy
        self.mpp: float | None = math.sqrt(math.prod(self.mpp_xy)) if self.mpp_xy else None
        self.mpp_source = "" if scale is None else scale.source
        self.bounds_xyxy = contents.bounds_xyxy or (0, 0, *self.size)
        self.objective = contents.objective
        self.notes = contents.notes
        self.is_plain = contents.is_plain
        self.reader = contents.reader
        self.properties = contents.properties
        self.icc_profile = contents.icc_profile

    def read(self, x: int, y: int, w: int, h: int, out_w: int, out_h: int) -> RGB:
        """See `Slide.read`."""
        shrink = min(w / out_w, h / out_h) * 1.001
        index = max(i for i, scale in enumerate(self.downsamples) if i == 0 or scale <= shrink)
        try:
            return resample(self._window(index, x, y, w, h), out_w, out_h)
        except Exception as error:  # damage ends in whatever a decoder raises
            if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
                raise
            reason = f"cannot read the window {w} x {h} at ({x}, {y}): {one_line(error)}"
            raise RegionError(reason, (x, y, x + w, y + h)) from error

    def _window(self, index: int, x: int, y: int, w: int, h: int) -> RGB:
        """The window at the level's resolution, exactly placed: (round(h / sy), round(w / sx))."""
        level, (sx, sy) = self._contents.levels[index], self._scales[index]
        left, top, width, height = x / sx, y / sy, w / sx, h / sy
        num_x, num_y = max(round(width), 1), max(round(height), 1)
        extent = (math.ceil(self.size[0] / sx), math.ceil(self.size[1] / sy))
        is_whole = max(abs(value - round(value)) for value in (left, top, width, height)) < 1e-6
        if is_whole or max(num_x, num_y) > _WARP_PX:
            return padded(level, extent, round(left), round(top), num_x, num_y)
        x0, y0 = math.floor(left) - 1, math.floor(top) - 1
        x1, y1 = math.ceil(left + width) + 1, math.ceil(top + height) + 1
        around = padded(level, extent, x0, y0, x1 - x0, y1 - y0)
        # Pixel i's centre lies at i + 0.5: in the level at left + (i + 0.5) * width / num_x.
        step_x, step_y = width / num_x, height / num_y
        warp = np.array(
            [
                [step_x, 0, left - x0 + 0.5 * step_x - 0.5],
                [0, step_y, top - y0 + 0.5 * step_y - 0.5],
            ]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = cv2.warpAffine(
            around, warp, (num_x, num_y), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(moved, np.uint8)

    def thumbnail(
        self, max_px: int, unreadable: list[tuple[int, int, int, int]] | None = None
    ) -> RGB:
        """The whole slide as RGB, longest side at most `max_px`; damaged parts are white."""
        out_w, out_h = fit(self.size, max_px)
        shrink = max(self.size) / max(out_w, out_h)
        level_w, level_h = next(
            size
            for size, scale in reversed(list(zip(self.levels, self.downsamples, strict=True)))
            if scale <= shrink * 1.001 or size == self.size
        )
        thumb = np.full((out_h, out_w, 3), 255, np.uint8)
        for top, bottom in _cuts(out_h, math.ceil(level_w * level_h / STRIP_PIXELS)):
            if self._fill(thumb, (0, top, out_w, bottom)):
                continue
            rows = math.ceil(level_h * (bottom - top) / out_h / CELL_PX)
            for y0, y1 in _cuts(bottom - top, rows):
                for x0, x1 in _cuts(out_w, math.ceil(level_w / CELL_PX)):
                    cell = (x0, top + y0, x1, top + y1)
                    if not self._fill(thumb, cell) and unreadable is not None:
                        unreadable.append(cell)
        return thumb

    def _fill(self, thumb: RGB, box: tuple[int, int, int, int]) -> bool:
        """Read one part of a thumbnail into it; False where the slide is damaged."""
        x0, y0, x1, y1 = box
        scale_x, scale_y = self.size[0] / thumb.shape[1], self.size[1] / thumb.shape[0]
        left, top = round(x0 * scale_x), round(y0 * scale_y)
        width, height = round(x1 * scale_x) - left, round(y1 * scale_y) - top
        try:
            thumb[y0:y1, x0:x1] = self.read(left, top, width, height, x1 - x0, y1 - y0)
        except RegionError:
            return False
        return True

    def associated(self) -> tuple[str, ...]:
        """Names of the pictures beside the tissue."""
        return tuple(self._contents.associated)

    def read_associated(self, name: str) -> RGB:
        """One of the pictures beside the tissue, as RGB."""
        if name not in self._contents.associated:
            raise ValueError(f"no picture {name!r} in the slide: it has {list(self.associated())}")
        try:
            return self._contents.associated[name]()
        except RefusedError as error:
            raise ValueError(f"the slide's {name}: {error}") from None
        except Exception as error:
            raise ValueError(f"the slide's {name} is damaged: {one_line(error)}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._contents.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class PlainImage(Pyramid):
    """An image held in memory.

    Args:
        pixels: RGB uint8 (H, W, 3).
        mpp: microns per pixel, None when unknown.
    """

    def __init__(self, pixels: RGB, mpp: float | None = None) -> None:
        scale = None if mpp is None else Scale(mpp_xy=(mpp, mpp), source="the caller")
        level = array_level(pixels)
        super().__init__(Contents(levels=(level,), reader="memory", scale=scale, is_plain=True))


def array_level(pixels: RGB) -> Level:
    """A level out of RGB (H, W, 3) in memory, or mapped into it."""
    return Level(
        size=(pixels.shape[1], pixels.shape[0]),
        read=lambda x, y, w, h: np.asarray(pixels[y : y + h, x : x + w]),
    )


def level_scale(base: Size, size: Size) -> tuple[float, float]:
    """Level-0 pixels per pixel of a level along x and y.

    Scanners drop what does not fill a last pixel: 4443 pixels halve to 2221, and the scale is 2,
    not 2.0005, which would move the far border by a pixel.

    >>> level_scale((4443, 3567), (2221, 1783)), level_scale((1000, 600), (400, 240))
    ((2.0, 2.0), (2.5, 2.5))
    """
    exact = (base[0] / size[0], base[1] / size[1])
    whole = max(round(min(exact)), 1)
    off = max(abs(base[axis] / whole - size[axis]) for axis in (0, 1))
    return (float(whole), float(whole)) if off < 1 else exact


def padded(level: Level, extent: Size, x: int, y: int, w: int, h: int) -> RGB:
    """A window of a level: its last pixels repeated up to `extent`, white beyond.

    Args:
        level: where to read.
        extent: the slide's size in the level's pixels, which may be a pixel more than the level's.
        x: left of the window, any part of which may lie outside.
        y: its top.
        w: its width.
        h: its height.
    """
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + w, level.size[0]), min(y + h, level.size[1])
    if (left, top, right, bottom) == (x, y, x + w, y + h):
        return level.read(x, y, w, h)
    window = np.full((h, w, 3), 255, np.uint8)
    if right <= left or bottom <= top:
        return window
    inside = level.read(left, top, right - left, bottom - top)
    more_x = min(x + w, extent[0]) - right if right == level.size[0] else 0
    more_y = min(y + h, extent[1]) - bottom if bottom == level.size[1] else 0
    if more_x > 0 or more_y > 0:
        inside = np.pad(inside, ((0, max(more_y, 0)), (0, max(more_x, 0)), (0, 0)), mode="edge")
    rows, columns = inside.shape[:2]
    window[top - y : top - y + rows, left - x : left - x + columns] = inside
    return window


def fit(size: Size, max_px: int) -> Size:
    """Width and height scaled down so that the longest side is at most `max_px`.

    >>> fit((4000, 1000), 400), fit((30, 20), 400)
    ((400, 100), (30, 20))
    """
    scale = min(1.0, max_px / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _cuts(length: int, num: int) -> Sequence[tuple[int, int]]:
    """`length` cut into at most `num` ranges of one or more."""
    num = max(1, min(num, length))
    ends = [round(i * length / num) for i in range(num + 1)]
    return list(itertools.pairwise(ends))
