"""Microns per pixel of an input: where they come from, and whether they can be right.

A network finds most nuclei, and is surest of them, at the scale it was trained for. So a few places
of tissue are shown to it as they are, at half and at twice their size, and what it makes of them
says whether the stated scale can be right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.inference.plan import Plan, make_plan
from histonuc.inference.progress import Tally
from histonuc.inference.tiles import Box, Tile
from histonuc.models.engines import num_cores
from histonuc.models.model import Model
from histonuc.slides import RegionError, Slide

SQUARE, FAR_FROM_SQUARE = 1.02, 2.0
"""Pixels longer along one axis by more than these factors are worth a note, or refused."""
COARSE = 2.2
"""An image this many times coarser than the model's resolution lacks what the model looks for."""
TILE_PX = 4096
"""An image with a longer side is no tile of a data set but a slide, or most of one."""
DIAMETER_UM = (3.0, 10.0)
"""Median diameters of a slide's nuclei outside this range are no tissue's: the scale is wrong."""
_ENOUGH_NUCLEI = 50
"""Fewer nuclei than this say nothing of the median of a slide."""
PROBE_PX = 512
"""Side of a probe in pixels of the model's scale."""
_CANDIDATES, PROBES, _LEAST = 32, 8, 3
"""Tiles among which probes are chosen, probes at most, and probes that are needed to tell."""
_USUAL_UM = (4.2, 7.5)
"""Between these lies the median diameter of the nuclei of most single images."""
_ENOUGH_OF_IMAGE = 20
"""Fewer nuclei than this say nothing of the median of a single image."""
BETTER = 1.05
"""How much better another scale has to be. Medians of six data sets are 0.66 to 1.03 at the right
scale, 1.14 to 1.53 at half of it and 1.01 to 1.25 at twice (benchmarks/bench_scale.py)."""
ZOOMS = (0.5, 2.0)
LIKELY_MPP = (0.25, 0.5, 1.0)
"""Scales that a slide may have which states none: 40x, 20x and 10x."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The scale of a slide.

    Attributes:
        mpp_xy: microns per level-0 pixel along x and y.
        source: ``given`` by the user, ``assumed`` to be the model's, or what in the file states
            them, see `Slide.mpp_source`.
        warnings: what is odd about them.
    """

    mpp_xy: tuple[float, float]
    source: str
    warnings: tuple[str, ...] = ()


def resolve_scale(slide: Slide, name: str, given: float | None, model: Model) -> Scale:
    """The scale that a slide is analysed at.

    Args:
        slide: open slide.
        name: of its file, for messages.
        given: microns per pixel that the user gave; None where nothing was given.
        model: that finds the nuclei.

    Raises:
        ValueError: the scale is neither given nor stated, and the input is no tile; or pixels are
            far from square.
    """
    model_mpp, warnings = model.spec.mpp, []
    known = given if given is not None else slide.mpp
    if known is not None and known > COARSE * model_mpp:
        warnings.append(
            f"at {known:.3g} mpp the image is {known / model_mpp:.1f} times coarser than the "
            f"model's {model_mpp:g}: expect nuclei to be missed and merged"
        )
    if given is not None:
        if slide.mpp is not None and abs(math.log(given / slide.mpp)) > 0.1:
            warnings.append(f"the file states {slide.mpp:.4g} mpp, --mpp says {given:.4g}")
        return Scale(mpp_xy=(given, given), source="given", warnings=tuple(warnings))
    if slide.mpp_xy is not None:
        warnings += _check_square(slide.mpp_xy, name)
        return Scale(mpp_xy=slide.mpp_xy, source=slide.mpp_source, warnings=tuple(warnings))
    if not _is_tile(slide):
        advice = _advise(estimate_mpp(slide, model), model_mpp)
        raise ValueError(f"{name} does not state its microns per pixel: {advice}")
    warnings.append(
        f"the image does not state its microns per pixel: assumed the model's {model_mpp:g}; "
        "areas and densities depend on it; give --mpp if you know better"
    )
    return Scale(mpp_xy=(model_mpp, model_mpp), source="assumed", warnings=tuple(warnings))


