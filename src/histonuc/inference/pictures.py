"""Pictures of a prediction: the whole slide, its densest place enlarged, and a map of density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from histonuc.exports.source import open_source
from histonuc.exports.table import read_window
from histonuc.files import replacing
from histonuc.inference.progress import Tally
from histonuc.inference.results import DENSITY_FILE, DETAIL_FILE, OVERVIEW_FILE
from histonuc.inference.tiles import Box
from histonuc.nuclei import Nuclei
from histonuc.slides import RegionError, Slide
from histonuc.taxonomy import LabelSpace

OVERVIEW_PX = 2400
DETAIL_UM = 100.0
"""Side of the detail's window: about 400 pixels at 40x."""
DETAIL_PX = 1200
SMALLEST_OUTLINE_PX = 6.0
"""Nuclei that appear smaller are filled: an outline would be a blot anyway."""
DENSITY_UM = 50.0
"""Standard deviation of the Gaussian that densities are averaged with."""
_SIGMA_CELLS = 8
"""Cells of a density's raster to a standard deviation, at least."""
_SUBPIXEL = 4  # fractional bits of cv2's fixed-point coordinates
_DARK, _GREY = (30, 30, 30), (110, 110, 110)


def write_pictures(slide: Slide, table: Path, tally: Tally, folder: Path, title: str) -> None:
    """Overview, density and detail of a result, as JPEG in its folder."""
    image = slide.thumbnail(OVERVIEW_PX)
    write_overview(image, slide.size, table, tally, folder / OVERVIEW_FILE, title)
    write_density(image, slide.size, tally, folder / DENSITY_FILE, title)
    write_detail(slide, table, tally, folder / DETAIL_FILE, title)


def write_overview(
    image: NDArray[np.uint8],
    size: tuple[int, int],
    table: Path,
    tally: Tally,
    path: Path,
    title: str,
) -> None:
    """The whole slide with all nuclei and a legend, as JPEG.

    Args:
        image: the slide's thumbnail.
        size: width and height of the slide in level-0 pixels.
        table: of the nuclei.
        tally: of the nuclei.
        path: ``*.jpg``.
        title: above the legend.
    """
    box = Box(0, 0, *size)
    side = float(np.median(np.sqrt(tally.area_px))) if len(tally) else 0.0
    for batch in open_source(table).batches():
        image = draw_nuclei(image, batch.nuclei, box, side)
    _write(with_legend(image, tally.label_space, tally.counts, title), path)


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
    _write(with_legend(drawn, tally.label_space, counts, caption), path)


def write_density(
    image: NDArray[np.uint8], size: tuple[int, int], tally: Tally, path: Path, title: str
) -> None:
    """Nuclei a mm² over the whole slide, as JPEG with a scale; arguments as in `write_overview`."""
    density = density_map(tally, size, (image.shape[1], image.shape[0]))
    top = _round_up(float(density.max(initial=0)))
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    scale = cv2.applyColorMap(ramp, cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]  # RGB (256, 3)
    density /= top
    # Where nothing is the picture stays; from a tenth of the scale on the colour covers it.
    cover = np.clip(10 * density, 0, 0.8)
    colours = scale[np.clip(density * 255, 0, 255).astype(np.uint8)]
    mixed = cv2.blendLinear(image, colours, 1 - cover, cover)
    entries = [
        ((int(r), int(g), int(b)), f"{top * share:,.0f} per square mm")
        for share in (0, 0.25, 0.5, 0.75, 1)
        for r, g, b in [scale[round(255 * share)]]
    ]
    _write(_above(np.asarray(mixed, np.uint8), f"{title}: density of nuclei", entries), path)


