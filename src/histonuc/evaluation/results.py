"""What an evaluation holds: counts by source and tissue, one record a tile, a few pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from histonuc.evaluation.panels import Panel, keep_chosen
from histonuc.evaluation.tables import score_lines, score_tables, summarise
from histonuc.evaluation.tile_table import TileScore, TileTable
from histonuc.metrics.aggregate import AggregateCounts
from histonuc.metrics.calibration import CalibrationCounts
from histonuc.metrics.composition import CompositionCounts
from histonuc.metrics.detection import DetectionCounts
from histonuc.metrics.errors import ErrorCounts
from histonuc.metrics.hausdorff import HausdorffCounts
from histonuc.metrics.panoptic import PanopticCounts
from histonuc.metrics.pixels import PixelCounts
from histonuc.taxonomy import LabelSpace

__all__ = ["Evaluation", "GroupCounts", "TileScore", "TileTable"]


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupCounts:
    """Everything counted over some tiles; add two to count over both.

    Attributes:
        panoptic: PQ.
        pixels: pixels.
        aggregate: AJI, AJI+, ensemble Dice.
        detection: F1 by IoU and by centroid distance, confusion of nuclei.
        errors: kinds of errors.
        hausdorff: distance of matched outlines.
        composition: number of nuclei an image.
        calibration: probabilities.
        num_tiles: how many.
    """

    panoptic: PanopticCounts
    pixels: PixelCounts
    aggregate: AggregateCounts
    detection: DetectionCounts
    errors: ErrorCounts
    hausdorff: HausdorffCounts
    composition: CompositionCounts
    calibration: CalibrationCounts
    num_tiles: int

    @classmethod
    def zero(cls, num_classes: int) -> GroupCounts:
        """Nothing counted yet."""
        return cls(
            panoptic=PanopticCounts.zero(num_classes),
            pixels=PixelCounts.zero(num_classes),
            aggregate=AggregateCounts.zero(),
            detection=DetectionCounts.zero(num_classes),
            errors=ErrorCounts.zero(num_classes),
            hausdorff=HausdorffCounts.zero(),
            composition=CompositionCounts.zero(num_classes),
            calibration=CalibrationCounts.zero(),
            num_tiles=0,
        )

    def __add__(self, other: GroupCounts) -> GroupCounts:
        names = [field.name for field in fields(self)]
        return GroupCounts(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Scores of one model on some tiles. Evaluations of different tiles can be added.

    Attributes:
        label_space: classes of the store, which are those of the class scores.
        no_classes: why there are no class scores; empty when there are.
        groups: counts by (source, tissue).
        records: one a tile, in the order evaluated.
        panels: the best, the worst and one tile a tissue, for the report.
    """

    label_space: LabelSpace
    no_classes: str
    groups: Mapping[tuple[str, str], GroupCounts]
    records: TileTable
    panels: tuple[Panel, ...]

    def __add__(self, other: Evaluation) -> Evaluation:
        same_classes = self.label_space.classes == other.label_space.classes
        if not same_classes or self.no_classes != other.no_classes:
            raise ValueError("evaluations of different label spaces cannot be added")
        groups = dict(self.groups)
        for key, counts in other.groups.items():
            groups[key] = groups[key] + counts if key in groups else counts
        return Evaluation(
            label_space=self.label_space,
            no_classes=self.no_classes,
            groups=groups,
            records=TileTable.concat([self.records, other.records]),
            panels=keep_chosen(self.panels + other.panels),
        )

    @property
    def total(self) -> GroupCounts:
        """Counts over all tiles."""
        return sum(self.groups.values(), GroupCounts.zero(len(self.label_space)))

    def by_source(self) -> dict[str, GroupCounts]:
        """Counts by data set, in alphabetical order."""
        return self._by(0)

    def by_tissue(self) -> dict[str, GroupCounts]:
        """Counts by tissue, in alphabetical order."""
        return self._by(1)

    def summary(self) -> dict[str, float | None]:
        """A few numbers that say how good the model is; None where not defined.

        ``dice`` and ``iou`` (mean over the classes, of pixels), ``foreground_dice``, ``bce``,
        ``pixel_accuracy``, ``bpq`` and ``mpq`` (mean over tissues of the mean over images).
        """
        return summarise(self)

    def scores(self) -> dict[str, Any]:
        """Every score as JSON-able tables; None where a score is not defined."""
        return score_tables(self)

    def lines(self) -> list[str]:
        """The scores in short, for people."""
        return score_lines(self)

    def _by(self, part: int) -> dict[str, GroupCounts]:
        tables: dict[str, GroupCounts] = {}
        for key in sorted(self.groups, key=lambda pair: pair[part]):
            counts = self.groups[key]
            name = key[part]
            tables[name] = tables[name] + counts if name in tables else counts
        return tables
