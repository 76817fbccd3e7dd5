"""Strips of text and colours below pictures, and the pictures' files."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from histonuc.files import replacing
from histonuc.taxonomy import LabelSpace

RGB = NDArray[np.uint8]
"""A picture (H, W, 3)."""
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
Entry = tuple[tuple[int, int, int], str]
"""A colour and what it means."""
_DARK, _GREY = (30, 30, 30), (110, 110, 110)
_LEAST_WIDTH = 360


def with_legend(
    image: RGB,
    space: LabelSpace,
    counts: Sequence[int],
    title: str,
    more: Sequence[Entry] = (),
    note: str = "",
) -> RGB:
    """An RGB image with a strip below: title, every class with its colour and count, and `more`.

    A note goes into the last lines of the strip.
    """
    entries = [
        (colour, f"{name}  {count:,}")
        for name, colour, count in zip(space.classes, space.colours, counts, strict=True)
    ]
    return with_strip(image, f"{title}: {sum(counts):,} nuclei", [*entries, *more], note)


def with_strip(image: RGB, title: str, entries: Sequence[Entry], note: str = "") -> RGB:
    """An RGB image with a strip below it: a title, colours with what they mean, and a note."""
    width = max(image.shape[1], _LEAST_WIDTH)
    size = int(np.clip(width / 60, 14, 30))
    strip = _strip(width, size, title, entries, note)
    missing = width - image.shape[1]
    padded = np.pad(image, ((0, 0), (0, missing), (0, 0)), constant_values=255)
    return np.concatenate([padded, strip])


def write_jpeg(image: RGB, path: Path) -> None:
    """Write a picture; the file appears whole or not at all."""
    jpeg = BytesIO()  # Pillow by itself says nothing when a full disk takes only part of it
    Image.fromarray(image).save(jpeg, format="JPEG", quality=90, subsampling=0)
    with replacing(path) as draft:
        draft.write_bytes(jpeg.getbuffer())


def _strip(width: int, size: int, title: str, entries: Sequence[Entry], note: str) -> RGB:
    font, small = ImageFont.load_default(size), ImageFont.load_default(size * 0.6)
    pad, line = size // 2 + 4, round(size * 1.6)
    places, x, y = [], pad, pad + line
    for _, text in entries:
        needed = round(size * 1.5 + font.getlength(text)) + 2 * pad
        if x > pad and x + needed > width:
            x, y = pad, y + line
        places.append((x, y))
        x += needed
    noted = _wrap(note, font, width - 2 * pad)
    bottom = y + line if entries else pad + line
    strip = Image.new("RGB", (width, bottom + len(noted) * line + pad // 2), (255, 255, 255))
    draw = ImageDraw.Draw(strip)
    draw.text((pad, pad), _shorten(title, font, width - 2 * pad), _DARK, font)
    for (colour, text), (x, y) in zip(entries, places, strict=True):
        draw.rectangle((x, y + size // 6, x + size, y + size // 6 + size), colour, _GREY)
        _draw_text(draw, (x + round(size * 1.5), y), text, font, small)
    for number, text in enumerate(noted):
        draw.text((pad, bottom + number * line), text, _DARK, font)
    return np.asarray(strip)


def _wrap(text: str, font: Font, width: int) -> list[str]:
    """Lines of a text that fit, as far as its words do; none of an empty text."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _draw_text(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, font: Font, small: Font
) -> None:
    """Draw a text; Pillow's own font has no "²", so a small 2 takes its place."""
    x, y = place
    for number, part in enumerate(text.split("²")):
        if number:
            draw.text((x, y), "2", _DARK, small)
            x += small.getlength("2")
        draw.text((x, y), part, _DARK, font)
        x += font.getlength(part)


def _shorten(text: str, font: Font, width: int) -> str:
    """Cut the middle out of a text until it fits."""
    kept = text
    half = len(text) // 2
    while font.getlength(kept) > width and half > 4:
        half -= 1
        kept = f"{text[:half]}…{text[-half:]}"
    return kept
