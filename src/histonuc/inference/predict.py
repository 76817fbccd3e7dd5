"""`histonuc predict`: many inputs, one folder of results each, resumable."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from histonuc.exports import TABLE_FILE
from histonuc.exports.geojson import write_geojson
from histonuc.files import file_sha256, log_failure, write_json
from histonuc.inference.cluster import Job, Remote, connect
from histonuc.inference.drawn import find_regions
from histonuc.inference.progress import open_meter
from histonuc.inference.results import remove_parts
from histonuc.inference.slide import GEOJSON_FILE, Input, is_readable_again, predict_one
from histonuc.inference.sources import (
    find_inputs,
    fingerprint,
    name_folders,
    read_finished,
)
from histonuc.inference.summary import (
    SUMMARY_FILE,
    PredictSummary,
)
from histonuc.models.engines import Precision, num_cores
from histonuc.models.loading import load_model
from histonuc.models.model import Model
from histonuc.slides import PLAUSIBLE_MPP

log = logging.getLogger(__name__)

RESULT_FORMAT = 9
"""Raised when the files of a result change: older results are then made anew."""


def predict(
    paths: Sequence[Path],
    out: Path,
    *,
    model: str = "default",
    device: str = "auto",
    precision: Precision = "auto",
    flips: bool = False,
    mpp: float | None = None,
    tile_px: int = 1024,
    batch_size: int = 1,
    margin_um: float = 12.0,
    scene: int | None = None,
    icc: bool = False,
    regions: Path | None = None,
    cluster: str = "",
    geojson: bool = True,
    overwrite: bool = False,
) -> PredictSummary:
    """Find, outline and classify the nuclei of images and slides.

    Args:
        paths: images, slides, and folders that are searched for them.
        out: folder for the results, one folder inside for each input.
        model: see `load_model`.
        device: see `load_model`.
        precision: see `load_model`.
        flips: see `load_model`.
        mpp: microns per level-0 pixel of all inputs, instead of what they state.
        tile_px: side of the network's input.
        batch_size: tiles a forward pass.
        margin_um: halo around the part of a tile that it owns.
        scene: which picture of files that hold several.
        icc: turn colours into sRGB by the profile inside each file.
        regions: see `find_regions` and `read_regions`; analyse these instead of all tissue.
        cluster: see `cluster.connect`; empty to work in this process.
        geojson: write ``nuclei.geojson`` too, most of a result's bytes.
        overwrite: do finished inputs again.

    Raises:
        ValueError: no input, no such cluster, no such model, or an impossible value. A bad input
            among others does not raise: see `PredictSummary.failed`.
    """
    sources, missing = find_inputs(paths)
    runtime = load_model(model, device, precision, streams=num_cores(), flips=flips)
    settings = {
        "flips": flips,
        "mpp": mpp,
        "tile_px": tile_px,
        "batch_size": batch_size,
        "margin_um": margin_um,
        "scene": scene,
        "icc": icc,
        "regions": None if regions is None else str(regions),
    }
    _check(settings, runtime, out)
    # Everything a result depends on: an input is done again when any of it changed.
    common = {
        "format": RESULT_FORMAT,
        "model": runtime.name,
        "model_sha256": runtime.sha256,
        "precision": runtime.precision,
        "settings": settings,
    }
    summary = PredictSummary(out=out)
    summary.failed.extend({"source": str(path), "error": why} for path, why in missing.items())
    job = partial(
        Job,
        scene=scene,
        icc=icc,
        model=model,
        device=device,
        precision=precision,
        flips=flips,
        model_sha256=runtime.sha256,
        arithmetic=runtime.precision,
        batch_size=batch_size,
    )
    with (
        open_meter(len(sources)) as meter,
        connect(cluster) if cluster else nullcontext() as client,
    ):
        for source, folder in zip(sources, name_folders(sources, out), strict=True):
            meter.next_input()
            try:
                file = fingerprint(source)
                key = file | common
                if regions is not None:
                    key["regions_sha256"] = file_sha256(find_regions(regions, source))
                here = Input(
                    source=source,
                    folder=folder,
                    runtime=runtime,
                    settings=settings,
                    key=key,
                    geojson=geojson,
                    remote=None
                    if client is None
                    else Remote(
                        client=client,
                        job=job(
                            source=source.absolute(),
                            fingerprint=tuple(file.items()),
                            folder=folder.absolute(),
                        ),
                    ),
                )
                if overwrite:
                    remove_parts(folder)
                elif finished := _read_result(here):
                    summary.skipped.append(str(source))
                    summary.items.append(finished)
                    continue
                summary.items.append(predict_one(here, meter))
            except Exception as error:  # whatever ails one input must not cost the others
                summary.failed.append(
                    {"source": str(source), "error": log_failure(source, error, log)}
                )
    _write_summary(summary)
    return summary


def _write_summary(summary: PredictSummary) -> None:
    """Write it; where that fails, what was done and what failed is still to be told."""
    path = summary.out / SUMMARY_FILE
    try:
        write_json(summary.to_dict(), path)
    except OSError as error:
        summary.failed.append({"source": str(path), "error": log_failure(path, error, log)})


def _read_result(this: Input) -> dict[str, Any] | None:
    """What a folder's summary says where the input is done; None where it is to be done."""
    folder = this.folder
    finished = read_finished(folder, this.key)
    if finished is None:
        return None
    if is_readable_again(this, finished):
        log.warning("%s: regions that could not be read can be now: it is done again", this.source)
        return None
    remove_parts(folder)  # of a run that was killed at its very end
    file, written = folder / GEOJSON_FILE, finished["geojson_bytes"]
    size = file.stat().st_size if file.is_file() else None
    if this.geojson and (size is None or written not in (None, size)):
        write_geojson(folder / TABLE_FILE, file)  # not wanted then, removed, or cut
    return finished


def _check(settings: Mapping[str, Any], runtime: Model, out: Path) -> None:
    """Refuse what no input could be predicted with, before any is touched."""
    mpp, tile_px, margin_um = settings["mpp"], settings["tile_px"], settings["margin_um"]
    low, high = PLAUSIBLE_MPP
    if mpp is not None and not low <= mpp <= high:
        raise ValueError(
            f"--mpp {mpp:g}: expected microns per pixel, {low:g} to {high:g}: "
            "0.25 for 40x, 0.5 for 20x"
        )
    if settings["batch_size"] < 1:
        raise ValueError(f"--batch-size {settings['batch_size']}: expected 1 or more")
    if not (math.isfinite(margin_um) and margin_um >= 0):
        raise ValueError(f"margin_um {margin_um}: expected 0 or more")
    least_px = max(1, math.ceil(3 * margin_um / runtime.spec.mpp))
    if tile_px < least_px:  # most of every tile would be margin, and the time spent on it
        raise ValueError(
            f"--tile-px {tile_px}: expected {least_px} or more, three times the margin of "
            f"{margin_um:g} microns around each tile at the model's {runtime.spec.mpp:g} mpp"
        )
    if settings["regions"] is not None and not Path(settings["regions"]).exists():
        raise ValueError(f"--regions {settings['regions']}: no such file or folder")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: expected a folder, or a name for a new one")
