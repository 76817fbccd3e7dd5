"""TIFFs: slides by OpenSlide where it knows the scanner, the rest by tifffile.

OME-TIFF with its pyramids in sub-IFDs, generic pyramids, single levels of any size, several scenes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from histonuc.slides.limits import check_piece, check_whole
from histonuc.slides.openslide_reader import open_with_openslide
from histonuc.slides.orientation import TAG, orientation_note, turned_scale, upright
from histonuc.slides.pixels import check_channels, pick_scene
from histonuc.slides.protocol import RGB, Contents, Level, RefusedError
from histonuc.slides.tiff_directories import check_directories
from histonuc.slides.tiff_level import can_window, check_samples, tiff_level
from histonuc.slides.tiff_scenes import Scene, find_scenes
from histonuc.slides.tiff_segments import CACHE_BYTES, SegmentReader, segment_size
from histonuc.slides.whole import Whole

WHOLE_PIXELS = 1 << 26
"""Single-level TIFFs up to this size are held in memory, larger ones are read by windows."""


def open_tiff(path: Path, scene: int | None = None) -> Contents:
    """Open a TIFF.

    Raises:
        RefusedError: several scenes and none chosen, no bright-field RGB of 8 bits, or tiles that
            take too much memory.
    """
    import openslide

    check_directories(path)
    if openslide.OpenSlide.detect_format(str(path)) not in (None, "generic-tiff"):
        pick_scene([path.name], scene)
        return open_with_openslide(path)
    import tifffile

    with contextlib.ExitStack() as stack:
        # A file that OpenSlide does not know as NDPI has but the name of one.
        tiff = stack.enter_context(tifffile.TiffFile(path, is_ndpi=False))
        scenes, beside = find_scenes(tiff, path)
        chosen = scenes[pick_scene([one.name for one in scenes], scene)]
        reader = SegmentReader()
        stack.callback(reader.close)
        contents = _contents(chosen, beside, reader)
        return replace(contents, close=stack.pop_all().close)


def _contents(scene: Scene, beside: dict[str, Any], reader: SegmentReader) -> Contents:
    page = scene.levels[0][0].keyframe
    if len(scene.levels[0]) > 1 or page.samplesperpixel == 1:
        check_channels(len(scene.levels[0]), scene.channels, scene.colours)
    for pages in scene.levels:
        check_samples(pages)
        _check_pieces(pages, is_single=len(scene.levels) == 1)
    orientation = int(page.tags.valueof(TAG, 1))
    is_single = len(scene.levels) == 1 and len(scene.levels[0]) == 1
    is_plain = is_single and (_num_pixels(page) <= WHOLE_PIXELS or not can_window(page))
    levels = tuple(upright(tiff_level(pages, reader), orientation) for pages in scene.levels)
    whole = Whole(partial(_read_all, levels[0], reader), levels[0].size) if is_plain else None
    return Contents(
        levels=levels if whole is None else (whole.level,),
        reader="tifffile",
        scale=turned_scale(scene.scale, orientation),
        objective=scene.objective,
        notes=orientation_note(orientation),
        is_plain=is_plain,
        properties=_properties(page),
        associated={name: partial(_picture, one) for name, one in beside.items()},
        icc_profile=page.iccprofile,
        load=None if whole is None else whole.pixels,
    )


def _check_pieces(pages: Sequence[Any], *, is_single: bool) -> None:
    """Refuse a level of pages that take too much memory to decode.

    Args:
        pages: one, or one for each channel.
        is_single: whether there is no other level: one page alone may be decoded as a whole.

    Raises:
        RefusedError: with the bound and the way round it.
    """
    for page in pages:
        frame, (width, height) = page.keyframe, segment_size(page.keyframe)
        if frame.imagedepth > 1:
            raise RefusedError(f"it is a stack of {frame.imagedepth} planes: export one")
        if can_window(page):
            continue
        if not is_single or len(pages) > 1:
            check_piece(width, height, "tile or strip")
        # RGB of all, and of one piece: as it is stored, its samples twice, and its RGB.
        num_bytes = 3 * _num_pixels(frame) + max(page.databytecounts)
        num_bytes += width * height * (2 * frame.samplesperpixel + 3)
        check_whole(num_bytes, f"the image of {frame.imagewidth} x {frame.imagelength} pixels")


def _read_all(level: Level, reader: SegmentReader) -> RGB:
    """All of a level, of which no tile is kept any more."""
    pixels = level.read(0, 0, *level.size)
    reader.forget()
    return pixels


def _picture(page: Any) -> RGB:
    """A page that is a picture beside the tissue."""
    check_samples([page])
    _check_pieces([page], is_single=True)
    what = f"the picture of {page.imagewidth} x {page.imagelength} pixels"
    check_whole(3 * _num_pixels(page) + CACHE_BYTES, what)
    reader = SegmentReader()
    try:
        level = upright(tiff_level([page], reader), int(page.tags.valueof(TAG, 1)))
        return level.read(0, 0, *level.size)
    finally:
        reader.close()


def _num_pixels(page: Any) -> int:
    return int(page.imagewidth) * int(page.imagelength)


def _properties(page: Any) -> dict[str, str]:
    named = {"make": 271, "model": 272, "software": 305, "date": 306}
    found = {name: page.tags.valueof(code) for name, code in named.items()}
    return {f"tiff.{name}": str(value) for name, value in found.items() if value} | {
        "tiff.compression": page.compression.name,
        "tiff.tile": f"{page.tilewidth} x {page.tilelength}" if page.is_tiled else "strips",
    }
