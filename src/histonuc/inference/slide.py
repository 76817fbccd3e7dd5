"""Slides and images behind one reader: size, microns per pixel, any window at any scale.

Windows are given in level-0 pixels; reading takes the nearest finer pyramid level and resamples
it, by area when shrinking and bilinearly when enlarging. Beyond the border everything is white.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

SLIDE_SUFFIXES = frozenset((".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide"))
TIFF_SUFFIXES = frozenset((".tif", ".tiff"))
IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg"))
KNOWN_SUFFIXES = SLIDE_SUFFIXES | TIFF_SUFFIXES | IMAGE_SUFFIXES
"""What a folder is searched for."""

PLAUSIBLE_MPP = (0.05, 10.0)
MAX_PLAIN_PIXELS = 1 << 30
"""Largest image held in memory at once (3 GB of RGB)."""
PYRAMID_PIXELS = 1 << 26
"""Single-level tiled TIFFs above this are read in windows instead of whole."""
_TIFF_PLAIN = (0, 1, 2, 6)  # photometric: grey (white or black is zero), RGB, YCbCr
_TIFF_UNIT_UM = {2: 25_400.0, 3: 10_000.0}  # ResolutionUnit inch, centimetre


class Slide(Protocol):
    """An open slide or image.

    Attributes:
        size: width and height at level 0.
        mpp: microns per level-0 pixel; None when the file does not say.
        is_plain: a single image rather than a whole slide.
        levels: width and height of every pyramid level, the finest first.
        properties: what the file says about itself, under OpenSlide's names.
    """

    size: tuple[int, int]
    mpp: float | None
    is_plain: bool
    levels: tuple[tuple[int, int], ...]
    properties: Mapping[str, str]

    def read(self, x: int, y: int, w: int, h: int, out_w: int, out_h: int) -> NDArray[np.uint8]:
        """RGB (out_h, out_w, 3) of the window (x, y, w, h) in level-0 pixels."""
        ...

    def thumbnail(self, max_px: int) -> NDArray[np.uint8]:
        """The whole slide as RGB, longest side at most `max_px`, never enlarged."""
        ...

    def close(self) -> None: ...  # noqa: D102

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class _Closing:
    """``with open_slide(path) as slide``."""

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class PlainImage(_Closing):
    """An image held in memory.

    Args:
        pixels: RGB uint8 (H, W, 3).
        mpp: microns per pixel, None when unknown.
    """

    def __init__(self, pixels: NDArray[np.uint8], mpp: float | None = None) -> None:
        self._pixels = pixels
        self.size: tuple[int, int] = (pixels.shape[1], pixels.shape[0])
        self.mpp = mpp
        self.is_plain = True
        self.levels: tuple[tuple[int, int], ...] = (self.size,)
        self.properties: Mapping[str, str] = {}

    def read(self, x: int, y: int, w: int, h: int, out_w: int, out_h: int) -> NDArray[np.uint8]:
        """RGB (out_h, out_w, 3) of the window (x, y, w, h)."""
        width, height = self.size
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + w, width), min(y + h, height)
        inside = self._pixels[top : max(bottom, top), left : max(right, left)]
        if inside.shape[:2] != (h, w):
            window = np.full((h, w, 3), 255, np.uint8)
            if inside.size:
                window[top - y : bottom - y, left - x : right - x] = inside
            inside = window
        return resample(inside, out_w, out_h)

    def thumbnail(self, max_px: int) -> NDArray[np.uint8]:
        """The whole image as RGB, longest side at most `max_px`."""
        return resample(self._pixels, *fit(self.size, max_px))


class OpenSlideFile(_Closing):
    """A whole-slide image that OpenSlide reads.

    Raises:
        ValueError: OpenSlide does not know the file, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        import openslide

        try:
            self._slide = openslide.OpenSlide(str(path))
        except openslide.OpenSlideError as error:
            raise ValueError(f"{path} is damaged or no slide: {error}") from None
        self._path = path
        self._errors: type[Exception] = openslide.OpenSlideError
        self.size: tuple[int, int] = self._slide.dimensions
        self.levels: tuple[tuple[int, int], ...] = self._slide.level_dimensions
        self.properties: Mapping[str, str] = dict(self._slide.properties)
        self.mpp = _openslide_mpp(self.properties)
        self.is_plain = False

    def read(self, x: int, y: int, w: int, h: int, out_w: int, out_h: int) -> NDArray[np.uint8]:
        """RGB (out_h, out_w, 3) of the window (x, y, w, h) in level-0 pixels."""
        shrink = min(w / out_w, h / out_h)
        level = self._slide.get_best_level_for_downsample(shrink * 1.001)
        scale = self._slide.level_downsamples[level]
        size = (max(round(w / scale), 1), max(round(h / scale), 1))
        try:
            region = self._slide.read_region((x, y), level, size)
        except self._errors as error:
            raise ValueError(f"{self._path}: cannot read at ({x}, {y}): {error}") from None
        return resample(_flatten(np.asarray(region)), out_w, out_h)

    def thumbnail(self, max_px: int) -> NDArray[np.uint8]:
        """The whole slide as RGB, longest side at most `max_px`; read in strips."""
        width, height = self.size
        out_w, out_h = fit(self.size, max_px)
        level = self._slide.get_best_level_for_downsample(max(self.size) / max(out_w, out_h))
        num_strips = math.ceil(math.prod(self._slide.level_dimensions[level]) / 2**24)
        rows = math.ceil(out_h / num_strips)
        thumb = np.empty((out_h, out_w, 3), np.uint8)
        for top in range(0, out_h, rows):
            bottom = min(top + rows, out_h)
            y0, y1 = top * height // out_h, bottom * height // out_h
            thumb[top:bottom] = self.read(0, y0, width, y1 - y0, out_w, bottom - top)
        return thumb

    def close(self) -> None:
        """Let go of the file."""
        self._slide.close()


