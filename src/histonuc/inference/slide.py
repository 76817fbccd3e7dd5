"""One input of `histonuc predict`, from its file to its folder of results.

The network works ahead in threads of its own; one thread joins finished rows of tiles and writes
them. What is in memory at a time does not grow with the slide, but for a few bytes a nucleus.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import accumulate, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histonuc._version import __version__
from histonuc.exports.facts import SlideFacts
from histonuc.exports.summary import SlideResult
from histonuc.inference.clock import Clock
from histonuc.inference.cluster import analyse_on_cluster
from histonuc.inference.drawn import RegionTally
from histonuc.inference.features import list_features
from histonuc.inference.options import PredictOptions
from histonuc.inference.pictures import write_pictures
from histonuc.inference.pipeline import Parts, analyse_and_store
from histonuc.inference.plan import Plan, plan_slide
from histonuc.inference.progress import Meter, Tally
from histonuc.inference.results import ResultFolder
from histonuc.inference.scale import (
    choose_probes,
    judge_scale,
    probe_scale,
    resolve_scale,
)
from histonuc.inference.seams import Seams
from histonuc.inference.sources import check_unchanged
from histonuc.inference.summarising import measure_slide, summarise_slide
from histonuc.inference.tiles import Part, TileResult, make_parts
from histonuc.models.model import Model
from histonuc.nuclei import Nuclei
from histonuc.plain_text import readable
from histonuc.slides import Slide, open_slide

if TYPE_CHECKING:
    from distributed import Client

_ROWS_AHEAD = 2
"""Finished rows of tiles that may wait to be joined."""


def predict_slide(
    source: Path,
    folder: ResultFolder,
    key: Mapping[str, Any],
    options: PredictOptions,
    model: Model,
    meter: Meter,
    client: Client | None = None,
) -> SlideResult:
    """Analyse one input and write its folder; the summary comes last.

    Args:
        source: file or folder of the slide.
        folder: of the result.
        key: all that the nuclei depend on.
        options: of the run.
        model: that finds the nuclei.
        meter: told of each part that is done.
        client: of the cluster that analyses the parts; None for this process.

    Raises:
        ValueError: no slide there, no scale, or no tile can be read.
        OSError: the disk is full, or the slide's file is gone or changed; finished parts are kept.
    """
    clock = Clock()
    with clock.stage("total"), _open(source, options) as slide:
        scale = resolve_scale(slide, readable(source.name), options.mpp, model)
        with clock.stage("plan"):
            plan = plan_slide(slide, source, scale.mpp_xy, options, model)
            probes = choose_probes(plan, scale)
            warnings = [*slide.notes, *scale.warnings, *plan.warnings]
            warnings += probe_scale(slide, plan, model, probes)
        parts_key = {"mpp_xy": plan.mpp_xy, "tiles_sha256": plan.tiles_sha256}
        warnings += folder.begin({**key, **parts_key, "version": __version__})
        meter.start(readable(source.name), len(plan.tiles))
        tally = _start_tally(plan, model)
        analysed = _choose_analysis(slide, source, folder, options, model, plan, clock, client)
        facts = _table_facts(slide, source, plan, model)
        empty = tally.empty if plan.regions is None else plan.regions.select(tally.empty)
        outputs = folder.open_outputs(empty, facts, geojson=options.geojson, frame=options.frame)
        with outputs as append:
            join_parts(plan, folder, analysed, append, tally, meter, clock)
        warnings += tally.warnings(len(plan.tiles))
        warnings += judge_scale(slide, plan, model, tally, is_probed=bool(probes))
        with clock.stage("write"):
            title = readable(source.name)
            write_pictures(slide, folder.table, plan.tissue, tally, folder.path, title)
    check_unchanged(source, key)
    measured = measure_slide(slide, scale, plan, tally)
    result = summarise_slide(measured, source, folder, key, options, model, warnings, clock)
    folder.finish(result)
    return result


def _start_tally(plan: Plan, model: Model) -> Tally:
    """A tally of nothing yet."""
    spec, regions = model.spec, plan.regions
    space = plan.certainty.widen(spec.label_space)
    return Tally(
        label_space=space,
        mpp=plan.mpp,
        features=list_features(model),
        embedding_size=plan.embedding_size,
        by_region=None if regions is None else RegionTally(regions, space.classes),
        learned_on=spec.learned_on,
        trust_threshold=spec.trust_threshold,
    )


def _choose_analysis(
    slide: Slide,
    source: Path,
    folder: ResultFolder,
    options: PredictOptions,
    model: Model,
    plan: Plan,
    clock: Clock,
    client: Client | None,
) -> Callable[[Sequence[Part]], Parts]:
    """What analyses and stores parts: this process, or the cluster of a client."""
    if client is None:
        batch_size = options.batch_size
        return partial(analyse_and_store, slide, source, folder, model, plan, batch_size, clock)
    empty = _start_tally(plan, model).empty
    return partial(analyse_on_cluster, client, source, folder, options, plan, empty, clock)


def _open(source: Path, options: PredictOptions) -> Slide:
    return open_slide(source, scene=options.scene, icc=options.icc)


def _table_facts(slide: Slide, source: Path, plan: Plan, model: Model) -> SlideFacts:
    """What the table of nuclei says of itself."""
    return {
        "source": readable(source.name),
        "image_size": list(slide.size),
        "mpp_xy": list(plan.mpp_xy),
        "bounds_xyxy": list(slide.bounds_xyxy),
        "model": model.name,
        "model_sha256": model.sha256,
        "version": __version__,
    }


def _all_parts(
    plan: Plan,
    folder: ResultFolder,
    analysed: Callable[[Sequence[Part]], Parts],
    tally: Tally,
    meter: Meter,
) -> Parts:
    """All parts in order: those on disk, and between them those that are analysed now."""
    parts = make_parts(plan.tiles)
    on_disk = {part.name for part in parts if folder.has_part(part)}
    meter.say_resumed(sum(len(part.tiles) for part in parts if part.name in on_disk))
    with closing(analysed([part for part in parts if part.name not in on_disk])) as missing:
        for part in parts:
            area_px = 0.0
            if part.name in on_disk:
                results = folder.load_part(part, tally.empty)
                tally.tiles_resumed += len(part.tiles)
            else:
                _, results = next(missing)
                share = plan.tissue.fraction_in([tile.core for tile in part.tiles])
                area_px = share * math.prod(plan.tissue.size)
            num_nuclei = sum(int(result.owned.sum()) for result in results)
            meter.advance(len(part.tiles), num_nuclei, area_px * (plan.mpp / 1000) ** 2)
            yield part, results


def join_parts(
    plan: Plan,
    folder: ResultFolder,
    analysed: Callable[[Sequence[Part]], Parts],
    append: Callable[[Nuclei], None],
    tally: Tally,
    meter: Meter,
    clock: Clock,
) -> None:
    """Hand the nuclei of all parts on, each once, in level-0 pixels.

    They come in the order of the rows of tiles, top to bottom, and `Seams.add`'s within what one
    row settles: the same whether or not the run was interrupted.

    Args:
        plan: of the slide.
        folder: of the result, which holds the parts that are done.
        analysed: makes the other parts.
        append: takes the nuclei.
        tally: counts them.
        meter: told of each part that is done.
        clock: where the time goes.

    Raises:
        ValueError: no tile can be read.
    """
    seams = Seams(plan.tiles, tally.empty)

    def join(results: list[TileResult], next_top: float) -> None:
        with clock.stage("stitch"):
            nuclei = seams.add(results, next_top)
            if plan.regions is not None:
                nuclei = plan.regions.select(nuclei)
            nuclei = nuclei.select(~plan.tissue.under_ink(nuclei.centroid))
        with clock.stage("write"):
            append(nuclei)
            tally.add_nuclei(nuclei)

    rows = groupby(plan.tiles, key=lambda tile: tile.row)
    tops = [min(tile.window.y0 for tile in row) for _, row in rows]
    next_tops = [*accumulate(reversed([*tops[1:], math.inf]), min)][::-1][: len(tops)]
    with (
        ThreadPoolExecutor(1, thread_name_prefix="histonuc-joiner") as joiner,
        closing(_all_parts(plan, folder, analysed, tally, meter)) as parts,
    ):
        joining: deque[Future[None]] = deque()
        by_row = groupby(parts, key=lambda item: item[0].row)
        for (_, group), next_top in zip(by_row, next_tops, strict=True):
            results = [result for _, part in group for result in part]
            tally.add_tiles(results)
            joining.append(joiner.submit(join, results, next_top))
            while len(joining) > _ROWS_AHEAD:
                joining.popleft().result()
        for future in joining:
            future.result()
    if tally.skipped and len(tally.skipped) == len(plan.tiles):
        raise ValueError(
            f"none of the {len(tally.skipped)} regions can be read: {tally.skipped[0].reason}"
        )
