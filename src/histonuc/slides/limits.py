"""What a file may take of memory and of time, whatever it says about itself.

A slide is read by its tiles, strips or chunks, so its size does not matter. What cannot be read so
is refused above these bounds, which hold for what decoding takes and not for the size of the file.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from histonuc.slides.protocol import RefusedError

MAX_WHOLE_BYTES = 1 << 31
"""Memory (2 GiB) that decoding a picture may take which can only be decoded as a whole."""
MAX_PIECE_PIXELS = 1 << 26
"""Pixels of one tile or strip (8192 by 8192), which is decoded as a whole."""
LARGE_PIECE_PIXELS = 1 << 22
"""Larger tiles and strips of one slide are decoded one after another, whatever the threads."""
MAX_TEXT_BYTES = 1 << 24
"""Bytes of a description inside a file or beside it (16 MiB)."""
CONVERT = (
    "convert it to a pyramidal TIFF of tiles, for example with "
    "`vips tiffsave IN OUT.tif --tile --pyramid --compression jpeg`"
)


def check_whole(num_bytes: int, what: str) -> None:
    """Refuse a picture that takes too much memory to decode.

    Args:
        num_bytes: that decoding it takes.
        what: the picture, for people: "the image of 20000 x 20000 pixels".

    Raises:
        RefusedError: with the bound and the way round it.
    """
    if num_bytes > MAX_WHOLE_BYTES:
        raise RefusedError(
            f"{what} can only be decoded as a whole, which takes {num_bytes / 1e9:.1f} GB of "
            f"memory, expected at most {MAX_WHOLE_BYTES / 1e9:.1f} GB: {CONVERT}"
        )


def check_piece(width: int, height: int, kind: str) -> None:
    """Refuse tiles, frames and chunks (all a `kind`) that take too much memory to decode.

    Raises:
        RefusedError: with the bound and the way round it.
    """
    if width * height > MAX_PIECE_PIXELS:
        raise RefusedError(
            f"it comes in {kind}s of {width} x {height} pixels, each of which can only be decoded "
            f"as a whole: expected at most {MAX_PIECE_PIXELS / 1e6:.0f} megapixels; {CONVERT}"
        )


def check_regular(file: Path) -> None:
    """Refuse pipes, sockets and devices: reading them may never end.

    Raises:
        RefusedError: there is one.
        OSError: there is nothing.
    """
    mode = file.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise RefusedError(f"{file.name} is a pipe, a socket or a device, expected a file")


def check_folder(folder: Path) -> None:
    """Refuse a folder in which there is anything but files, folders and links to them.

    For libraries that open whatever lies beside a slide.

    Raises:
        RefusedError: there is a pipe, a socket or a device.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_file() and not entry.is_dir() and os.path.exists(entry.path):
                check_regular(Path(entry.path))


def read_bounded(file: Path) -> bytes:
    """The content of a small file, such as a description beside the pixels.

    Raises:
        RefusedError: it is a pipe or device, or larger than `MAX_TEXT_BYTES`.
        OSError: it cannot be read.
    """
    check_regular(file)
    with file.open("rb") as stream:
        content = stream.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise RefusedError(f"{file.name} has more than {MAX_TEXT_BYTES >> 20} MiB")
    return content
