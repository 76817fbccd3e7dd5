"""`histonuc export`: nuclei in the format of another program, for one prediction or many."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.embeddings import read_beside
from histonuc.exports.facts import Frame
from histonuc.exports.formats import ExportRequest, FormatName, check_options
from histonuc.exports.source import Source, open_source
from histonuc.exports.summary import SUMMARY_FILE, read_summary
from histonuc.exports.table import TABLE_FILE
from histonuc.files import failure_lines, log_failure, one_line

log = logging.getLogger(__name__)

_MOST_NAMED = 5

ReadPicture = Callable[[Path, Mapping[str, Any]], NDArray[np.uint8]]
"""RGB uint8 (H, W, 3) of a whole slide, given its file and the options that it was predicted with.

It raises ValueError or OSError where the file cannot be read. Slides are read one room above."""
OpenResult = Callable[[Path], tuple[Source, list[str]]]
"""The nuclei of the result in a folder, and sentences about them, as corrections make them."""


def name_results_inside(folder: Path) -> str:
    """The end of an error about a folder that is no result: those that it holds, if any."""
    inside = sorted(table.parent.name for table in folder.glob(f"*/{TABLE_FILE}"))
    more = ", ..." if len(inside) > _MOST_NAMED else ""
    named = ", ".join(inside[:_MOST_NAMED])
    return f"; it holds results, give one of them: {named}{more}" if inside else ""


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What an export did.

    Attributes:
        written: the files.
        notes: sentences about what they lack.
        failed: tables among many that could not be exported, with the reason.
    """

    written: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return {
            "written": [str(path) for path in self.written],
            "notes": self.notes,
            "failed": self.failed,
        }

    def lines(self) -> list[str]:
        """The same for people."""
        lines = [f"wrote {path}" for path in self.written]
        lines += [f"  note: {note}" for note in self.notes]
        return lines + failure_lines(self.failed)


def export_folder(
    out: Path | str,
    to: FormatName = "geojson",
    *,
    centroids: bool = False,
    frame: Frame = "qupath",
    slide: Path | str | None = None,
    read_picture: ReadPicture | None = None,
    open_result: OpenResult | None = None,
) -> ExportSummary:
    """Write the nuclei of predictions in another format, beside their tables.

    Args:
        out: folder of one prediction, or of many.
        to: one of `FORMATS`.
        centroids: points instead of outlines, in files of their own; GeoJSON only.
        frame: what positions are measured from; GeoJSON only.
        slide: file of the slide that the nuclei lie on; DICOM, which needs it, and AnnData, where
            it is elsewhere than at the time of the prediction.
        read_picture: makes the pictures that AnnData holds; None for none.
        open_result: opens a result, such as with its corrections; None for the table as it is.

    Raises:
        ValueError: no prediction there, an unknown format, a missing extra, an option that the
            format does not have or needs, or a damaged table. One that fails among others does not
            raise: see `ExportSummary.failed`.
    """
    out, slide = Path(out), None if slide is None else Path(slide)
    given = {"centroids": centroids, "frame": frame != "qupath", "slide": slide is not None}
    chosen = check_options(to, {name for name, is_given in given.items() if is_given})
    folders = _find_folders(out)
    if slide is not None and len(folders) > 1:
        raise ValueError(f"--slide belongs to one prediction, {out} holds {len(folders)}")
    summary = ExportSummary()
    file = chosen.file.replace("nuclei", "centroids") if centroids else chosen.file
    for folder in folders:
        table = folder / TABLE_FILE
        try:
            request = ExportRequest(centroids=centroids, frame=frame, slide=slide)
            notes: list[str] = []
            if chosen.shows_slide and read_picture is not None:
                picture, notes = _find_picture(folder, slide, read_picture)
                request = replace(request, picture=picture)
            request = replace(request, sample=folder.resolve().name)
            if chosen.holds_embeddings and (found := read_beside(table)) is not None:
                request = replace(request, embedding=found.values)
            source, told = (open_source(table), []) if open_result is None else open_result(folder)
            notes += [*chosen.write(source, folder / file, request), *told]
            summary.written.append(folder / file)
            summary.notes.extend(f"{folder / file}: {note}" for note in notes)
        except Exception as error:  # whatever ails one result must not cost the others
            if len(folders) == 1:
                raise
            summary.failed.append({"source": str(table), "error": log_failure(table, error, log)})
    return summary


def _find_folders(out: Path) -> list[Path]:
    """The folder itself, or those of results one folder below."""
    if (out / TABLE_FILE).is_file():
        return [out]
    folders = sorted(table.parent for table in out.glob(f"*/{TABLE_FILE}"))
    if not folders:
        raise ValueError(f"no prediction in {out}: expected {TABLE_FILE} there or one folder below")
    return folders


def _find_picture(
    folder: Path, slide: Path | None, read_picture: ReadPicture
) -> tuple[NDArray[np.uint8] | None, list[str]]:
    """A picture of the slide, and what to say where there is none.

    Raises:
        ValueError: the slide that was given cannot be read.
    """
    try:
        result = read_summary(folder)
    except ValueError:
        if slide is None:
            return None, [f"it holds no picture of the slide: there is no {SUMMARY_FILE}"]
        return read_picture(slide, {}), []
    if slide is not None:
        return read_picture(slide, result.settings), []
    path = Path(result.fingerprint.get("source", result.source))
    try:
        return read_picture(path, result.settings), []
    except (OSError, ValueError) as error:
        return None, [f"it holds no picture of the slide ({one_line(error)}): give --slide"]
