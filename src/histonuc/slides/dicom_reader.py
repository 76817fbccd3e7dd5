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

from histonuc.slides.codestreams import check_jpeg2000
from histonuc.slides.dicom_frames import UNCOMPRESSED, Spans, find_places, find_spans
from histonuc.slides.dicom_header import date_notes, read_objective, read_scale
from histonuc.slides.limits import MAX_TEXT_BYTES, check_piece, check_whole
from histonuc.slides.pixels import BRIGHT_FIELD, EIGHT_BITS, scaled, to_rgb
from histonuc.slides.protocol import RGB, Contents, Level, RefusedError
from histonuc.slides.resolution import Scale

_WSI = "1.2.840.10008.5.1.4.1.1.77.1.6"
_BESIDE = ("LABEL", "OVERVIEW", "LOCALIZER", "THUMBNAIL")


@dataclass(frozen=True, kw_only=True)
class _Instance:
    """One file, its attributes as plain values: pydicom's own are made when first asked for.

    Attributes:
        kind: VOLUME for tissue, or the picture beside it.
        size: width and height of the whole picture.
        frame: rows, columns and samples of every frame.
        bits: of a sample.
        syntax: UID of the compression.
        is_rgb: the frames are stored as RGB, as far as the attributes say.
        is_planar: samples of uncompressed frames come one plane after another.
        spans: of each frame in the file.
        places: left and top (n, 2) of each frame in the whole picture.
        scale: of its pixels.
        objective: nominal magnification.
        notes: what is odd about it.
        reference: UID of the frame of reference; empty when none is stated.
        icc_profile: colour profile of its optical path.
        concatenation: UID that the files share whose frames make one picture; empty without.
        is_full: frames cover the whole picture, those of a sparse one only where tissue is.
    """

    kind: str
    size: tuple[int, int]
    frame: tuple[int, int, int]
    bits: int
    syntax: str
    is_rgb: bool
    is_planar: bool
    spans: Spans
    places: NDArray[np.int64]
    scale: Scale | None
    objective: float | None
    notes: tuple[str, ...]
    reference: str
    icc_profile: bytes | None
    concatenation: str
    is_full: bool
    properties: Mapping[str, str]
    stream: BinaryIO
    lock: threading.Lock


def open_dicom(path: Path) -> Contents:
    """Open a DICOM slide: the file, and those beside it of the same series.

    They are further levels where they have the same frame of reference, parts of one level where
    they are one concatenation, or pictures beside the tissue.

    Raises:
        RefusedError: no whole-slide image, or of a kind that cannot be decoded.
    """
    with contextlib.ExitStack() as stack:
        first = _open(path, stack)
        others = [_open(file, stack) for file in _siblings(path)]
        volume = [one for one in (first, *others) if one.kind not in _BESIDE] or [first]
        levels = _levels([one for one in volume if one.reference in ("", volume[0].reference)])
        beside = {one.kind.lower(): one for one in others if one.kind in _BESIDE}
        return _contents(levels, beside, stack.pop_all().close)


def _levels(volume: Sequence[_Instance]) -> list[list[_Instance]]:
    """The files of each level, the finest level first; of copies the first counts."""
    levels: dict[tuple[int, int], list[_Instance]] = {}
    for one in volume:
        parts = levels.setdefault(one.size, [])
        if not parts or (one.concatenation and one.concatenation == parts[0].concatenation):
            parts.append(one)
    for size, parts in levels.items():
        if parts[0].concatenation:
            _check_complete(size, parts)
    return [levels[size] for size in sorted(levels, reverse=True)]


