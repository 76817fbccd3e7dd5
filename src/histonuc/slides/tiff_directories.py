"""A TIFF's directories, followed once before a library does it, which may never come back."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from histonuc.slides.limits import MAX_TEXT_BYTES
from histonuc.slides.protocol import RefusedError

MAX_PAGES = 10_000
"""Pages of a file."""
MAX_LEVELS = 64
"""Reduced pages (sub-IFDs) of a page: more than halving any side down to one pixel takes."""
_MAX_ENTRIES = 4096
"""Tags of a page; a directory that claims more is none, and libraries stop there as well."""
_SUB_IFDS, _XMP, _ICC_PROFILE, _ASCII = 330, 700, 34675, 2
_ORDERS = {b"II": "<", b"MM": ">"}


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How a classic TIFF or a BigTIFF writes its directories.

    Attributes:
        order: of bytes, as `struct` has it.
        num: format of the number of a directory's entries.
        offset: format of a place in the file.
        entry: of a directory.
    """

    order: str
    num: str
    offset: str
    entry: np.dtype[np.void]

    def number(self, stream: BinaryIO, kind: str) -> int:
        """The next whole number of the file, zero where the file ends."""
        content = stream.read(struct.calcsize(self.order + kind))
        try:
            return int(struct.unpack(self.order + kind, content)[0])
        except struct.error:
            return 0


def check_directories(path: Path) -> None:
    """Follow the directories of a TIFF.

    Raises:
        ValueError: they go round in a circle.
        RefusedError: more pages, levels or text than any slide has.
    """
    with path.open("rb") as stream:
        start = stream.read(4)
        order = _ORDERS.get(start[:2])
        if order is None:
            raise ValueError("it does not begin as a TIFF does")
        is_big = b"+" in start[2:]  # 43 in either order of bytes, a classic TIFF has 42
        count, place = ("u8", "Q") if is_big else ("u4", "L")
        entry = [("code", order + "u2"), ("kind", order + "u2"), ("count", order + count)]
        layout = _Layout(
            order=order,
            num="Q" if is_big else "H",
            offset=place,
            entry=np.dtype([*entry, ("value", f"V{8 if is_big else 4}")]),
        )
        stream.seek(8 if is_big else 4)
        for entries in _directories(stream, layout):
            _check_entries(entries)


def _directories(stream: BinaryIO, layout: _Layout) -> Iterator[NDArray[np.void]]:
    """The entries of each directory; the file stands where the place of the first is written."""
    seen: set[int] = set()
    while offset := layout.number(stream, layout.offset):
        if offset in seen:
            raise ValueError("its pages go round in a circle")
        if len(seen) == MAX_PAGES:
            raise RefusedError(f"it has more than {MAX_PAGES} pages, expected a slide")
        seen.add(offset)
        stream.seek(offset)
        num = layout.number(stream, layout.num)
        content = stream.read(min(num, _MAX_ENTRIES) * layout.entry.itemsize)
        if num > _MAX_ENTRIES or len(content) < num * layout.entry.itemsize:
            return  # no directory, or one that is cut off: the library says so
        yield np.frombuffer(content, layout.entry)


def _check_entries(entries: NDArray[np.void]) -> None:
    is_text = (entries["kind"] == _ASCII) | np.isin(entries["code"], (_XMP, _ICC_PROFILE))
    longest = int(entries["count"][is_text].max(initial=0))
    if longest > MAX_TEXT_BYTES:
        raise RefusedError(
            f"it holds a description of {longest / 1e6:,.0f} MB, expected at most "
            f"{MAX_TEXT_BYTES >> 20} MiB"
        )
    levels = int(entries["count"][entries["code"] == _SUB_IFDS].max(initial=0))
    if levels > MAX_LEVELS:
        raise RefusedError(f"a page has {levels} levels, expected at most {MAX_LEVELS}")
