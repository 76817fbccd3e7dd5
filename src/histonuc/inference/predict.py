"""`histonuc predict`: many inputs, one folder of results each, resumable."""

from __future__ import annotations

import errno
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from histonuc.exports import TABLE_FILE
from histonuc.exports.geojson import write_geojson
from histonuc.files import remove_drafts
from histonuc.inference.clock import Clock
from histonuc.inference.cluster import Job, Remote, connect
from histonuc.inference.engines import Precision, file_sha256, num_cores
from histonuc.inference.inputs import (
    content_sha256,
    find_inputs,
    fingerprint,
    name_folders,
    read_summary,
)
from histonuc.inference.overview import write_pictures
from histonuc.inference.parts import PartStore, remove_parts
from histonuc.inference.plan import Plan, make_plan
from histonuc.inference.probe import probe_scale
from histonuc.inference.progress import Meter, open_meter
from histonuc.inference.quality import REASONS
from histonuc.inference.regions import find_regions, read_regions
from histonuc.inference.run import Found, Work, find_nuclei
from histonuc.inference.runtime import Runtime, load_runtime
from histonuc.inference.scale import resolve_mpp, scale_warning
from histonuc.inference.slides import PLAUSIBLE_MPP, Slide, open_slide
from histonuc.inference.summary import (
    SUMMARY_FILE,
    PredictSummary,
    measure,
    versions,
    write_json,
)

log = logging.getLogger(__name__)

RESULT_FORMAT = 5
"""Raised when the files of a result change: older results are then made anew."""
GEOJSON_FILE = "nuclei.geojson"
MANY_FLAGGED = 0.1
"""A larger share of flagged regions is worth a note."""


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
        model: see `load_runtime`.
        device: see `load_runtime`.
        precision: see `load_runtime`.
        flips: see `load_runtime`.
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
    sources = find_inputs(paths)
    runtime = load_runtime(model, device, precision, streams=num_cores(), flips=flips)
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
    job = partial(
        Job,
        scene=scene,
        icc=icc,
        model=model,
        device=device,
        precision=precision,
        flips=flips,
        model_sha256=runtime.sha256,
        batch_size=batch_size,
    )
    with (
        open_meter(len(sources)) as meter,
        connect(cluster) if cluster else nullcontext() as client,
    ):
        for source, folder in zip(sources, name_folders(sources, out), strict=True):
            meter.next_input()
            try:
                key = fingerprint(source) | common
                if regions is not None:
                    key["regions_sha256"] = file_sha256(find_regions(regions, source))
                if overwrite:
                    remove_parts(folder)
                finished = None if overwrite else read_summary(folder)
                if finished is not None and finished.get("fingerprint") == key:
                    summary.skipped.append(str(source))
                    summary.items.append(finished)
                    continue
                remote = None
                if client is not None:
                    there = job(source=source.absolute(), folder=folder.absolute())
                    remote = Remote(client=client, job=there)
                here = _Input(
                    source=source,
                    folder=folder,
                    runtime=runtime,
                    settings=settings,
                    key=key,
                    geojson=geojson,
                    remote=remote,
                )
                item = _predict_one(here, meter)
                summary.items.append(item)
            except Exception as error:  # whatever ails one input must not cost the others
                summary.failed.append({"source": str(source), "error": _reason(source, error)})
    try:
        write_json(summary.to_dict(), out / SUMMARY_FILE)
    except OSError as error:  # what was done and what failed is still to be told
        path = out / SUMMARY_FILE
        summary.failed.append({"source": str(path), "error": _reason(path, error)})
    return summary


@dataclass(frozen=True, kw_only=True)
class _Input:
    """One input and how it is to be analysed.

    Attributes:
        source: its file.
        folder: of its results.
        runtime: the model.
        settings: of `predict` that the nuclei depend on.
        key: all that they depend on.
        geojson: whether to write that too.
        remote: the cluster that does it; None for this process.
    """

    source: Path
    folder: Path
    runtime: Runtime
    settings: Mapping[str, Any]
    key: dict[str, Any]
    geojson: bool
    remote: Remote | None


def _check(settings: Mapping[str, Any], runtime: Runtime, out: Path) -> None:
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
    least_px = max(1, math.ceil(3 * margin_um / runtime.mpp))
    if tile_px < least_px:  # most of every tile would be margin, and the time spent on it
        raise ValueError(
            f"--tile-px {tile_px}: expected {least_px} or more, three times the margin of "
            f"{margin_um:g} microns around each tile at the model's {runtime.mpp:g} mpp"
        )
    if settings["regions"] is not None and not Path(settings["regions"]).exists():
        raise ValueError(f"--regions {settings['regions']}: no such file or folder")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: expected a folder, or a name for a new one")


