"""DICOM slides that OpenSlide does not open, with the extra `dicom` (pydicom).

OpenSlide wants every attribute the standard asks for; older converters left some out. Needed here
are only the sizes and the frames, compressed with JPEG or JPEG 2000, or not at all.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from histonuc.inference.slides.pixels import EIGHT_BITS, plausible_mpp, to_rgb
from histonuc.inference.slides.protocol import RGB, Contents, Level, RefusedError

_WSI = "1.2.840.10008.5.1.4.1.1.77.1.6"
_BESIDE = ("LABEL", "OVERVIEW", "LOCALIZER", "THUMBNAIL")
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")


@dataclass(frozen=True, kw_only=True)
class _Instance:
    """One file, its attributes as plain values: pydicom's own are made when first asked for.

    Attributes:
        kind: VOLUME for tissue, or the picture beside it.
        size: width and height of the whole picture.
        frame: rows, columns and samples of every frame.
        syntax: UID of the compression.
        is_rgb: the frames are stored as RGB, as far as the attributes say.
        is_planar: samples of uncompressed frames come one plane after another.
        spans: offset and length of each frame in the file.
        places: left and top (n, 2) of each frame in the whole picture.
    """

    kind: str
    size: tuple[int, int]
    frame: tuple[int, int, int]
    syntax: str
    is_rgb: bool
    is_planar: bool
    spans: Sequence[tuple[int, int]]
    places: NDArray[np.int64]
    mpp_xy: tuple[float, float] | None
    properties: Mapping[str, str]
    stream: BinaryIO
    lock: threading.Lock


def open_dicom(path: Path) -> Contents:
    """Open a DICOM slide: the file, and those beside it of the same series as further levels.

    Raises:
        RefusedError: no whole-slide image, or of a kind that cannot be decoded.
    """
    with contextlib.ExitStack() as stack:
        first = _open(path, stack)
        others = [_open(file, stack) for file in _siblings(path)]
        volume = [one for one in (first, *others) if one.kind not in _BESIDE] or [first]
        by_size = {one.size: one for one in volume}
        levels = [by_size[size] for size in sorted(by_size, reverse=True)]
        beside = {one.kind.lower(): one for one in others if one.kind in _BESIDE}
        return _contents(levels, beside, stack.pop_all().close)


def _contents(
    levels: Sequence[_Instance], beside: Mapping[str, _Instance], close: Callable[[], None]
) -> Contents:
    return Contents(
        levels=tuple(Level(size=one.size, read=partial(_window, one)) for one in levels),
        reader="pydicom",
        mpp_xy=levels[0].mpp_xy,
        properties=levels[0].properties,
        associated={name: partial(_window, one, 0, 0, *one.size) for name, one in beside.items()},
        close=close,
    )


def _open(path: Path, stack: contextlib.ExitStack) -> _Instance:
    from pydicom import config, dcmread

    stream = stack.enter_context(path.open("rb"))
    with warnings.catch_warnings(), config.disable_value_validation():  # names too long and such
        warnings.simplefilter("ignore")
        facts = dcmread(stream, stop_before_pixels=True)
        if str(facts.get("SOPClassUID")) != _WSI:
            raise RefusedError("no DICOM whole-slide image")
        if facts.BitsAllocated != 8:
            raise RefusedError(f"it holds {facts.BitsAllocated}-bit pixels: {EIGHT_BITS}")
        return _instance(facts, stream)


def _instance(facts: Any, stream: BinaryIO) -> _Instance:
    frame = (int(facts.Rows), int(facts.Columns), int(facts.SamplesPerPixel))
    if min(frame) < 1:
        raise ValueError("frames without pixels")
    spans, places = _spans(stream, facts), _places(facts)
    if len(places) > len(spans):
        raise ValueError(f"expected {len(places)} frames, got {len(spans)}")
    image_type = [str(part).upper() for part in facts.get("ImageType", ())]
    named = ("Manufacturer", "ManufacturerModelName", "StudyDate", "SeriesInstanceUID")
    return _Instance(
        kind=image_type[2] if len(image_type) > 2 else "VOLUME",
        size=(int(facts.TotalPixelMatrixColumns), int(facts.TotalPixelMatrixRows)),
        frame=frame,
        syntax=str(facts.file_meta.TransferSyntaxUID),
        is_rgb=facts.PhotometricInterpretation == "RGB",
        is_planar=facts.get("PlanarConfiguration", 0) == 1,
        spans=spans,
        places=places,
        mpp_xy=_mpp(facts),
        properties={f"dicom.{name}": str(facts.get(name)) for name in named if name in facts},
        stream=stream,
        lock=threading.Lock(),
    )


def _siblings(path: Path) -> list[Path]:
    """Other files of the same series in the same folder."""
    series = series_uid(path)
    others = sorted(path.parent.glob("*.dcm")) if series is not None else []
    return [file for file in others if file != path and series_uid(file) == series]


def series_uid(path: Path) -> bytes | None:
    """Series of a DICOM file, found in its first bytes without reading it through.

    The tag (0020,000E), its type UI, and the length in two bytes.
    """
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    place = head.find(b"\x20\x00\x0e\x00UI")
    if place < 0:
        return None
    length = int.from_bytes(head[place + 6 : place + 8], "little")
    return head[place + 8 : place + 8 + length].strip(b"\0 ")


def _spans(stream: BinaryIO, facts: Any) -> list[tuple[int, int]]:
    """Offset and length of each frame in the file, which stands at its pixel data."""
    from pydicom.encaps import parse_basic_offsets, parse_fragments

    start = stream.tell()
    explicit = stream.read(6)[4:6].isalpha()  # the tag, then OB or OW, two bytes, four of length
    header = 12 if explicit else 8
    num = int(facts.get("NumberOfFrames", 1))
    if facts.file_meta.TransferSyntaxUID in _UNCOMPRESSED:
        length = int(facts.Rows) * int(facts.Columns) * int(facts.SamplesPerPixel)
        return [(start + header + i * length, length) for i in range(num)]
    stream.seek(start + header)
    parse_basic_offsets(stream)
    _, offsets = parse_fragments(stream)
    if len(offsets) != num:
        raise RefusedError(f"expected a fragment a frame, got {len(offsets)} for {num} frames")
    spans = []
    for offset in offsets:
        stream.seek(offset + 4)
        spans.append((offset + 8, int.from_bytes(stream.read(4), "little")))
    return spans


def _places(facts: Any) -> NDArray[np.int64]:
    """Left and top (n, 2) of each frame in the whole picture."""
    functional = facts.get("PerFrameFunctionalGroupsSequence")
    if functional and "PlanePositionSlideSequence" in functional[0]:
        positions = [group.PlanePositionSlideSequence[0] for group in functional]
        return np.array(
            [
                (
                    p.ColumnPositionInTotalImagePixelMatrix - 1,
                    p.RowPositionInTotalImagePixelMatrix - 1,
                )
                for p in positions
            ],
            np.int64,
        )
    columns = range(0, int(facts.TotalPixelMatrixColumns), int(facts.Columns))
    rows = range(0, int(facts.TotalPixelMatrixRows), int(facts.Rows))
    if len(columns) * len(rows) > int(facts.get("NumberOfFrames", 1)):
        raise ValueError("fewer frames than the picture needs")
    return np.array([(x, y) for y in rows for x in columns], np.int64)


def _window(one: _Instance, x: int, y: int, w: int, h: int) -> RGB:
    """RGB of a window; where no frame lies it is white."""
    out = np.full((h, w, 3), 255, np.uint8)
    rows, columns, _ = one.frame
    ends = one.places + np.array([columns, rows])
    touching = (one.places < (x + w, y + h)).all(1) & (ends > (x, y)).all(1)
    for index in np.flatnonzero(touching).tolist():
        left, top = one.places[index].tolist()
        pixels = _decode(one, index)
        x0, y0 = max(x, left), max(y, top)
        x1, y1 = min(x + w, left + columns), min(y + h, top + rows)
        out[y0 - y : y1 - y, x0 - x : x1 - x] = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
    return out


def _decode(one: _Instance, index: int) -> RGB:
    import imagecodecs

    offset, length = one.spans[index]
    with one.lock:
        one.stream.seek(offset)
        content = one.stream.read(length)
    rows, columns, samples = one.frame
    if one.syntax in _UNCOMPRESSED:
        pixels = np.frombuffer(content, np.uint8)
        if one.is_planar:
            pixels = np.moveaxis(pixels.reshape(samples, rows, columns), 0, -1)
    elif content[:2] == b"\xff\xd8":
        # A JFIF or Adobe header decides whatever the attributes say; without one they do.
        marked = b"JFIF" in content[:32] or b"Adobe" in content[:64]
        colours = "RGB" if one.is_rgb and not marked and samples == 3 else None
        pixels = imagecodecs.jpeg8_decode(content, colorspace=colours)
    else:
        pixels = imagecodecs.jpeg2k_decode(content)
    return to_rgb(np.asarray(pixels, np.uint8).reshape(one.frame))


def _mpp(facts: Any) -> tuple[float, float] | None:
    """Microns per pixel from the pixel spacing, which is in mm, rows first.

    The imaged volume's size would give it too, but converters that leave out the spacing write
    placeholders there.
    """
    shared = facts.get("SharedFunctionalGroupsSequence")
    if not shared or "PixelMeasuresSequence" not in shared[0]:
        return None
    y, x = (1e3 * float(value) for value in shared[0].PixelMeasuresSequence[0].PixelSpacing)
    return plausible_mpp(x, y)
