"""A level of a TIFF as RGB, in whatever colours, greys and bits its pages are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.slides.limits import MAX_PIECE_PIXELS
from histonuc.slides.pixels import BRIGHT_FIELD, Opacity, check_depth, cmyk_rgb, lab_rgb, to_rgb
from histonuc.slides.pixels import scaled as scaled_to_8_bits
from histonuc.slides.protocol import RGB, Level, RefusedError
from histonuc.slides.tiff_segments import JPEG, SegmentReader, segment_size

_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
"""Values of tag 262, PhotometricInterpretation, that are read."""
_SAMPLES = {
    _MIN_IS_WHITE: (1,),
    _MIN_IS_BLACK: (1,),
    _RGB: (1, 3, 4),
    _PALETTE: (1,),
    _CMYK: (4,),
    _YCBCR: (1, 3, 4),
    _LAB: (3,),
}
"""How many samples a pixel may have; RGB of one sample comes as a page for each colour."""
_OPACITY: dict[int, Opacity] = {1: "premultiplied", 2: "straight"}
"""Values of tag 338, ExtraSamples, that are an opacity."""
_TURN_INTO_RGB = (*JPEG, 50001, 50002, 52546)
"""Compressions whose decoders turn YCbCr into RGB: JPEG's kinds, WebP, JPEG XL's."""
_CMYK_INKS = 1
"""Value of tag 332, InkSet."""


def can_window(page: Any) -> bool:
    """Whether the page comes in tiles or strips small enough to be read one by one.

    Raises:
        ValueError: the table of its tiles does not fit its size.
    """
    keyframe = page.keyframe
    width, height = segment_size(keyframe)
    if width < 1 or height < 1:
        raise ValueError("tiles without pixels")
    num = -(-keyframe.imagewidth // width) * -(-keyframe.imagelength // height)
    num *= keyframe.shaped[0]
    if min(len(page.dataoffsets), len(page.databytecounts)) < num:
        raise ValueError(f"expected {num} tiles or strips, got {len(page.dataoffsets)}")
    return bool(keyframe.imagedepth == 1 and width * height <= MAX_PIECE_PIXELS)


def check_samples(pages: Sequence[Any]) -> None:
    """Refuse a level whose pixels are other than grey or colours, and an opacity.

    Args:
        pages: the one of the level, or one for each of its channels.

    Raises:
        RefusedError: with the reason.
    """
    for page in pages:
        frame = page.keyframe
        num, colours = int(frame.samplesperpixel), frame.photometric
        _check_colours(frame)
        is_known = num in _SAMPLES[colours] or _is_grey_with_opacity(frame)
        if not is_known or (num > 1 and len(pages) > 1):
            kind = " that it does not call RGB" if colours in (0, 1) else ""
            raise RefusedError(
                f"it has {num * len(pages)} samples a pixel{kind}, as fluorescence and "
                "multispectral images do, expected 1 of grey, or 3 of RGB and at most 1 of "
                f"opacity: {BRIGHT_FIELD}"
            )


def _check_colours(frame: Any) -> None:
    """Refuse a page whose colours would be shown wrong."""
    if frame.photometric not in _SAMPLES:
        name = getattr(frame.photometric, "name", frame.photometric)
        raise RefusedError(f"its colours are stored as {name}: convert it to RGB")
    if frame.photometric == _YCBCR and frame.compression not in _TURN_INTO_RGB:
        raise RefusedError(
            f"its colours are YCbCr in {frame.compression.name} compression, which is not turned "
            "into RGB when read, as JPEG is: convert it to RGB"
        )
    if frame.photometric == _CMYK and frame.tags.valueof(332, _CMYK_INKS) != _CMYK_INKS:
        raise RefusedError("its colours are inks other than CMYK: convert it to RGB")


def _is_grey_with_opacity(frame: Any) -> bool:
    """Only where black is zero: nobody seems to write the other kind."""
    says_so = any(kind in _OPACITY for kind in frame.extrasamples)
    return bool(frame.samplesperpixel == 2 and frame.photometric == _MIN_IS_BLACK and says_so)


def tiff_level(pages: Sequence[Any], reader: SegmentReader) -> Level:
    """A level out of one page, or of one page for each of red, green and blue.

    Places whose tiles the file leaves out are white.

    Raises:
        RefusedError: pixels of more than 8 bits.
        ValueError: the pages do not fit each other.
    """
    keyframe = pages[0].keyframe
    check_depth(keyframe.dtype)
    width, height = int(keyframe.imagewidth), int(keyframe.imagelength)
    seg_w, seg_h = segment_size(keyframe)
    num_x, num_y = -(-width // seg_w), -(-height // seg_h)
    num = num_x * num_y
    planes = [(page, plane * num) for page in pages for plane in range(keyframe.shaped[0])]
    for page in pages:
        if segment_size(page.keyframe) != (seg_w, seg_h):
            raise ValueError("its channels do not fit each other")
        reader.take_index(page)

    def read(x: int, y: int, w: int, h: int) -> RGB:
        out = np.full((h, w, 3), 255, np.uint8)
        for row in range(y // seg_h, (y + h - 1) // seg_h + 1):
            for column in range(x // seg_w, (x + w - 1) // seg_w + 1):
                index = row * num_x + column
                found = [reader.segment(page, first + index) for page, first in planes]
                if all(part is None for part in found):
                    continue
                left, top = column * seg_w, row * seg_h
                x0, y0 = max(x, left), max(y, top)
                x1, y1 = min(x + w, left + seg_w), min(y + h, top + seg_h)
                inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
                samples = [_full(keyframe, seg_w, seg_h) if a is None else a for a in found]
                parts = [part[inside] for part in samples]
                joined = np.concatenate(parts, -1) if len(parts) > 1 else parts[0]
                out[y0 - y : y1 - y, x0 - x : x1 - x] = _page_rgb(keyframe, joined)
        return out

    return Level(size=(width, height), read=read)


def _full(keyframe: Any, width: int, height: int) -> NDArray[np.uint8]:
    """Samples of a plane that is left out where others are not."""
    return np.full((height, width, keyframe.shaped[-1]), 255, np.uint8)


def _page_rgb(frame: Any, samples: NDArray[np.uint8]) -> RGB:
    """Samples (h, w, 1 to 4) of a page, or of one for each channel, as RGB on white."""
    if frame.photometric in (_RGB, _YCBCR) and samples.shape[-1] == 3 and frame.bitspersample == 8:
        return samples  # nearly all slides: no copy
    if frame.photometric == _PALETTE:
        return _colour_table(frame)[samples[..., 0]]
    if isinstance(frame.bitspersample, int):  # others are scaled where they are unpacked
        samples = scaled_to_8_bits(samples, frame.bitspersample)
    if frame.photometric == _CMYK:
        return cmyk_rgb(samples)
    if frame.photometric == _LAB:
        return lab_rgb(samples)
    # Without the tag, which the standard demands, a fourth sample is mostly an opacity.
    opacity = _OPACITY.get(frame.extrasamples[0], "ignored") if frame.extrasamples else "straight"
    return to_rgb(samples, inverted=frame.photometric == _MIN_IS_WHITE, opacity=opacity)


def _colour_table(frame: Any) -> RGB:
    """The colours (256, 3) of a palette, which are of 16 bits; some writers give 8."""
    colours = np.asarray(frame.colormap, np.uint16).T
    table = np.full((256, 3), 255, np.uint8)
    table[: len(colours)] = colours >> 8 if colours.max(initial=0) > 255 else colours
    return table
