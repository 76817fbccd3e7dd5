"""`histonuc prepare corrections --out`: a store of what people corrected, for training."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice, repeat, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.corrections.shown import ShownNuclei, read_shown
from histonuc.corrections.truth import TruthTile, list_classes, make_tiles
from histonuc.corrections.unlabelled import Box, draw_unlabelled
from histonuc.data.point_outlines import FOLDER, write_outlines
from histonuc.data.preparation import PrepareReport, Table
from histonuc.data.store import StoreWriter, TileRecord
from histonuc.data.tables import single_class
from histonuc.exports.summary import read_summary
from histonuc.files import draft_of
from histonuc.taxonomy import LabelSpace

SOURCE = "corrections"
"""Name of the data set in the store."""
ReadPixels = Callable[[int, int, int, int], NDArray[np.uint8]]
"""RGB uint8 (height, width, 3) of a part of a slide, given x, y, width and height at level 0."""
OpenSlide = Callable[[Path], ReadPixels]
"""Opens the slide of the result in a folder; slides are read one room above."""


@dataclass(frozen=True, kw_only=True)
class _Result:
    """A result with corrections that teach something."""

    folder: Path
    shown: ShownNuclei
    size: tuple[int, int]
    mpp: float
    slide: str


def write_store(
    folders: Sequence[Path],
    out: Path,
    *,
    open_slide: OpenSlide,
    num_folds: int = 3,
    num_unlabelled: int = 20,
    overwrite: bool = False,
) -> PrepareReport:
    """Write tiles of complete fields with outlines, and of single nuclei with their classes.

    Nothing is taught as background that nobody said is: outside of complete fields nothing is
    known but the classes that people gave. Tiles of other tissue, in which nothing is known at all,
    are for the model that a training starts from: it speaks where labels do not.

    Args:
        folders: of results with corrections.
        out: store to write.
        open_slide: reads the pixels.
        num_folds: how many folds there are to be; tiles with labels keep theirs when others come.
        num_unlabelled: how many tiles without labels there are to be at most, in all.
        overwrite: replace a store that is there.

    Raises:
        ValueError: no result there, nothing that could be taught, or a slide that is not found.
    """
    if num_folds < 1:
        raise ValueError(f"--num-folds {num_folds}: expected 1 or more")
    if num_unlabelled < 0:
        raise ValueError(f"--unlabelled {num_unlabelled}: expected 0 or more")
    results = [_read(folder) for folder in folders]
    space = list_classes([result.shown.nuclei.label_space for result in results])
    counts: dict[str, list[int]] = {result.slide: [0] * 5 for result in results}
    marked: list[tuple[int, TruthTile]] = []
    opened = cache(open_slide)
    with StoreWriter(out, space, source=SOURCE, overwrite=overwrite) as writer:
        for rank, result in enumerate(results):
            count = counts[result.slide]
            for tile in make_tiles(result.shown, space, result.size, num_folds, rank):
                number = writer.add(_to_record(tile, result, opened(result.folder)(*tile.box)))
                if tile.points is not None:
                    marked.append((number, tile))
                kind = 0 if tile.points is None else 2
                count[kind] += 1
                count[kind + 1] += len(tile.candidates)
        if not any(map(sum, counts.values())):
            raise ValueError(
                "the corrections teach nothing yet: mark a field complete, or give nuclei a class"
            )
        for rank, (result, box) in enumerate(islice(_draw_in_turn(results), num_unlabelled)):
            origin = {"fold": 1 + rank % num_folds, **_name(result, *box[:2])}
            writer.add(TileRecord.without_outlines(opened(result.folder)(*box), **origin))
            counts[result.slide][4] += 1
    if marked:
        _write_outlines(out, marked, results[0])
    return _report(out, counts, space)


def _read(folder: Path) -> _Result:
    summary, shown = read_summary(folder), read_shown(folder)
    return _Result(
        folder=folder,
        shown=shown,
        size=summary.size_px,
        mpp=summary.mpp,
        slide=Path(summary.source).name,
    )


def _to_record(tile: TruthTile, result: _Result, image: NDArray[np.uint8]) -> TileRecord:
    origin = {"fold": tile.fold, **_name(result, *tile.box[:2])}
    if tile.points is not None:
        return TileRecord.without_outlines(image, tile.points, is_sparse=True, **origin)
    num = len(tile.candidates)
    return TileRecord(
        image=image,
        instances=tile.instances,
        types=single_class(tile.candidates),
        candidates=tile.candidates,
        original_ids=np.arange(1, num + 1),
        channels=np.full(num, -1),
        ignore=tile.ignore,
        **origin,
    )


def _draw_in_turn(results: Sequence[_Result]) -> Iterator[tuple[_Result, Box]]:
    """Squares without labels, one of each result in turn as long as it has any."""
    drawn = (
        zip(repeat(result), draw_unlabelled(result.shown, result.size, result.mpp), strict=False)
        for result in results
    )
    return filter(None, chain.from_iterable(zip_longest(*drawn)))


def _name(result: _Result, x: int, y: int) -> dict[str, Any]:
    """Where a tile with this top left corner is from."""
    return {
        "name": f"{result.folder.resolve().name}-{x}-{y}",
        "source": SOURCE,
        "patient": result.slide,
        "mpp": result.mpp,
    }


def _write_outlines(out: Path, marked: Sequence[tuple[int, TruthTile]], result: _Result) -> None:
    """The outlines of the nuclei of known class, as `histonuc prepare outline` leaves them."""
    draft = draft_of(out.absolute() / FOLDER)
    draft.mkdir()
    facts: Mapping[str, Any] = {
        "name": str(result.shown.source.facts.get("model", "")),
        "model_sha256": result.shown.facts.model_sha256,
        "corrected": True,
    }

    def tiles() -> Iterator[tuple[int, int, NDArray[np.int32]]]:
        for number, tile in marked:
            yield number, tile.fold, tile.instances

    try:
        write_outlines(out, tiles(), draft=draft, model=facts)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _report(out: Path, counts: Mapping[str, Sequence[int]], space: LabelSpace) -> PrepareReport:
    columns = (
        *("complete fields", "nuclei in them", "other tiles", "classes of nuclei in them"),
        "tiles without labels",
    )
    rows = [(slide, tuple(count)) for slide, count in counts.items()]
    return PrepareReport(
        out=str(out),
        tables=[Table(title="slide", columns=columns, rows=rows)],
        findings=[f"classes: {', '.join(space.classes)}"],
    )
