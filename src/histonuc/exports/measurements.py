"""The numbers that go with a nucleus into GeoJSON, under the names that QuPath gives them.

QuPath 0.2 and later call what they measure themselves "Nucleus: Area µm^2" or "Hematoxylin:
Nucleus: Mean", and scripts look for these names. The names of what QuPath does not measure follow
the same pattern. ``docs/reference/columns.md`` says what each one is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.source import Batch, Source

SCORE = "Detection probability"
AREA_PX = "Nucleus: Area px^2"
CENTROID_PX = ("Nucleus: Centroid X px", "Nucleus: Centroid Y px")
_AREA_UM2 = "Nucleus: Area µm^2"
_PROBABILITY = "Probability: "
QUPATH_NAMES: Mapping[str, str] = {
    "class_trust": "Class trust",
    "perimeter_um": "Nucleus: Length µm",
    "major_axis_um": "Nucleus: Major axis µm",
    "minor_axis_um": "Nucleus: Minor axis µm",
    "orientation_deg": "Nucleus: Orientation °",
    "eccentricity": "Nucleus: Eccentricity",
    "circularity": "Nucleus: Circularity",
    "solidity": "Nucleus: Solidity",
    "red_od": "Red OD: Nucleus: Mean",
    "green_od": "Green OD: Nucleus: Mean",
    "blue_od": "Blue OD: Nucleus: Mean",
    "haematoxylin_od": "Hematoxylin: Nucleus: Mean",
    "haematoxylin_std_od": "Hematoxylin: Nucleus: Std.Dev.",
    "haematoxylin_contrast_od": "Hematoxylin: Nucleus: Contrast",
    "haematoxylin_entropy_bits": "Hematoxylin: Nucleus: Entropy bits",
    "eosin_od": "Eosin: Nucleus: Mean",
}
"""Column of the table -> measurement; columns of other names keep them."""
_COLUMNS = {name: column for column, name in QUPATH_NAMES.items()}


def measurement_names(source: Source) -> tuple[str, ...]:
    """Names of the measurements, each once.

    The area in µm² is there only when mpp is known. A further column of the table is left out where
    it has the name of a measurement that is there already.
    """
    return tuple(name for name in _all_names(source) if name)


def written_features(source: Source) -> tuple[str, ...]:
    """The further columns of the table that `measurement_names` names, too."""
    names = _all_names(source)[-len(source.extra_names) :] if source.extra_names else []
    return tuple(column for column, name in zip(source.extra_names, names, strict=True) if name)


def measurements(batch: Batch, source: Source, origin: tuple[int, int]) -> NDArray[np.float64]:
    """Values float64 (n, M) in the order of `measurement_names`, NaN where there is none.

    Args:
        batch: n nuclei.
        source: what they are of.
        origin: level-0 pixel (x, y) that the centroids are measured from.
    """
    nuclei = batch.nuclei
    area = nuclei.area_px[:, None]
    columns: list[NDArray[np.floating]] = [
        nuclei.score[:, None],
        area,
        nuclei.centroid - origin,
        area * source.mpp**2,
        nuclei.class_probabilities,
        batch.extra,
    ]
    is_named = np.array([bool(name) for name in _all_names(source)])
    return np.concatenate(columns, axis=1, dtype=np.float64)[:, is_named]


def probability_name(class_name: str) -> str:
    """Name of the measurement that holds the probability of a class."""
    return _PROBABILITY + class_name


def written_names(classes: Iterable[str]) -> frozenset[str]:
    """Names that `measurement_names` makes for these classes itself; all others are features."""
    return frozenset((SCORE, AREA_PX, *CENTROID_PX, _AREA_UM2, *map(probability_name, classes)))


def column_name(measurement: str) -> str:
    """Column of the table that a measurement came from: its own name for those of other programs.

    >>> column_name("Nucleus: Solidity"), column_name("Cell: Area µm^2")
    ('solidity', 'Cell: Area µm^2')
    """
    return _COLUMNS.get(measurement, measurement)


def _all_names(source: Source) -> list[str]:
    """A name for every column of values, empty where the column is left out."""
    names = [SCORE, AREA_PX, *CENTROID_PX, "" if math.isnan(source.mpp) else _AREA_UM2]
    names += map(probability_name, source.label_space.classes)
    for column in source.extra_names:
        name = QUPATH_NAMES.get(column, column)
        names.append("" if name in names or name == _AREA_UM2 else name)
    return names
