"""One TIFF image read by windows: only the tiles or strips it needs, the last ones kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.slides.pixels import BRIGHT_FIELD, Opacity, check_depth, to_rgb
from histonuc.slides.protocol import RGB, Level, RefusedError

CACHE_BYTES = 1 << 27
"""Decoded tiles kept of one file, so that overlapping windows do not decode them twice."""
MAX_SEGMENT_PIXELS = 1 << 26
"""Tiles and strips larger than this cannot be read by windows."""
_OPACITY: dict[int, Opacity] = {1: "premultiplied", 2: "straight"}
"""Values of tag 338, ExtraSamples, that are an opacity."""
_TURN_INTO_RGB = (6, 7, 33007, 34892, 50001, 50002, 52546)
"""Compressions whose decoders turn YCbCr into RGB: JPEG's kinds, WebP, JPEG XL's."""
_INDEX_TAGS = (273, 279, 324, 325)  # offsets and byte counts of strips and tiles


@dataclass(frozen=True, kw_only=True, eq=False)
class _Index:
    """Where the tiles or strips of one page lie in the file: offset and length (n,) of each."""

    offsets: NDArray[np.unsignedinteger[Any]]
    lengths: NDArray[np.unsignedinteger[Any]]


class SegmentReader:
    """Decodes tiles and strips of one open file, from any thread."""

    def __init__(self, filehandle: Any) -> None:
        self._file = filehandle
        self._size = int(filehandle.size)
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, int], NDArray[np.uint8] | None] = OrderedDict()
        self._cached_bytes = 0
        self._indexes: dict[int, _Index] = {}

    def take_index(self, page: Any) -> None:
        """Keep where the tiles of a page lie, and let tifffile forget it.

        It holds a Python integer for every offset and length, some 80 bytes a tile, of which a
        slide of 64 gigapixels has a million. Here it is 8 to 16.
        """
        if page.offset in self._indexes:  # several channels may share a page
            return
        self._indexes[page.offset] = _Index(
            offsets=_packed(page.dataoffsets), lengths=_packed(page.databytecounts)
        )
        page.dataoffsets = page.databytecounts = ()
        tags = getattr(page, "tags", {})  # pages like the one before them have none of their own
        for code in _INDEX_TAGS:
            if code in tags:
                del tags[code]

    def segment(self, page: Any, index: int) -> NDArray[np.uint8] | None:
        """Pixels (h, w, samples) of a tile or strip; None where the file leaves it out.

        Args:
            page: one whose index was taken.
            index: of the tile or strip.
        """
        key = (int(page.offset), index)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        pixels = self._decode(page, index)
        with self._lock:
            if key not in self._cache:  # another thread may have been faster
                self._cache[key] = pixels
                self._cached_bytes += _num_bytes(pixels)
            while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
                _, dropped = self._cache.popitem(last=False)
                self._cached_bytes -= _num_bytes(dropped)
        return pixels

    def _decode(self, page: Any, index: int) -> NDArray[np.uint8] | None:
        where = self._indexes[int(page.offset)]
        offset, num_bytes = int(where.offsets[index]), int(where.lengths[index])
        if not num_bytes:
            return None
        if offset + num_bytes > self._size:
            raise ValueError("the file ends before this tile")
        with self._lock:
            self._file.seek(offset)
            content = self._file.read(num_bytes)
        keyframe = page.keyframe
        tables = {"jpegtables": page.jpegtables, "jpegheader": keyframe.jpegheader}
        given = {name: value for name, value in tables.items() if value is not None}
        data, _, _ = keyframe.decode(content, index, **given)
        return None if data is None else _eight_bits(data[0])


def can_window(page: Any) -> bool:
    """Whether the page comes in tiles or strips small enough to be read one by one.

    Raises:
        ValueError: the table of its tiles does not fit its size.
    """
    keyframe = page.keyframe
    width, height = _segment_size(keyframe)
    if width < 1 or height < 1:
        raise ValueError("tiles without pixels")
    num = -(-keyframe.imagewidth // width) * -(-keyframe.imagelength // height)
    num *= keyframe.shaped[0]
    if min(len(page.dataoffsets), len(page.databytecounts)) < num:
        raise ValueError(f"expected {num} tiles or strips, got {len(page.dataoffsets)}")
    return bool(keyframe.imagedepth == 1 and width * height <= MAX_SEGMENT_PIXELS)


def check_samples(pages: Sequence[Any]) -> None:
    """Refuse a level whose pixels are other than grey or RGB, and an opacity.

    Args:
        pages: the one of the level, or one for each of its channels.
    """
    for page in pages:
        frame = page.keyframe
        num, is_colour = int(frame.samplesperpixel), frame.photometric in (2, 6)  # RGB, YCbCr
        check_colours(frame)
        is_known = num in (1, 3, 4) if is_colour else num == 1 or _is_grey_with_opacity(frame)
        if not is_known or (num > 1 and len(pages) > 1):
            kind = "" if is_colour else " that it does not call RGB"
            raise RefusedError(
                f"it has {num * len(pages)} samples a pixel{kind}, as fluorescence and "
                "multispectral images do, expected 1 of grey, or 3 of RGB and at most 1 of "
                f"opacity: {BRIGHT_FIELD}"
            )


def check_colours(frame: Any) -> None:
    """Refuse a page whose colours would be shown wrong."""
    if frame.photometric == 6 and frame.compression not in _TURN_INTO_RGB:
        raise RefusedError(
            f"its colours are YCbCr in {frame.compression.name} compression, which is not turned "
            "into RGB when read, as JPEG is: convert it to RGB"
        )


def _is_grey_with_opacity(frame: Any) -> bool:
    """Only where black is zero: nobody seems to write the other kind."""
    says_so = any(kind in _OPACITY for kind in frame.extrasamples)
    return bool(frame.samplesperpixel == 2 and frame.photometric == 1 and says_so)


def page_rgb(page: Any, samples: NDArray[np.uint8]) -> RGB:
    """Samples (h, w, 1 to 4) of a page, or of one for each channel, as RGB on white."""
    frame = page.keyframe
    # Without the tag, which the standard demands, a fourth sample is mostly an opacity.
    opacity = _OPACITY.get(frame.extrasamples[0], "ignored") if frame.extrasamples else "straight"
    return to_rgb(samples, inverted=frame.photometric == 0, opacity=opacity)


def tiff_level(pages: Sequence[Any], reader: SegmentReader) -> Level:
    """A level out of one page, or of one page for each of red, green and blue."""
    keyframe = pages[0].keyframe
    check_depth(keyframe.dtype)
    planes = [(page, plane) for page in pages for plane in range(keyframe.shaped[0])]
    for page in pages:
        reader.take_index(page)

    def read(x: int, y: int, w: int, h: int) -> RGB:
        parts = [_window(reader, page, plane, (x, y, w, h)) for page, plane in planes]
        return page_rgb(keyframe, np.concatenate(parts, -1) if len(parts) > 1 else parts[0])

    return Level(size=(keyframe.imagewidth, keyframe.imagelength), read=read)


def _window(
    reader: SegmentReader, page: Any, plane: int, window: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """Samples (h, w, samples) of one page or plane; tiles the file leaves out are white."""
    x, y, w, h = window
    keyframe = page.keyframe
    seg_w, seg_h = _segment_size(keyframe)
    num_x, num_y = -(-keyframe.imagewidth // seg_w), -(-keyframe.imagelength // seg_h)
    white = 0 if keyframe.photometric == 0 else 255
    out = np.full((h, w, keyframe.shaped[-1]), white, np.uint8)
    for row in range(y // seg_h, (y + h - 1) // seg_h + 1):
        for column in range(x // seg_w, (x + w - 1) // seg_w + 1):
            pixels = reader.segment(page, (plane * num_y + row) * num_x + column)
            if pixels is None:
                continue
            left, top = column * seg_w, row * seg_h
            x0, y0 = max(x, left), max(y, top)
            x1, y1 = min(x + w, left + seg_w), min(y + h, top + seg_h)
            out[y0 - y : y1 - y, x0 - x : x1 - x] = pixels[
                y0 - top : y1 - top, x0 - left : x1 - left
            ]
    return out


def _segment_size(keyframe: Any) -> tuple[int, int]:
    if keyframe.is_tiled:
        return int(keyframe.tilewidth), int(keyframe.tilelength)
    return int(keyframe.imagewidth), int(min(keyframe.rowsperstrip, keyframe.imagelength))


def _packed(values: Sequence[int]) -> NDArray[np.unsignedinteger[Any]]:
    """Whole numbers in as few bytes as the largest needs."""
    packed = np.array(values, np.uint64)
    return packed if packed.max(initial=0) >= 1 << 32 else packed.astype(np.uint32)


def _num_bytes(pixels: NDArray[np.uint8] | None) -> int:
    return 0 if pixels is None else pixels.nbytes


def _eight_bits(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    return pixels.astype(np.uint8) * 255 if pixels.dtype == bool else np.asarray(pixels, np.uint8)
