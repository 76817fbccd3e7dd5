"""The table of writers: which formats there are, and what each one takes and needs.

A new format is one module with a function that writes it, and one function and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.facts import Frame
from histonuc.extras import require

if TYPE_CHECKING:
    from histonuc.exports.source import Source

FormatName = Literal[
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
"""What `histonuc export --to` takes."""


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """How one result is to be written.

    Attributes:
        centroids: points instead of outlines.
        frame: what positions are measured from.
        slide: file of the slide; None where the user gave none.
        sample: name of the result, unique among those that are exported together.
        picture: RGB uint8 (H, W, 3) of the whole slide; None where there is none.
        embedding: float16 (N, D), the network's features of the nuclei by id, from 1; None where
            there are none.
    """

    centroids: bool = False
    frame: Frame = "qupath"
    slide: Path | None = None
    sample: str = ""
    picture: NDArray[np.uint8] | None = None
    embedding: NDArray[np.float16] | None = None


Writer = Callable[["Source", Path, ExportRequest], Sequence[str]]
"""Writes nuclei to a path; returns sentences about what the file lacks. It imports the libraries of
its format when it is called."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format.

    Attributes:
        file: name of the file beside the table.
        write: the writer.
        extra: that has to be installed; empty for none.
        options: of `histonuc export` that it has, by name.
        needs: those of them that have to be given.
        shows_slide: whether the file holds a picture of the slide.
        holds_embeddings: whether it holds the network's features of the nuclei.
    """

    file: str
    write: Writer
    extra: str = ""
    options: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    shows_slide: bool = False
    holds_embeddings: bool = False


def _write_geojson(source: Source, path: Path, request: ExportRequest) -> Sequence[str]:
    from histonuc.exports.geojson import write_geojson

    write_geojson(source, path, centroids=request.centroids, frame=request.frame)
    return ()


def _write_geoparquet(source: Source, path: Path, _: ExportRequest) -> Sequence[str]:
    from histonuc.exports.geoparquet import write_geoparquet

    write_geoparquet(source, path)
    return ()


def _write_csv(source: Source, path: Path, _: ExportRequest) -> Sequence[str]:
    from histonuc.exports.csv import write_csv

    write_csv(source, path)
    return ()


def _write_coco(source: Source, path: Path, _: ExportRequest) -> Sequence[str]:
    from histonuc.exports.coco import write_coco

    write_coco(source, path)
    return ()


def _write_ome_tiff(source: Source, path: Path, _: ExportRequest) -> Sequence[str]:
    from histonuc.exports.ome_tiff import write_ome_tiff

    write_ome_tiff(source, path)
    return ()


def _write_ome_zarr(source: Source, path: Path, _: ExportRequest) -> Sequence[str]:
    from histonuc.exports.ome_zarr import write_ome_zarr

    write_ome_zarr(source, path)
    return ()


def _write_anndata(source: Source, path: Path, request: ExportRequest) -> Sequence[str]:
    from histonuc.exports.anndata import write_anndata

    write_anndata(
        source,
        path,
        sample=request.sample,
        picture=request.picture,
        embedding=request.embedding,
    )
    return ()


def _write_dicom(source: Source, path: Path, request: ExportRequest) -> Sequence[str]:
    from histonuc.exports.dicom import write_dicom

    assert request.slide is not None, "check_options asks for it"
    return write_dicom(source, path, slide=request.slide)


_QUPATH = frozenset({"centroids", "frame"})
_SLIDE = frozenset({"slide"})
FORMATS: Mapping[FormatName, Format] = {
    "geojson": Format(file="nuclei.geojson", write=_write_geojson, options=_QUPATH),
    "geojson.gz": Format(file="nuclei.geojson.gz", write=_write_geojson, options=_QUPATH),
    "geoparquet": Format(file="nuclei.geoparquet", write=_write_geoparquet),
    "csv": Format(file="nuclei.csv", write=_write_csv),
    "coco": Format(file="nuclei.coco.json", write=_write_coco),
    "ome-tiff": Format(file="nuclei.ome.tif", write=_write_ome_tiff),
    "ome-zarr": Format(file="nuclei.ome.zarr", write=_write_ome_zarr, extra="zarr"),
    "anndata": Format(
        file="nuclei.h5ad",
        write=_write_anndata,
        extra="spatial",
        options=_SLIDE,
        shows_slide=True,
        holds_embeddings=True,
    ),
    "dicom": Format(
        file="nuclei.dcm", write=_write_dicom, extra="dicom", options=_SLIDE, needs=_SLIDE
    ),
}
"""Every format by the name that `histonuc export --to` takes."""
_HINTS = {"slide": "the slide's own file, whose patient and study the annotations belong to"}


def check_options(to: str, given: Set[str]) -> Format:
    """The format of a name, if it goes with the options.

    Args:
        to: name of the format.
        given: names of the options that were given.

    Raises:
        ValueError: no such format, an extra that is not installed, an option that the format does
            not have, or one that it needs and that was not given.
    """
    if to not in FORMATS:
        raise ValueError(f"--to {to}: choose from {', '.join(FORMATS)}")
    chosen = FORMATS[cast(FormatName, to)]
    for option in sorted(given - chosen.options):
        having = [name for name, other in FORMATS.items() if option in other.options]
        raise ValueError(f"--{option} belongs to {', '.join(having)}, not to {to}")
    for option in sorted(chosen.needs - given):
        raise ValueError(f"--to {to} needs --{option}: {_HINTS[option]}")
    if chosen.extra:
        require(chosen.extra, f"histonuc export --to {to}")
    return chosen
