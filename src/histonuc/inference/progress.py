"""What a run counts on its way: progress for the user, time by stage, nuclei for the summary."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.embeddings import empty_embedding
from histonuc.exports.summary import ClassResult, FlaggedRegion, SkippedRegion, TrustResult
from histonuc.inference.certainty import judge_trust
from histonuc.inference.drawn import RegionTally
from histonuc.inference.features import FEATURES
from histonuc.inference.quality import REASONS
from histonuc.inference.tiles import TileResult
from histonuc.nuclei import CLASS_TRUST, Nuclei
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LINE_SECONDS = 60.0
MANY_FLAGGED = 0.1
"""A larger share of flagged regions is worth a note."""


@dataclass(kw_only=True, eq=False)
class Tally:
    """What the summary and the pictures need of a slide, as it comes: 13 to 17 bytes a nucleus.

    Attributes:
        label_space: classes of the nuclei.
        mpp: microns per level-0 pixel.
        learned_on: what the classes were learned on; empty where that is not known.
        trust_threshold: classes are extrapolated where the median trust lies below it.
        by_region: counts the nuclei of drawn regions; None without any.
        skipped: cores of the tiles that could not be read.
        flagged: cores of the tiles whose image is unlike H&E.
        tiles_resumed: number of tiles that an earlier, interrupted run had analysed.
        network_px: area of the windows that went through the network, in square level-0 pixels;
            where windows overlap it counts each time.
        features: names of what is measured on each nucleus.
        embedding_size: number of the network's features that each nucleus has; 0 for none.
    """

    label_space: LabelSpace
    mpp: float
    learned_on: str = ""
    trust_threshold: float = 0.0
    by_region: RegionTally | None = None
    skipped: list[SkippedRegion] = field(default_factory=list)
    flagged: list[FlaggedRegion] = field(default_factory=list)
    tiles_resumed: int = 0
    network_px: int = 0
    features: tuple[str, ...] = FEATURES
    embedding_size: int = 0
    _centroid: list[NDArray[np.float32]] = field(default_factory=list)
    _class_index: list[NDArray[np.int8]] = field(default_factory=list)
    _area_px: list[NDArray[np.float32]] = field(default_factory=list)
    _trust: list[NDArray[np.float32]] = field(default_factory=list)

    def add_nuclei(self, nuclei: Nuclei) -> None:
        """Count some more nuclei."""
        if self.by_region is not None:
            self.by_region.add_nuclei(nuclei)
        self._centroid.append(nuclei.centroid.astype(np.float32))
        self._class_index.append(nuclei.class_index.astype(np.int8))
        self._area_px.append(nuclei.area_px.astype(np.float32))
        if CLASS_TRUST in self.features:
            self._trust.append(nuclei.features[CLASS_TRUST])

    def add_tiles(self, results: Sequence[TileResult]) -> None:
        """Note which of some more tiles could not be read, and which are unlike H&E."""
        for result in results:
            if result.status == "found":
                self.network_px += math.prod(result.tile.window.size)
            if result.status == "unreadable":
                self.skipped.append(SkippedRegion(box_xyxy=result.tile.core, reason=result.reason))
            if result.flag:
                self.flagged.append(FlaggedRegion(box_xyxy=result.tile.core, flag=result.flag))

    def __len__(self) -> int:
        return sum(map(len, self._class_index))

    @property
    def centroid(self) -> NDArray[np.float32]:
        """float32 (n, 2), (x, y) in level-0 pixels."""
        return np.concatenate([np.zeros((0, 2), np.float32), *self._centroid])

    @property
    def class_index(self) -> NDArray[np.int8]:
        """int8 (n,), most probable class."""
        return np.concatenate([np.zeros(0, np.int8), *self._class_index])

    @property
    def area_px(self) -> NDArray[np.float32]:
        """float32 (n,), in square level-0 pixels."""
        return np.concatenate([np.zeros(0, np.float32), *self._area_px])

    @property
    def counts(self) -> list[int]:
        """Nuclei of each class."""
        counts = np.bincount(self.class_index, minlength=len(self.label_space))
        return [int(count) for count in counts]

    @property
    def empty(self) -> Nuclei:
        """No nuclei, with the label space, mpp and features of those that are counted."""
        none = Nuclei.empty(self.label_space, self.mpp, self.features)
        return replace(none, embedding=empty_embedding(self.embedding_size))

    def warnings(self, num_tiles: int) -> Iterator[str]:
        """What could not be read, and what is unlike H&E where it is more than a corner.

        Args:
            num_tiles: how many were to be analysed.
        """
        if self.skipped:
            yield (
                f"{len(self.skipped)} of {num_tiles} regions could not be read and were "
                "skipped: their places are in summary.json under skipped_regions"
            )
        for flag, count in Counter(region.flag for region in self.flagged).items():
            if count > MANY_FLAGGED * num_tiles:
                yield f"{count} of {num_tiles} regions are {REASONS[flag]}"

    def judge_trust(self) -> TrustResult:
        """How far the classes of all nuclei together can be trusted."""
        return judge_trust(self._trust, self.learned_on, self.trust_threshold)

    def measure_classes(self, analysed_mm2: float, image_mm2: float) -> dict[str, ClassResult]:
        """What was found of each class, by its name.

        Args:
            analysed_mm2: area of the tissue that was analysed.
            image_mm2: area of the whole image.
        """
        areas, class_index, total = self.area_px * self.mpp**2, self.class_index, len(self)
        return {
            name: ClassResult(
                num_nuclei=count,
                share=count / total if total else None,
                density_per_mm2=count / analysed_mm2 if analysed_mm2 > 0 else None,
                density_per_image_mm2=count / image_mm2,
                median_area_um2=float(np.median(areas[class_index == j])) if count else None,
            )
            for j, (name, count) in enumerate(
                zip(self.label_space.classes, self.counts, strict=True)
            )
        }


class Meter:
    """Shows what is done: a bar on a terminal, a line a minute elsewhere, as in a job's log file.

    Args:
        num_inputs: how many there are.
        bar: where to show it; None for lines.
        say: takes a line.
        now: a clock in seconds.
    """

    def __init__(
        self,
        num_inputs: int,
        bar: Progress | None,
        say: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._num_inputs, self._input = num_inputs, 0
        self._bar, self._say, self._now = bar, say, now
        self._task: TaskID | None = None
        self._said = now()
        self.start("", 0)

    def say_resumed(self, num_tiles: int) -> None:
        """Tell how many tiles of the input an earlier, interrupted run had finished."""
        if num_tiles:
            self._say(
                f"{self._name}: goes on from an interrupted run, "
                f"{num_tiles:,} of {self._num_tiles:,} tiles are done"
            )

    def next_input(self) -> None:
        """Go on to the next input, whether or not there is anything to do for it."""
        self._input += 1

    def start(self, name: str, num_tiles: int) -> None:
        """Begin with the tiles of an input."""
        many = self._num_inputs > 1
        self._name = f"{self._input} of {self._num_inputs}: {name}" if many else name
        self._num_tiles, self._tiles_done, self._tiles_new = num_tiles, 0, 0
        self._num_nuclei, self._area_mm2, self._started = 0, 0.0, self._now()
        if self._bar is None:
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(self._name, total=num_tiles, nuclei=0, speed=0.0)

    def advance(self, num_tiles: int, num_nuclei: int, area_mm2: float) -> None:
        """Add finished tiles, their nuclei and their area, 0 for those of an earlier run."""
        self._tiles_done += num_tiles
        self._tiles_new += num_tiles if area_mm2 else 0
        self._num_nuclei += num_nuclei
        self._area_mm2 += area_mm2
        seconds = max(self._now() - self._started, 1e-6)
        speed = self._area_mm2 / seconds
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=num_tiles, nuclei=self._num_nuclei, speed=speed)
        elif self._now() - self._said >= _LINE_SECONDS:
            self._said = self._now()
            left = (self._num_tiles - self._tiles_done) * seconds / max(self._tiles_new, 1)
            self._say(
                f"{self._name}: {self._tiles_done:,} of {self._num_tiles:,} tiles, "
                f"{self._num_nuclei:,} nuclei, {speed:.2f} mm²/s, {left / 60:.0f} min left"
            )


@contextmanager
def open_meter(num_inputs: int) -> Iterator[Meter]:
    """A meter that shows itself on standard error."""
    if not sys.stderr.isatty():
        yield Meter(num_inputs, None, lambda line: print(line, file=sys.stderr, flush=True))
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column
    from rich.text import Text

    class NameColumn(ProgressColumn):
        """The input, cut short where the line is too narrow: the figures are what is looked at."""

        def render(self, task: Task) -> Text:
            return Text(task.description, no_wrap=True, overflow="ellipsis")

    whole = Column(no_wrap=True)  # only the name and the bar give way
    columns = (
        NameColumn(),
        BarColumn(),
        MofNCompleteColumn(table_column=whole),
        TextColumn("tiles  {task.fields[nuclei]:,} nuclei  {task.fields[speed]:.2f} mm²/s"),
        TimeRemainingColumn(table_column=whole),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        # Names of files may look like rich's markup.
        yield Meter(num_inputs, bar, partial(bar.console.print, markup=False, highlight=False))
