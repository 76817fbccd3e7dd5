"""Pictures whose file says how they are to be turned: the orientation tag of TIFF and EXIF."""

from __future__ import annotations

import numpy as np

from histonuc.slides.protocol import RGB, Level
from histonuc.slides.resolution import Scale

TAG = 274
"""Of the orientation, in TIFF as in EXIF."""
_TURNED = {
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (False, True, True),
    7: (True, True, True),
    8: (True, False, True),
}
"""Whether the upright picture's rows and columns run backwards in the file, counted in the upright
picture, and whether its rows are the file's columns."""


def orientation_note(orientation: int) -> tuple[str, ...]:
    """What to tell about a file that says how it is to be turned; nothing about an upright one."""
    if orientation not in _TURNED:
        return ()
    return (
        f"the picture is turned upright as its orientation tag ({orientation}) says; QuPath and "
        "others that leave the tag alone show it as it is stored, where outlines do not fit",
    )


def turned_scale(scale: Scale | None, orientation: int) -> Scale | None:
    """The scale of a picture after it is turned: x and y may change places."""
    if scale is None or orientation not in _TURNED or not _TURNED[orientation][2]:
        return scale
    return Scale(mpp_xy=scale.mpp_xy[::-1], source=scale.source)


def upright(level: Level, orientation: int) -> Level:
    """A level as it is to be seen.

    Args:
        level: as stored.
        orientation: the tag's value, 1 to 8; anything else counts as 1, upright.
    """
    if orientation not in _TURNED:
        return level
    back_y, back_x, is_transposed = _TURNED[orientation]
    width, height = level.size[::-1] if is_transposed else level.size

    def read(x: int, y: int, w: int, h: int) -> RGB:
        left = width - x - w if back_x else x
        top = height - y - h if back_y else y
        stored = (top, left, h, w) if is_transposed else (left, top, w, h)
        pixels = level.read(*stored)
        if is_transposed:
            pixels = pixels.transpose(1, 0, 2)
        pixels = pixels[:: -1 if back_y else 1, :: -1 if back_x else 1]
        return np.ascontiguousarray(pixels)

    return Level(size=(width, height), read=read)
