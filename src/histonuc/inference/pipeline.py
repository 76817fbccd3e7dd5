"""One slide or image, part by part: read, forward, decode, own."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from histonuc.inference.clock import Clock
from histonuc.inference.features import FEATURES, measure_features
from histonuc.inference.plan import Plan, View
from histonuc.inference.quality import DEFOCUSED, flag_image, is_defocused
from histonuc.inference.results import Part, PartResult, PartStore
from histonuc.inference.seams import TileNuclei, own
from histonuc.inference.tiles import Tile
from histonuc.inference.tissue import is_blank
from histonuc.models.model import Model
from histonuc.nuclei import Nuclei
from histonuc.slides import RegionError, Slide

T = TypeVar("T")
R = TypeVar("R")
_PLACES = 16
"""Places of a file that are read to see whether it is still there."""
_THREADS_A_READER = 4
"""JPEG 2000, the slowest format, is decoded as fast as five cores' networks take it."""


def analyse(
    slide: Slide,
    runtime: Model,
    plan: Plan,
    parts: Sequence[Part],
    *,
    batch_size: int,
    threads: int,
    clock: Clock,
) -> Generator[tuple[Part, PartResult], None, None]:
    """Find the nuclei of parts of a slide, in level-0 pixels, in the order given.

    Threads of their own read ahead, one for every four of `threads`. Each of these takes a batch
    through the network and decodes it, so that the network of one works while another decodes. Few
    tiles are held at a time, however large the slide is.

    Args:
        slide: open slide.
        runtime: the model; its `maps` is called by several threads.
        plan: of the slide.
        parts: what to analyse.
        batch_size: tiles a forward pass.
        threads: that decode and run the network.
        clock: where the time goes.
    """
    waiting = deque(parts)
    found: list[TileNuclei] = []
    skipped: list[RegionError] = []
    tiles_left = len(waiting[0].tiles) if waiting else 0
    tiles = (tile for part in parts for tile in part.tiles)
    num_readers = math.ceil(threads / _THREADS_A_READER)
    # Closing waits for the threads: after an error they would go on in a closed slide.
    with (
        closing(
            in_order(tiles, lambda tile: _read(slide, plan, tile, clock), num_readers)
        ) as items,
        closing(
            in_order(
                _batches(items, batch_size),
                lambda batch: _work(runtime, plan, batch, clock),
                threads,
            )
        ) as outcomes,
    ):
        for item in (item for outcome in outcomes for item in outcome):
            if isinstance(item, TileNuclei):
                found.append(item)
            elif item is not None:
                skipped.append(item)
            tiles_left -= 1
            if tiles_left == 0:
                yield waiting.popleft(), PartResult(tiles=tuple(found), skipped=tuple(skipped))
                found, skipped = [], []
                tiles_left = len(waiting[0].tiles) if waiting else 0


def keep(store: PartStore, source: Path, part: Part, result: PartResult, clock: Clock) -> None:
    """Write what was found of a part to disk.

    Raises:
        OSError: the disk is full, or the slide's file cannot be read at all any more.
    """
    if result.skipped:
        _check_there(source)
    with clock.part("keep"):
        store.save(part, result)


