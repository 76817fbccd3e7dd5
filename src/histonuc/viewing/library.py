"""All results and slides that one viewer shows; the few that are looked at are open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histonuc._version import __version__
from histonuc.data.store import Store
from histonuc.plain_text import readable
from histonuc.viewing.background import Background
from histonuc.viewing.caches import BoundedCache
from histonuc.viewing.correcting import Author
from histonuc.viewing.entries import Entry
from histonuc.viewing.errors import NotFoundError
from histonuc.viewing.locating import Locator
from histonuc.viewing.opened import OpenResult
from histonuc.viewing.palette import describe_classes
from histonuc.viewing.results import ResultRecord, read_record
from histonuc.viewing.tuning import Tuner

_NUCLEI_OPEN, _NUCLEI_A_RESULT = 20_000_000, 4_000_000
"""Results stay open while they have no more nuclei than this together; each counts as so many more,
so that at most four are open. The one that is looked at always is."""


class Library:
    """The list, and what is open of it; any number of threads may ask.

    Args:
        entries: what can be looked at.
        locator: finds slides.
        author: who corrects; by default somebody without a name.
        tuned: folder for networks that are fine-tuned; None for beside each result.
        replay: store that networks may be fine-tuned on as well; None for none.

    Attributes:
        entries: what can be looked at.
        tuner: of networks on what was corrected.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        locator: Locator,
        author: Author | None = None,
        tuned: Path | None = None,
        replay: Store | None = None,
    ) -> None:
        self.entries = tuple(entries)
        self.tuner = Tuner(tuned, locator.folder, replay)
        self._locator, self._author, self._background = locator, author, Background()
        self._open: BoundedCache[int, OpenResult] = BoundedCache(
            _NUCLEI_OPEN, lambda one: one.num_nuclei + _NUCLEI_A_RESULT
        )

    def open(self, number: int) -> OpenResult:
        """One of the list, opened where it is not; files close with the last who uses them.

        Raises:
            NotFoundError: there is no such number.
            ShownError: nothing of it can be shown.
        """
        if not 0 <= number < len(self.entries):
            raise NotFoundError(f"no slide {number}")
        entry = self.entries[number]
        return self._open.get(
            number, lambda: OpenResult(entry, self._locator, self._author, self._background)
        )

    def list_entries(self) -> dict[str, Any]:
        """The list for the page: JSON-able; no table and no slide is opened for it."""
        return {
            "version": __version__,
            "slides": [self._describe(entry) for entry in self.entries],
        }

    def _describe(self, entry: Entry) -> dict[str, Any]:
        folder = entry.folder
        record = ResultRecord(state="slide") if folder is None else read_record(folder)
        source = record.fact("source", str) or entry.path.name
        found = record.fact("classes", dict) or {}
        counts = [
            one.get("num_nuclei") if isinstance(one, dict) else None for one in found.values()
        ]
        may_be_shown = folder is None or self._locator.may_find(record.raw)
        return {
            **{"number": entry.number, "name": readable(Path(source).name)},
            "folder": entry.folder_name,
            **{"state": record.state, "message": record.message, "has_nuclei": record.has_table},
            "picture": "shown" if may_be_shown else "missing",
            "size_px": record.fact("size_px", list),
            **{"mpp": record.fact("mpp", float), "mpp_xy": record.fact("mpp_xy", list)},
            "num_nuclei": record.fact("num_nuclei", int),
            "classes": describe_classes(list(found), None, counts),
            "density_per_mm2": record.fact("density_per_mm2", float),
            "num_warnings": len(record.fact("warnings", list) or []),
        }

    def close(self) -> None:
        """Let go of everything, and end what runs."""
        self.tuner.close()
        self._background.end()
        self._open.clear()
