"""One result or slide while it is looked at: its record, its table and its picture."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from histonuc.exports.table import TABLE_FILE
from histonuc.inference.drawn import Region
from histonuc.plain_text import readable
from histonuc.viewing.background import Background
from histonuc.viewing.correcting import Author, Corrector
from histonuc.viewing.density import DensityGrid, choose_grid, count_density, count_histogram
from histonuc.viewing.entries import Entry, find_entries
from histonuc.viewing.errors import ShownError
from histonuc.viewing.kernels import FIXED_BITS
from histonuc.viewing.locating import Locator
from histonuc.viewing.pictures import SlidePicture
from histonuc.viewing.proposing import Proposer
from histonuc.viewing.regions import count_regions
from histonuc.viewing.results import ResultRecord, State, read_record, slide_facts
from histonuc.viewing.shapes import check_outline
from histonuc.viewing.squares import USUAL_MPP, SquareGrid, list_grids, read_square
from histonuc.viewing.table import NucleusTable
from histonuc.viewing.taught import Teacher
from histonuc.viewing.wishes import Scene

log = logging.getLogger(__name__)

_ANY_OUTLINE = np.array([[0.0, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 9.0]])
_RIM_PX = 64
"""Beyond the last centroid, where nothing says how large the slide is."""


def open_result(path: Path | str, slides: Path | None = None) -> OpenResult:
    """Open the result in a folder, or a slide, to count in it as the viewer does.

    Args:
        path: folder of one result, or file of a slide.
        slides: folder in which the slide is looked for where it was moved.

    Raises:
        ValueError: there is nothing that can be shown.
    """
    entries = find_entries([Path(path)])
    if len(entries) > 1:
        raise ValueError(f"{path} holds {len(entries)} results: expected the folder of one")
    return OpenResult(entries[0], Locator(slides))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Size and scale of a slide.

    Attributes:
        size_px: width and height in level-0 pixels.
        mpp_xy: microns per level-0 pixel along x and y; None where unknown.
    """

    size_px: tuple[int, int]
    mpp_xy: tuple[float, float] | None

    @property
    def mpp(self) -> float | None:
        """The side of a square pixel of the same area."""
        return None if self.mpp_xy is None else (self.mpp_xy[0] * self.mpp_xy[1]) ** 0.5


