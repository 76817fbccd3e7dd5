"""The numbers that go with a nucleus into formats that keep measurements by name."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.source import Batch, Source

_PLAIN = ("score", "area px", "x px", "y px")
_AREA_UM2 = "area µm²"


def measurement_names(source: Source) -> tuple[str, ...]:
    """Names as QuPath shows them, units in the name; area in µm² only when mpp is known."""
    area_um2 = () if math.isnan(source.mpp) else (_AREA_UM2,)
    probabilities = tuple(f"p {name}" for name in source.label_space.classes)
    return (*_PLAIN, *area_um2, *probabilities, *source.extra_names)


def own_names(classes: Iterable[str]) -> frozenset[str]:
    """Names that `measurement_names` makes for these classes itself; all others are features."""
    return frozenset((*_PLAIN, _AREA_UM2, *(f"p {name}" for name in classes)))


def measurements(batch: Batch, source: Source) -> NDArray[np.float64]:
    """Values float64 (n, M) in the order of `measurement_names`, NaN where there is none."""
    nuclei = batch.nuclei
    area = nuclei.area_px[:, None]
    area_um2 = area[:, :0] if math.isnan(source.mpp) else area * source.mpp**2
    columns: list[NDArray[np.floating]] = [
        nuclei.score[:, None],
        area,
        nuclei.centroid,
        area_um2,
        nuclei.class_probabilities,
        batch.extra,
    ]
    return np.concatenate(columns, axis=1, dtype=np.float64)
