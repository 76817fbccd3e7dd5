"""Whether a slide's scale can be right: what the network makes of it at half and at twice that."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.inference.plan import Plan
from histonuc.inference.tiles import Box, Tile
from histonuc.models.engines import num_cores
from histonuc.models.model import Model
from histonuc.slides import RegionError, Slide

PROBE_PX = 512
"""Side of a probe in pixels of the model's scale."""
_CANDIDATES, PROBES, _LEAST = 32, 8, 3
_USUAL_UM = (4.2, 7.5)
"""Of most single images the median diameter of the nuclei lies between."""
_ENOUGH_NUCLEI = 20
BETTER = 1.05
"""How much better another scale has to be. Medians of six data sets are 0.66 to 1.03 at the right
scale, 1.14 to 1.53 at half of it and 1.01 to 1.25 at twice (benchmarks/bench_scale.py)."""
ZOOMS = (0.5, 2.0)


def probe_scale(slide: Slide, plan: Plan, runtime: Model) -> str | None:
    """A sentence when a slide looks as if its pixels were half or twice as large; empty otherwise.

    A network finds most, and is surest, at the scale it was trained for. So some places of tissue
    are shown to it as they are, at half and at twice their size. None where there are too few
    places to tell: see `probe_after`.
    """
    tiles = _choose(plan)
    return _likely(slide, plan, runtime, tiles, ZOOMS) if len(tiles) >= _LEAST else None


def probe_after(
    slide: Slide, plan: Plan, runtime: Model, diameter_um: float, num_nuclei: int
) -> str:
    """The same of an image that `probe_scale` was not asked about, after its analysis.

    One image has odd nuclei too easily: only if theirs are as small or large as of few images, the
    network is asked whether it does better where they would be larger or smaller.

    Args:
        slide: open image.
        plan: of the image.
        runtime: the model.
        diameter_um: median diameter of its nuclei.
        num_nuclei: how many there are.
    """
    low, high = _USUAL_UM
    if num_nuclei < _ENOUGH_NUCLEI or low <= diameter_um <= high:
        return ""
    return _likely(
        slide, plan, runtime, _choose(plan), ZOOMS[:1] if diameter_um > high else ZOOMS[1:]
    )


def _likely(
    slide: Slide, plan: Plan, runtime: Model, tiles: Sequence[Tile], zooms: Sequence[float]
) -> str:
    """What the middles of some tiles say of the scale."""

    def measure(tile: Tile) -> tuple[float, ...] | None:
        image = _read(slide, plan, tile)
        return None if image is None else measure_gains(image, runtime, zooms)

    with ThreadPoolExecutor(num_cores(), thread_name_prefix="histonuc-probe") as pool:
        known = [gains for gains in pool.map(measure, tiles) if gains is not None]
    if len(known) < min(len(tiles), _LEAST):
        return ""
    medians = np.median(known, axis=0)
    if medians.max() < BETTER:
        return ""
    likely = plan.mpp * zooms[int(medians.argmax())]
    return (
        f"the nuclei look as if pixels were {likely:.2g} microns, not {plan.mpp:.2g}: "
        "if that is so, give --mpp"
    )


def measure_gains(
    image: NDArray[np.uint8], runtime: Model, zooms: Sequence[float]
) -> tuple[float, ...] | None:
    """How much better the network does on an image (H, W, 3) that is resized by each of `zooms`.

    Returns:
        Ratios of the area of the nuclei times the fourth power of their mean score; None where
        there are no nuclei as it is.
    """
    here = _success(image, runtime)
    if here == 0:
        return None
    gains = []
    for zoom in zooms:
        how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR
        other = np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=how), np.uint8)
        gains.append(_success(other, runtime) / zoom**2 / here)
    return tuple(gains)


def _success(image: NDArray[np.uint8], runtime: Model) -> float:
    found = runtime.representation.decode(runtime.maps(image[None])[0])
    if len(found.score) == 0:
        return 0.0
    return float(np.count_nonzero(found.labels) * found.score.mean() ** 4)


def _choose(plan: Plan) -> list[Tile]:
    """Some tiles from all over the slide, those that are fullest of tissue in the middle."""
    step = max(1, len(plan.tiles) // _CANDIDATES)
    tiles = plan.tiles[step // 2 :: step]
    tissue = [plan.tissue.fraction_in([_middle(plan, tile)]) for tile in tiles]
    best = np.argsort(tissue)[::-1][:PROBES]
    return [tiles[i] for i in sorted(best) if tissue[i] > 0]


def _middle(plan: Plan, tile: Tile) -> Box:
    """The probe of a tile's window, in level-0 pixels."""
    box = tile.window
    sides = [
        min(size, round(PROBE_PX * size / px))
        for size, px in zip(box.size, plan.input_px, strict=True)
    ]
    x, y = (box[i] + (box.size[i] - sides[i]) // 2 for i in (0, 1))
    return Box(x, y, x + sides[0], y + sides[1])


def _read(slide: Slide, plan: Plan, tile: Tile) -> NDArray[np.uint8] | None:
    box = _middle(plan, tile)
    width, height = (min(PROBE_PX, px) for px in plan.input_px)
    try:
        return slide.read(box.x0, box.y0, *box.size, width, height)
    except RegionError:
        return None
