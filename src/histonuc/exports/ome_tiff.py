"""Label images as OME-TIFF, pyramidal and tiled; and label images back."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from histonuc.exports.painting import Extents, level_steps, paint_rows
from histonuc.exports.source import Source, as_source
from histonuc.files import replacing
from histonuc.nuclei import Nuclei

_TILE_PX = 256


def write_ome_tiff(nuclei: Nuclei | Source | Path, path: Path) -> None:
    """Write the ids of the table as a uint32 image of the whole slide, 0 = no nucleus.

    Levels are 1, 4, 16, ... times coarser; BigTIFF, zlib.
    """
    import tifffile

    source = as_source(nuclei)
    width, height = source.size
    extents = Extents.of(source)
    steps = level_steps(width, height)
    metadata: dict[str, Any] = {"axes": "YX", "Name": "nuclei"}
    if not math.isnan(source.mpp):
        metadata |= {f"PhysicalSize{axis}": source.mpp for axis in "XY"}
        metadata |= {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    with replacing(path) as draft, tifffile.TiffWriter(draft, bigtiff=True, ome=True) as tiff:
        for step in steps:
            size = -(-width // step), -(-height // step)
            tiff.write(
                _encoded_tiles(source, extents, step, size),
                shape=size[::-1],
                dtype=np.uint32,
                tile=(_TILE_PX, _TILE_PX),
                compression="zlib",
                photometric="minisblack",
                subifds=len(steps) - 1 if step == 1 else 0,
                subfiletype=0 if step == 1 else 1,
                metadata=metadata if step == 1 else None,
            )


def _encoded_tiles(
    source: Source, extents: Extents, step: int, size: tuple[int, int]
) -> Iterator[bytes]:
    empty = zlib.compress(bytes(4 * _TILE_PX**2))
    for row in paint_rows(source, extents, step=step, size=size, tile_px=_TILE_PX):
        for left in range(0, row.shape[1], _TILE_PX):
            tile = row[:, left : left + _TILE_PX]
            yield zlib.compress(tile.astype("<u4").tobytes(), 1) if tile.any() else empty
