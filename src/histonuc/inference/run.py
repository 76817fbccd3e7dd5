"""The run over one slide: analyse what is not on disk yet, join it, and write the table.

The network works ahead in threads of its own; one thread joins finished rows of tiles and writes
them. What is held at a time does not grow with the slide, but for a few bytes a nucleus.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from histonuc.exports.geojson import open_geojson
from histonuc.exports.source import as_source, cut
from histonuc.exports.table import open_table
from histonuc.inference.clock import Clock
from histonuc.inference.cluster import Remote
from histonuc.inference.features import FEATURES
from histonuc.inference.pipeline import analyse, keep
from histonuc.inference.plan import Plan
from histonuc.inference.quality import DEFOCUSED
from histonuc.inference.results import Part, PartResult, PartStore, make_parts
from histonuc.inference.seams import Seams, TileNuclei
from histonuc.inference.summary import Tally
from histonuc.inference.tiles import Box
from histonuc.models.engines import num_cores
from histonuc.models.model import Model
from histonuc.nuclei import Nuclei
from histonuc.slides import RegionError, Slide

Progress = Callable[[int, int, float], None]
"""Called with tiles done, nuclei in them, and their cores' area in mm² (0 if done before)."""
_ROWS_AHEAD = 2
"""Finished rows of tiles that may wait to be joined."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One slide to analyse, and everything that takes.

    Attributes:
        slide: open.
        source: its file.
        runtime: the model.
        plan: of the slide.
        store: where finished parts are kept, opened.
        clock: where the time goes.
        remote: the cluster that does it; None for this process.
    """

    slide: Slide
    source: Path
    runtime: Model
    plan: Plan
    store: PartStore
    clock: Clock
    remote: Remote | None = None


@dataclass(kw_only=True)
class Found:
    """What a run gave, beside the table.

    Attributes:
        tally: of all nuclei.
        skipped: cores of the tiles that could not be read.
        flagged: cores of the tiles whose image is unlike H&E, each with its flag.
        tiles_resumed: tiles that an earlier, interrupted run had analysed.
    """

    tally: Tally
    skipped: list[RegionError] = field(default_factory=list)
    flagged: list[tuple[Box, str]] = field(default_factory=list)
    tiles_resumed: int = 0

    @property
    def left_out(self) -> list[Box]:
        """Cores of the tiles in which no nucleus was looked for."""
        defocused = [box for box, flag in self.flagged if flag == DEFOCUSED]
        return [Box(*error.box_xyxy) for error in self.skipped] + defocused


def find_nuclei(
    work: Work,
    table: Path,
    facts: Mapping[str, Any],
    *,
    geojson: Path | None,
    batch_size: int,
    progress: Progress,
) -> Found:
    """Analyse a slide and write the table of its nuclei, each once, in level-0 pixels.

    The table is in the order of the rows of tiles, top to bottom, and `Seams.add`'s within what one
    row settles. It is the same whether or not the run was interrupted.

    Args:
        work: the slide.
        table: file to write; appears whole or not at all.
        facts: for the table's schema.
        geojson: file to write them to as well, while the network goes on; None for none.
        batch_size: tiles a forward pass.
        progress: told of each part that is done.

    Raises:
        ValueError: no tile can be read.
        OSError: the disk is full, or the slide's file is gone; finished parts are kept.
    """
    plan, space = work.plan, work.runtime.spec.label_space
    empty = Nuclei.empty(space, plan.mpp, FEATURES)
    seams = Seams(plan.grid, empty)
    found = Found(tally=Tally(label_space=space, mpp=plan.mpp))
    parts = make_parts(plan.tiles)
    tops = {part.row: plan.grid.rows[part.row].window[0] for part in parts}
    rows = [*tops, None]
    following = dict(pairwise(rows))

    def join(row: int, tiles: list[TileNuclei]) -> None:
        after = following[row]
        with work.clock.part("stitch"):
            nuclei = seams.add(tiles, math.inf if after is None else tops[after])
            if plan.regions is not None:
                nuclei = nuclei.select(plan.regions.hold(nuclei.centroid))
            nuclei = nuclei.select(~plan.tissue.under_ink(nuclei.centroid))
        with work.clock.part("write"):
            append(nuclei)
            found.tally.add(nuclei)

    with (
        _open_outputs(table, geojson, empty, facts) as append,
        ThreadPoolExecutor(1, thread_name_prefix="histonuc-joiner") as joiner,
        closing(_results(work, parts, found, batch_size, progress)) as results,
    ):
        joining: list[Future[None]] = []
        for row, group in groupby(results, key=lambda item: item[0].row):
            tiles: list[TileNuclei] = []
            for _, result in group:
                tiles += result.tiles
                found.skipped += result.skipped
            found.flagged += [(tile.tile.core, tile.flag) for tile in tiles if tile.flag]
            joining.append(joiner.submit(join, row, tiles))
            while len(joining) > _ROWS_AHEAD:
                joining.pop(0).result()
        for future in joining:
            future.result()
        if found.skipped and len(found.skipped) == len(plan.tiles):
            raise ValueError(
                f"none of the {len(found.skipped)} regions can be read: {found.skipped[0]}"
            )
    return found


@contextmanager
def _open_outputs(
    table: Path, geojson: Path | None, empty: Nuclei, facts: Mapping[str, Any]
) -> Iterator[Callable[[Nuclei], None]]:
    """A function that appends nuclei to the table and, if wanted, the GeoJSON."""
    text = open_geojson(geojson, as_source(empty)) if geojson else nullcontext()
    with open_table(table, empty, facts) as append_rows, text as append_text:
        next_id = 1

        def append(nuclei: Nuclei) -> None:
            nonlocal next_id
            append_rows(nuclei)
            if append_text is not None:
                for batch in cut(nuclei, first_id=next_id):
                    append_text(batch)
            next_id += len(nuclei)

        yield append


def _results(
    work: Work, parts: list[Part], found: Found, batch_size: int, progress: Progress
) -> Generator[tuple[Part, PartResult], None, None]:
    """All parts in order: those on disk, and between them those that are analysed now."""
    on_disk = {part.name for part in parts if work.store.has(part)}
    missing = [part for part in parts if part.name not in on_disk]
    if work.remote is not None:
        analysed = work.remote.analyse(work.plan, missing, work.store, work.clock)
    else:
        analysed = _analyse_here(work, missing, batch_size)
    with closing(analysed):
        for part in parts:
            area_px = 0.0
            if part.name in on_disk:
                result = work.store.load(part)
                found.tiles_resumed += len(part.tiles)
            else:
                _, result = next(analysed)
                share = work.plan.tissue.fraction_in([tile.core for tile in part.tiles])
                area_px = share * math.prod(work.plan.tissue.size)
            num_nuclei = sum(int(tile.owned.sum()) for tile in result.tiles)
            progress(len(part.tiles), num_nuclei, area_px * (work.plan.mpp / 1000) ** 2)
            yield part, result


def _analyse_here(
    work: Work, parts: list[Part], batch_size: int
) -> Generator[tuple[Part, PartResult], None, None]:
    analysed = analyse(
        work.slide,
        work.runtime,
        work.plan,
        parts,
        batch_size=batch_size,
        threads=num_cores(),
        clock=work.clock,
    )
    with closing(analysed):
        for part, result in analysed:
            keep(work.store, work.source, part, result, work.clock)
            yield part, result
