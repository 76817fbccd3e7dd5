"""What of a slide is going to be analysed: its tissue, its tiles, and what is read of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from histonuc.inference.drawn import Regions
from histonuc.inference.drawn_reader import find_regions, read_regions
from histonuc.inference.options import PredictOptions
from histonuc.inference.tiles import Box, Grid, Tile, View, make_grid
from histonuc.inference.tissue import TissueMask, find_tissue
from histonuc.slides import Slide

VIEW_STEP_PX = 128
"""Where only part of a window is tissue, the network's input shrinks to it in steps of this many
pixels: few shapes, which the engine prepares for once each."""
MUCH_INK = 0.05
"""A larger share of the tissue under ink is worth a warning."""
SMALL_IMAGE_PIXELS = 1 << 24
"""Plain images up to this size are analysed throughout, but for tiles that are blank."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a slide is going to be analysed.

    Attributes:
        grid: all tiles.
        tiles: those to analyse.
        tissue: where tissue is.
        input_px: width and height of the network's input for a whole window.
        margin_px: halo in level-0 pixels.
        mpp_xy: microns per level-0 pixel along x and y.
        skip_blank: drop tiles that turn out blank when read.
        regions: where nuclei are wanted; None for everywhere.
        warnings: what is odd about the tissue or the regions.
    """

    grid: Grid
    tiles: tuple[Tile, ...]
    tissue: TissueMask
    input_px: tuple[int, int]
    margin_px: int
    mpp_xy: tuple[float, float]
    skip_blank: bool
    regions: Regions | None = None
    warnings: tuple[str, ...] = ()

    @property
    def mpp(self) -> float:
        """Side of a square of the same area as a level-0 pixel, in microns."""
        return math.sqrt(math.prod(self.mpp_xy))

    def view(self, tile: Tile) -> View:
        """What to read of a tile's window: all of it, or what holds its tissue and a margin."""
        window = tile.window
        bounds = None if self.skip_blank else self.tissue.bounds(window)
        if bounds is None:
            return View(box=window, input_px=self.input_px)
        spans = []
        for axis in (0, 1):
            length, low = self.input_px[axis], window[axis]
            scale = window.size[axis] / length
            first = (bounds[axis] - self.margin_px - low) / scale / VIEW_STEP_PX
            last = (bounds[axis + 2] + self.margin_px - low) / scale / VIEW_STEP_PX
            start = max(0, math.floor(first) * VIEW_STEP_PX)
            stop = min(length, math.ceil(last) * VIEW_STEP_PX)
            spans.append((low + round(start * scale), low + round(stop * scale), stop - start))
        (x0, x1, width), (y0, y1, height) = spans
        return View(box=Box(x0, y0, x1, y1), input_px=(width, height))


def plan_slide(
    slide: Slide,
    source: Path,
    mpp_xy: tuple[float, float],
    options: PredictOptions,
    model_mpp: float,
) -> Plan:
    """The plan of a slide as the options want it.

    Args:
        slide: open slide.
        source: its file or folder.
        mpp_xy: microns per level-0 pixel along x and y.
        options: of the run.
        model_mpp: microns per pixel of the network's input.

    Raises:
        ValueError: no regions where `options` names them.
    """
    regions = None
    if options.regions is not None:
        origin = options.origin_px(slide.bounds_xyxy)
        regions = read_regions(find_regions(options.regions, source), slide.size, origin)
    return make_plan(
        slide,
        mpp_xy=mpp_xy,
        model_mpp=model_mpp,
        tile_px=options.tile_px,
        margin_um=options.margin_um,
        regions=regions,
        without_ink=options.ink,
    )


def make_plan(
    slide: Slide,
    *,
    mpp_xy: tuple[float, float],
    model_mpp: float,
    tile_px: int,
    margin_um: float,
    regions: Regions | None = None,
    without_ink: bool = True,
) -> Plan:
    """Find the tissue and lay the tiles.

    Args:
        slide: open slide.
        mpp_xy: microns per level-0 pixel along x and y.
        model_mpp: microns per pixel of the network's input, which are square.
        tile_px: side of the network's input.
        margin_um: halo around each core.
        regions: taken instead of the tissue.
        without_ink: whether to leave out tissue under ink.
    """
    scale_x, scale_y = (model_mpp / mpp for mpp in mpp_xy)  # level-0 pixels per pixel of the input
    margin_px = round(margin_um / min(mpp_xy))
    window_px = round(tile_px * scale_x), round(tile_px * scale_y)
    grid = make_grid(slide.size, window_px, margin_px)
    tissue = find_tissue(slide, without_ink=without_ink)
    if regions is not None:
        regions = regions.on(tissue)
        tissue = regions.tissue
    small = (
        regions is None and slide.is_plain and slide.size[0] * slide.size[1] <= SMALL_IMAGE_PIXELS
    )
    wanted = (tile for tile in grid if (tissue.mask.any() if small else tissue.touches(tile.core)))
    width, height = grid.window_size
    warnings = list(regions.warnings) if regions is not None else []
    warnings += _ink_warnings(tissue, math.prod(mpp_xy) / 1e6)
    if not tissue.mask.any():
        warnings.append("no stained tissue found: nothing was analysed")
    return Plan(
        grid=grid,
        tiles=tuple(wanted),
        tissue=tissue,
        input_px=(max(1, round(width / scale_x)), max(1, round(height / scale_y))),
        margin_px=margin_px,
        mpp_xy=mpp_xy,
        skip_blank=small,
        regions=regions,
        warnings=tuple(warnings),
    )


def _ink_warnings(tissue: TissueMask, pixel_mm2: float) -> tuple[str, ...]:
    """A sentence where ink covers more of the tissue than a little."""
    share = tissue.ink_fraction / max(tissue.ink_fraction + tissue.fraction, 1e-9)
    if share <= MUCH_INK:
        return ()
    ink_mm2 = tissue.ink_fraction * math.prod(tissue.size) * pixel_mm2
    return (
        f"{share:.0%} of the tissue ({ink_mm2:.3g} mm²) seems to lie under ink and was left out: "
        "overview.jpg shows where; give --no-ink if it is no ink",
    )
