"""Pictures of a prediction: the whole slide, its densest place enlarged, and maps of density."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.exports.source import open_source
from histonuc.exports.table import read_window
from histonuc.inference.density import write_class_densities, write_density
from histonuc.inference.legend import Entry, with_legend, write_jpeg
from histonuc.inference.progress import Tally
from histonuc.inference.results import (
    CLASS_DENSITY_FILE,
    DENSITY_FILE,
    DETAIL_FILE,
    OVERVIEW_FILE,
)
from histonuc.inference.tiles import Box
from histonuc.inference.tissue import TissueMask
from histonuc.nuclei import Nuclei
from histonuc.slides import RegionError, Slide

OVERVIEW_PX = 2400
SMALL_PX = 512
"""An image no longer than this gets one picture."""
DETAIL_UM = 100.0
"""Side of the detail's window: about 400 pixels at 40x."""
DETAIL_PX = 1200
INK_COLOUR = (190, 255, 0)
"""Of the outlines of ink: none of a class's, and neither of H&E nor of a usual pen."""
SMALLEST_OUTLINE_PX = 6.0
"""Nuclei that appear smaller are filled: an outline would be a blot anyway."""
_SUBPIXEL = 4  # fractional bits of cv2's fixed-point coordinates


def write_pictures(
    slide: Slide, table: Path, tissue: TissueMask, tally: Tally, folder: Path, title: str
) -> None:
    """The pictures of a result, as JPEG in its folder.

    A small image gets the overview alone, enlarged: it shows every nucleus, and there is nowhere
    else to be densest. One with nuclei of several classes gets their densities, too.

    Args:
        slide: open.
        table: of the nuclei.
        tissue: where the slide's tissue is.
        tally: of the nuclei.
        folder: of the result; pictures of an earlier result are removed where this one has none.
        title: above the legends.
    """
    is_small = max(slide.size) <= SMALL_PX
    for name in (DENSITY_FILE, CLASS_DENSITY_FILE, DETAIL_FILE):
        (folder / name).unlink(missing_ok=True)
    image = slide.thumbnail(OVERVIEW_PX)
    if is_small:
        image = _enlarged(image, DETAIL_PX)
    write_overview(image, tissue, table, tally, folder / OVERVIEW_FILE, title)
    if is_small:
        return
    write_density(image, tissue, tally, folder / DENSITY_FILE, title)
    if np.count_nonzero(tally.counts) > 1:
        write_class_densities(image, tissue, tally, folder / CLASS_DENSITY_FILE, title)
    write_detail(slide, table, tally, folder / DETAIL_FILE, title)


