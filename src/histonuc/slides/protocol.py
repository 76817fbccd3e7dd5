"""What an open slide offers, and what a reader has to provide for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from histonuc.slides.resolution import Scale

RGB = NDArray[np.uint8]
"""Pixels (H, W, 3)."""


class RefusedError(ValueError):
    """A file that is whole but not for us; whatever else a reader raises means damage."""


class RegionError(ValueError):
    """A window of a readable slide that cannot be read; the rest of the slide can.

    Attributes:
        box_xyxy: the window's corners in level-0 pixels.
    """

    def __init__(self, message: str, box_xyxy: tuple[int, int, int, int]) -> None:
        super().__init__(message)
        self.box_xyxy = box_xyxy


class Slide(Protocol):
    """An open slide or image. Any number of threads may read it at once; only one closes it, last.

    Attributes:
        size: width and height at level 0.
        mpp: microns per level-0 pixel; None when the file does not say.
        mpp_xy: the same along x and y; `mpp` is their geometric mean, which keeps areas right.
        mpp_source: where the file states it, for people ("OME-XML: PhysicalSizeX and
            PhysicalSizeY"); empty when it does not.
        bounds_xyxy: left, top, right and bottom, in level-0 pixels, of the part that the scanner
            visited; the whole slide where the file does not say. QuPath shows this part only and
            counts pixels from its corner.
        objective: nominal magnification of the objective; None when the file does not say.
        notes: what is odd about the file though it can be read, each a sentence for people.
        is_plain: a single image rather than a whole slide.
        levels: width and height of every pyramid level, the finest first.
        downsamples: level-0 pixels per pixel of every level.
        reader: the library that reads it.
        properties: what the file says about itself.
        icc_profile: the colour profile inside the file.
    """

    size: tuple[int, int]
    mpp: float | None
    mpp_xy: tuple[float, float] | None
    mpp_source: str
    bounds_xyxy: tuple[int, int, int, int]
    objective: float | None
    notes: tuple[str, ...]
    is_plain: bool
    levels: tuple[tuple[int, int], ...]
    downsamples: tuple[float, ...]
    reader: str
    properties: Mapping[str, str]
    icc_profile: bytes | None

    def read(self, x: int, y: int, w: int, h: int, out_w: int, out_h: int) -> RGB:
        """RGB (out_h, out_w, 3) of the window (x, y, w, h) in level-0 pixels.

        Raises:
            RegionError: this window is damaged.
            OSError: the drive or network share does not answer (`files.STORAGE_ERRORS`).
        """
        ...

    def thumbnail(
        self, max_px: int, unreadable: list[tuple[int, int, int, int]] | None = None
    ) -> RGB:
        """The whole slide as RGB, longest side at most `max_px`, never enlarged.

        Damaged parts stay white; their boxes (x0, y0, x1, y1) in pixels of the thumbnail are
        added to `unreadable`.
        """
        ...

    def associated(self) -> tuple[str, ...]:
        """Names of the pictures beside the tissue: label, macro, thumbnail."""
        ...

    def read_associated(self, name: str) -> RGB:
        """One of them.

        Raises:
            ValueError: no such picture, or a damaged one.
        """
        ...

    def close(self) -> None: ...  # noqa: D102

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of a pyramid.

    Attributes:
        size: width and height.
        read: RGB (h, w, 3) of the window (x, y, w, h) in this level's pixels, all of it inside.
            Called from several threads; may raise anything on damage.
    """

    size: tuple[int, int]
    read: Callable[[int, int, int, int], RGB]


def _nothing() -> None:
    """Nothing to close."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a reader found in a file; see `Slide` for the attributes not explained here.

    Attributes:
        levels: the finest first.
        scale: microns per level-0 pixel and where the file states them; None when it does not.
        bounds_xyxy: None for the whole slide.
        associated: readers of the pictures beside the tissue, by name.
        icc_profile: empty where there is one that cannot be read.
        load: decodes a picture that is held in memory, so that damage shows; None for others.
        close: lets go of the file.
    """

    levels: tuple[Level, ...]
    reader: str
    scale: Scale | None = None
    bounds_xyxy: tuple[int, int, int, int] | None = None
    objective: float | None = None
    notes: tuple[str, ...] = ()
    is_plain: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)
    associated: Mapping[str, Callable[[], RGB]] = field(default_factory=dict)
    icc_profile: bytes | None = None
    load: Callable[[], object] | None = None
    close: Callable[[], None] = _nothing
