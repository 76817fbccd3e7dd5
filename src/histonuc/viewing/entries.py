"""What can be looked at: results and slides at the paths given, found by names alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from histonuc.plain_text import readable

TABLE_FILE, SUMMARY_FILE, PARTS_FOLDER = "nuclei.parquet", "summary.json", "parts"
"""Names in the folder of a result. They are written out here so that the link appears at once: the
import of the rooms that they come from takes half a second. A test compares them."""
_STORES = (".zarr",)
_INSIDE_STORES = ("zarr.json", ".zgroup")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One result, or one slide without a result.

    Attributes:
        number: its place in the list.
        folder: of the result; None for a bare slide.
        slide: file of a bare slide; None for a result, whose slide is looked for.
    """

    number: int
    folder: Path | None = None
    slide: Path | None = None

    @property
    def path(self) -> Path:
        """What to give to `histonuc view` to see this one alone."""
        path = self.folder or self.slide
        assert path is not None
        return path

    @property
    def folder_name(self) -> str:
        """Name of the result's folder, for people; empty for a bare slide."""
        return "" if self.folder is None else readable(self.folder.resolve().name)


def find_entries(paths: Sequence[Path]) -> list[Entry]:
    """All results and slides at some paths, each once, in the order of the paths.

    Args:
        paths: folders of one result or of many, and slides.

    Raises:
        ValueError: a path at which there is none of them.
    """
    if not paths:
        raise ValueError("expected a result, a folder of results or a slide, got nothing")
    found: dict[Path, Entry] = {}
    for path in paths:
        for folder, slide in _at(path):
            place = (folder or slide or path).absolute()
            found.setdefault(place, Entry(number=len(found), folder=folder, slide=slide))
    return list(found.values())


def is_result(folder: Path) -> bool:
    """Whether a folder is that of one result, finished or not."""
    if (folder / TABLE_FILE).is_file() or (folder / PARTS_FOLDER).is_dir():
        return True
    return (folder / SUMMARY_FILE).is_file() and not _holds_results(folder)


def _holds_results(folder: Path) -> bool:
    return any(
        (inside / name).exists()
        for inside in folder.iterdir()
        if inside.is_dir()
        for name in (TABLE_FILE, PARTS_FOLDER, SUMMARY_FILE)
    )


def _at(path: Path) -> list[tuple[Path | None, Path | None]]:
    """Folders of results and files of slides at one path."""
    if not path.exists():
        raise ValueError(f"nothing at {path}")
    if not path.is_dir() or _is_store(path):
        return [(None, path)]
    if is_result(path):
        return [(path, None)]
    inside = sorted(folder for folder in path.iterdir() if folder.is_dir() and is_result(folder))
    if not inside:
        raise ValueError(
            f"no result in {path}: expected {TABLE_FILE} there or one folder below; "
            "`histonuc predict SLIDE --out OUT` makes one"
        )
    return [(folder, None) for folder in inside]


def _is_store(path: Path) -> bool:
    """Whether a folder is one slide (OME-Zarr)."""
    if path.suffix.lower() in _STORES:
        return True
    return any((path / name).is_file() for name in _INSIDE_STORES)
