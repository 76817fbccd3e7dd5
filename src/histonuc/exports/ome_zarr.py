"""Label images as OME-Zarr 0.5 (zarr 3) for napari, Vizarr and whatever reads NGFF."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from histonuc.exports.painting import LEVEL_STEP, level_sizes, paint_levels
from histonuc.exports.source import Source, open_source
from histonuc.files import replacing_folder
from histonuc.nuclei import Nuclei

_CHUNK_PX = 512
_NAME = "nuclei"
_VERSION = "0.5"


def write_ome_zarr(nuclei: Nuclei | Source | Path, path: Path) -> None:
    """Write the ids of the table as the label image ``labels/nuclei``, uint32, 0 = no nucleus.

    Levels are 1, 4, 16, ... times coarser; chunks without a nucleus are not stored. The folder
    ``labels`` may be moved into the OME-Zarr of the slide's image.
    """
    import zarr

    source = open_source(nuclei)
    sizes = level_sizes(*source.size)
    with replacing_folder(path) as draft:
        root = zarr.open_group(draft, mode="w", zarr_format=3)
        root.attrs["ome"] = {"version": _VERSION}
        labels = root.create_group("labels", attributes=_ome(labels=[_NAME]))
        image = labels.create_group(_NAME, attributes=_label_metadata(len(sizes), source.mpp_xy))
        levels = zip(sizes, paint_levels(source, _CHUNK_PX), strict=True)
        for level, (size, rows) in enumerate(levels):
            array = image.create_array(
                str(level),
                shape=size[::-1],
                chunks=(_CHUNK_PX, _CHUNK_PX),
                dtype="uint32",
                fill_value=0,
                dimension_names=("y", "x"),
            )
            for top, row in zip(range(0, size[1], _CHUNK_PX), rows, strict=True):
                array[top : top + _CHUNK_PX] = row[: size[1] - top, : size[0]]


def _ome(**content: Any) -> dict[str, Any]:
    return {"ome": {"version": _VERSION, **content}}


def _label_metadata(num_levels: int, mpp_xy: tuple[float, float]) -> dict[str, Any]:
    is_known = not math.isnan(mpp_xy[0])
    axis = {"type": "space"} | ({"unit": "micrometer"} if is_known else {})
    pixel = mpp_xy[::-1] if is_known else (1.0, 1.0)  # y, x
    datasets = []
    for level in range(num_levels):
        step = LEVEL_STEP**level
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [step * side for side in pixel]},
                    # The centre of the first pixel of a coarser level lies further in.
                    {
                        "type": "translation",
                        "translation": [(step - 1) / 2 * side for side in pixel],
                    },
                ],
            }
        )
    multiscale = {
        "name": _NAME,
        "axes": [{"name": "y", **axis}, {"name": "x", **axis}],
        "datasets": datasets,
    }
    label = {
        "colors": [{"label-value": 0, "rgba": [0, 0, 0, 0]}],  # background is see-through
        "source": {"image": "../../"},
    }
    return _ome(**{"multiscales": [multiscale], "image-label": label})
