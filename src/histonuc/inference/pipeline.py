"""The tiles of one slide or image: read, forward, decode, claim."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.embeddings import empty_embedding, to_embedding
from histonuc.inference.clock import Clock
from histonuc.inference.features import list_features, measure_features
from histonuc.inference.plan import Plan
from histonuc.inference.quality import DEFOCUSED, flag_image, is_defocused
from histonuc.inference.results import ResultFolder
from histonuc.inference.seams import claim_nuclei
from histonuc.inference.sources import check_reachable
from histonuc.inference.tiles import Part, Tile, TileResult, TileStatus
from histonuc.inference.tissue import is_blank
from histonuc.models.engines import num_cores
from histonuc.models.model import Model
from histonuc.models.outputs import Outputs
from histonuc.nuclei import Nuclei
from histonuc.slides import RegionError, Slide

Parts = Generator[tuple[Part, list[TileResult]], None, None]
"""Parts with what came of their tiles, in order."""
T = TypeVar("T")
R = TypeVar("R")
_THREADS_A_READER = 4
"""JPEG 2000, the slowest format, is decoded as fast as five cores' networks take it."""
_NO_IMAGE = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True, kw_only=True, eq=False)
class _TileImage:
    """A tile as it was read.

    Attributes:
        tile: which one.
        status: "found" where the network is to see it.
        image: RGB uint8 (H, W, 3) of its window; empty unless `status` is "found".
        reason: why it could not be read; empty when it could.
    """

    tile: Tile
    status: TileStatus
    image: NDArray[np.uint8] = field(default_factory=lambda: _NO_IMAGE)
    reason: str = ""


def analyse_and_store(
    slide: Slide,
    source: Path,
    folder: ResultFolder,
    model: Model,
    plan: Plan,
    batch_size: int,
    clock: Clock,
    parts: Sequence[Part],
) -> Parts:
    """Parts of a slide that this process analyses, with all its cores, and stores.

    Args:
        slide: open slide.
        source: its file or folder.
        folder: of the result.
        model: that finds the nuclei.
        plan: of the slide.
        batch_size: tiles a forward pass.
        clock: where the time goes.
        parts: what to analyse.

    Raises:
        OSError: the disk is full, or the slide's file cannot be read at all any more.
    """
    threads = num_cores()
    analysed = analyse(
        slide, model, plan, parts, batch_size=batch_size, threads=threads, clock=clock
    )
    with closing(analysed):
        for part, results in analysed:
            store_part(folder, source, part, results, clock)
            yield part, results


def analyse(
    slide: Slide,
    model: Model,
    plan: Plan,
    parts: Sequence[Part],
    *,
    batch_size: int,
    threads: int,
    clock: Clock,
) -> Parts:
    """Find the nuclei of parts of a slide, in level-0 pixels, in the order given.

    Threads of their own read ahead, one for every four of `threads`. Each of these takes a batch
    through the network and decodes it, so that the network of one works while another decodes. Few
    tiles are in memory at a time, however large the slide is.

    Args:
        slide: open slide.
        model: its `maps` is called by several threads.
        plan: of the slide.
        parts: what to analyse.
        batch_size: tiles a forward pass.
        threads: that decode and run the network.
        clock: where the time goes.
    """
    tiles = (tile for part in parts for tile in part.tiles)
    num_readers = math.ceil(threads / _THREADS_A_READER)
    # Closing waits for the threads: after an error they would go on in a closed slide.
    with (
        closing(
            in_order(tiles, lambda tile: _read_tile(slide, plan, tile, clock), num_readers)
        ) as images,
        closing(
            in_order(
                _batches(images, batch_size),
                lambda batch: _analyse_batch(model, plan, batch, clock),
                threads,
            )
        ) as batches,
    ):
        results = (result for batch in batches for result in batch)
        for part in parts:
            yield part, list(islice(results, len(part.tiles)))


def store_part(
    folder: ResultFolder, source: Path, part: Part, results: Sequence[TileResult], clock: Clock
) -> None:
    """Write what came of the tiles of a part to disk.

    Args:
        folder: of the result.
        source: file or folder of the slide.
        part: which one.
        results: of its tiles.
        clock: where the time goes.

    Raises:
        OSError: the disk is full, or the slide's file cannot be read at all any more.
    """
    if any(result.status == "unreadable" for result in results):
        check_reachable(source)  # it is damage only while the rest can be read
    with clock.stage("keep"):
        folder.save_part(part, results)


