"""What of a slide is going to be analysed: its tissue, and the tiles that are fitted to it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from histonuc.inference.certainty import CERTAIN, Certainty, choose_certainty
from histonuc.inference.drawn import Regions
from histonuc.inference.drawn_reader import find_regions, read_regions
from histonuc.inference.options import PredictOptions
from histonuc.inference.tiles import Tile
from histonuc.inference.tissue import TissueMask, find_tissue
from histonuc.inference.windows import lay_tiles
from histonuc.models.model import Model
from histonuc.slides import Slide

MUCH_INK = 0.05
"""A larger share of the tissue under ink is worth a warning."""
SMALL_IMAGE_PIXELS = 1 << 24
"""Plain images up to this size are analysed throughout, but for tiles that are blank."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a slide is going to be analysed.

    Attributes:
        tiles: those to analyse, row by row and from left to right.
        tissue: where tissue is.
        margin_px: least distance between the borders of a core and its window, in level-0 pixels,
            where tissue is beyond.
        mpp_xy: microns per level-0 pixel along x and y.
        skip_blank: drop tiles that turn out blank when read.
        regions: where nuclei are wanted; None for everywhere.
        certainty: what nuclei need to have a class.
        embedding_size: D, the number of the network's features that results hold of each nucleus;
            0 for none.
        warnings: what is odd about the tissue or the regions.
    """

    tiles: tuple[Tile, ...]
    tissue: TissueMask
    margin_px: int
    mpp_xy: tuple[float, float]
    skip_blank: bool
    regions: Regions | None = None
    certainty: Certainty = CERTAIN
    embedding_size: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def mpp(self) -> float:
        """Side of a square of the same area as a level-0 pixel, in microns."""
        return math.sqrt(math.prod(self.mpp_xy))

    @property
    def tiles_sha256(self) -> str:
        """Hex SHA-256 of where the tiles lie and how the network sees them."""
        facts = [(*tile.core, *tile.window, *tile.input_px) for tile in self.tiles]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def plan_slide(
    slide: Slide,
    source: Path,
    mpp_xy: tuple[float, float],
    options: PredictOptions,
    model: Model,
) -> Plan:
    """The plan of a slide as the options want it.

    Args:
        slide: open slide.
        source: its file or folder.
        mpp_xy: microns per level-0 pixel along x and y.
        options: of the run.
        model: that finds the nuclei.

    Raises:
        ValueError: no regions where `options` names them.
    """
    regions = None
    if options.regions is not None:
        origin = options.origin_px(slide.bounds_xyxy)
        regions = read_regions(find_regions(options.regions, source), slide.size, origin)
    plan = make_plan(
        slide,
        mpp_xy=mpp_xy,
        model_mpp=model.spec.mpp,
        tile_px=options.tile_px,
        margin_um=options.margin_um,
        regions=regions,
        without_ink=options.ink,
    )
    size = model.spec.embedding_size if options.embeddings else 0
    return replace(plan, certainty=choose_certainty(options, model), embedding_size=size)


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
        tile_px: width of the network's widest input.
        margin_um: margin of a window around its core.
        regions: taken instead of the tissue.
        without_ink: whether to leave out tissue under ink.
    """
    scale_xy = model_mpp / mpp_xy[0], model_mpp / mpp_xy[1]
    tissue = find_tissue(slide, without_ink=without_ink)
    if regions is not None:
        regions = regions.on(tissue)
        tissue = regions.tissue
    small = (
        regions is None and slide.is_plain and slide.size[0] * slide.size[1] <= SMALL_IMAGE_PIXELS
    )
    wanted = replace(tissue, mask=np.full_like(tissue.mask, tissue.mask.any())) if small else tissue
    warnings = list(regions.warnings) if regions is not None else []
    warnings += _ink_warnings(tissue, math.prod(mpp_xy) / 1e6)
    if not tissue.mask.any():
        warnings.append("no stained tissue found: nothing was analysed")
    return Plan(
        tiles=lay_tiles(wanted, tile_px, scale_xy, math.ceil(margin_um / model_mpp)),
        tissue=tissue,
        margin_px=round(margin_um / min(mpp_xy)),
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