def estimate_mpp(slide: Slide, model: Model) -> float | None:
    """Which of `LIKELY_MPP` a slide most likely has, by its nuclei; None where none are found.

    Each place is shown to the network as if it had each of these scales. Of scales that do nearly
    as well (`BETTER`) it is the finest: too large a nucleus costs the network less than too small
    a one. Of nine tiles a data set at each scale, all 15 mosaics of five data sets come out right.
    """
    base = LIKELY_MPP[1]
    zooms = [mpp / base for mpp in LIKELY_MPP]
    mpp_xy, tile_px = (base, base), 2 * PROBE_PX
    plan = make_plan(slide, mpp_xy=mpp_xy, model_mpp=model.spec.mpp, tile_px=tile_px, margin_um=0.0)

    def measure(tile: Tile) -> list[float]:
        image = _read_middle(slide, tile)
        return [0.0 if image is None else _success_at(image, model, zoom) for zoom in zooms]

    with ThreadPoolExecutor(num_cores(), thread_name_prefix="histonuc-probe") as pool:
        success = np.sum([[0.0] * len(zooms), *pool.map(measure, _fullest_tiles(plan))], axis=0)
    if not success.any():
        return None
    good = success >= success.max() / BETTER
    return LIKELY_MPP[int(good.argmax())]  # the first


def _advise(likely_mpp: float | None, model_mpp: float) -> str:
    """What to do about a slide without a scale, as `estimate_mpp` finds it."""
    if likely_mpp is None:
        return "give --mpp, e.g. --mpp 0.25 for 40x or --mpp 0.5 for 20x"
    more = " or more" if likely_mpp == LIKELY_MPP[-1] else ""
    coarse = likely_mpp > COARSE * model_mpp
    return (
        f"judging by its nuclei they are about {likely_mpp:g}{more}; give --mpp {likely_mpp:g}, or "
        "what you know of the slide"
        + f"; that is coarse for a model of {model_mpp:g}, so expect missed nuclei"
        * coarse
    )


def _check_square(mpp_xy: tuple[float, float], name: str) -> list[str]:
    """A warning where pixels are not quite square.

    Raises:
        ValueError: they are far from it.
    """
    ratio = max(mpp_xy) / min(mpp_xy)
    both = " x ".join(f"{value:.4g}" for value in mpp_xy)
    if ratio > FAR_FROM_SQUARE:
        raise ValueError(
            f"{name} has pixels of {both} microns, expected squares or nearly so: "
            "give --mpp if one of the two is wrong, or resample the image"
        )
    if ratio <= SQUARE:
        return []
    return [
        f"pixels of {both} microns are made square for the network: "
        "give --mpp if one of the two is wrong"
    ]


def _is_tile(slide: Slide) -> bool:
    """Whether an input is likely a tile of a data set: small, and no TIFF as scanners write."""
    is_tiff = any(name.startswith("tiff.") for name in slide.properties)
    return slide.is_plain and not is_tiff and max(slide.size) <= TILE_PX


def choose_probes(plan: Plan, scale: Scale) -> list[Tile]:
    """The tiles whose middles tell of the scale before the analysis; none where too few can.

    Single images are asked after theirs, unless their scale is a guess: see `judge_scale`.
    """
    if plan.skip_blank and scale.source != "assumed":
        return []
    tiles = _fullest_tiles(plan)
    return tiles if len(tiles) >= _LEAST else []


def probe_scale(
    slide: Slide, plan: Plan, model: Model, probes: Sequence[Tile], zooms: Sequence[float] = ZOOMS
) -> tuple[str, ...]:
    """A warning when a slide looks as if its pixels were half or twice as large.

    Args:
        slide: open slide.
        plan: of the slide.
        model: that finds the nuclei.
        probes: tiles whose middles are shown to it.
        zooms: by what the pixels may be larger.
    """

    def measure(tile: Tile) -> tuple[float, ...] | None:
        image = _read_middle(slide, tile)
        return None if image is None else measure_gains(image, model, zooms)

    with ThreadPoolExecutor(num_cores(), thread_name_prefix="histonuc-probe") as pool:
        gains = [gain for gain in pool.map(measure, probes) if gain is not None]
    if not gains or len(gains) < min(len(probes), _LEAST):
        return ()
    medians = np.median(gains, axis=0)
    if medians.max() < BETTER:
        return ()
    likely = plan.mpp * zooms[int(medians.argmax())]
    return (
        f"the nuclei look as if pixels were {likely:.2g} microns, not {plan.mpp:.2g}: "
        "if that is so, give --mpp",
    )


