"""One slide or image to nuclei: read, batch, forward, decode, own, stitch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from histonuc.inference.runtime import Runtime
from histonuc.inference.slides import RegionError, Slide
from histonuc.inference.stitch import TileNuclei, own, stitch
from histonuc.inference.tiles import Grid, Tile, make_grid
from histonuc.inference.tissue import TissueMask, find_tissue, is_blank
from histonuc.nuclei import Nuclei

SMALL_IMAGE_PIXELS = 1 << 24
"""Plain images up to this size are analysed throughout, but for tiles that are blank."""

T = TypeVar("T")
Progress = Callable[[int, int, float], None]
"""Called with tiles done, nuclei found in them, and their cores' area in mm²."""


@dataclass
class Clock:
    """Seconds spent by part; parts in other threads overlap with the rest."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time the block takes to the part `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a slide is going to be analysed.

    Attributes:
        grid: all tiles.
        tiles: those to analyse.
        tissue: where tissue is.
        input_px: width and height of the network's input.
        margin_px: halo in level-0 pixels.
        mpp: microns per level-0 pixel.
        skip_blank: drop tiles that turn out blank when read.
    """

    grid: Grid
    tiles: tuple[Tile, ...]
    tissue: TissueMask
    input_px: tuple[int, int]
    margin_px: int
    mpp: float
    skip_blank: bool


def make_plan(
    slide: Slide, *, mpp: float, model_mpp: float, tile_px: int, margin_um: float
) -> Plan:
    """Find the tissue and lay the tiles.

    Args:
        slide: open slide.
        mpp: microns per level-0 pixel.
        model_mpp: microns per pixel of the network's input.
        tile_px: side of the network's input.
        margin_um: halo around each core.
    """
    scale = model_mpp / mpp  # level-0 pixels per pixel of the network's input
    margin_px = round(margin_um / mpp)
    grid = make_grid(slide.size, round(tile_px * scale), margin_px)
    tissue = find_tissue(slide)
    small = slide.is_plain and slide.size[0] * slide.size[1] <= SMALL_IMAGE_PIXELS
    wanted = (tile for tile in grid if (tissue.mask.any() if small else tissue.touches(tile.core)))
    width, height = grid.window_size
    return Plan(
        grid=grid,
        tiles=tuple(wanted),
        tissue=tissue,
        input_px=(max(1, round(width / scale)), max(1, round(height / scale))),
        margin_px=margin_px,
        mpp=mpp,
        skip_blank=small,
    )


def find_nuclei(
    slide: Slide,
    runtime: Runtime,
    plan: Plan,
    *,
    batch_size: int,
    clock: Clock,
    progress: Progress,
    skipped: list[RegionError],
) -> Nuclei:
    """All nuclei of a slide in level-0 pixels, each once, sorted by place.

    Tiles that cannot be read are left out and their errors added to `skipped`.

    Raises:
        ValueError: no tile can be read.
    """
    parts: list[TileNuclei] = []
    # Closing waits for the reader thread: after an error it would go on in a closed slide.
    with closing(prefetch(_read(slide, plan, clock, skipped), depth=2 * batch_size)) as read:
        for tiles, images in _batches(read, batch_size):
            with clock.part("network"):
                maps = runtime.maps(images)
            for tile, tile_maps in zip(tiles, maps, strict=True):
                with clock.part("decode"):
                    found = _decode(runtime, tile_maps, tile, plan)
                    parts.append(own(tile, found, band_px=plan.margin_px / 2))
                area_mm2 = np.prod(tile.core.size) * (plan.mpp / 1000) ** 2
                progress(1, int(parts[-1].owned.sum()), float(area_mm2))
    if skipped and len(skipped) == len(plan.tiles):
        raise ValueError(f"none of the {len(skipped)} regions can be read: {skipped[0]}")
    with clock.part("stitch"):
        return stitch(parts, runtime.label_space, plan.mpp)


def _read(
    slide: Slide, plan: Plan, clock: Clock, skipped: list[RegionError]
) -> Iterator[tuple[Tile, NDArray[np.uint8]]]:
    for tile in plan.tiles:
        with clock.part("read"):
            window = tile.window
            try:
                image = slide.read(window.x0, window.y0, *window.size, *plan.input_px)
            except RegionError as error:
                skipped.append(error)
                continue
            blank = plan.skip_blank and is_blank(image[::2, ::2])
        if not blank:
            yield tile, image


def _batches(
    tiles: Iterable[tuple[Tile, NDArray[np.uint8]]], batch_size: int
) -> Iterator[tuple[list[Tile], NDArray[np.uint8]]]:
    """Groups of at most `batch_size` tiles with their images stacked (B, H, W, 3)."""
    waiting: list[tuple[Tile, NDArray[np.uint8]]] = []
    for item in tiles:
        waiting.append(item)
        if len(waiting) == batch_size:
            yield [tile for tile, _ in waiting], np.stack([image for _, image in waiting])
            waiting = []
    if waiting:
        yield [tile for tile, _ in waiting], np.stack([image for _, image in waiting])


def _decode(runtime: Runtime, maps: NDArray[np.float32], tile: Tile, plan: Plan) -> Nuclei:
    """The nuclei of one tile in level-0 pixels."""
    instances = runtime.representation.decode(maps)
    nuclei = Nuclei.from_instances(instances, runtime.label_space)
    # A window of whole pixels rarely is a whole number of input pixels: the two axes' scales
    # differ by a fraction of a percent when the slide is smaller than a tile.
    scale = np.array(tile.window.size) / plan.input_px
    moved = nuclei.moved(1.0, (0.0, 0.0), plan.mpp)
    origin = np.array([tile.window.x0, tile.window.y0])
    return replace(
        moved, points=nuclei.points * scale + origin, centroid=nuclei.centroid * scale + origin
    )


def prefetch(items: Iterator[T], depth: int) -> Generator[T, None, None]:
    """Run an iterator in a thread, at most `depth` items ahead; its errors are raised here."""
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="histonuc-reader") as pool:
        ahead = deque(pool.submit(next, items, end) for _ in range(depth))
        try:
            while (item := ahead.popleft().result()) is not end:
                ahead.append(pool.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:
            for waiting in ahead:
                waiting.cancel()