def _read_tile(slide: Slide, plan: Plan, tile: Tile, clock: Clock) -> _TileImage:
    """What the network is to see of a tile, or why it sees nothing of it."""
    with clock.stage("read"):
        try:
            image = slide.read(tile.window.x0, tile.window.y0, *tile.window.size, *tile.input_px)
        except RegionError as error:
            return _TileImage(tile=tile, status="unreadable", reason=str(error))
        if plan.skip_blank and is_blank(image[::2, ::2]):
            return _TileImage(tile=tile, status="blank")
    return _TileImage(tile=tile, status="found", image=image)


def can_read(slide: Slide, plan: Plan, tile: Tile) -> bool:
    """Whether the window of a tile can be read."""
    return _read_tile(slide, plan, tile, Clock()).status != "unreadable"


def _batches(images: Iterable[_TileImage], batch_size: int) -> Iterator[list[_TileImage]]:
    """Runs of tiles of which the network sees `batch_size` each, the last with less."""
    batch: list[_TileImage] = []
    num_seen = 0
    for image in images:
        batch.append(image)
        num_seen += image.status == "found"
        if num_seen == batch_size:
            yield batch
            batch, num_seen = [], 0
    if batch:
        yield batch


def _analyse_batch(
    model: Model, plan: Plan, batch: list[_TileImage], clock: Clock
) -> list[TileResult]:
    """What came of each tile of a batch."""
    batch = [_set_aside_defocused(item, model, plan) for item in batch]
    names = list_features(model)
    none = Nuclei.empty(model.spec.label_space, plan.mpp, names)
    empty = plan.certainty.mark(replace(none, embedding=empty_embedding(plan.embedding_size)))
    seen = [item.image for item in batch if item.status == "found"]
    outputs = iter(_run_network(model, seen, clock))
    results = []
    for item in batch:
        nuclei, flag = empty, DEFOCUSED if item.status == "out of focus" else ""
        with clock.stage("decode"):
            if item.status == "found":
                nuclei = _decode(model, *next(outputs), item, plan)
                flag = flag_image(item.image, plan.mpp / model.spec.mpp)
            # A band of half the margin: two tiles disagree less about one centroid.
            claimed, owned = claim_nuclei(nuclei, item.tile.core, plan.margin_px / 2)
        results.append(
            TileResult(
                tile=item.tile,
                status=item.status,
                nuclei=claimed,
                owned=owned,
                flag=flag,
                reason=item.reason,
            )
        )
    return results


def _set_aside_defocused(item: _TileImage, model: Model, plan: Plan) -> _TileImage:
    """The tile, without its image where that is out of focus.

    Single images and drawn regions are wanted whatever they look like.
    """
    wanted = plan.skip_blank or plan.regions is not None
    if wanted or item.status != "found" or not is_defocused(item.image, model.spec.mpp, plan.mpp):
        return item
    return replace(item, status="out of focus", image=_NO_IMAGE)


def _run_network(
    model: Model, images: list[NDArray[np.uint8]], clock: Clock
) -> list[tuple[Outputs, int]]:
    """The network's outputs for images (H, W, 3), those of one shape in one pass.

    Returns:
        For each image the outputs of its pass, and its index in them.
    """
    found: dict[int, tuple[Outputs, int]] = {}
    for shape in dict.fromkeys(image.shape for image in images):
        index = [i for i, image in enumerate(images) if image.shape == shape]
        with clock.watched("network"):
            outputs = model.outputs(np.stack([images[i] for i in index]))
        found |= {i: (outputs, place) for place, i in enumerate(index)}
    return [found[i] for i in range(len(images))]


def _decode(model: Model, outputs: Outputs, index: int, item: _TileImage, plan: Plan) -> Nuclei:
    """The nuclei of one tile's window in level-0 pixels, measured."""
    instances, embedding = outputs.decode(model.representation, index), None
    if model.trust is not None or plan.embedding_size:
        shape = instances.labels, len(instances.score), index
        if plan.embedding_size:
            pooled = outputs.embed(model.spec, *shape)
            embedding = to_embedding(pooled)
        else:
            pooled = outputs.pool_features(*shape)
        if model.trust is not None:
            means = pooled[:, : model.trust.num_features]
            instances = replace(instances, class_trust=model.trust.judge(means))
    nuclei = Nuclei.from_instances(instances, model.spec.label_space)
    features = measure_features(instances.labels, item.image, nuclei, model.spec.mpp)
    # A window of whole pixels rarely is a whole number of input pixels: the two axes' scales
    # differ by a fraction of a percent when the slide is smaller than a tile.
    window = item.tile.window
    scale = np.array(window.size) / item.tile.input_px
    origin = np.array([window.x0, window.y0])
    placed = replace(
        nuclei,
        points=nuclei.points * scale + origin,
        centroid=nuclei.centroid * scale + origin,
        mpp=plan.mpp,
        features={**features, **nuclei.features},
        embedding=embedding,
    )
    return plan.certainty.mark(placed)


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
