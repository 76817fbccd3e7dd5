"""The two halves of `histonuc prepare corrections`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from histonuc.commands.outcome import Outcome
from histonuc.plain_text import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from histonuc.corrections.qupath import QuPathChanges
    from histonuc.corrections.training_store import ReadPixels
    from histonuc.viewing.locating import Locator


def read_qupath(
    folder: Path,
    geojson: Path,
    *,
    by: str,
    frame: Literal["qupath", "slide"],
    class_map: Mapping[str, str],
    is_part: bool,
) -> Outcome:
    """Add what was changed in QuPath to the corrections of a result.

    Args:
        folder: of the result.
        geojson: what QuPath exported.
        by: name of the person; empty for that of the login.
        frame: what positions are measured from.
        class_map: name in the file -> name of the class.
        is_part: whether the file holds some of the objects only.
    """
    from histonuc.corrections import CorrectionLog, Operation, user_name
    from histonuc.corrections.qupath import read_changes, to_operations
    from histonuc.corrections.shown import read_shown
    from histonuc.exports import TABLE_FILE, name_results_inside

    if not (folder / TABLE_FILE).is_file():
        raise ValueError(f"--geojson: no prediction at {folder}{name_results_inside(folder)}")
    shown = read_shown(folder)
    origin = shown.source.origin if frame == "qupath" else (0, 0)
    changes = read_changes(geojson, shown, origin=origin, class_map=class_map, is_part=is_part)
    facts = shown.facts
    common = Operation(do="", by=by or user_name(), table=facts.sha256, model=facts.model_sha256)
    operations = to_operations(changes, shown, common)
    log = CorrectionLog(folder)
    if operations:
        log.append(*operations)
    new = [str(one.fields["name"]) for one in operations if one.do == "define_class"]
    unused = sorted(set(class_map) - changes.names - {""})
    lines = _describe(changes, new)
    lines += [
        f"  note: --class-map.{name}: no object of the file has this class" for name in unused
    ]
    if operations:
        lines.append(f"wrote {log.path}")
    return Outcome(
        lines=lines,
        data={
            "num_objects": changes.num_objects,
            "changes": changes.counts(),
            "new_classes": new,
            "num_gone": changes.num_gone,
            "left_out": changes.left_out,
            "unused_class_map": unused,
        },
    )


def _describe(changes: QuPathChanges, new: Sequence[str]) -> list[str]:
    """What was read and changed, for people; `new` are the names of new classes."""
    told = [f"{number:,} {kind}" for kind, number in changes.counts().items() if number]
    lines = [
        f"{counted(changes.num_objects, 'object')} read: {', '.join(told) or 'nothing was changed'}"
    ]
    if new:
        lines.append(f"new classes: {', '.join(new)}")
    if changes.num_gone:
        lines.append(f"  note: {changes.num_gone:,} of nuclei that were deleted since: passed over")
    return lines + [f"  note: {n:,} left out: {why}" for why, n in changes.left_out.items()]


def write_store(
    results: Sequence[Path],
    out: Path,
    *,
    slides: Path | None,
    num_folds: int,
    num_unlabelled: int,
    overwrite: bool,
) -> Outcome:
    """Make a store of what people corrected.

    Args:
        results: folders of one result each, or of many.
        out: store to write.
        slides: folder of slides that are not where they were.
        num_folds: folds to split into.
        num_unlabelled: tiles without labels, at most.
        overwrite: replace an existing store.

    Raises:
        ValueError: no corrections there, or a slide that is nowhere.
    """
    from histonuc.corrections import training_store
    from histonuc.viewing.locating import Locator

    if slides is not None and not slides.is_dir():
        raise ValueError(f"--slides {slides}: no such folder")
    folders = _find_corrected(results)
    with ExitStack() as opened:
        report = training_store.write_store(
            folders,
            out,
            open_slide=partial(_open_pixels, Locator(slides), opened),
            num_folds=num_folds,
            num_unlabelled=num_unlabelled,
            overwrite=overwrite,
        )
    return Outcome(lines=report.lines(), data=report.to_dict())


def _find_corrected(results: Sequence[Path]) -> list[Path]:
    """Folders of results: those given, and those with corrections in the folders of many."""
    from histonuc.corrections import CORRECTIONS_FILE
    from histonuc.exports import TABLE_FILE

    folders: list[Path] = []
    for given in results:
        is_one = (given / TABLE_FILE).is_file()
        inside = sorted(table.parent for table in given.glob(f"*/{TABLE_FILE}"))
        found = [given] if is_one else [one for one in inside if (one / CORRECTIONS_FILE).exists()]
        if not found:
            raise ValueError(f"no result with corrections in {given}")
        folders += found
    return folders


def _open_pixels(locator: Locator, opened: ExitStack, folder: Path) -> ReadPixels:
    """What reads the slide of a result, which `opened` closes.

    Raises:
        ValueError: the slide is nowhere.
    """
    from histonuc.files import read_json
    from histonuc.slides import open_slide

    summary = read_json(folder / "summary.json", "summary of a prediction")
    place = locator.find(summary, folder)
    if place is None:
        raise ValueError(
            f"the slide of {folder} is not where it was: give --slides FOLDER to look in"
        )
    settings = summary["settings"]
    slide = opened.enter_context(
        open_slide(place, scene=settings.get("scene"), icc=bool(settings.get("icc")))
    )

    def read(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return slide.read(x, y, width, height, width, height)

    return read