class OpenResult:
    """A result, or a bare slide, that stays open; any number of threads may ask it.

    Nothing but corrections is written into its folder. What is damaged raises `ShownError` where it
    is asked for, and the rest can be looked at.

    Args:
        entry: what to open.
        locator: finds slides.
        author: who corrects; by default somebody without a name.
        background: runs what takes long; by default one of its own.

    Attributes:
        record: what the small files of the result say.
        table: the nuclei as predicted; None where there are none to be shown.
        corrector: of them; None where there are none.
        teacher: of a classifier on them; None where there are none.
        proposer: of nuclei to look at next.
        slide_path: where the slide is; None where it is nowhere.
        picture: the slide; None where it cannot be shown.
        picture_word: ``shown``, ``missing`` or ``unreadable``.
        state: one word, see `results.State`.
        message: the same in one sentence.
        facts: size and scale.
    """

    def __init__(
        self,
        entry: Entry,
        locator: Locator,
        author: Author | None = None,
        background: Background | None = None,
    ) -> None:
        self.entry = entry
        self._background = background or Background()
        folder = entry.folder
        self.record = ResultRecord(state="slide") if folder is None else read_record(folder)
        self.state: State = self.record.state
        self.message = self.record.message
        self.table = self._open_table()
        self.corrector: Corrector | None = None
        self.teacher: Teacher | None = None
        if self.table is not None and folder is not None:
            self.corrector = Corrector(folder, self.table, self.state, author or Author())
            self.teacher = Teacher(folder, self.corrector, self._background)
        self.proposer = Proposer()
        self.slide_path = self._find_slide(locator)
        self.picture, self.picture_word = self._open_picture()
        self.facts = self._find_facts()

    @property
    def name(self) -> str:
        """Name of the slide's file."""
        if self.entry.slide is not None:
            return readable(self.entry.slide.name)
        source = self.record.fact("source", str)
        if not source and self.table is not None:
            source = self.table.facts.get("source")
        return readable(Path(source).name) if source else readable(self.entry.path.name)

    @cached_property
    def grids(self) -> tuple[SquareGrid, ...]:
        """Grids of squares, the smallest first."""
        return list_grids(self.facts.size_px, self.facts.mpp)

    @cached_property
    def density_grid(self) -> DensityGrid:
        """Cells that nuclei are counted in."""
        classes = 1 if self.table is None else len(self.table.label_space)
        return choose_grid(self.facts.size_px, self.grids[0], classes)

    @property
    def command(self) -> str:
        """What to type to see this one alone."""
        return f"histonuc view {shlex.quote(readable(str(self.entry.path)))}"

    @property
    def num_nuclei(self) -> int:
        """Number of nuclei that can be shown."""
        return 0 if self.table is None else self.table.num_nuclei

    @property
    def bounds_xyxy(self) -> tuple[int, int, int, int]:
        """The part that the scanner visited, in level-0 pixels."""
        found: Any = self.record.fact("bounds_xyxy", list)
        if found is None and self.picture is not None:
            found = self.picture.slide.bounds_xyxy
        x0, y0, x1, y1 = found or (0, 0, *self.facts.size_px)
        return int(x0), int(y0), int(x1), int(y1)

    def prepare(self) -> None:
        """Begin to make the index, in a thread of its own, where nobody has yet."""
        if self.num_nuclei and self.table is not None and not self.table.has_index:
            self._background.start("histonuc-index", self._make_index())

    def _make_index(self) -> Iterator[object]:
        """Make the index, and compile what is needed to draw and to count, step by step."""
        import shapely

        with suppress(ShownError):  # whoever asks for nuclei is told
            table = self.nuclei()
            index, grid = table.index(), self.grids[0]
            yield index
            yield count_density(table, self.density_grid)
            place = int(index.x[0]) >> grid.shift, int(index.y[0]) >> grid.shift
            yield read_square(table, grid, place, "rough", (), self.facts.mpp)
            yield count_histogram(table, table.columns[0], 1, (0.0, 1.0))
            yield check_outline(_ANY_OUTLINE, (9, 9), USUAL_MPP)
            area = shapely.box(0, 0, 1, 1)
            yield count_regions(table, [Region(name="", class_name="", area=area)])

    def nuclei(self) -> NucleusTable:
        """The nuclei as corrected.

        Raises:
            ShownError: there are none that can be shown.
        """
        return self.correcting().table()

    def correcting(self) -> Corrector:
        """Their corrections.

        Raises:
            ShownError: there are no nuclei that can be shown.
        """
        if self.corrector is None:
            word = self.state if self.state != "whole" else "damaged"
            raise ShownError("missing" if word == "slide" else word, "No nuclei can be shown here.")
        return self.corrector

    def teaching(self) -> Teacher:
        """What is taught on them.

        Raises:
            ShownError: there are no nuclei that can be shown.
        """
        self.correcting()
        assert self.teacher is not None
        return self.teacher

    def scene(self) -> Scene:
        """What wishes of the page are about.

        Raises:
            ShownError: there are no nuclei that can be shown.
        """
        facts = self.facts
        return self.correcting().scene(facts.size_px, facts.mpp or USUAL_MPP)

    def shown_picture(self) -> SlidePicture:
        """The slide.

        Raises:
            ShownError: it cannot be shown.
        """
        if self.picture is None:
            raise ShownError(self.picture_word, "The slide of this result cannot be shown.")
        return self.picture

    def _open_table(self) -> NucleusTable | None:
        if self.entry.folder is None or not self.record.has_table:
            return None
        try:
            return NucleusTable(self.entry.folder / TABLE_FILE)
        except ShownError:
            self.state, self.message = "damaged", "The table of nuclei is damaged."
            return None

    def _find_slide(self, locator: Locator) -> Path | None:
        if self.entry.slide is not None or self.entry.folder is None:
            return self.entry.slide
        return locator.find(self.record.raw, self.entry.folder)

    def _open_picture(self) -> tuple[SlidePicture | None, str]:
        settings: Mapping[str, Any] = self.record.fact("settings", dict) or {}
        path = self.slide_path
        if path is None:
            return None, "missing"
        scene = settings.get("scene")
        try:
            scene = scene if isinstance(scene, int) else None
            return SlidePicture(path, scene, icc=settings.get("icc") is True), "shown"
        except (ValueError, OSError) as error:
            log.warning("%s", error)
            if self.entry.folder is None:
                raise ShownError("unreadable", "This slide cannot be read.") from None
            return None, "unreadable"

    def _find_facts(self) -> Facts:
        """Size and scale: the slide knows its size best, the result its scale."""
        found = slide_facts(self.record, None if self.table is None else self.table.facts)
        size, mpp_xy = found["size_px"], found["mpp_xy"]
        if self.picture is not None:
            size = self.picture.slide.size
            mpp_xy = mpp_xy or self.picture.slide.mpp_xy
        if size is None and self.table is not None:
            index = self.table.index()
            size = [int(index.boxes[:, k].max(initial=0) >> FIXED_BITS) + _RIM_PX for k in (2, 3)]
        if size is None:
            raise ShownError(self.state, self.message or "Nothing can be shown here.")
        scale = None if mpp_xy is None else (float(mpp_xy[0]), float(mpp_xy[1]))
        return Facts(size_px=(int(size[0]), int(size[1])), mpp_xy=scale)