def _reason(source: Path, error: Exception) -> str:
    """Why an input failed, in one line; what is nobody's fault but ours leaves a traceback."""
    if isinstance(error, (ValueError, OSError, MemoryError)):
        reason = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason += ": what is finished is kept; make room and run the same command again"
        log.warning("%s failed: %s", source, reason)
        return reason
    log.error("%s failed", source, exc_info=error)
    return f"{type(error).__name__}: {error}"


def _predict_one(this: _Input, meter: Meter) -> dict[str, Any]:
    """Analyse one input and write its folder; `SUMMARY_FILE` comes last."""
    clock = Clock()
    opened = {"scene": this.settings["scene"], "icc": this.settings["icc"]}
    with clock.part("total"), open_slide(this.source, **opened) as slide:
        facts = _analyse(this, slide, clock, meter)
    record = {
        "source": str(this.source),
        "folder": str(this.folder),
        **facts,
        "seconds": {name: round(value, 3) for name, value in clock.seconds.items()},
        "fingerprint": this.key,
        "content_sha256": content_sha256(this.source),
        "versions": versions(),
    }
    write_json(record, this.folder / SUMMARY_FILE)
    remove_parts(this.folder)  # only now is nothing of them needed any more
    return record


def _analyse(this: _Input, slide: Slide, clock: Clock, meter: Meter) -> dict[str, Any]:
    """Find the nuclei of an open slide and write everything but the summary: its facts."""
    source, folder, runtime, settings = this.source, this.folder, this.runtime, this.settings
    warnings: list[str] = []
    mpp, mpp_source = resolve_mpp(slide, source, settings["mpp"], runtime, warnings)
    with clock.part("plan"):
        regions = None
        if settings["regions"] is not None:
            regions = read_regions(find_regions(Path(settings["regions"]), source), slide.size)
            warnings += filter(None, [regions.note])
        plan = make_plan(
            slide,
            mpp=mpp,
            model_mpp=runtime.mpp,
            tile_px=settings["tile_px"],
            margin_um=settings["margin_um"],
            regions=regions,
        )
    if not plan.tissue.mask.any():
        warnings.append("no stained tissue found: nothing was analysed")
    with clock.part("plan"):
        if not plan.skip_blank or mpp_source == "assumed":
            warnings += filter(None, [probe_scale(slide, plan, runtime)])
    meter.start(source.name, len(plan.tiles))
    store = PartStore(folder, runtime.label_space, mpp)
    if dropped := store.open({**this.key, "mpp": mpp, "version": version("histonuc")}):
        warnings.append(dropped)
    for name in (SUMMARY_FILE, GEOJSON_FILE):  # they would be of another run
        (folder / name).unlink(missing_ok=True)
    remove_drafts(folder)
    facts = {
        "source": source.name,
        "image_size": list(slide.size),
        "model": runtime.name,
        "model_sha256": runtime.sha256,
        "version": version("histonuc"),
    }
    work = Work(
        slide=slide,
        source=source,
        runtime=runtime,
        plan=plan,
        store=store,
        clock=clock,
        remote=this.remote,
    )
    found = find_nuclei(
        work,
        folder / TABLE_FILE,
        facts,
        batch_size=settings["batch_size"],
        progress=meter.advance,
    )
    if found.skipped:
        warnings.append(
            f"{len(found.skipped)} of {len(plan.tiles)} regions could not be read and were "
            "skipped: their places are in summary.json under skipped_regions"
        )
    warnings += _quality_warnings(found, plan)
    with clock.part("write"):
        table = folder / TABLE_FILE
        if this.geojson:
            write_geojson(table, folder / GEOJSON_FILE)
        write_pictures(slide, table, found.tally, folder, source.name)
    return {
        **measure(plan, found.tally, found.left_out),
        "tiles_resumed": found.tiles_resumed,
        "levels_px": [list(size) for size in slide.levels],
        "reader": slide.reader,
        "vendor": slide.properties.get("openslide.vendor"),
        "mpp": mpp,
        "mpp_source": mpp_source,
        "skipped_regions": [
            {"box_xyxy": list(error.box_xyxy), "reason": str(error)} for error in found.skipped
        ],
        "flagged_regions": [{"box_xyxy": list(box), "flag": flag} for box, flag in found.flagged],
        "warnings": warnings,
    }


def _quality_warnings(found: Found, plan: Plan) -> Iterator[str]:
    """What is unlike the H&E that models are trained on, where it is more than a corner."""
    for flag, count in Counter(flag for _, flag in found.flagged).items():
        if count > MANY_FLAGGED * len(plan.tiles):
            yield f"{count} of {len(plan.tiles)} regions are {REASONS[flag]}"
    if len(found.tally):
        area_um2 = float(np.median(found.tally.area_px)) * plan.mpp**2
        if warning := scale_warning(area_um2, len(found.tally), plan.mpp):
            yield warning