def density_map(
    tally: Tally, size: tuple[int, int], picture: tuple[int, int]
) -> NDArray[np.float32]:
    """Nuclei a mm², smoothed by `DENSITY_UM`: float32 (H, W) for a picture of so many pixels.

    Counted and smoothed on a raster as coarse as the smoothing allows, then enlarged: a Gaussian of
    hundreds of pixels costs seconds, and one of `_SIGMA_CELLS` differs by a percent.

    Args:
        tally: of all nuclei.
        size: width and height of the slide in level-0 pixels.
        picture: W and H.
    """
    um_per_px = size[0] * tally.mpp / picture[0]
    shrink = max(1, int(DENSITY_UM / um_per_px / _SIGMA_CELLS))
    width, height = (-(-side // shrink) for side in picture)
    cell_um = np.array(size) * tally.mpp / (width, height)
    x, y = (tally.centroid * (tally.mpp / cell_um)).astype(np.int64).T
    cell = y.clip(0, height - 1) * width + x.clip(0, width - 1)
    count = np.bincount(cell, minlength=width * height).reshape(height, width)
    sigma_x, sigma_y = np.maximum(DENSITY_UM / cell_um, 1.0).tolist()
    smooth = cv2.GaussianBlur(
        (count / np.prod(cell_um / 1000)).astype(np.float32),
        (0, 0),
        sigmaX=sigma_x,
        sigmaY=sigma_y,
        borderType=cv2.BORDER_REFLECT,
    )
    if shrink > 1:
        smooth = cv2.resize(smooth, picture, interpolation=cv2.INTER_LINEAR)
    return np.asarray(smooth, np.float32)


def _round_up(value: float) -> float:
    """The next round number; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(
        next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)
    )


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
    """Every so manieth vertex of each outline: sides shorter than the picture shows are costly."""
    sizes = np.diff(nuclei.offsets)
    if step < 2 or not (sizes >= 8 * step).any():
        return nuclei
    place = np.arange(len(nuclei.points)) - np.repeat(nuclei.offsets[:-1], sizes)
    kept = (place % step == 0) | np.repeat(sizes < 8 * step, sizes)
    offsets = np.concatenate([[0], np.cumsum(kept)])[nuclei.offsets]
    return replace(nuclei, points=nuclei.points[kept], offsets=offsets)


def with_legend(
    image: NDArray[np.uint8], space: LabelSpace, counts: Sequence[int], title: str
) -> NDArray[np.uint8]:
    """An RGB image with a strip below: title, and every class with its colour and count."""
    entries = [
        (colour, f"{name}  {count:,}")
        for name, colour, count in zip(space.classes, space.colours, counts, strict=True)
    ]
    return _above(image, f"{title}: {sum(counts):,} nuclei", entries)


def _above(
    image: NDArray[np.uint8], title: str, entries: Sequence[tuple[tuple[int, int, int], str]]
) -> NDArray[np.uint8]:
    """An RGB image with a strip below it: a title, and colours with what they mean."""
    width = max(image.shape[1], 360)
    size = int(np.clip(width / 60, 14, 30))
    strip = _strip(width, size, title, entries)
    missing = width - image.shape[1]
    padded = np.pad(image, ((0, 0), (0, missing), (0, 0)), constant_values=255)
    return np.concatenate([padded, strip])


def _strip(
    width: int, size: int, title: str, entries: Sequence[tuple[tuple[int, int, int], str]]
) -> NDArray[np.uint8]:
    font = ImageFont.load_default(size)
    pad, line = size // 2 + 4, round(size * 1.6)
    places, x, y = [], pad, pad + line
    for _, text in entries:
        needed = round(size * 1.5 + font.getlength(text)) + 2 * pad
        if x > pad and x + needed > width:
            x, y = pad, y + line
        places.append((x, y))
        x += needed
    strip = Image.new("RGB", (width, y + line + pad // 2), (255, 255, 255))
    draw = ImageDraw.Draw(strip)
    draw.text((pad, pad), _shorten(title, font, width - 2 * pad), _DARK, font)
    for (colour, text), (x, y) in zip(entries, places, strict=True):
        draw.rectangle((x, y + size // 6, x + size, y + size // 6 + size), colour, _GREY)
        draw.text((x + round(size * 1.5), y), text, _DARK, font)
    return np.asarray(strip)


def _shorten(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """Cut the middle out of a text until it fits."""
    kept = text
    half = len(text) // 2
    while font.getlength(kept) > width and half > 4:
        half -= 1
        kept = f"{text[:half]}…{text[-half:]}"
    return kept


def _write(image: NDArray[np.uint8], path: Path) -> None:
    jpeg = BytesIO()  # Pillow by itself says nothing when a full disk takes only part of it
    Image.fromarray(image).save(jpeg, format="JPEG", quality=90, subsampling=0)
    with replacing(path) as draft:
        draft.write_bytes(jpeg.getbuffer())
