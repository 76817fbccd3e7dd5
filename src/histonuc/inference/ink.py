"""Marker and margin ink on a slide, told from tissue by its colour and by being flat.

Green, blue, cyan and opaque black are colours that haematoxylin and eosin do not make. Red and
violet are: erythrocytes and strongly stained muscle are as red as a marker. But ink hides what lies
under it in the light that it absorbs, and by itself it is smooth at the size of a cell; tissue is
not. So ink of a doubtful colour is believed only where the slide is flat in the channels that it
absorbs, looked at closely enough to see cells.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.slides import RegionError, Slide

CELLS, CELL_PX = 1024, 16
"""Colours are judged in cells: at most so many along a side of the slide, and at least so many
level-0 pixels wide: in finer ones a dark nucleus has the colour of black ink."""
STEP_PX = 2
"""Texture is judged at one pixel for so many level-0 pixels."""
MAX_TEXTURE = 3.0
"""Mean difference in grey values from the surroundings, above which something is tissue."""
_FINE, _COARSE = 1.0, 4.0
"""Standard deviations of the Gaussians, in pixels, between which texture is measured."""
_NUCLEUS_CELLS = 7
"""Holes up to this wide in a doubtful colour are nuclei: their edges count as texture."""
_MORE_CELLS = 4
"""Texture is averaged over so many cells to each side, beside the reach of the Gaussians."""
_LOOK_PX, _MAX_LOOKS = 96, 128
"""Side in level-0 pixels of a window that is read of the slide, and how many are at most."""
_MIN_LOOK_PX = 16
"""Side of the smallest such window."""

Mask = NDArray[np.bool_]


def find_ink(slide: Slide, thumbnail: NDArray[np.uint8]) -> Mask:
    """Where ink covers a slide.

    Args:
        slide: open; a few windows of it are read where the thumbnail leaves a doubt.
        thumbnail: RGB uint8 (H, W, 3) of the whole slide.

    Returns:
        bool (H, W), in pixels of the thumbnail.
    """
    height, width = thumbnail.shape[:2]
    scale = max(slide.size) / max(height, width)
    shrink = max(CELL_PX / scale, max(height, width) / CELLS)
    shrink = max(1.0, min(shrink, min(height, width) / 32))
    size = round(width / shrink), round(height / shrink)
    cells = np.asarray(cv2.resize(thumbnail, size, interpolation=cv2.INTER_AREA), np.uint8)
    certain, doubtful = judge_colours(cells)
    either = _opened(certain | doubtful)
    doubtful &= either
    if doubtful.any():
        doubtful &= _flat_in_thumbnail(thumbnail, scale, cells, either)
    if doubtful.any() and scale > 2 * STEP_PX:  # the thumbnail does not show cells
        doubtful &= _flat_in_slide(slide, doubtful)
    # A stroke is wide, and its rim is a mixture with glass or tissue that no bound catches.
    radius = max(1, min(size) // 256)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    grown = cv2.dilate(_opened(certain | doubtful).view(np.uint8), kernel)
    return cv2.resize(grown, (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)


def beside_tissue(ink: Mask, tissue: Mask) -> Mask:
    """Ink under which tissue is thought to lie: what is nearest to it without ink is tissue.

    Args:
        ink: bool (H, W).
        tissue: bool (H, W), told by colours alone; the colour under ink says nothing.
    """
    if not ink.any() or ink.all():
        return ink
    _, nearest = cv2.distanceTransformWithLabels(
        ink.view(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    # Labels number the pixels without ink; each of these is nearest to itself.
    is_tissue = np.zeros(nearest.max() + 1, bool)
    is_tissue[nearest[~ink]] = tissue[~ink]
    return np.asarray(is_tissue[nearest] & ink)


def judge_colours(cells: NDArray[np.uint8]) -> tuple[Mask, Mask]:
    """Which colours are those of ink only, and which those of ink or of tissue: bool (h, w) each.

    Args:
        cells: RGB uint8 (h, w, 3), means over `CELL_PX` level-0 pixels or more.
    """
    red, green, blue = cv2.split(_density(cells))
    mean = (red + green + blue) / 3
    least = np.minimum(np.minimum(red, green), blue)
    most = np.maximum(np.maximum(red, green), blue)
    cold = (mean > 0.2) & (red > 1.1 * green)  # green, blue, cyan; or a blue haematoxylin
    certain = cold & ((red > 1.3 * green) | (red > green + 0.1))
    certain |= (mean > 0.7) & (least > 0.8 * most)  # black
    certain |= (mean > 1.0) & (least > 0.7 * most)  # black on tissue
    doubtful = cold | ((green > 0.15) & (red > 0.6 * green) & (blue < 0.28 * green))  # violet
    doubtful |= (green > 0.5) & (red < 0.2 * green) & (blue > 0.4 * green)  # red
    doubtful |= (green > 1.0) & (red < 0.3 * green) & (blue > 0.4 * green)  # red on tissue
    return certain, doubtful & ~certain


def _flat_in_thumbnail(
    thumbnail: NDArray[np.uint8], scale: float, cells: NDArray[np.uint8], coloured: Mask
) -> Mask:
    """The cells of the colour of ink where the thumbnail is flat.

    The rim of a stroke goes with its middle: beside it lies something else.
    """
    height, width = coloured.shape
    zoom = min(1.0, scale / STEP_PX)
    image = np.asarray(
        cv2.resize(thumbnail, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8
    )
    deviation = cv2.resize(_deviation(image), (width, height), interpolation=cv2.INTER_AREA)
    radius = math.ceil(2 * _COARSE * height / image.shape[0])
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    nucleus = np.ones((_NUCLEUS_CELLS, _NUCLEUS_CELLS), np.uint8)
    closed = cv2.morphologyEx(coloured.view(np.uint8), cv2.MORPH_CLOSE, nucleus)
    inside = cv2.erode(closed, kernel).astype(np.float32)
    around = (2 * (radius + _MORE_CELLS) + 1,) * 2
    summed = cv2.boxFilter(deviation * inside[..., None], -1, around, normalize=False)
    count = cv2.boxFilter(inside, -1, around, normalize=False)[..., None]
    mean = np.asarray(summed / np.maximum(count, 1), np.float32)
    texture = _strongest(mean, _density(cells))
    flat = (inside > 0) & (texture < MAX_TEXTURE)  # without an inside it is too narrow for a pen
    return cv2.dilate(flat.view(np.uint8), kernel).astype(bool) & coloured


def _flat_in_slide(slide: Slide, doubtful: Mask) -> Mask:
    """The doubtful cells in blocks where the slide itself is flat."""
    rows, columns = doubtful.shape
    step = np.array(slide.size) / (columns, rows)
    bordered = np.pad(doubtful, 1).view(np.uint8)
    depth = np.asarray(cv2.distanceTransform(bordered, cv2.DIST_C, 3), np.float32)[1:-1, 1:-1]
    block, deepest = _deepest(depth)
    texture = np.full(deepest.shape, np.nan)
    for place in zip(*np.nonzero(deepest >= 0), strict=True):
        row, column = (
            at * block + part for at, part in zip(place, divmod(deepest[place], block), strict=True)
        )
        side = min(_LOOK_PX, (2 * depth[row, column] - 1) * float(step.min()))
        center = (np.array([column, row]) + 0.5) * step
        texture[place] = _look(slide, center, max(_MIN_LOOK_PX, round(side)))
    flat = np.zeros(deepest.shape, bool)
    for row, column in zip(*np.nonzero(deepest >= 0), strict=True):  # one look may mislead
        near = texture[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        flat[row, column] = np.nanmedian(near) < MAX_TEXTURE
    return doubtful & flat.repeat(block, 0).repeat(block, 1)[:rows, :columns]


def _deepest(depth: NDArray[np.float32]) -> tuple[int, NDArray[np.int64]]:
    """The side of blocks of cells, and in each the cell that lies deepest inside; -1 for none.

    Args:
        depth: float32 (h, w), distance of each doubtful cell to the nearest other one; else 0.

    Returns:
        Cells along a side, such that `_MAX_LOOKS` blocks or fewer have a doubtful cell; and int
        (h', w'), row-major index inside the block.
    """
    block = 2
    while True:
        block *= 2
        padded = np.pad(depth, [(0, -n % block) for n in depth.shape])
        high, wide = (n // block for n in padded.shape)
        parts = padded.reshape(high, block, wide, block).swapaxes(1, 2).reshape(high, wide, -1)
        deepest = np.where(parts.any(-1), parts.argmax(-1), -1)
        if (deepest >= 0).sum() <= _MAX_LOOKS:
            return block, deepest


def _look(slide: Slide, center: NDArray[np.float64], side: int) -> float:
    """Texture of a square of so many level-0 pixels; infinite where it cannot be read."""
    x, y = np.round(center - side / 2).astype(int).tolist()
    try:
        window = slide.read(x, y, side, side, side // STEP_PX, side // STEP_PX)
    except RegionError:
        return math.inf
    mean = _deviation(window).mean((0, 1))
    return float(_strongest(mean, _density(window).mean((0, 1))))


def _deviation(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Difference of each value from its surroundings, in grey values: float32 (H, W, 3)."""
    fine, coarse = (cv2.GaussianBlur(image, (0, 0), sigma) for sigma in (_FINE, _COARSE))
    return cv2.absdiff(fine, coarse).astype(np.float32)


def _strongest(values: NDArray[np.float32], density: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest of values (..., 3) over the channels of no little density (..., 3)."""
    absorbs = density >= 0.35 * density.max(-1, keepdims=True)
    return np.asarray(np.where(absorbs, values, 0).max(-1), np.float32)


def _opened(mask: Mask) -> Mask:
    """The mask without what is narrower than three cells."""
    opened = cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    return opened.astype(bool)


def _density(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(-np.log10((image.astype(np.float32) + 1) / 256), np.float32)