def judge_scale(
    slide: Slide, plan: Plan, model: Model, tally: Tally, *, is_probed: bool
) -> tuple[str, ...]:
    """A warning when the nuclei have a size that tissue's nuclei do not have.

    One image has odd nuclei too easily: only if theirs are as small or large as those of few
    images, the network is asked whether it does better where they would be larger or smaller.

    Args:
        slide: open slide.
        plan: of the slide.
        model: that found the nuclei.
        tally: of all nuclei.
        is_probed: whether the network was asked before, see `probe_scale`.
    """
    num = len(tally)
    if num < _ENOUGH_OF_IMAGE:
        return ()
    diameter_um = 2 * math.sqrt(float(np.median(tally.area_px)) / math.pi) * plan.mpp
    low, high = DIAMETER_UM
    if num >= _ENOUGH_NUCLEI and not low <= diameter_um <= high:
        return (
            f"half of the nuclei measure under {diameter_um:.1f} µm across, expected {low:g} to "
            f"{high:g}: are the pixels really {plan.mpp:.3g} microns? if not, give --mpp",
        )
    low, high = _USUAL_UM
    if is_probed or low <= diameter_um <= high:
        return ()
    zooms = ZOOMS[:1] if diameter_um > high else ZOOMS[1:]
    return probe_scale(slide, plan, model, _fullest_tiles(plan), zooms)


def measure_gains(
    image: NDArray[np.uint8], model: Model, zooms: Sequence[float]
) -> tuple[float, ...] | None:
    """How much better the network does on an image (H, W, 3) that is resized by each of `zooms`.

    These are ratios of `_success_at`; None where there are no nuclei as it is.
    """
    here = _success_at(image, model, 1.0)
    if here == 0:
        return None
    return tuple(_success_at(image, model, zoom) / here for zoom in zooms)


def _success_at(image: NDArray[np.uint8], model: Model, zoom: float) -> float:
    """How well the network does on an image (H, W, 3) that is resized by `zoom`.

    It is the area of the nuclei, in pixels of `image`, times the fourth power of their mean score.
    """
    if zoom != 1:
        how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=how), np.uint8)
    found = model.outputs(image[None]).decode(model.representation, 0)
    if len(found.score) == 0:
        return 0.0
    return float(np.count_nonzero(found.labels) * found.score.mean() ** 4 / zoom**2)


def _fullest_tiles(plan: Plan) -> list[Tile]:
    """Some tiles from all over the slide, those that are fullest of tissue in the middle."""
    step = max(1, len(plan.tiles) // _CANDIDATES)
    tiles = plan.tiles[step // 2 :: step]
    tissue = [plan.tissue.fraction_in([_middle(tile)]) for tile in tiles]
    best = np.argsort(tissue)[::-1][:PROBES]
    return [tiles[i] for i in sorted(best) if tissue[i] > 0]


def _middle(tile: Tile) -> Box:
    """The probe of a tile's window, in level-0 pixels."""
    box = tile.window
    sides = [
        min(size, round(PROBE_PX * size / px))
        for size, px in zip(box.size, tile.input_px, strict=True)
    ]
    x, y = (box[i] + (box.size[i] - sides[i]) // 2 for i in (0, 1))
    return Box(x, y, x + sides[0], y + sides[1])


def _read_middle(slide: Slide, tile: Tile) -> NDArray[np.uint8] | None:
    """The probe of a tile, RGB (H, W, 3) at the model's scale; None where it cannot be read."""
    box = _middle(tile)
    width, height = (min(PROBE_PX, px) for px in tile.input_px)
    try:
        return slide.read(box.x0, box.y0, *box.size, width, height)
    except RegionError:
        return None
