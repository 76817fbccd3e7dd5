"""Slides that OpenSlide reads: SVS, NDPI, MRXS, SCN, BIF, VMS, and standard DICOM."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from histonuc.slides.dicom_header import date_notes
from histonuc.slides.limits import check_folder, check_piece, check_whole
from histonuc.slides.pixels import flatten
from histonuc.slides.protocol import RGB, Contents, Level
from histonuc.slides.resolution import Scale, plausible_scale, unit_um

_ASSOCIATED_BYTES = 11
"""Memory a pixel of a picture beside the tissue takes: RGBA twice, and RGB."""


def open_with_openslide(path: Path, folder: Path | None = None) -> Contents:
    """Open a slide.

    Args:
        path: of the slide.
        folder: of which OpenSlide opens whatever it takes for a part of the slide; None where it
            keeps to the one file.

    Raises:
        OpenSlideError: OpenSlide does not know the file, or it is damaged.
        RefusedError: its tiles take too much memory, or a pipe lies among its files.
    """
    if folder is not None:
        check_folder(folder)
    handle = _Handle(path)
    properties = dict(handle.slide.properties)
    for index in range(handle.slide.level_count):
        width, height = (_tile_side(properties, index, side) for side in ("width", "height"))
        check_piece(width, height, "tile")
    return Contents(
        levels=tuple(
            Level(size=size, read=partial(handle.read, index, downsample))
            for index, (size, downsample) in enumerate(
                zip(handle.slide.level_dimensions, handle.slide.level_downsamples, strict=True)
            )
        ),
        reader="OpenSlide",
        scale=_scale(properties),
        bounds_xyxy=_bounds(properties, handle.slide.dimensions),
        objective=_number(properties, "openslide.objective-power"),
        notes=date_notes(properties),
        properties=properties,
        associated={
            name: partial(handle.read_associated, name) for name in handle.slide.associated_images
        },
        icc_profile=_profile(handle.slide),
        close=handle.close,
    )


class _Handle:
    """An OpenSlide object that survives damage.

    After one error OpenSlide refuses every further read of the same object, also in the threads
    beside. So whoever fails reads again through a new object of its own, which then takes the
    shared place, or is renewed once more where the damage is real.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.slide = self._open()

    def read(self, level: int, downsample: float, x: int, y: int, w: int, h: int) -> RGB:
        # OpenSlide wants the corner in level-0 pixels and turns it back by the same factor.
        corner = (round(x * downsample), round(y * downsample))
        slide = self.slide
        try:
            region = slide.read_region(corner, level, (w, h))
        except self._errors:
            fresh = self._open()
            try:
                region = fresh.read_region(corner, level, (w, h))
            except self._errors:
                self._replace(slide, self._open())
                raise
            self._replace(slide, fresh)
        return flatten(np.asarray(region))

    def read_associated(self, name: str) -> RGB:
        slide = self._open()
        sides = (f"openslide.associated.{name}.{side}" for side in ("width", "height"))
        width, height = (int(slide.properties.get(side, 0)) for side in sides)
        check_whole(_ASSOCIATED_BYTES * width * height, f"the {name} of {width} x {height} pixels")
        return flatten(np.asarray(slide.associated_images[name]))

    def close(self) -> None:
        self.slide.close()

    def _open(self) -> Any:
        import openslide

        self._errors: type[Exception] = openslide.OpenSlideError
        return openslide.OpenSlide(str(self._path))

    def _replace(self, failed: object, fresh: object) -> None:
        """Other threads may still read through the failed object: it closes with its last user."""
        with self._lock:
            if self.slide is failed:
                self.slide = fresh


def _profile(slide: Any) -> bytes | None:
    """The ICC profile; empty where it is damaged, which matters only to who asks for colours."""
    from PIL import ImageCms

    try:
        profile = slide.color_profile
        return None if profile is None else bytes(profile.tobytes())
    except (ImageCms.PyCMSError, OSError):
        return b""


def _scale(properties: Mapping[str, str]) -> Scale | None:
    """What OpenSlide gives, or else the resolution that the file's TIFF tags state."""
    names = ("openslide.mpp-x", "openslide.mpp-y")
    sides = [_number(properties, name) for name in names]
    stated = plausible_scale(sides, f"OpenSlide: {' and '.join(names)}")
    if stated is not None:
        return stated
    unit = unit_um(properties.get("tiff.ResolutionUnit", ""))
    density = [_number(properties, f"tiff.{axis}Resolution") for axis in "XY"]
    sides = [unit / dots if unit and dots and dots > 0 else None for dots in density]
    return plausible_scale(sides, "TIFF tags: XResolution and YResolution")


def _bounds(
    properties: Mapping[str, str], size: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """Where the scanner has been, in level-0 pixels; None where the file does not say."""
    names = (f"openslide.bounds-{name}" for name in ("x", "y", "width", "height"))
    x, y, width, height = (_number(properties, name) for name in names)
    if x is None or y is None or width is None or height is None:
        return None
    x0, y0 = max(int(x), 0), max(int(y), 0)
    x1, y1 = min(int(x + width), size[0]), min(int(y + height), size[1])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _tile_side(properties: Mapping[str, str], level: int, side: str) -> int:
    return int(properties.get(f"openslide.level[{level}].tile-{side}", 0))


def _number(properties: Mapping[str, str], name: str) -> float | None:
    try:
        value = float(properties[name])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) else None
