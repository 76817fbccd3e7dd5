"""`histonuc prepare outline`: the nuclei that points mark, as a model outlines them."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.data.point_matching import PointMatches, match_points
from histonuc.data.point_outlines import FOLDER, write_outlines
from histonuc.data.preparation import PrepareReport, Table
from histonuc.files import draft_of
from histonuc.metrics.detection import RADIUS_UM, pairing_radius_px
from histonuc.nuclei import PointLabels

if TYPE_CHECKING:
    from histonuc.data.store import Store

_MISSED_FILE = "without_nucleus.csv"
_NUM_NAMED = 5
_FEW = 0.5
"""Share of a data set's points with a nucleus below which the model hardly sees its images."""


def find_tiles(store: Store, *, overwrite: bool) -> list[int]:
    """Tiles whose points are to be outlined: all but those for checking only.

    Args:
        store: the store.
        overwrite: whether outlines that are there may be replaced.

    Raises:
        ValueError: there are none, or they are outlined already, without `overwrite`.
    """
    tiles = [tile for tile in store.select(labels=None).tolist() if not store.has_outlines(tile)]
    if not tiles:
        raise ValueError(f"{store.path} has no points: its tiles have outlines")
    if (store.path / FOLDER).exists() and not overwrite:
        raise ValueError(
            f"{store.path} has outlines of its points already: give --overwrite to replace them"
        )
    return tiles


def outline_points(
    store: Store,
    predictions: Iterable[tuple[int, NDArray[np.int32]]],
    *,
    model: Mapping[str, Any],
) -> PrepareReport:
    """Write outlines of the nuclei that points mark into the store, in place of any there.

    Each point marks the nucleus that holds it, or else the nearest within 3 µm, one to one.

    Args:
        store: the store.
        predictions: tiles with points, and the nuclei that a model finds there: int32 (H, W), 0 =
            background, at the tile's own resolution.
        model: facts about the model; JSON-able.
    """
    draft = draft_of(store.path.absolute() / FOLDER)
    draft.mkdir()
    tally = _Tally(store=store)
    try:
        write_outlines(store.path, tally.match(predictions, draft), draft=draft, model=model)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return tally.report()


@dataclass(kw_only=True)
class _Tally:
    """What became of the points while they are matched.

    Attributes:
        store: the store.
        sources: by data set, numbers of points, of those in a nucleus and of those near one.
        missed: number of points without a nucleus by image.
    """

    store: Store
    sources: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    missed: dict[str, int] = field(default_factory=dict)

    def match(
        self, predictions: Iterable[tuple[int, NDArray[np.int32]]], folder: Path
    ) -> Iterator[tuple[int, int, NDArray[np.int32]]]:
        """Number and fold of each tile, and the map of its marked nuclei; names the others."""
        with (folder / _MISSED_FILE).open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["dataset", "name", "x", "y", "class"])
            for tile, labels in predictions:
                points = self.store.points(tile)
                radius = pairing_radius_px(self.store.mpp(tile))
                matches = match_points(labels, points.position, radius)
                self._count(tile, matches)
                writer.writerows(self._list_missed(tile, points, matches))
                yield tile, self.store.fold(tile), _renumber(labels, matches)

    def _count(self, tile: int, matches: PointMatches) -> None:
        found, inside = matches.nucleus > 0, matches.is_inside
        counts = np.array([len(found), inside.sum(), (found & ~inside).sum()], np.int64)
        source = self.store.source(tile)
        self.sources[source] = self.sources.get(source, 0) + counts
        if not found.all():
            self.missed[f"{source}/{self.store.name(tile)}"] = int((~found).sum())

    def _list_missed(
        self, tile: int, points: PointLabels, matches: PointMatches
    ) -> Iterator[tuple[object, ...]]:
        """Rows of points without a nucleus, which count from the centre of the first pixel."""
        source, name = self.store.source(tile), self.store.name(tile)
        classes = self.store.label_space.classes
        for row in np.flatnonzero(matches.nucleus == 0):
            candidates = int(points.candidates[row])
            kinds = [kind for j, kind in enumerate(classes) if candidates >> j & 1]
            known = 0 < len(kinds) < len(classes)
            x, y = (points.position[row] - 0.5).tolist()
            yield source, name, x, y, " or ".join(kinds) if known else ""

    def report(self) -> PrepareReport:
        """The counts as a table, and where points are left over."""
        columns = ("points", "in a nucleus", f"within {RADIUS_UM:g} µm of one", "without")
        rows = [
            (source, (*map(int, counts), int(counts[0] - counts[1:].sum())))
            for source, counts in sorted(self.sources.items())
        ]
        findings = [
            f"{source}: the model finds {1 - row[3] / row[0]:.0%} of the nuclei that points mark: "
            "is it made for such images, and is their mpp right?"
            for source, row in rows
            if row[0] and 1 - row[3] / row[0] < _FEW
        ]
        if self.missed:
            worst = sorted(self.missed.items(), key=lambda item: (-item[1], item[0]))
            named = ", ".join(f"{name} ({number})" for name, number in worst[:_NUM_NAMED])
            more = ", ..." if len(worst) > _NUM_NAMED else ""
            findings.append(
                f"{sum(self.missed.values()):,} points mark no nucleus that the model found and "
                f"teach nothing: {named}{more}; all are in {self.store.path}/{FOLDER}/"
                f"{_MISSED_FILE}"
            )
        return PrepareReport(
            out=f"{self.store.path}/{FOLDER}",
            tables=[Table(title="data set", columns=columns, rows=rows)],
            findings=findings,
        )


def _renumber(labels: NDArray[np.int32], matches: PointMatches) -> NDArray[np.int32]:
    """The marked nuclei of a label image, each with the number of its point (from 1)."""
    number = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    marked = np.flatnonzero(matches.nucleus)
    number[matches.nucleus[marked]] = marked + 1
    return np.asarray(number[labels])