def _check_complete(size: tuple[int, int], parts: Sequence[_Instance]) -> None:
    """Refuse a concatenation of which a file is missing: its place would read as glass."""
    rows, columns, _ = parts[0].frame
    needed = -(-size[0] // columns) * -(-size[1] // rows)
    num = len(np.unique(np.concatenate([one.places for one in parts]), axis=0))
    if parts[0].is_full and num < needed:
        raise RefusedError(
            f"the level of {size[0]} x {size[1]} is spread over several files and {needed - num} "
            f"of its {needed} frames are in none of them: put all files of the series in one folder"
        )


def _contents(
    levels: Sequence[Sequence[_Instance]],
    beside: Mapping[str, _Instance],
    close: Callable[[], None],
) -> Contents:
    first = levels[0][0]
    return Contents(
        levels=tuple(Level(size=parts[0].size, read=partial(_window, parts)) for parts in levels),
        reader="pydicom",
        scale=first.scale,
        objective=first.objective,
        notes=first.notes + date_notes(first.properties),
        properties=first.properties,
        associated={name: partial(_picture, one) for name, one in beside.items()},
        icc_profile=first.icc_profile,
        close=close,
    )


def _open(path: Path, stack: contextlib.ExitStack) -> _Instance:
    from pydicom import config, dcmread

    stream = stack.enter_context(path.open("rb"))
    with warnings.catch_warnings(), config.disable_value_validation():  # names too long and such
        warnings.simplefilter("ignore")
        facts = dcmread(stream, stop_before_pixels=True, defer_size=MAX_TEXT_BYTES)
        if str(facts.get("SOPClassUID")) != _WSI:
            raise RefusedError("no DICOM whole-slide image")
        _check_kind(facts)
        return _instance(facts, stream)


def _check_kind(facts: Any) -> None:
    """Refuse what is no single plane of 8-bit bright-field RGB."""
    paths = facts.get("OpticalPathSequence") or ()
    names = ", ".join(str(path.get("OpticalPathDescription", "unnamed")) for path in paths)
    num = max(int(facts.get("NumberOfOpticalPaths", 1)), len(paths))
    if num > 1:
        raise RefusedError(f"it holds {num} optical paths ({names}), expected one: {BRIGHT_FIELD}")
    lights = [code for path in paths for code in path.get("IlluminationTypeCodeSequence") or ()]
    if any("fluorescence" in str(code.get("CodeMeaning", "")).lower() for code in lights):
        raise RefusedError(f"it shows fluorescence ({names}): {BRIGHT_FIELD}")
    planes = int(facts.get("TotalPixelMatrixFocalPlanes", 1))
    if planes > 1:
        raise RefusedError(f"it has {planes} planes of focus, expected one: export one")
    if facts.BitsAllocated != 8:
        raise RefusedError(f"it holds {facts.BitsAllocated}-bit pixels, expected 8: {EIGHT_BITS}")


def _instance(facts: Any, stream: BinaryIO) -> _Instance:
    frame = (int(facts.Rows), int(facts.Columns), int(facts.SamplesPerPixel))
    if min(frame) < 1:
        raise ValueError("frames without pixels")
    check_piece(frame[1], frame[0], "frame")
    spans, places = find_spans(stream, facts), find_places(facts)
    if len(places) > len(spans):
        raise ValueError(f"expected {len(places)} frames, got {len(spans)}")
    image_type = [str(part).upper() for part in facts.get("ImageType", ())]
    paths = facts.get("OpticalPathSequence")
    scale, notes = read_scale(facts)
    named = ["Manufacturer", "ManufacturerModelName", "SeriesInstanceUID"]
    named += [element.keyword for element in facts if element.VR == "DA"]
    return _Instance(
        kind=image_type[2] if len(image_type) > 2 else "VOLUME",
        size=(int(facts.TotalPixelMatrixColumns), int(facts.TotalPixelMatrixRows)),
        frame=frame,
        bits=int(facts.get("BitsStored", 8)),
        syntax=str(facts.file_meta.TransferSyntaxUID),
        is_rgb=facts.PhotometricInterpretation == "RGB",
        is_planar=facts.get("PlanarConfiguration", 0) == 1,
        spans=spans,
        places=places,
        scale=scale,
        objective=read_objective(paths),
        notes=notes,
        reference=str(facts.get("FrameOfReferenceUID", "")),
        icc_profile=paths[0].get("ICCProfile") if paths else None,
        concatenation=str(facts.get("ConcatenationUID", "")),
        is_full="PerFrameFunctionalGroupsSequence" not in facts,
        properties={f"dicom.{name}": str(facts.get(name)) for name in named if name in facts},
        stream=stream,
        lock=threading.Lock(),
    )


def _siblings(path: Path) -> list[Path]:
    """Other files of the same series in the same folder: all ``*.dcm``, or of any name."""
    series = series_uid(path)
    if series is None:
        return []
    suffix = ".dcm" if path.suffix.lower() == ".dcm" else ""
    others = sorted(one for one in path.parent.iterdir() if one.name.lower().endswith(suffix))
    return [
        file for file in others if file != path and is_dicom(file) and series_uid(file) == series
    ]


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do; the table of contents of a medium does not count."""
    if not path.is_file() or path.name == "DICOMDIR":
        return False
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def series_uid(path: Path) -> bytes | None:
    """Series of a DICOM file, found in its first bytes without reading it through.

    The tag (0020,000E), its type UI, and the length in two bytes. None where it is not found, as in
    what is no regular file.
    """
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    place = head.find(b"\x20\x00\x0e\x00UI")
    if place < 0:
        return None
    length = int.from_bytes(head[place + 6 : place + 8], "little")
    return head[place + 8 : place + 8 + length].strip(b"\0 ")


def _window(parts: Sequence[_Instance], x: int, y: int, w: int, h: int) -> RGB:
    """RGB of a window of one level; where no frame lies it is white."""
    out = np.full((h, w, 3), 255, np.uint8)
    for one in parts:
        rows, columns, _ = one.frame
        ends = one.places + np.array([columns, rows])
        touching = (one.places < (x + w, y + h)).all(1) & (ends > (x, y)).all(1)
        for index in np.flatnonzero(touching).tolist():
            left, top = one.places[index].tolist()
            pixels = _decode(one, index)
            x0, y0 = max(x, left), max(y, top)
            x1, y1 = min(x + w, left + columns), min(y + h, top + rows)
            inside = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
            out[y0 - y : y1 - y, x0 - x : x1 - x] = inside
    return out


def _decode(one: _Instance, index: int) -> RGB:
    import imagecodecs

    with one.lock:
        content = one.spans.read(one.stream, index)
    rows, columns, samples = one.frame
    # Decoders compare this with what the frame says before they make room for it.
    out = np.empty((rows, columns) if samples == 1 else one.frame, np.uint8)
    if one.syntax in UNCOMPRESSED:
        pixels = np.frombuffer(content, np.uint8)
        if one.is_planar:
            pixels = np.moveaxis(pixels.reshape(samples, rows, columns), 0, -1)
    elif content[:2] == b"\xff\xd8":
        # A JFIF or Adobe header decides whatever the attributes say; without one they do.
        marked = b"JFIF" in content[:32] or b"Adobe" in content[:64]
        colours = "RGB" if one.is_rgb and not marked and samples == 3 else None
        pixels = imagecodecs.jpeg8_decode(content, colorspace=colours, out=out)
    else:
        check_jpeg2000(content, columns, rows, samples)
        pixels = imagecodecs.jpeg2k_decode(content, out=out)
    return to_rgb(scaled(np.asarray(pixels, np.uint8).reshape(one.frame), one.bits))


def _picture(one: _Instance) -> RGB:
    """A file that is a picture beside the tissue."""
    width, height = one.size
    check_whole(4 * width * height, f"the {one.kind.lower()} of {width} x {height} pixels")
    return _window([one], 0, 0, width, height)
