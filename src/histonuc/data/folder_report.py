"""What `prepare folder` counts and finds while it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from histonuc.data.classes_file import ClassesFile
from histonuc.data.folder_index import IndexRow
from histonuc.data.folder_labels import ImageLabels
from histonuc.data.folds import CHECK_FOLD
from histonuc.data.image_checks import CopyTally, StainTally
from histonuc.data.preparation import PrepareReport, Table
from histonuc.data.records import TileRecord
from histonuc.taxonomy import TISSUES, LabelSpace, canonical_tissue


@dataclass(kw_only=True)
class _SourceTally:
    """Running counts of one data set; nuclei and points by how much is known of their class."""

    images: list[int]  # by fold, from 0
    points: int = 0
    one: int = 0
    several: int = 0
    any: int = 0
    unused: int = 0  # have a class in the data set, which tells this label space nothing
    hidden: int = 0  # outlines of which no pixel is left
    doubled: int = 0  # points at the place of another
    stain: StainTally = field(default_factory=StainTally)


@dataclass(kw_only=True)
class FolderTally:
    """Running counts of all data sets.

    Attributes:
        space: label space of the store.
        num_folds: number of folds.
    """

    space: LabelSpace
    num_folds: int
    _sources: dict[str, _SourceTally] = field(default_factory=dict)
    _copies: CopyTally = field(default_factory=CopyTally)

    def add(self, record: TileRecord, labels: ImageLabels) -> None:
        """Count one tile."""
        empty = _SourceTally(images=[0] * (self.num_folds + 1))
        tally = self._sources.setdefault(record.source, empty)
        tally.images[record.fold] += 1
        points = record.points
        sets = np.asarray(record.candidates if points is None else points.candidates, np.int64)
        is_any = (sets == self.space.any_class) & (len(self.space) > 1)
        is_one = ((sets & (sets - 1)) == 0) & ~is_any
        tally.any += int(is_any.sum())
        tally.one += int(is_one.sum())
        tally.several += int(np.count_nonzero(~is_any & ~is_one))
        tally.unused += int(np.count_nonzero(is_any & (labels.numbers > 0)))
        tally.hidden += labels.num_hidden
        if points is not None:
            tally.points += len(points)
            tally.doubled += len(points) - len(np.unique(points.position, axis=0))
        tally.stain.add(record.image, record.instances)
        self._copies.add(
            record.image,
            np.asarray(record.instances, np.int32),
            source=record.source,
            fold=record.fold,
            name=record.name,
        )

    def refuse(self) -> None:
        """Refuse what must not become a store.

        Raises:
            ValueError: folds or data sets that are copies of each other.
        """
        refused, _ = self._copies.judge()
        if refused:
            raise ValueError(refused[0])

    def report(
        self,
        out: str,
        rows: Sequence[IndexRow],
        classes: Mapping[str, ClassesFile | None],
        given_mpp: Mapping[str, float],
    ) -> PrepareReport:
        """The table of counts, and the findings.

        Args:
            out: the store.
            rows: all images.
            classes: the classes file of every data set.
            given_mpp: microns per pixel that were given by data set.
        """
        findings = []
        for name in classes:
            chosen = [row for row in rows if row.dataset == name]
            findings += _say_where_from(name, chosen, classes[name], given_mpp)
            findings += self._say_what_is_odd(name, chosen)
        organs = [row.organ or _organ(classes[row.dataset]) for row in rows]
        tissues = {canonical_tissue(organ) or "unknown" for organ in organs} - set(TISSUES)
        if tissues:
            findings.append(
                f"tissues that are none of PanNuke's nineteen, kept: {', '.join(sorted(tissues))}"
            )
        return PrepareReport(
            out=out, tables=[self._table()], findings=[*findings, *self._copies.judge()[1]]
        )

    def _say_what_is_odd(self, name: str, rows: Sequence[IndexRow]) -> list[str]:
        tally, findings = self._sources[name], []
        if tally.unused:
            findings.append(
                f"{name}: {tally.unused:,} nuclei have a class that the label space "
                f"{self.space.name!r} does not know; they may be any class"
            )
        if tally.hidden:
            findings.append(
                f"{name}: {tally.hidden:,} outlines cover no pixel's centre, or others lie over "
                "them: left out"
            )
        if tally.doubled:
            findings.append(f"{name}: {tally.doubled:,} points lie exactly on another, kept")
        if tally.images[CHECK_FOLD]:
            findings.append(
                f"{name}: {tally.images[CHECK_FOLD]} images are for checking only and are in fold "
                f"{CHECK_FOLD}, which no training takes; `evaluate --folds {CHECK_FOLD}` scores "
                "them"
            )
        if any(row.split for row in rows) and not tally.images[CHECK_FOLD]:
            findings.append(f"{name}: split as its index.csv states")
        elif not any(row.patient or row.split for row in rows) and self.num_folds > 1:
            findings.append(f"{name}: no patients known, each image is split as one of its own")
        return findings + [text for text in tally.stain.judge(name) if text]

    def _table(self) -> Table:
        folds = [k for k in range(self.num_folds + 1) if k or self._has_check]
        columns = ["images", *(f"fold {k}" for k in folds)]
        columns += ["nuclei", *(["points"] if self._has_points else [])]
        columns += ["one class", "several", "any class"]
        rows = []
        for name, tally in sorted(self._sources.items()):
            known = [tally.one, tally.several, tally.any]
            marks = [tally.points] if self._has_points else []
            values = [sum(tally.images), *(tally.images[k] for k in folds)]
            rows.append((name, [*values, sum(known) - tally.points, *marks, *known]))
        if len(rows) > 1:
            sums = [sum(column) for column in zip(*(values for _, values in rows), strict=True)]
            rows.append(("all", sums))
        return Table(title="data set", columns=columns, rows=rows)

    @property
    def _has_check(self) -> bool:
        return any(tally.images[CHECK_FOLD] for tally in self._sources.values())

    @property
    def _has_points(self) -> bool:
        return any(tally.points for tally in self._sources.values())


def _say_where_from(
    name: str,
    rows: Sequence[IndexRow],
    classes: ClassesFile | None,
    given_mpp: Mapping[str, float],
) -> list[str]:
    """Where the classes and the scale of a data set come from, where its index does not say it."""
    findings = []
    if classes is not None:
        findings.append(f"{name}: classes as {classes.path} says")
    if name in given_mpp:
        findings.append(f"{name}: {given_mpp[name]} mpp, as given")
    elif classes is not None and not all(np.isfinite(row.mpp) for row in rows):
        findings.append(
            f"{name}: scale not stated, {classes.mpp} mpp {classes.mpp_note} "
            f"(--mpp.{name} VALUE overrides)"
        )
    return findings


def _organ(classes: ClassesFile | None) -> str:
    return classes.organ if classes is not None else ""