def _check_there(source: Path) -> None:
    """A region that cannot be read is damage only while the rest can: a mount may be gone."""
    if source.is_dir():
        if not any(source.iterdir()):
            raise FileNotFoundError(f"{source} is empty: it may be a mount that is gone")
        return
    with source.open("rb", buffering=0) as stream:
        size = source.stat().st_size
        if size == 0:
            raise FileNotFoundError(f"{source} is empty now: it was whole before")
        if hasattr(os, "posix_fadvise"):  # what is in memory says nothing of the storage
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for place in range(_PLACES):
            stream.seek(size * place // _PLACES)
            stream.read(1)


_Item = tuple[Tile, NDArray[np.uint8] | RegionError | None]
"""A tile with its image, with why it cannot be read, or with nothing where it is blank."""


def _read(slide: Slide, plan: Plan, tile: Tile, clock: Clock) -> _Item:
    with clock.part("read"):
        view = plan.view(tile)
        try:
            image = slide.read(view.box.x0, view.box.y0, *view.box.size, *view.input_px)
        except RegionError as error:
            # The neighbours' windows cover what lies outside the core.
            return tile, RegionError(str(error), tile.core)
        blank = plan.skip_blank and is_blank(image[::2, ::2])
    return tile, None if blank else image


def can_read(slide: Slide, plan: Plan, tile: Tile) -> bool:
    """Whether the view of a tile can be read."""
    return not isinstance(_read(slide, plan, tile, Clock())[1], RegionError)


def _batches(items: Iterable[_Item], batch_size: int) -> Iterator[list[_Item]]:
    """Runs of items with `batch_size` images each, the last with less."""
    batch: list[_Item] = []
    num_images = 0
    for item in items:
        batch.append(item)
        num_images += isinstance(item[1], np.ndarray)
        if num_images == batch_size:
            yield batch
            batch, num_images = [], 0
    if batch:
        yield batch


def _work(
    runtime: Model, plan: Plan, batch: list[_Item], clock: Clock
) -> list[TileNuclei | RegionError | None]:
    """What each item of a batch came to."""
    band_px = plan.margin_px / 2
    empty = Nuclei.empty(runtime.spec.label_space, plan.mpp, FEATURES)
    items = [
        (
            tile,
            own(tile, empty, band_px, DEFOCUSED) if _is_left_out(image, runtime, plan) else image,
        )
        for tile, image in batch
    ]
    outcome: list[TileNuclei | RegionError | None] = []
    maps = iter(
        _maps(runtime, [image for _, image in items if isinstance(image, np.ndarray)], clock)
    )
    for tile, image in items:
        if not isinstance(image, np.ndarray):
            outcome.append(image)
            continue
        with clock.part("decode"):
            nuclei = _decode(runtime, next(maps), image, plan.view(tile), plan)
            outcome.append(own(tile, nuclei, band_px, flag_image(image)))
    return outcome


def _is_left_out(image: NDArray[np.uint8] | RegionError | None, runtime: Model, plan: Plan) -> bool:
    """Whether a tile of a slide is out of focus; single images and drawn regions are wanted."""
    wanted = plan.skip_blank or plan.regions is not None
    if wanted or not isinstance(image, np.ndarray):
        return False
    return is_defocused(image, runtime.spec.mpp, plan.mpp)


def _maps(
    runtime: Model, images: list[NDArray[np.uint8]], clock: Clock
) -> list[NDArray[np.float32]]:
    """The network's maps of images, those of one shape in one pass."""
    maps: dict[int, NDArray[np.float32]] = {}
    for shape in dict.fromkeys(image.shape for image in images):
        index = [i for i, image in enumerate(images) if image.shape == shape]
        with clock.watched("network"):
            maps |= zip(index, runtime.maps(np.stack([images[i] for i in index])), strict=True)
    return [maps[i] for i in range(len(images))]


def _decode(
    runtime: Model,
    maps: NDArray[np.float32],
    image: NDArray[np.uint8],
    view: View,
    plan: Plan,
) -> Nuclei:
    """The nuclei of one view in level-0 pixels, measured."""
    instances = runtime.representation.decode(maps)
    nuclei = Nuclei.from_instances(instances, runtime.spec.label_space)
    features = measure_features(instances.labels, image, nuclei, runtime.spec.mpp)
    # A window of whole pixels rarely is a whole number of input pixels: the two axes' scales
    # differ by a fraction of a percent when the slide is smaller than a tile.
    scale = np.array(view.box.size) / view.input_px
    origin = np.array([view.box.x0, view.box.y0])
    return replace(
        nuclei,
        points=nuclei.points * scale + origin,
        centroid=nuclei.centroid * scale + origin,
        mpp=plan.mpp,
        features=features,
    )


def in_order(items: Iterator[T], work: Callable[[T], R], threads: int) -> Generator[R, None, None]:
    """Results of `work` on items in their order; errors are raised here.

    One more thread takes the items, at most two for each worker ahead of what is handed on.
    """
    end = object()
    with (  # the reader hands on to the workers: it ends first
        ThreadPoolExecutor(threads, thread_name_prefix="histonuc-worker") as workers,
        ThreadPoolExecutor(1, thread_name_prefix="histonuc-reader") as reader,
    ):

        def take() -> Future[R] | None:
            item = next(items, end)
            return None if item is end else workers.submit(work, item)  # type: ignore[arg-type]

        ahead = deque(reader.submit(take) for _ in range(2 * threads))
        try:
            while (submitted := ahead.popleft().result()) is not None:
                result = submitted.result()
                ahead.append(reader.submit(take))
                yield result
        finally:
            for waiting in ahead:
                waiting.cancel()
