"""Labels that people drew: outlines from GeoJSON, points from GeoJSON or CSV."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.data.folder_index import read_csv
from histonuc.files import reading
from histonuc.nuclei import make_consecutive
from histonuc.taxonomy import NUCLEUS

_PIXEL_CENTRE = 0.5
"""A CSV counts pixels from 0 at the centre of the first; here 0 is that pixel's corner."""
_RIM_PX = 1.0
"""Clicks on nuclei that the image's rim cuts may lie so far outside."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnOutlines:
    """Outlines of one image, painted.

    Attributes:
        instances: int32 (H, W), 0 = background, 1..n.
        original_ids: int64 (n,), place of each outline in the file, from 1.
        names: class name of each (n,), empty where the file states none.
        num_drawn: outlines in the file.
    """

    instances: NDArray[np.int32]
    original_ids: NDArray[np.int64]
    names: Sequence[str]
    num_drawn: int


def read_outlines(file: Path, shape: tuple[int, int]) -> DrawnOutlines:
    """Outlines of a GeoJSON file as a label image.

    A pixel belongs to the outline that its centre lies in, to the later one where outlines overlap.
    An outline that no pixel is left of is counted in `num_drawn` alone.

    Args:
        file: GeoJSON of polygons in pixels of the image, (0, 0) at its top-left corner, as QuPath
            exports them.
        shape: height and width of the image.

    Raises:
        ValueError: no GeoJSON of polygons, or an outline that lies outside the image.
    """
    from histonuc.exports.geojson_reader import iterate_features, outline_ring
    from histonuc.exports.reading import Outlined, to_class_name, to_nuclei

    outlines, names = [], []
    with reading(file, "GeoJSON of outlines"):
        for feature in iterate_features(file):
            geometry = feature.get("nucleusGeometry") or feature["geometry"]
            outlines.append(Outlined(ring=outline_ring(geometry), class_name=NUCLEUS.classes[0]))
            names.append(_composed(to_class_name(_classification(feature))))
        nuclei = to_nuclei(
            outlines, label_space=NUCLEUS, class_map=None, mpp=math.nan, origin=file.name
        )
    box = nuclei.box
    outside = np.any((box[:, :2] >= shape[::-1]) | (box[:, 2:] <= 0), axis=1)
    _refuse_outside(outside, box[:, :2], "outlines", file, shape)
    instances, ids = make_consecutive(nuclei.to_labels(*shape))
    return DrawnOutlines(
        instances=instances,
        original_ids=ids.astype(np.int64),
        names=[names[i - 1] for i in ids],
        num_drawn=len(names),
    )


def _refuse_outside(
    outside: NDArray[np.bool_],
    position: NDArray[np.float64],
    what: str,
    file: Path,
    shape: tuple[int, int],
) -> None:
    """Refuse objects (n,) that lie outside the image, with the place (n, 2) of the first."""
    if not outside.any():
        return
    first = int(np.flatnonzero(outside)[0])
    raise ValueError(
        f"{file}: {int(outside.sum())} {what} lie outside the {shape[1]} x {shape[0]} pixels of "
        f"the image, the first (number {first + 1}) at {position[first].round(1).tolist()}: "
        "positions count from the top-left corner of this image, not of the slide it was cut from"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnPoints:
    """Points of one image.

    Attributes:
        position: float64 (k, 2), (x, y) in pixels, (0, 0) at the top-left corner of the image.
        names: class name of each (k,), empty where the file states none.
    """

    position: NDArray[np.float64]
    names: Sequence[str]


def read_points(file: Path, shape: tuple[int, int]) -> DrawnPoints:
    """Points of a CSV table (x, y, class) or of QuPath's point annotations.

    Args:
        file: ``*.csv``, where whole numbers are the centres of pixels and (0, 0) is the first, or
            GeoJSON, where (0, 0) is the top-left corner of the image.
        shape: height and width of the image.

    Raises:
        ValueError: neither, or a point that lies over a pixel outside the image.
    """
    points = _read_csv_points(file) if file.suffix == ".csv" else _read_geojson_points(file)
    low, high = -_RIM_PX, np.array(shape[::-1]) + _RIM_PX
    outside = np.any((points.position < low) | (points.position > high), axis=1)
    _refuse_outside(outside, points.position, "points", file, shape)
    return points


def _read_csv_points(file: Path) -> DrawnPoints:
    position, names = [], []
    for where, row in read_csv(file, ("x", "y", "class")):
        try:
            x, y = float(row["x"]), float(row["y"])
        except ValueError:
            x = y = math.nan
        if not (math.isfinite(x) and math.isfinite(y)):
            raise ValueError(f"{where}: expected pixels as x and y, got {row['x']!r}, {row['y']!r}")
        position.append((x + _PIXEL_CENTRE, y + _PIXEL_CENTRE))
        names.append(_composed(row["class"]))
    return DrawnPoints(position=np.array(position, np.float64).reshape(-1, 2), names=names)


def _read_geojson_points(file: Path) -> DrawnPoints:
    from histonuc.exports.geojson_reader import iterate_features
    from histonuc.exports.reading import to_class_name

    position: list[tuple[float, float]] = []
    names: list[str] = []
    with reading(file, "GeoJSON of points"):
        for feature in iterate_features(file):
            geometry = feature["geometry"]
            kind, places = geometry["type"], geometry["coordinates"]
            if kind not in ("Point", "MultiPoint"):
                raise ValueError(
                    f"{file}: expected points, got a {kind}: outlines go to instances/"
                )
            found = [(float(place[0]), float(place[1])) for place in _listed(kind, places)]
            if not np.isfinite(found).all():
                raise ValueError("a position that is no finite number")
            position += found
            names += [_composed(to_class_name(_classification(feature)))] * len(found)
    return DrawnPoints(position=np.array(position, np.float64).reshape(-1, 2), names=names)


def _listed(kind: str, coordinates: Any) -> list[Any]:
    return [coordinates] if kind == "Point" else list(coordinates)


def _classification(feature: Mapping[str, Any]) -> Any:
    return (feature.get("properties") or {}).get("classification")


def _composed(name: str) -> str:
    """A class name as classes files hold it."""
    return unicodedata.normalize("NFC", name).strip()
