"""`histonuc export`: which writer makes which file, for one prediction or many."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from histonuc.exports.source import Source, as_source
from histonuc.exports.table import TABLE_FILE
from histonuc.extras import require
from histonuc.files import failure_lines, log_failure

log = logging.getLogger(__name__)

Format = Literal[
    "geojson",
    "geojson.gz",
    "geoparquet",
    "csv",
    "coco",
    "ome-tiff",
    "ome-zarr",
    "anndata",
    "dicom",
]
FORMATS: tuple[Format, ...] = get_args(Format)
"""What `histonuc export --to` takes."""

_FILES = {
    "geojson": "nuclei.geojson",
    "geojson.gz": "nuclei.geojson.gz",
    "geoparquet": "nuclei.geoparquet",
    "csv": "nuclei.csv",
    "coco": "nuclei.coco.json",
    "ome-tiff": "nuclei.ome.tif",
    "ome-zarr": "nuclei.ome.zarr",
    "anndata": "nuclei.h5ad",
    "dicom": "nuclei.dcm",
}
_EXTRAS = {"ome-zarr": "zarr", "anndata": "spatial", "dicom": "dicom"}


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What an export did.

    Attributes:
        written: the files.
        failed: tables among many that could not be exported, with the reason.
    """

    written: list[Path] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return {"written": [str(path) for path in self.written], "failed": self.failed}

    def lines(self) -> list[str]:
        """The same for people."""
        lines = [f"wrote {path}" for path in self.written]
        return lines + failure_lines(self.failed)


def export_folder(
    out: Path, to: Format = "geojson", *, centroids: bool = False, slide: Path | None = None
) -> ExportSummary:
    """Write the nuclei of predictions in another format, beside their tables.

    Args:
        out: folder of one prediction, or of many.
        to: one of `FORMATS`.
        centroids: points instead of outlines, in files of their own; GeoJSON only.
        slide: DICOM file of the slide that the nuclei lie on; DICOM only, which needs it.

    Raises:
        ValueError: no prediction there, an unknown format, a missing extra, an option that the
            format does not have, or a damaged table. One that fails among others does not raise:
            see `ExportSummary.failed`.
    """
    if to not in FORMATS:
        raise ValueError(f"--to {to}: choose from {', '.join(FORMATS)}")
    if centroids and not to.startswith("geojson"):
        raise ValueError(f"--centroids: only geojson and geojson.gz have it, not {to}")
    if (to == "dicom") != (slide is not None):
        raise ValueError("--to dicom and --slide SLIDE.dcm, the slide's own file, go together")
    if to in _EXTRAS:
        require(_EXTRAS[to], f"histonuc export --to {to}")
    folders = [out] if (out / TABLE_FILE).is_file() else []
    folders = folders or sorted(table.parent for table in out.glob(f"*/{TABLE_FILE}"))
    if not folders:
        raise ValueError(f"no prediction in {out}: expected {TABLE_FILE} there or one folder below")
    if slide is not None and len(folders) > 1:
        raise ValueError(f"--slide belongs to one prediction, {out} holds {len(folders)}")
    summary = ExportSummary()
    name = _FILES[to].replace("nuclei", "centroids") if centroids else _FILES[to]
    for folder in folders:
        table = folder / TABLE_FILE
        try:
            _write(as_source(table), folder / name, to, centroids, slide)
            summary.written.append(folder / name)
        except Exception as error:  # whatever ails one result must not cost the others
            if len(folders) == 1:
                raise
            summary.failed.append({"source": str(table), "error": log_failure(table, error, log)})
    return summary


def _write(source: Source, path: Path, to: Format, centroids: bool, slide: Path | None) -> None:
    # Each format brings its own libraries along: only the one asked for is imported.
    if to in ("geojson", "geojson.gz"):
        from histonuc.exports.geojson import write_geojson

        write_geojson(source, path, centroids=centroids)
    elif to == "geoparquet":
        from histonuc.exports.geoparquet import write_geoparquet

        write_geoparquet(source, path)
    elif to == "csv":
        from histonuc.exports.csv import write_csv

        write_csv(source, path)
    elif to == "coco":
        from histonuc.exports.coco import write_coco

        write_coco(source, path)
    elif to == "ome-tiff":
        from histonuc.exports.ome_tiff import write_ome_tiff

        write_ome_tiff(source, path)
    elif to == "ome-zarr":
        from histonuc.exports.ome_zarr import write_ome_zarr

        write_ome_zarr(source, path)
    elif to == "anndata":
        from histonuc.exports.anndata import write_anndata

        write_anndata(source, path)
    elif slide is not None:
        from histonuc.exports.dicom import write_dicom

        write_dicom(source, path, slide=slide)
