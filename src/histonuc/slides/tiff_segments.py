"""The tiles and strips of TIFF pages, decoded one by one, the last ones kept."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from histonuc.slides.codestreams import check_jpeg2000, jpeg_size
from histonuc.slides.limits import LARGE_PIECE_PIXELS

CACHE_BYTES = 1 << 27
"""Decoded tiles kept of one slide, so that overlapping windows do not decode them twice."""
JPEG = (6, 7, 33007, 34892)
"""Values of tag 259, Compression, that are JPEG."""
_SIZED_BY_FILE = (22610, 33003, 33004, 33005, 34712, 34887, 34933, 34934, 50001, 50002, 52546)
"""Compressions that say themselves how large their picture is: JPEG XR, JPEG 2000, LERC, PNG, WebP
and JPEG XL."""
_JPEG_2000 = (33003, 33004, 33005, 34712)
_WEBP = 50001
_INDEX_TAGS = (273, 279, 324, 325)  # offsets and byte counts of strips and tiles


@dataclass(frozen=True, kw_only=True, eq=False)
class _Index:
    """Where the tiles or strips of one page lie: offset and length (n,) of each in its file.

    Attributes:
        jpeg: what decoding JPEG needs besides, by the names that tifffile has for it.
    """

    stream: BinaryIO
    size: int
    offsets: NDArray[np.unsignedinteger[Any]]
    lengths: NDArray[np.unsignedinteger[Any]]
    jpeg: dict[str, bytes]


class SegmentReader:
    """Decodes tiles and strips of the pages of one slide, from any thread.

    The pages may lie in several files; each is opened here, and closed by `close`.
    """

    def __init__(self) -> None:
        self._lock, self._large = threading.Lock(), threading.Lock()
        self._cache: OrderedDict[tuple[int, int, int], NDArray[np.uint8] | None] = OrderedDict()
        self._cached_bytes = 0
        self._files = contextlib.ExitStack()
        self._streams: dict[int, BinaryIO] = {}
        self._indexes: dict[tuple[int, int], _Index] = {}

    def take_index(self, page: Any) -> None:
        """Keep where the tiles of a page lie, and let tifffile forget it.

        It holds a Python integer for every offset and length, some 80 bytes a tile, of which a
        slide of 64 gigapixels has a million. Here it is 8 to 16.
        """
        key = _key(page)
        if key in self._indexes:  # several channels may share a page
            return
        if key[0] not in self._streams:
            path = Path(page.parent.filehandle.path)
            self._streams[key[0]] = self._files.enter_context(path.open("rb"))
        stream = self._streams[key[0]]
        jpeg = {"jpegtables": page.jpegtables, "jpegheader": page.keyframe.jpegheader}
        self._indexes[key] = _Index(
            stream=stream,
            size=stream.seek(0, 2),
            offsets=_packed(page.dataoffsets),
            lengths=_packed(page.databytecounts),
            jpeg={name: content for name, content in jpeg.items() if content is not None},
        )
        page.dataoffsets = page.databytecounts = ()
        tags = getattr(page, "tags", {})  # pages like the one before them have none of their own
        for code in _INDEX_TAGS:
            if code in tags:
                del tags[code]

    def segment(self, page: Any, index: int) -> NDArray[np.uint8] | None:
        """Samples (h, w, samples) of a tile or strip; None where the file leaves it out.

        Args:
            page: one whose index was taken.
            index: of the tile or strip.
        """
        key = (*_key(page), index)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        width, height = segment_size(page.keyframe)
        if width * height <= LARGE_PIECE_PIXELS:
            return self._keep(key, self._decode(page, index))
        with self._large:  # so that many threads do not hold many of them
            with self._lock:
                if key in self._cache:  # decoded while this thread waited
                    return self._cache[key]
            return self._keep(key, self._decode(page, index))

    def forget(self) -> None:
        """Let go of the decoded tiles."""
        with self._lock:
            self._cache.clear()
            self._cached_bytes = 0

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def _keep(
        self, key: tuple[int, int, int], pixels: NDArray[np.uint8] | None
    ) -> NDArray[np.uint8] | None:
        with self._lock:
            if key not in self._cache:  # another thread may have been faster
                self._cache[key] = pixels
                self._cached_bytes += _num_bytes(pixels)
            while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
                _, dropped = self._cache.popitem(last=False)
                self._cached_bytes -= _num_bytes(dropped)
        return pixels

    def _decode(self, page: Any, index: int) -> NDArray[np.uint8] | None:
        where = self._indexes[_key(page)]
        offset, num_bytes = int(where.offsets[index]), int(where.lengths[index])
        if not num_bytes:
            return None
        if offset + num_bytes > where.size:
            raise ValueError("the file ends before this tile")
        with self._lock:
            where.stream.seek(offset)
            content = where.stream.read(num_bytes)
        keyframe = page.keyframe
        if keyframe.compression in _SIZED_BY_FILE:
            return _decode_image(content, keyframe)
        if keyframe.compression in JPEG:
            _check_jpeg(content, keyframe)
        data, _, _ = keyframe.decode(content, index, **where.jpeg)
        return None if data is None else np.asarray(data[0]).view(np.uint8)


def segment_size(keyframe: Any) -> tuple[int, int]:
    """Width and height of a page's tiles, or of its strips."""
    if keyframe.is_tiled:
        return int(keyframe.tilewidth), int(keyframe.tilelength)
    return int(keyframe.imagewidth), int(min(keyframe.rowsperstrip, keyframe.imagelength))


