"""Ordinary images, whole in memory: PNG, JPEG, JPEG 2000, BMP, and whatever else Pillow opens."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from histonuc.slides.codestreams import Jpeg2000Header, jpeg2000_header
from histonuc.slides.limits import CONVERT, MAX_TEXT_BYTES, check_whole
from histonuc.slides.orientation import TAG, orientation_note, turned_scale, upright
from histonuc.slides.pixels import EIGHT_BITS, flatten, scaled
from histonuc.slides.protocol import RGB, Contents, RefusedError
from histonuc.slides.resolution import INCH_UM, Scale, plausible_scale, unit_um
from histonuc.slides.whole import Whole

if TYPE_CHECKING:
    from PIL.Image import Image

_BAND_PIXELS = 1 << 20
"""Pillow's pixels become RGB so many at a time: what it makes on the way stays small then."""
_STORED_BYTES = {"1": 1, "L": 1, "P": 1}
"""Memory that Pillow takes for a pixel of some modes; four bytes for one of any other."""
_DENSITY = {"PNG": "PNG: pHYs", "JPEG2000": "JPEG 2000: resolution box", "BMP": "BMP: resolution"}
"""What states the scale in files that Pillow reads it from."""
_EXIF_X, _EXIF_Y, _EXIF_UNIT = 282, 283, 296
_UNITS = {2: "inch", 3: "centimeter"}
_PER_CM = 2
"""Unit of a JFIF header's density. One by the inch is no scale: 0.25 microns do not fit into its 16
bits, and programs that write them all the same write what is left of the number."""


def open_image(path: Path) -> Contents:
    """Open an image, turned as its EXIF orientation says. Its pixels are decoded when asked for.

    Raises:
        RefusedError: of more than 8 bits, or too large to be decoded as a whole.
    """
    with _open(path) as image:
        stream = _jpeg2000_header(path) if image.format == "JPEG2000" else None
        _check_depth(image, stream)
        name = f"the image of {image.width} x {image.height} pixels"
        check_whole(_num_bytes(image, stream, path), name)
        if image.format == "PNG" and "Raw profile type exif" not in image.info:
            image.info["exif"] = _png_exif(path)  # Pillow decodes the pixels to look for it
        orientation = int(image.getexif().get(TAG, 1))
        profile = image.info.get("icc_profile")
        scale, size = _scale(image), image.size
    whole = Whole(partial(_decode, path, 8 if stream is None else stream.bits), size)
    return Contents(
        levels=(upright(whole.level, orientation),),
        reader="Pillow",
        scale=turned_scale(scale, orientation),
        notes=orientation_note(orientation),
        is_plain=True,
        icc_profile=profile if isinstance(profile, bytes) else None,
        load=whole.pixels,
    )


def _open(path: Path) -> Image:
    """An image whose header is read and whose pixels are not."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large is fine, and damage raises anyway
            return Image.open(path)
    except Image.DecompressionBombError:
        raise RefusedError(
            f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} megapixels, too many "
            f"for an image that can only be decoded as a whole: {CONVERT}"
        ) from None


def _check_depth(image: Image, stream: Jpeg2000Header | None) -> None:
    # What a decoder is told: a mode, or several things of which the mode is the first.
    told = [part[3] for part in getattr(image, "tile", ())]
    raw_modes = [str(one[0] if isinstance(one, tuple) else one) for one in told]
    is_deep = image.mode.startswith(("I", "F")) or any("16" in mode for mode in raw_modes)
    # Pillow cuts JPEG 2000 down to 8 bits without a word.
    if is_deep or (stream is not None and stream.bits > 8):
        raise RefusedError(f"it has more than 8 bits a channel: {EIGHT_BITS}")
    if stream is not None and stream.size != image.size:
        raise ValueError("its header and its pixels differ in size")


def _num_bytes(image: Image, stream: Jpeg2000Header | None, path: Path) -> int:
    """Memory that decoding takes: Pillow's pixels, and RGB or what the decoder holds."""
    num_pixels = image.width * image.height
    decoder = 0
    if stream is not None:  # OpenJPEG: four bytes a component, and the file
        at_once = min(num_pixels, stream.tile[0] * stream.tile[1])
        decoder = 5 * stream.num_components * at_once + path.stat().st_size
    elif image.info.get("progressive"):  # coefficients of two bytes
        decoder = 2 * len(image.getbands()) * num_pixels
    return _STORED_BYTES.get(image.mode, 4) * num_pixels + max(3 * num_pixels, decoder)


def _jpeg2000_header(path: Path) -> Jpeg2000Header | None:
    """What the pixels of JPEG 2000 are, not what its container says; None where it is not found."""
    with path.open("rb") as file:
        return jpeg2000_header(file.read(MAX_TEXT_BYTES))


def _png_exif(path: Path) -> bytes:
    """The EXIF of a PNG, which may stand behind its pixels; empty without."""
    with path.open("rb") as file:
        file.seek(8)
        while len(header := file.read(8)) == 8:
            length = int.from_bytes(header[:4], "big")
            if header[4:] == b"eXIf":
                return file.read(min(length, MAX_TEXT_BYTES))
            file.seek(length + 4, 1)  # what it holds, and its checksum
    return b""


def _scale(image: Image) -> Scale | None:
    """Microns per pixel from EXIF, or from the format's own header."""
    exif = image.getexif()
    unit = unit_um(_UNITS.get(exif.get(_EXIF_UNIT, 2), ""))
    density = [float(exif.get(tag) or 0) for tag in (_EXIF_X, _EXIF_Y)]
    sides = [unit / dots if unit and dots > 0 else None for dots in density]
    stated = plausible_scale(sides, "EXIF: XResolution and YResolution")
    if stated is not None:
        return stated
    dpi = image.info.get("dpi")
    source = _DENSITY.get(image.format or "")
    if image.info.get("jfif_unit") == _PER_CM:
        source = "JPEG: density of the JFIF header"
    if dpi is None or source is None or not all(dpi):
        return None
    return plausible_scale([INCH_UM / float(dots) for dots in dpi], source)


def _decode(path: Path, bits: int) -> RGB:
    """RGB (H, W, 3) of an image as it is stored."""
    with _open(path) as image:
        image.load()
        pixels = np.empty((image.height, image.width, 3), np.uint8)
        rows = max(1, _BAND_PIXELS // image.width)
        for top in range(0, image.height, rows):
            band = image.crop((0, top, image.width, min(top + rows, image.height)))
            pixels[top : top + rows] = _rgb(band)
    # Pillow moves JPEG 2000 of fewer bits up to the first of eight.
    return pixels if bits >= 8 else scaled(pixels >> np.uint8(8 - bits), bits)


def _rgb(image: Image) -> RGB:
    if "A" in image.mode or "transparency" in image.info:
        return flatten(np.asarray(image.convert("RGBA")))
    return np.asarray(image.convert("RGB"))
