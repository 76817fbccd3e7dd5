"""Ordinary images, whole in memory: PNG, JPEG, JPEG 2000, and what TIFFs only Pillow knows."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histonuc.slides.pixels import EIGHT_BITS, flatten
from histonuc.slides.protocol import RGB, Contents, RefusedError
from histonuc.slides.pyramid import array_level

if TYPE_CHECKING:
    from PIL.Image import Image


def open_image(path: Path) -> Contents:
    """Read an image, turned as its EXIF orientation says.

    Raises:
        RefusedError: of more than 8 bits, or too large for one image.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large is fine, and damage raises anyway
            with Image.open(path) as image:
                profile = image.info.get("icc_profile")
                if image.format == "JPEG2000":
                    _check_jpeg2000(path)
                pixels = _rgb(image)
    except Image.DecompressionBombError:
        raise RefusedError(
            "too large for one plain image: convert it to a pyramidal TIFF"
        ) from None
    return Contents(
        levels=(array_level(pixels),),
        reader="Pillow",
        is_plain=True,
        icc_profile=profile if isinstance(profile, bytes) else None,
    )


def _check_jpeg2000(path: Path) -> None:
    """Refuse JPEG 2000 of more than 8 bits, which Pillow cuts down to 8 without a word."""
    with path.open("rb") as stream:
        head = stream.read(1 << 20)
    place = head.find(b"\xff\x4f\xff\x51")  # the code stream and its sizes
    if place >= 0 and len(head) > place + 42:
        bits = (head[place + 42] & 0x7F) + 1  # of the first component
        if bits > 8:
            raise RefusedError(f"it has {bits} bits a channel, expected 8: {EIGHT_BITS}")


def _rgb(image: Image) -> RGB:
    from PIL import ImageOps

    raw_modes = [str(part[3]) for part in getattr(image, "tile", ())]
    if image.mode.startswith(("I", "F")) or any("16" in mode for mode in raw_modes):
        raise RefusedError(f"it has more than 8 bits a channel: {EIGHT_BITS}")
    upright = ImageOps.exif_transpose(image)
    if "A" in upright.mode or "transparency" in upright.info:
        return flatten(np.asarray(upright.convert("RGBA")))
    return np.ascontiguousarray(np.asarray(upright.convert("RGB")))
