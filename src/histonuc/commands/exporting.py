"""The command that writes nuclei in the formats of other programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from histonuc.commands.outcome import Outcome

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PICTURE_PX = 2000
"""Longest side of the pictures that files hold; Visium's have that size."""


def export(
    out: Path,
    *,
    to: Literal[
        "geojson",
        "geojson.gz",
        "geoparquet",
        "csv",
        "coco",
        "ome-tiff",
        "ome-zarr",
        "anndata",
        "dicom",
    ] = "geojson",
    centroids: bool = False,
    frame: Literal["qupath", "slide"] = "qupath",
    slide: Path | None = None,
    uncorrected: bool = False,
) -> Outcome:
    """Write the nuclei of a prediction in another format, beside its table.

    What people corrected counts: `corrections.jsonl` beside the table.

    Args:
        out: Folder that `histonuc predict` wrote, of one input or of many.
        to: Format.
        centroids: Points instead of outlines, in a file of their own; geojson and geojson.gz only.
        frame: Measure positions from the corner of the part that was scanned, as QuPath does, or
            from that of the whole slide, as the table does; geojson and geojson.gz only.
        slide: The slide's own file. dicom needs it: the annotations belong to its patient and
            study. anndata holds a picture of it, and needs it only where it was moved.
        uncorrected: Write the prediction as it is, without corrections.
    """
    from histonuc.corrections import open_corrected
    from histonuc.exports import export_folder

    summary = export_folder(
        out,
        to,
        centroids=centroids,
        frame=frame,
        slide=slide,
        read_picture=_read_picture,
        open_result=None if uncorrected else open_corrected,
    )
    return Outcome(
        lines=summary.lines(), data=summary.to_dict(), exit_code=1 if summary.failed else 0
    )


def _read_picture(slide: Path, options: Mapping[str, Any]) -> NDArray[np.uint8]:
    """The whole slide as RGB; see `histonuc.exports.folder.ReadPicture`."""
    from histonuc.slides import open_slide

    icc = bool(options.get("icc", False))
    with open_slide(slide, scene=options.get("scene"), icc=icc) as opened:
        return opened.thumbnail(_PICTURE_PX)