def open_slide(path: Path) -> Slide:
    """Open a slide or image by its kind.

    Args:
        path: ``.svs .ndpi .mrxs .scn .bif .vms``, TIFF, PNG or JPEG.

    Raises:
        ValueError: missing, damaged, of an unknown kind, of 16 bits, or too large for one image.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise ValueError(f"no file at {path}")
    if suffix in SLIDE_SUFFIXES:
        return OpenSlideFile(path)
    if suffix in TIFF_SUFFIXES:
        return _open_tiff(path)
    if suffix in IMAGE_SUFFIXES:
        return _open_image(path)
    raise ValueError(f"{path}: cannot read {suffix!r} files; known are {sorted(KNOWN_SUFFIXES)}")


def resample(pixels: NDArray[np.uint8], out_w: int, out_h: int) -> NDArray[np.uint8]:
    """RGB at another size: area-averaged when shrinking, bilinear when enlarging."""
    height, width = pixels.shape[:2]
    if (width, height) == (out_w, out_h):
        return np.ascontiguousarray(pixels)
    shrinking = width * height > out_w * out_h
    method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (out_w, out_h), interpolation=method), np.uint8)


def fit(size: tuple[int, int], max_px: int) -> tuple[int, int]:
    """Width and height scaled down so that the longest side is at most `max_px`.

    >>> fit((4000, 1000), 400), fit((30, 20), 400)
    ((400, 100), (30, 20))
    """
    scale = min(1.0, max_px / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _openslide_mpp(properties: Mapping[str, str]) -> float | None:
    try:
        mpp = sum(float(properties[f"openslide.mpp-{axis}"]) for axis in "xy") / 2
    except (KeyError, ValueError):
        return None
    return mpp if PLAUSIBLE_MPP[0] <= mpp <= PLAUSIBLE_MPP[1] else None


def _flatten(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGBA on white; pixels outside the slide are transparent."""
    alpha = rgba[..., 3]
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(rgba[..., :3])
    opacity = alpha[..., None].astype(np.float32) / 255
    return np.asarray(np.rint(rgba[..., :3] * opacity + 255 * (1 - opacity)), np.uint8)


