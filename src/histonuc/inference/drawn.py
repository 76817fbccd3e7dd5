"""Regions of a slide that a person or another program drew: only they are analysed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
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
        tissue: all of them as a mask; a superset, by less than a pixel of the mask. What lies under
            ink is left out.
        stained: the tissue and the ink of the whole slide; None where nobody looked.
        warnings: sentences about shapes of the file that are no regions.
    """

    named: tuple[Region, ...]
    tissue: TissueMask
    stained: TissueMask | None = None
    warnings: tuple[str, ...] = ()

    def on(self, stained: TissueMask) -> Regions:
        """The same regions on a slide with this tissue, without what lies under ink."""
        mask, fraction = self.tissue.mask, self.tissue.fraction
        if stained.ink is None or not mask.any():
            return replace(self, stained=stained)
        size = mask.shape[1], mask.shape[0]
        ink = cv2.resize(stained.ink.view(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        share = float(ink[mask].mean())
        tissue = TissueMask(
            mask & ~ink,
            stained.size,
            (1 - share) * fraction * math.prod(stained.size),
            ink=stained.ink,
            ink_fraction=share * fraction,
        )
        return replace(self, tissue=tissue, stained=stained)

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
            seen = shapely.difference(region.area, missing)
            tissue, ink = self._shares(seen)
            seen_mm2 = seen.area * pixel_mm2
            analysed_mm2, tissue_mm2 = (1 - ink) * seen_mm2, tissue * seen_mm2
            results.append(
                RegionResult(
                    name=region.name,
                    class_name=region.class_name,
                    area_mm2=region.area.area * pixel_mm2,
                    analysed_mm2=analysed_mm2,
                    tissue_mm2=tissue_mm2,
                    num_nuclei=sum(counts),
                    density_per_mm2=sum(counts) / analysed_mm2 if analysed_mm2 > 0 else None,
                    density_per_tissue_mm2=sum(counts) / tissue_mm2 if tissue_mm2 > 0 else None,
                    num_by_class=dict(zip(self._classes, counts, strict=True)),
                )
            )
        return tuple(results)

    def _shares(self, area: shapely.Geometry) -> tuple[float, float]:
        """Shares of polygons that are tissue and that lie under ink, as far as anybody looked."""
        stained = self._regions.stained
        if stained is None or area.is_empty:
            return 0.0, 0.0
        place, inside = fill_polygons(area, stained.mask.shape, stained.size)
        if not inside.any():
            return 0.0, 0.0
        tissue = float(stained.mask[place][inside].mean())
        return tissue, 0.0 if stained.ink is None else float(stained.ink[place][inside].mean())


def fill_polygons(
    area: shapely.Geometry, shape: tuple[int, ...], size: tuple[int, int], *, with_rim: bool = False
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Polygons on a grid over the whole slide.

    Args:
        area: one polygon or several, in level-0 pixels, inside the slide.
        shape: rows and columns of the grid.
        size: width and height of the slide in level-0 pixels.
        with_rim: whether to add every pixel of the grid that the polygons merely touch.

    Returns:
        Where in the grid their bounds lie, and bool (rows, columns) of that part of it.
    """
    import shapely

    factor = np.array([shape[1] / size[0], shape[0] / size[1]])
    least, most = np.array(area.bounds).reshape(2, 2) * factor
    left, top = np.maximum(np.floor(least).astype(int) - 1, 0).tolist()
    right, bottom = np.minimum(np.ceil(most).astype(int) + 1, shape[::-1]).tolist()
    polygons = shapely.get_parts(area).tolist()
    rings = [ring for polygon in polygons for ring in (polygon.exterior, *polygon.interiors)]
    # OpenCV's pixels have their centres at whole numbers.
    points = [shapely.get_coordinates(ring) * factor - (left + 0.5, top + 0.5) for ring in rings]
    rounded = [np.round(one).astype(np.int32) for one in points]
    grid = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(grid, rounded, 1)
    if with_rim:
        cv2.polylines(grid, rounded, isClosed=True, color=1, thickness=2)
    return (slice(top, bottom), slice(left, right)), grid.astype(bool)
