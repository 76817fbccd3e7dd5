"""Slides that OpenSlide reads: SVS, NDPI, MRXS, SCN, BIF, VMS, and standard DICOM."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from histonuc.slides.pixels import flatten, plausible_mpp
from histonuc.slides.protocol import RGB, Contents, Level


def open_with_openslide(path: Path) -> Contents:
    """Open a slide.

    Raises:
        OpenSlideError: OpenSlide does not know the file, or it is damaged.
    """
    handle = _Handle(path)
    properties = dict(handle.slide.properties)
    profile = handle.slide.color_profile
    return Contents(
        levels=tuple(
            Level(size=size, read=partial(handle.read, index, downsample))
            for index, (size, downsample) in enumerate(
                zip(handle.slide.level_dimensions, handle.slide.level_downsamples, strict=True)
            )
        ),
        reader="OpenSlide",
        mpp_xy=plausible_mpp(*(_number(properties, f"openslide.mpp-{axis}") for axis in "xy")),
        properties=properties,
        associated={
            name: partial(handle.read_associated, name) for name in handle.slide.associated_images
        },
        icc_profile=profile.tobytes() if profile is not None else None,
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
        return flatten(np.asarray(self._open().associated_images[name]))

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


def _number(properties: dict[str, str], name: str) -> float | None:
    try:
        return float(properties[name])
    except (KeyError, ValueError):
        return None
