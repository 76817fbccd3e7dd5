"""What compressed pictures say about themselves, read before a decoder makes room for them."""

from __future__ import annotations

import struct
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Jpeg2000Header:
    """What the code stream of a JPEG 2000 picture says of its pixels.

    Attributes:
        size: width and height.
        tile: width and height of what is decoded at once.
        num_components: 3 of RGB.
        bits: of the first component.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    num_components: int
    bits: int


def jpeg2000_header(content: bytes) -> Jpeg2000Header | None:
    """The header of a JPEG 2000 code stream, bare or in its container; None where there is none."""
    place = content.find(b"\xff\x4f\xff\x51")
    if place < 0 or len(content) < place + 43:
        return None
    right, bottom, left, top, tile_w, tile_h = struct.unpack_from(">6L", content, place + 8)
    num_components, bits = struct.unpack_from(">HB", content, place + 40)
    return Jpeg2000Header(
        size=(right - left, bottom - top),
        tile=(tile_w, tile_h),
        num_components=num_components,
        bits=(bits & 0x7F) + 1,
    )


def jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Width and height that a JPEG says it has; None where it does not say before its pixels.

    >>> jpeg_size(bytes.fromhex("ffd8 ffe0 0004 0000 ffc0 000b 08 0002 0003 01 01 11 00"))
    (3, 2)
    """
    place = 2
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xDA:  # pixels follow
            return None
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, place + 5)
            return width, height
        is_bare = marker == 0xFF or 0xD0 <= marker <= 0xD8  # fill bytes and markers alone
        place += 1 if marker == 0xFF else 2
        place += 0 if is_bare else int.from_bytes(content[place : place + 2], "big")
    return None


def check_jpeg2000(content: bytes, width: int, height: int, samples: int) -> None:
    """Make sure that a JPEG 2000 picture is no larger than it ought to be: it is decoded at once.

    Raises:
        ValueError: it is larger, or no JPEG 2000 at all.
    """
    header = jpeg2000_header(content)
    if header is None:
        raise ValueError("no JPEG 2000 code stream where one was expected")
    is_small = header.size[0] <= width and header.size[1] <= height
    if not is_small or header.num_components > samples:
        raise ValueError(
            f"what ought to hold {width} x {height} pixels holds {header.size[0]} x "
            f"{header.size[1]} of {header.num_components} samples"
        )
