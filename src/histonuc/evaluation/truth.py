"""The truth of one tile, as it is scored."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.data.tables import single_class
from histonuc.nuclei import CoveredPixels

if TYPE_CHECKING:
    from histonuc.data.store import Store
    from histonuc.evaluation.classes import ScoredClasses


_DISC_UM, _DISC_PX = 1.0, 4
"""Radius of the disc that pictures show for a point; in pixels where the scale is unknown."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TileTruth:
    """What is true of one tile, in the classes that are scored.

    Attributes:
        tile: number of the tile, unique among those scored together; the row of its store.
        name: name of the tile in its source.
        source: data set that the tile comes from.
        tissue: tissue of the tile; empty where unknown.
        fold: fold of the tile.
        mpp: microns per pixel; NaN where unknown.
        image: RGB image uint8 (H, W, 3), for the pictures of the report.
        labels: label image int32 (H, W), 0 = background; discs at points, for pictures only.
        types: int32, class + 1 by id (entry 0: background), 0 where unknown.
        covered: pixels that `labels` cannot show; None for none.
        points: float64 (n, 2), (x, y) of the points that mark the nuclei; None where these have
            outlines. Point ``k`` has the id ``k + 1``.
        is_sparse: whether `points` mark some of the nuclei only.
        ignore: bool (H, W), True where it is not known what is there; None where all is known.
    """

    tile: int
    name: str
    source: str
    tissue: str
    fold: int
    mpp: float
    image: NDArray[np.uint8]
    labels: NDArray[np.int32]
    types: NDArray[np.int32]
    covered: CoveredPixels | None = None
    points: NDArray[np.float64] | None = None
    is_sparse: bool = False
    ignore: NDArray[np.bool_] | None = None


class TruthReader:
    """Reads the truth of a store's tiles; holds the columns of its table as plain lists.

    Args:
        store: where the tiles are.
        classes: the classes that are scored, which may be coarser than the store's.
    """

    def __init__(self, store: Store, classes: ScoredClasses) -> None:
        self._store, self._classes = store, classes
        names = ("name", "source", "tissue", "fold")
        self._columns: dict[str, list[Any]] = {
            name: store.tiles.column(name).to_pylist() for name in names
        }
        for name in ("source", "tissue"):  # their texts are held once, not once a tile
            same: dict[Any, Any] = {}
            self._columns[name] = [same.setdefault(text, text) for text in self._columns[name]]

    def read(self, tile: int) -> TileTruth:
        """The truth of one tile.

        Args:
            tile: row of the store.
        """
        if not self._store.has_outlines(tile):
            return self._read_points(tile)
        types, covered = self._store.types(tile), self._store.covered(tile)
        if self._classes.comprised:
            types = self._classes.merge_types(self._store.candidates(tile))
            if covered is not None:
                covered = self._merge_covered(covered, types)
        return TileTruth(
            tile=tile,
            **self._read_facts(tile),
            labels=self._store.instances(tile),
            types=types,
            covered=covered,
            ignore=ignore if (ignore := self._store.ignore(tile)).any() else None,
        )

    def _read_points(self, tile: int) -> TileTruth:
        points, merge = self._store.points(tile), self._classes.merge_types
        types = (
            merge(points.candidates) if self._classes.comprised else single_class(points.candidates)
        )
        return TileTruth(
            tile=tile,
            **self._read_facts(tile),
            labels=_draw_discs(points.position, self._store.size(tile), self._store.mpp(tile)),
            types=np.concatenate([[0], types]).astype(np.int32),
            points=points.position,
            is_sparse=self._store.is_sparse(tile),
        )

    def _read_facts(self, tile: int) -> dict[str, Any]:
        """What is known of a tile beside its labels."""
        return {
            **{name: values[tile] for name, values in self._columns.items()},
            "mpp": self._store.mpp(tile),
            "image": self._store.image(tile),
        }

    def _merge_covered(self, covered: CoveredPixels, types: NDArray[np.int32]) -> CoveredPixels:
        """The covered pixels with merged classes; nuclei that are covered wholly come last."""
        hidden = covered.types[len(types) :]
        candidates = np.where(hidden > 0, 1 << np.maximum(hidden - 1, 0), 0).astype(np.uint32)
        merged = np.concatenate([types, self._classes.merge_types(candidates)])
        return replace(covered, types=merged)


def _draw_discs(
    position: NDArray[np.float64], size: tuple[int, int], mpp: float
) -> NDArray[np.int32]:
    """Label image int32 of this size with a disc at each point, which pictures show as a ring."""
    labels = np.zeros(size, np.int32)
    radius = round(_DISC_UM / mpp) if math.isfinite(mpp) else _DISC_PX
    for k, (x, y) in enumerate(np.floor(position).astype(int).tolist()):
        cv2.circle(labels, (x, y), max(radius, 1), k + 1, cv2.FILLED)
    return labels
