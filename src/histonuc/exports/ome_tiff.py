"""Label images as OME-TIFF, pyramidal and tiled."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.painting import level_sizes, paint_levels
from histonuc.exports.source import Source, open_source
from histonuc.files import replacing
from histonuc.nuclei import Nuclei

_TILE_PX = 256


def write_ome_tiff(nuclei: Nuclei | Source | Path, path: Path) -> None:
    """Write the ids of the table as a uint32 image of the whole slide, 0 = no nucleus.

    Levels are 1, 4, 16, ... times coarser; BigTIFF, zlib.
    """
    import tifffile

    source = open_source(nuclei)
    sizes = level_sizes(*source.size)
    metadata: dict[str, Any] = {"axes": "YX", "Name": "nuclei"}
    if not math.isnan(source.mpp):
        metadata |= {
            f"PhysicalSize{axis}": mpp for axis, mpp in zip("XY", source.mpp_xy, strict=True)
        }
        metadata |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    with replacing(path) as draft, tifffile.TiffWriter(draft, bigtiff=True, ome=True) as tiff:
        for size, rows in zip(sizes, paint_levels(source, _TILE_PX), strict=True):
            is_full = size == sizes[0]
            tiff.write(
                _encoded_tiles(rows),
                shape=size[::-1],
                dtype=np.uint32,
                tile=(_TILE_PX, _TILE_PX),
                compression="zlib",
                photometric="minisblack",
                subifds=len(sizes) - 1 if is_full else 0,
                subfiletype=0 if is_full else 1,
                metadata=metadata if is_full else None,
            )


def _encoded_tiles(rows: Iterator[NDArray[np.uint32]]) -> Iterator[bytes]:
    empty = zlib.compress(bytes(4 * _TILE_PX**2))
    for row in rows:
        for left in range(0, row.shape[1], _TILE_PX):
            tile = row[:, left : left + _TILE_PX]
            yield zlib.compress(tile.astype("<u4").tobytes(), 1) if tile.any() else empty