def _decode_image(content: bytes, keyframe: Any) -> NDArray[np.uint8]:
    """A tile or strip that is a picture file in itself, if it has the size that it ought to have.

    The decoders, but for that of JPEG 2000, compare sizes before they make room for any pixel.
    """
    import tifffile

    width, height = segment_size(keyframe)
    samples = keyframe.shaped[-1]
    if keyframe.compression in _JPEG_2000:
        check_jpeg2000(content, width, height, samples)
    decode = tifffile.TIFF.DECOMPRESSORS[keyframe.compression]
    options = {"hasalpha": True} if keyframe.compression == _WEBP and samples == 4 else {}
    error: Exception | None = None
    # Those at the border may be cut to what is left of the page.
    for h in dict.fromkeys((height, keyframe.imagelength % height or height)):
        for w in dict.fromkeys((width, keyframe.imagewidth % width or width)):
            out = np.empty((h, w) if samples == 1 else (h, w, samples), np.uint8)
            try:
                decode(content, out=out, **options)
            except ValueError as mismatch:
                error = mismatch
            else:
                return out.reshape(h, w, samples)
    raise ValueError(f"what ought to hold {width} x {height} pixels does not: {error}")


def _check_jpeg(content: bytes, keyframe: Any) -> None:
    """Refuse a tile whose JPEG is larger than the tile: decoding it takes what JPEG says."""
    width, height = segment_size(keyframe)
    found = jpeg_size(content)
    if found is not None and found[0] * found[1] > 2 * width * height:  # strips may be too high
        raise ValueError(
            f"what ought to hold {width} x {height} pixels holds {found[0]} x {found[1]}"
        )


def _key(page: Any) -> tuple[int, int]:
    """Its file, which the page keeps open as an object, and its place there."""
    return id(page.parent), int(page.offset)


def _packed(values: Sequence[int]) -> NDArray[np.unsignedinteger[Any]]:
    """Whole numbers in as few bytes as the largest needs."""
    packed = np.array(values, np.uint64)
    return packed if packed.max(initial=0) >= 1 << 32 else packed.astype(np.uint32)


def _num_bytes(pixels: NDArray[np.uint8] | None) -> int:
    return 0 if pixels is None else pixels.nbytes