def _open_image(path: Path) -> PlainImage:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large is fine, and damage raises anyway
            with Image.open(path) as image:
                return PlainImage(_pil_rgb(image, path))
    except Image.DecompressionBombError:
        raise ValueError(
            f"{path} is too large for one plain image: convert it to a pyramidal TIFF"
        ) from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} is damaged or no image: {error}") from None


_EIGHT_BITS = (
    "the models know 8-bit bright-field RGB only, and the right scaling of more bits depends on "
    "the scanner; convert the image to 8 bits first"
)


def _pil_rgb(image: Image, path: Path) -> NDArray[np.uint8]:
    raw_modes = [str(part[3]) for part in getattr(image, "tile", ())]
    if image.mode.startswith(("I", "F")) or any("16" in mode for mode in raw_modes):
        raise ValueError(f"{path} has more than 8 bits a channel: {_EIGHT_BITS}")
    if "A" in image.mode or "transparency" in image.info:
        return _flatten(np.asarray(image.convert("RGBA")))
    return np.ascontiguousarray(np.asarray(image.convert("RGB")))


def _open_tiff(path: Path) -> Slide:
    import tifffile

    with contextlib.ExitStack() as stack:
        with _tiff_errors(path):
            tiff = stack.enter_context(tifffile.TiffFile(path))
            page: Any = tiff.pages[0]
            num_pixels = page.imagewidth * page.imagelength
            is_pyramid = page.is_tiled and (len(tiff.pages) > 1 or num_pixels > PYRAMID_PIXELS)
            mpp = _tiff_mpp(page)
        if is_pyramid:
            with contextlib.suppress(ValueError):  # OpenSlide does not take every tiled TIFF
                return OpenSlideFile(path)
        if num_pixels > MAX_PLAIN_PIXELS:
            raise ValueError(
                f"{path} has {num_pixels / 1e9:.1f} gigapixels and is no tiled pyramid: "
                "convert it to a pyramidal tiled TIFF"
            )
        if page.photometric not in _TIFF_PLAIN:
            return _open_image(path)  # palettes, CMYK, Lab: PIL knows how
        return PlainImage(_tiff_rgb(page, path), mpp)


@contextlib.contextmanager
def _tiff_errors(path: Path) -> Iterator[None]:
    """Damage as one clear error: tifffile trusts the tags and may end in any exception."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path} is damaged or no TIFF: {error}") from None


def _tiff_rgb(page: Any, path: Path) -> NDArray[np.uint8]:
    with _tiff_errors(path):
        pixels = page.asarray()
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.dtype != np.uint8:
        raise ValueError(f"{path} holds {pixels.dtype} pixels, expected uint8: {_EIGHT_BITS}")
    if page.axes == "SYX":
        pixels = np.moveaxis(pixels, 0, -1)
    if page.photometric == 0:  # MINISWHITE
        pixels = 255 - pixels
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    channels = pixels.shape[-1] if pixels.ndim == 3 else 0
    if channels not in (1, 2, 3, 4):
        raise ValueError(f"{path}: expected 1 to 4 channels, got the axes {page.axes}")
    if channels <= 2:
        pixels = np.concatenate([np.repeat(pixels[..., :1], 3, -1), pixels[..., 1:]], -1)
    return _flatten(pixels) if pixels.shape[-1] == 4 else np.ascontiguousarray(pixels)


def _tiff_mpp(page: Any) -> float | None:
    """Microns per pixel from the resolution tags, when their unit is absolute and it is likely."""
    unit_um = _TIFF_UNIT_UM.get(int(page.resolutionunit))
    resolution = float(np.mean([float(value) for value in page.resolution]))
    if unit_um is None or not resolution > 0:
        return None
    mpp = unit_um / resolution
    return mpp if PLAUSIBLE_MPP[0] <= mpp <= PLAUSIBLE_MPP[1] else None
