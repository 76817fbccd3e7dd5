"""Pictures of density: how many nuclei a mm² of tissue holds, of all classes and of each."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.inference.legend import RGB, Entry, with_strip, write_jpeg
from histonuc.inference.progress import Tally
from histonuc.inference.tissue import TissueMask

DENSITY_UM = 50.0
"""Standard deviation of the Gaussian that densities are averaged with."""
_SIGMA_CELLS = 8
"""Cells of a density's raster to a standard deviation, at least."""
_LEAST_TISSUE = 0.05
"""Less tissue than this share, averaged around a place, counts as so much: a lone nucleus on a
speck would have an endless density."""
_PANELS_A_ROW = 2


def write_density(image: RGB, tissue: TissueMask, tally: Tally, path: Path, title: str) -> None:
    """Nuclei a mm² of tissue over the whole slide, as JPEG with a scale.

    Args:
        image: the slide's thumbnail.
        tissue: where the slide's tissue is.
        tally: of the nuclei.
        path: ``*.jpg``.
        title: above the legend.
    """
    shown = image.shape[1], image.shape[0]
    density = density_map(tally.centroid, tally.mpp, tissue, shown)
    write_jpeg(_drawn(image, density, tissue, f"{title}: density of nuclei"), path)


def write_class_densities(
    image: RGB, tissue: TissueMask, tally: Tally, path: Path, title: str
) -> None:
    """The same of each class that has nuclei, each with a scale of its own, side by side."""
    num = len(tally.label_space)
    found = [j for j, count in enumerate(tally.counts) if count]
    columns = min(_PANELS_A_ROW, max(1, len(found)))
    width = max(1, image.shape[1] // columns)
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    small = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    panels = []
    for j in found or range(min(num, 1)):
        centroid = tally.centroid[tally.class_index == j]
        density = density_map(centroid, tally.mpp, tissue, (width, height))
        name = f"{title}: {tally.label_space.classes[j]}, {len(centroid):,} nuclei"
        panels.append(_drawn(small, density, tissue, name))
    joined, note = _side_by_side(panels, columns), tally.judge_trust().class_note
    write_jpeg(
        with_strip(joined, f"{title}: densities of classes", [], note) if note else joined, path
    )


def density_map(
    centroid: NDArray[np.float32],
    mpp: float,
    tissue: TissueMask,
    picture: tuple[int, int],
) -> NDArray[np.float32]:
    """Nuclei a mm² of tissue, averaged with `DENSITY_UM`: float32 (H, W) for a picture.

    Nuclei and tissue are averaged alike and divided, so that the density at the tissue's border is
    that of the tissue there; beside the tissue it is 0. They are counted and smoothed on a raster
    as coarse as the smoothing allows, then enlarged: a Gaussian of hundreds of pixels costs
    seconds, and one of `_SIGMA_CELLS` differs by a percent.

    Args:
        centroid: float32 (n, 2), (x, y) in level-0 pixels.
        mpp: microns per level-0 pixel.
        tissue: where tissue is.
        picture: W and H.
    """
    um_per_px = tissue.size[0] * mpp / picture[0]
    shrink = max(1, int(DENSITY_UM / um_per_px / _SIGMA_CELLS))
    width, height = (-(-side // shrink) for side in picture)
    cell_um = np.array(tissue.size) * mpp / (width, height)
    x, y = (centroid * (mpp / cell_um)).astype(np.int64).T
    cell = y.clip(0, height - 1) * width + x.clip(0, width - 1)
    count = np.bincount(cell, minlength=width * height).reshape(height, width)
    share = _resized(tissue.mask.astype(np.float32), (width, height))
    sigma_x, sigma_y = np.maximum(DENSITY_UM / cell_um, 1.0).tolist()
    nuclei, around = (
        cv2.GaussianBlur(
            values, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y, borderType=cv2.BORDER_REFLECT
        )
        for values in ((count / np.prod(cell_um / 1000)).astype(np.float32), share)
    )
    density = (nuclei / np.maximum(around, _LEAST_TISSUE)).astype(np.float32)
    return np.asarray(_resized(density, picture) * _shown(tissue, picture), np.float32)


def _resized(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    smaller = size[0] < values.shape[1] or size[1] < values.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, size, interpolation=how), np.float32)


def _shown(tissue: TissueMask, picture: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels (H, W) of a picture that show tissue."""
    return _resized(tissue.mask.astype(np.float32), picture) >= 0.5


def _drawn(image: RGB, density: NDArray[np.float32], tissue: TissueMask, title: str) -> RGB:
    """A density over its picture, with the scale below; what is no tissue stays as it is."""
    top = _round_up(float(density.max(initial=0)))
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    scale = cv2.applyColorMap(ramp, cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]  # RGB (256, 3)
    share = density / top
    # Where nothing is the picture stays; from a tenth of the scale on the colour covers it.
    cover = np.clip(10 * share, 0, 0.8) * _shown(tissue, (image.shape[1], image.shape[0]))
    colours = scale[np.clip(share * 255, 0, 255).astype(np.uint8)]
    mixed = cv2.blendLinear(image, colours, 1 - cover, cover)
    entries: list[Entry] = [
        ((int(r), int(g), int(b)), f"{top * part:,.0f} per mm²")
        for part in (0, 0.25, 0.5, 0.75, 1)
        for r, g, b in [scale[round(255 * part)]]
    ]
    return with_strip(np.asarray(mixed, np.uint8), title, entries)


def _side_by_side(panels: list[RGB], columns: int) -> RGB:
    """Pictures in rows, white where one is smaller than its neighbours."""
    height, width = (max(panel.shape[axis] for panel in panels) for axis in (0, 1))
    rows = -(-len(panels) // columns)
    whole = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for number, panel in enumerate(panels):
        top, left = number // columns * height, number % columns * width
        whole[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
    return whole


def _round_up(value: float) -> float:
    """The next round number; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(
        next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)
    )
