"""What an evaluation holds: counts by source and tissue, one row a tile, a few pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from histonuc.evaluation.counting import GroupCounts
from histonuc.evaluation.panels import Panel, keep_chosen
from histonuc.evaluation.tile_scores import TileScores
from histonuc.taxonomy import LabelSpace


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Counts of one model on some tiles. Evaluations of different tiles can be added.

    `histonuc.evaluation.tables` turns it into scores.

    Attributes:
        label_space: classes of the class scores.
        no_classes: why there are no class scores; empty when there are.
        groups: counts by (source, tissue).
        tiles: scores of every tile, in the order evaluated.
        panels: pictures of the best and the worst tiles and of one a tissue, for the report.
    """

    label_space: LabelSpace
    no_classes: str
    groups: Mapping[tuple[str, str], GroupCounts]
    tiles: TileScores
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
            tiles=TileScores.concat([self.tiles, other.tiles]),
            panels=keep_chosen(self.panels + other.panels),
        )

    @property
    def total(self) -> GroupCounts:
        """Counts over all tiles."""
        return sum(self.groups.values(), GroupCounts.zero(len(self.label_space)))

    def by_source(self) -> dict[str, GroupCounts]:
        """Counts by data set, in alphabetical order."""
        return self._sum_by(0)

    def by_tissue(self) -> dict[str, GroupCounts]:
        """Counts by tissue, in alphabetical order."""
        return self._sum_by(1)

    def _sum_by(self, part: int) -> dict[str, GroupCounts]:
        """Counts by one part of the keys of `groups`."""
        tables: dict[str, GroupCounts] = {}
        for key in sorted(self.groups, key=lambda pair: pair[part]):
            counts = self.groups[key]
            name = key[part]
            tables[name] = tables[name] + counts if name in tables else counts
        return tables
