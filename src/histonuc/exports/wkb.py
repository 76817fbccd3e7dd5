"""Outlines as well-known binary, the geometry of GeoParquet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.nuclei import Nuclei

if TYPE_CHECKING:
    import pyarrow as pa

GEO_KEY = b"geo"
"""Key of GeoParquet's JSON text in the schema metadata."""
GEOMETRY = "geometry"
_HEADER = np.dtype([("order", "u1"), ("type", "<u4"), ("rings", "<u4"), ("points", "<u4")])
_POLYGON = 3


def geo_metadata(**more: Any) -> str:
    """GeoParquet 1.1's account of the column `GEOMETRY`: polygons in pixels, without a CRS.

    Args:
        more: further facts of the column.
    """
    column = {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": None, "edges": "planar"}
    return json.dumps(
        {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column | more}}
    )


def wkb_column(nuclei: Nuclei) -> pa.BinaryArray:
    """The outlines (n,)."""
    import pyarrow as pa

    data, offsets = polygon_wkb(nuclei.points, nuclei.offsets)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.BinaryArray.from_buffers(pa.binary(), len(nuclei), buffers)


def polygon_wkb(
    points: NDArray[np.float64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Well-known binary of polygons of one ring each.

    Args:
        points: float64 (P, 2), open rings one after the other.
        offsets: int64 (n + 1,), where each begins.

    Returns:
        The bytes of all polygons uint8 (B,), and where each begins int32 (n + 1,).

    Raises:
        ValueError: more than 2 GiB, some six million nuclei at once.
    """
    n = len(offsets) - 1
    sizes = np.diff(offsets) + 1  # rings are closed by their first point
    rows = np.arange(len(points) + n) - np.repeat(np.arange(n), sizes)
    rows[np.cumsum(sizes) - 1] = offsets[:-1]
    header = np.zeros(n, _HEADER)
    header["order"], header["type"], header["rings"], header["points"] = 1, 3, 1, sizes
    starts = np.zeros(n + 1, np.int64)
    np.cumsum(header.itemsize + 16 * sizes, out=starts[1:])
    if starts[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"expected outlines of at most 2 GiB at once, got those of {n} nuclei")
    data = np.empty(starts[-1], np.uint8)
    in_header = np.zeros(len(data), bool)
    in_header[(starts[:-1, None] + np.arange(header.itemsize)).ravel()] = True
    data[in_header] = header.view(np.uint8)
    data[~in_header] = np.ascontiguousarray(points[rows], "<f8").view(np.uint8).ravel()
    return data, starts.astype(np.int32)


def wkb_polygons(column: pa.ChunkedArray) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Inverse of `polygon_wkb`.

    Args:
        column: binary (n,), polygons of one ring each.

    Returns:
        points float64 (P, 2), open rings one after the other, and int64 (n + 1,), where each
        begins.

    Raises:
        ValueError: anything else than polygons of one ring.
    """
    points, sizes = [np.zeros((0, 2))], [np.zeros(0, np.int64)]
    for chunk in column.chunks:
        if not len(chunk):
            continue
        _, offsets, data = chunk.buffers()
        starts = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        found = _points(np.frombuffer(data, np.uint8), starts.astype(np.int64))
        points.append(found[0])
        sizes.append(found[1])
    ends = np.cumsum(np.concatenate(sizes))
    return np.concatenate(points), np.concatenate([np.zeros(1, np.int64), ends])


def _points(
    data: NDArray[np.uint8], starts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points of some polygons, and how many each has."""
    lengths = np.diff(starts)
    if (lengths < _HEADER.itemsize).any():
        raise ValueError("expected polygons of one ring in the geometry, got something else")
    at_header = starts[:-1, None] + np.arange(_HEADER.itemsize)
    header = data[at_header].view(_HEADER)[:, 0]
    sizes = header["points"].astype(np.int64)
    is_ours = (header["order"] == 1) & (header["type"] == _POLYGON) & (header["rings"] == 1)
    if not (is_ours & (lengths == _HEADER.itemsize + 16 * sizes) & (sizes > 0)).all():
        raise ValueError("expected polygons of one ring in the geometry, got something else")
    is_point = np.ones(starts[-1] - starts[0], bool)
    is_point[at_header - starts[0]] = False
    closed = data[starts[0] : starts[-1]][is_point].view("<f8").reshape(-1, 2)
    is_open = np.ones(len(closed), bool)
    is_open[np.cumsum(sizes) - 1] = False
    return closed[is_open].astype(np.float64), sizes - 1