def _enlarged(image: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """An image whose longer side has at least so many pixels."""
    scale = side_px / max(image.shape[:2])
    if scale <= 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def write_overview(
    image: NDArray[np.uint8],
    tissue: TissueMask,
    table: Path,
    tally: Tally,
    path: Path,
    title: str,
) -> None:
    """The whole slide with all nuclei, the outlines of ink, and a legend, as JPEG.

    Args:
        image: the slide's thumbnail.
        tissue: where the slide's tissue and ink are.
        table: of the nuclei.
        tally: of the nuclei.
        path: ``*.jpg``.
        title: above the legend.
    """
    box = Box(0, 0, *tissue.size)
    side = float(np.median(np.sqrt(tally.area_px))) if len(tally) else 0.0
    for batch in open_source(table).batches():
        image = draw_nuclei(image, batch.nuclei, box, side)
    entries: list[Entry] = []
    if tissue.ink is not None and tissue.ink.any():
        image = draw_ink(image, tissue.ink)
        entries.append((INK_COLOUR, "ink: left out"))
    note = tally.judge_trust().class_note
    write_jpeg(with_legend(image, tally.label_space, tally.counts, title, entries, note), path)


def draw_ink(image: NDArray[np.uint8], ink: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Outline ink, bool (h, w), on an RGB image (H, W, 3) of the same slide."""
    size = (image.shape[1], image.shape[0])
    mask = cv2.resize(ink.view(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    rings, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    canvas = np.ascontiguousarray(image.copy())
    thickness = max(2, max(size) // 600)
    cv2.polylines(canvas, rings, True, INK_COLOUR, thickness, cv2.LINE_AA)
    return canvas


def write_detail(slide: Slide, table: Path, tally: Tally, path: Path, title: str) -> None:
    """The window with the most nuclei, enlarged, as JPEG; white where it touches damage."""
    box = densest_window(tally.centroid, slide.size, round(DETAIL_UM / tally.mpp))
    width, height = box.size
    scale = DETAIL_PX / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    try:
        image = slide.read(box.x0, box.y0, width, height, *size)
    except RegionError:  # a picture less must not cost the nuclei
        image = np.full((size[1], size[0], 3), 255, np.uint8)
    # Those that reach into the window are drawn, those centred in it are counted.
    margin = round(DETAIL_UM / tally.mpp / 4)
    near = read_window(table, (box.x0 - margin, box.y0 - margin, box.x1 + margin, box.y1 + margin))
    x, y = near.centroid.T
    inside = near.select((x >= box.x0) & (x < box.x1) & (y >= box.y0) & (y < box.y1))
    side = float(np.median(np.sqrt(inside.area_px))) if len(inside) else 0.0
    counts = np.bincount(inside.class_index, minlength=len(tally.label_space)).tolist()
    caption = f"{title} at x {box.x0}, y {box.y0}: {width} x {height} px"
    drawn = draw_nuclei(image, near, box, side)
    note = tally.judge_trust().class_note
    write_jpeg(with_legend(drawn, tally.label_space, counts, caption, note=note), path)


def densest_window(centroid: NDArray[np.floating], size: tuple[int, int], side_px: int) -> Box:
    """The square of `side_px` level-0 pixels with the most centroids (n, 2), inside the slide.

    Its place is searched on a raster of a quarter of its side; the first of equals wins.
    """
    width, height = size
    side_x, side_y = min(side_px, width), min(side_px, height)
    step = max(1, side_px // 4)
    columns, rows = -(-width // step), -(-height // step)
    count = np.zeros((rows + 1, columns + 1), np.int64)
    x, y = (centroid // step).astype(np.int64).T
    np.add.at(count, (np.clip(y, 0, rows - 1) + 1, np.clip(x, 0, columns - 1) + 1), 1)
    total = count.cumsum(0).cumsum(1)
    down, right = min(4, rows), min(4, columns)
    sums = total[down:, right:] - total[:-down, right:] - total[down:, :-right]
    sums = sums + total[:-down, :-right]
    row, column = np.unravel_index(sums.argmax(), sums.shape)
    x0 = min(int(column) * step, width - side_x)
    y0 = min(int(row) * step, height - side_y)
    return Box(x0, y0, x0 + side_x, y0 + side_y)


def draw_nuclei(
    image: NDArray[np.uint8], nuclei: Nuclei, box: Box, side_px: float
) -> NDArray[np.uint8]:
    """Outline nuclei in their class's colour on an image of `box`.

    Args:
        image: RGB (H, W, 3), shows `box` at any scale.
        nuclei: in level-0 pixels; those outside `box` are not drawn.
        box: what the image shows, in level-0 pixels.
        side_px: of a typical nucleus in level-0 pixels; small ones are filled.
    """
    canvas = np.ascontiguousarray(image.copy())
    scale = np.array([canvas.shape[1], canvas.shape[0]]) / box.size
    bounds = nuclei.box
    outside = (bounds[:, :2] >= (box.x1, box.y1)).any(1) | (bounds[:, 2:] <= (box.x0, box.y0)).any(
        1
    )
    nuclei = nuclei.select(np.flatnonzero(~outside))
    if len(nuclei) == 0:
        return canvas
    apparent_px = side_px * float(scale.min())
    nuclei = _thinned(nuclei, int(0.5 / scale.max()))
    points = (nuclei.points - (box.x0, box.y0)) * scale - 0.5  # cv2: pixel centres are integers
    fixed = np.rint(points * 2**_SUBPIXEL).astype(np.int32)
    thickness = int(np.clip(round(apparent_px / 12), 1, 3))
    for class_index, colour in enumerate(nuclei.label_space.colours):
        rings = [
            fixed[nuclei.offsets[i] : nuclei.offsets[i + 1]]
            for i in np.flatnonzero(nuclei.class_index == class_index)
        ]
        if apparent_px < SMALLEST_OUTLINE_PX:
            for ring in rings:  # all at once, overlapping rings would cancel out
                cv2.fillPoly(canvas, [ring], colour, cv2.LINE_AA, _SUBPIXEL)
        else:
            cv2.polylines(canvas, rings, True, colour, thickness, cv2.LINE_AA, _SUBPIXEL)
    return canvas


def _thinned(nuclei: Nuclei, step: int) -> Nuclei:
    """One of every `step` vertices of each outline: sides too short to be seen are costly."""
    sizes = np.diff(nuclei.offsets)
    if step < 2 or not (sizes >= 8 * step).any():
        return nuclei
    place = np.arange(len(nuclei.points)) - np.repeat(nuclei.offsets[:-1], sizes)
    kept = (place % step == 0) | np.repeat(sizes < 8 * step, sizes)
    offsets = np.concatenate([[0], np.cumsum(kept)])[nuclei.offsets]
    return replace(nuclei, points=nuclei.points[kept], offsets=offsets)
