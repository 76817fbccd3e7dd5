"""Regions of a slide that a person or another program drew: only they are analysed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.summary import RegionResult
from histonuc.inference.tiles import Box
from histonuc.inference.tissue import TissueMask
from histonuc.nuclei import Nuclei

if TYPE_CHECKING:
    import shapely

REGION, REGION_CLASS = "region", "region_class"
"""Columns of the table of nuclei that say which region a nucleus lies in."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """One region that somebody drew.

    Attributes:
        name: its name; unique in the file.
        class_name: its class; empty where it has none.
        area: polygons in level-0 pixels: the part of it that lies in the slide and that no ignored
            region takes away.
    """

    name: str
    class_name: str
    area: shapely.Geometry


@dataclass(frozen=True, kw_only=True, eq=False)
class Regions:
    """Where to analyse, instead of all tissue.

    Attributes:
        named: the regions, which may overlap and lie in each other, in the order of the file; none
            where a picture was given.
        tissue: all of them as a mask; a superset, by less than a pixel of the mask.
        warnings: sentences about shapes of the file that are no regions.
    """

    named: tuple[Region, ...]
    tissue: TissueMask
    warnings: tuple[str, ...] = ()

    def pair(self, points: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Which points lie in which of the `named` regions.

        Args:
            points: (n, 2), (x, y) in level-0 pixels.

        Returns:
            The indices of a point and of a region that holds it, for each such pair.
        """
        import shapely

        pairs = self._tree.query(shapely.points(points), predicate="within")
        return pairs[0], pairs[1]

    @cached_property
    def _tree(self) -> shapely.STRtree:
        import shapely

        return shapely.STRtree([region.area for region in self.named])

    def select(self, nuclei: Nuclei) -> Nuclei:
        """The nuclei whose centroids lie in a region.

        Those of named regions get its name and class as texts `REGION` and `REGION_CLASS`: of
        regions that lie in each other the innermost, which is the one of the smallest area.
        """
        if not self.named:
            return nuclei.select(self.tissue.contains(nuclei.centroid))
        point, region = self.pair(nuclei.centroid)
        rank = np.empty(len(self.named), np.intp)
        by_area = np.argsort([one.area.area for one in self.named], kind="stable")
        rank[by_area] = np.arange(len(by_area))
        innermost = np.full(len(nuclei), len(by_area))
        np.minimum.at(innermost, point, rank[region])
        inside = innermost < len(by_area)
        chosen = [self.named[i] for i in by_area[innermost[inside]]]
        texts = {
            REGION: np.array([one.name for one in chosen], np.str_),
            REGION_CLASS: np.array([one.class_name for one in chosen], np.str_),
        }
        return replace(nuclei.select(inside), texts=texts)


class RegionTally:
    """Counts the nuclei of every named region as they come.

    Args:
        regions: the regions.
        classes: names of the classes.
    """

    def __init__(self, regions: Regions, classes: Sequence[str]) -> None:
        self._regions, self._classes = regions, classes
        self._counts = np.zeros((len(regions.named), len(classes)), np.int64)

    def add_nuclei(self, nuclei: Nuclei) -> None:
        """Count some more nuclei, each in every region that it lies in."""
        point, region = self._regions.pair(nuclei.centroid)
        np.add.at(self._counts, (region, nuclei.class_index[point]), 1)

    def measure(
        self, mpp_xy: tuple[float, float], left_out: Sequence[Box]
    ) -> tuple[RegionResult, ...]:
        """Counts, areas and densities of the regions, in the order of the file.

        Args:
            mpp_xy: microns per level-0 pixel along x and y.
            left_out: boxes in level-0 pixels in which no nucleus was looked for.
        """
        import shapely

        missing = shapely.union_all([shapely.box(*box) for box in left_out])
        pixel_mm2 = math.prod(mpp_xy) / 1e6
        results = []
        for region, counts in zip(self._regions.named, self._counts.tolist(), strict=True):
            analysed_mm2 = shapely.difference(region.area, missing).area * pixel_mm2
            results.append(
                RegionResult(
                    name=region.name,
                    class_name=region.class_name,
                    area_mm2=region.area.area * pixel_mm2,
                    analysed_mm2=analysed_mm2,
                    num_nuclei=sum(counts),
                    density_per_mm2=sum(counts) / analysed_mm2 if analysed_mm2 > 0 else None,
                    num_by_class=dict(zip(self._classes, counts, strict=True)),
                )
            )
        return tuple(results)
