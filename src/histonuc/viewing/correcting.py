"""The corrections of one result while it is looked at: read, applied, and added to."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from histonuc.corrections import (
    CORRECTIONS_FILE,
    CorrectionLog,
    Corrections,
    LogContent,
    Operation,
    Targets,
    find_targets,
    read_table_facts,
    replay,
)
from histonuc.exports.table import TABLE_FILE
from histonuc.viewing.corrected import CorrectedTable
from histonuc.viewing.edits import NOT_THERE, Edit, Mark, Prediction
from histonuc.viewing.errors import RequestError, ShownError
from histonuc.viewing.index import DELETED
from histonuc.viewing.results import State
from histonuc.viewing.table import NucleusTable
from histonuc.viewing.wishes import Scene, read_wish

log = logging.getLogger(__name__)

_UNREADABLE = f"The file {CORRECTIONS_FILE} of this result cannot be read; nothing is corrected."
_UNFIT = ("damaged", "unfinished")
_MOST_BOXES = 256


@dataclass(frozen=True, kw_only=True)
class Author:
    """Who corrects.

    Attributes:
        by: name of the person.
        read_only: nothing is written.
    """

    by: str = ""
    read_only: bool = False


class Corrector:
    """What people corrected in one result; any number of threads may ask.

    Args:
        folder: of the result.
        table: its predicted nuclei.
        state: of the result.
        author: who corrects.

    Attributes:
        version: rises with whatever changes what is shown.
        author: who corrects.
        lock: held while something is read that belongs together, or changed; reentrant.
    """

    def __init__(self, folder: Path, table: NucleusTable, state: State, author: Author) -> None:
        self.version, self.author = 0, author
        self._folder, self._state, self._raw = folder, state, table
        self._log = CorrectionLog(folder)
        self._facts = read_table_facts(folder / TABLE_FILE)
        self.lock = threading.RLock()
        self._content = LogContent()
        self._is_readable = True
        self._targets = Targets(
            num_nuclei=table.num_nuclei, label_space=table.label_space, table=self._facts.sha256
        )
        self._foreign: list[str] = []
        self._prediction: Prediction | None = None
        self._corrections = replay((), self._targets)
        self._table: NucleusTable | None = None
        self.refresh()

    @property
    def corrections(self) -> Corrections:
        """What was done until now."""
        return self._corrections

    @property
    def predicted(self) -> Prediction:
        """The classes of the table itself."""
        table = self.table()
        if isinstance(table, CorrectedTable):
            return table.predicted
        index = table.index()
        return Prediction(kind=index.kind, probability=index.probability)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """All that the file holds."""
        return self._content.operations

    @property
    def notes(self) -> tuple[str, ...]:
        """What the file of corrections holds that is not applied, in sentences."""
        return self._content.notes if self._is_readable else (_UNREADABLE,)

    @property
    def why_not(self) -> str:
        """Why nothing can be corrected, in one sentence; empty where it can."""
        if self.author.read_only:
            return "This viewer only shows: it was started with --read-only."
        if self._state in _UNFIT:
            return f"This result is {self._state}: it can be corrected once it is whole."
        if not self._is_readable:
            return _UNREADABLE
        file = self._folder / CORRECTIONS_FILE
        if not os.access(file if file.exists() else self._folder, os.W_OK):
            return "The folder of this result cannot be written to, so nothing can be corrected."
        return ""

    def check_writable(self) -> None:
        """Refuse to correct where that cannot be.

        Raises:
            ShownError: it cannot; the message says why.
        """
        if self.why_not:
            is_state = not self.author.read_only and self._state in _UNFIT
            raise ShownError(self._state if is_state else "read_only", self.why_not)

    def refresh(self) -> None:
        """Take in what other programs wrote since."""
        with self.lock:
            try:
                content = self._log.read()
                if not _are_same(content, self._content):
                    self._take(content)
            except (ValueError, OSError) as error:
                log.warning("%s", error)
                self._is_readable = False
                return
            self._content, self._is_readable = content, True

    def table(self) -> NucleusTable:
        """The nuclei as corrected now.

        Raises:
            ShownError: the table is damaged.
        """
        with self.lock:
            if self._table is None:
                self._table = self._raw
                if self._corrections.references or self._edits() or self._prediction:
                    self._lay_over()
            return self._table

    def apply(self, wish: Mapping[str, Any], size_px: tuple[int, int], mpp: float) -> Scene:
        """Do what the page asks for; it is on the disk when this returns.

        Args:
            wish: the request.
            size_px: width and height of the slide.
            mpp: microns per pixel, the usual ones where unknown.

        Returns:
            What there is afterwards.

        Raises:
            RequestError: it cannot be done, or is not as the protocol says.
            ShownError: nothing can be written here.
        """
        with self.lock:
            self.refresh()
            self.check_writable()
            scene = self.scene(size_px, mpp)
            self.write(read_wish(wish, scene))
            return self.scene(size_px, mpp)

    def scene(self, size_px: tuple[int, int], mpp: float) -> Scene:
        """What wishes are about.

        Args:
            size_px: width and height of the slide.
            mpp: microns per pixel, the usual ones where unknown.
        """
        with self.lock:
            return Scene(
                table=self.table(), corrections=self._corrections, size_px=size_px, mpp=mpp
            )

    def write(self, operation: Operation) -> None:
        """Write one operation and apply it.

        Raises:
            RequestError: it cannot be right.
            ShownError: it cannot be written.
        """
        facts = self._facts
        operation = replace(
            operation, by=self.author.by, table=facts.sha256, model=facts.model_sha256
        )
        with self.lock:
            try:
                self._log.append(operation)
            except ValueError as error:
                raise RequestError(f"This cannot be done: {error}.") from None
            except OSError as error:
                log.warning("%s", error)
                raise ShownError("read_only", f"This was not kept: {error.strerror}.") from None
            self.refresh()

    def show_prediction(self, prediction: Prediction | None) -> None:
        """Show other classes where no person gave one, as a taught classifier gives them.

        Args:
            prediction: for all nuclei of the table; None for what the table says.
        """
        with self.lock:
            self._prediction = prediction
            if self._table is not None:
                self._lay_over()
            self.version += 1

    def changed_boxes(self, side_px: int) -> list[list[int]] | None:
        """Boxes that hold all nuclei that changed the last time, as they were and as they are.

        Args:
            side_px: of a square; the boxes are such squares, or one around all where they are many.

        Returns:
            x0, y0, x1, y1 of each in level-0 pixels; None where any nucleus may have changed.
        """
        table = self._table
        if not isinstance(table, CorrectedTable) or table.changed is None:
            return None
        squares = np.unique((table.centres // side_px).astype(np.int64), axis=0)
        if len(squares) > _MOST_BOXES:
            squares = np.array([squares.min(axis=0), squares.max(axis=0)])
            return [[int(v) for v in (*squares[0] * side_px, *(squares[1] + 1) * side_px)]]
        boxes: list[list[int]] = (np.hstack([squares, squares + 1]) * side_px).tolist()
        return boxes

    def _take(self, content: LogContent) -> None:
        """Apply what the file holds now."""
        known = {self._facts.sha256, ""}
        foreign = [one.key for one in content.operations if one.table not in known]
        if foreign != self._foreign:  # else those that were found are still the same ones
            self._targets = find_targets(self._folder / TABLE_FILE, content.operations, self._facts)
            self._foreign = foreign
        self._corrections = replay(content.operations, self._targets, by=self.author.by or None)
        self._content = content
        if self._table is not None:
            self._lay_over()
        self.version += 1

    def _lay_over(self) -> None:
        assert self._table is not None
        self._table = CorrectedTable(
            self._table, self._edits(), self._corrections.label_space, self._prediction
        )

    def _edits(self) -> dict[int, Edit]:
        """What was done, by row of the table; numbers behind it are those of made nuclei."""
        found, num = self._corrections, self._raw.num_nuclei
        kinds = {name: number for number, name in enumerate(found.label_space.classes)}
        edits = {number - 1: NOT_THERE for number in found.references if number > num}
        kind = {number: kinds[name] for number, name in found.classes.items() if number <= num}
        kind |= dict.fromkeys(found.deleted, DELETED)
        marks = dict.fromkeys(found.classes, int(Mark.CLASS))
        for numbers, mark in (
            (found.rings, Mark.OUTLINE),
            (found.held_out, Mark.HELD_OUT),
            ([one.id for one in found.conflicts], Mark.CONFLICT),
        ):
            for number in numbers:
                marks[number] = marks.get(number, 0) | mark
        for number in {*kind, *marks}:
            if number <= num:
                edits[number - 1] = Edit(
                    kind=kind.get(number), ring=found.rings.get(number), mark=marks.get(number, 0)
                )
        for made in found.made:
            marked = marks.get(made.id, 0) | Mark.MADE
            edits[made.id - 1] = Edit(kind=kinds[made.class_name], ring=made.ring, mark=marked)
        return edits


def _are_same(one: LogContent, other: LogContent) -> bool:
    """Whether two readings of a file found the same operations."""
    first, second = one.operations, other.operations
    if len(first) != len(second):
        return False
    return not first or (first[0].key, first[-1].key) == (second[0].key, second[-1].key)
