"""One tile with its labels, on its way into a store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.data.selection import NO_LABELS
from histonuc.nuclei import PointLabels


@dataclass(frozen=True, kw_only=True, eq=False)
class TileRecord:
    """One tile on its way into a store.

    Attributes:
        image: uint8 (H, W, 3).
        instances: int (H, W), 0 = background, 1..n consecutive, every id present.
        types: int (n,), class + 1, 0 = unknown.
        candidates: uint32 (n,), candidate sets.
        original_ids: int (n,), ids in the source.
        channels: int (n,), official mask channel, -1 where there is none.
        overlaps: int (k, 4), (y, x, channel, value) of official mask pixels to be set last.
        background: official background channel outside nuclei: 1, 0 (inverted) or -1 (none).
        points: marks of the nuclei of a tile without outlines; its `instances` hold none then and
            are not written. None for a tile with outlines.
        is_sparse: whether `points` mark some of the nuclei only.
        ignore: bool (H, W), True where it is not known what is there: neither nuclei nor background
            are taught. None where all is known; a tile where it is True everywhere has no labels.
        fold: 1, 2, ..., or 0 for what no training may take.
        name: name of the tile in its source.
        tissue: official spelling where it is one of the nineteen.
        source: name of the data set.
        patient: name of the patient; empty when not known.
        mpp: microns per pixel, NaN when not known.
    """

    image: NDArray[np.uint8]
    instances: NDArray[np.integer]
    types: NDArray[np.integer]
    candidates: NDArray[np.integer]
    original_ids: NDArray[np.integer]
    channels: NDArray[np.integer]
    overlaps: NDArray[np.integer] = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    background: int = -1
    points: PointLabels | None = None
    is_sparse: bool = False
    ignore: NDArray[np.bool_] | None = None
    fold: int
    name: str
    tissue: str = ""
    source: str = ""
    patient: str = ""
    mpp: float = float("nan")

    @property
    def labels(self) -> str:
        """What is known of the tile: a value of the column of this name."""
        if self.points is not None:
            return "sparse points" if self.is_sparse else "points"
        return NO_LABELS if self.ignore is not None and self.ignore.all() else "outlines"

    @staticmethod
    def without_outlines(
        image: NDArray[np.uint8],
        points: PointLabels | None = None,
        *,
        is_sparse: bool = False,
        **origin: Any,
    ) -> TileRecord:
        """A tile whose nuclei are not outlined.

        Args:
            image: uint8 (H, W, 3).
            points: marks of its nuclei; None where nothing is known of the tile.
            is_sparse: whether `points` mark some of the nuclei only.
            **origin: `fold`, `name` and what else the tile's row says of where it is from.
        """
        nothing = np.zeros(0, np.int64)
        return TileRecord(
            image=image,
            instances=np.zeros(image.shape[:2], np.int32),
            types=nothing,
            candidates=nothing,
            original_ids=nothing,
            channels=nothing,
            points=points,
            is_sparse=is_sparse,
            ignore=np.ones(image.shape[:2], bool) if points is None else None,
            **origin,
        )
