"""One input of `histonuc predict`, from its file to its folder of results."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from histonuc.exports import TABLE_FILE
from histonuc.files import remove_drafts, seal, write_json
from histonuc.inference.clock import Clock
from histonuc.inference.cluster import Remote
from histonuc.inference.drawn import find_regions, read_regions
from histonuc.inference.pictures import write_pictures
from histonuc.inference.pipeline import can_read
from histonuc.inference.plan import Plan, make_plan
from histonuc.inference.probe import probe_after, probe_scale
from histonuc.inference.progress import Meter
from histonuc.inference.quality import REASONS
from histonuc.inference.results import PartStore, remove_parts
from histonuc.inference.run import Found, Work, find_nuclei
from histonuc.inference.scale import resolve_mpp, scale_warning
from histonuc.inference.sources import check_unchanged, content_sha256
from histonuc.inference.summary import SUMMARY_FILE, measure, versions
from histonuc.models.model import Model
from histonuc.slides import Slide, open_slide

GEOJSON_FILE = "nuclei.geojson"
MANY_FLAGGED = 0.1
"""A larger share of flagged regions is worth a note."""


@dataclass(frozen=True, kw_only=True)
class Input:
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
    runtime: Model
    settings: Mapping[str, Any]
    key: dict[str, Any]
    geojson: bool
    remote: Remote | None


def predict_one(this: Input, meter: Meter) -> dict[str, Any]:
    """Analyse one input and write its folder; `SUMMARY_FILE` comes last."""
    clock = Clock()
    with clock.part("total"), _open_source(this) as slide:
        facts = _analyse(this, slide, clock, meter)
    check_unchanged(this.source, this.key)
    record = seal(
        {
            "source": str(this.source),
            "folder": str(this.folder),
            **facts,
            "seconds": {name: round(value, 3) for name, value in clock.seconds.items()},
            "fingerprint": this.key,
            "content_sha256": content_sha256(this.source),
            "versions": versions(),
        }
    )
    write_json(record, this.folder / SUMMARY_FILE)
    remove_parts(this.folder)  # only now is nothing of them needed any more
    return record


def is_readable_again(this: Input, record: Mapping[str, Any]) -> bool:
    """Whether a region that a finished result lacks can be read now, as after an outage.

    Args:
        this: the input.
        record: its summary.
    """
    missing = {tuple(region["box_xyxy"]) for region in record["skipped_regions"]}
    if not missing:
        return False
    with _open_source(this) as slide:
        mpp_xy, _ = resolve_mpp(slide, this.source, this.settings["mpp"], this.runtime, [])
        plan = _plan(this, slide, mpp_xy, [])
        lacking = (tile for tile in plan.tiles if tuple(tile.core) in missing)
        return any(can_read(slide, plan, tile) for tile in lacking)


def _open_source(this: Input) -> Slide:
    return open_slide(this.source, scene=this.settings["scene"], icc=this.settings["icc"])


def _analyse(this: Input, slide: Slide, clock: Clock, meter: Meter) -> dict[str, Any]:
    """Find the nuclei of an open slide and write everything but the summary: its facts."""
    source, folder, runtime = this.source, this.folder, this.runtime
    warnings: list[str] = list(slide.notes)
    mpp_xy, mpp_source = resolve_mpp(slide, source, this.settings["mpp"], runtime, warnings)
    with clock.part("plan"):
        plan = _plan(this, slide, mpp_xy, warnings)
        probed = None
        if not plan.skip_blank or mpp_source == "assumed":
            probed = probe_scale(slide, plan, runtime)
            warnings += filter(None, [probed])
    meter.start(source.name, len(plan.tiles))
    work = Work(
        slide=slide,
        source=source,
        runtime=runtime,
        plan=plan,
        store=_open_store(this, plan, warnings),
        clock=clock,
        remote=this.remote,
    )
    facts = {
        "source": source.name,
        "image_size": list(slide.size),
        "mpp_xy": list(mpp_xy),
        "model": runtime.name,
        "model_sha256": runtime.sha256,
        "version": version("histonuc"),
    }
    found = find_nuclei(
        work,
        folder / TABLE_FILE,
        facts,
        geojson=folder / GEOJSON_FILE if this.geojson else None,
        batch_size=this.settings["batch_size"],
        progress=meter.advance,
    )
    if found.skipped:
        warnings.append(
            f"{len(found.skipped)} of {len(plan.tiles)} regions could not be read and were "
            "skipped: their places are in summary.json under skipped_regions"
        )
    warnings += _quality_warnings(found, plan)
    warnings += _scale_warnings(slide, plan, runtime, found, probe=probed is None)
    with clock.part("write"):
        write_pictures(slide, folder / TABLE_FILE, found.tally, folder, source.name)
    return {
        **measure(plan, found.tally, found.left_out),
        "tiles_resumed": found.tiles_resumed,
        "geojson_bytes": (folder / GEOJSON_FILE).stat().st_size if this.geojson else None,
        "levels_px": [list(size) for size in slide.levels],
        "reader": slide.reader,
        "vendor": slide.properties.get("openslide.vendor"),
        "mpp": plan.mpp,
        "mpp_xy": list(mpp_xy),
        "mpp_source": mpp_source,
        "skipped_regions": [
            {"box_xyxy": list(error.box_xyxy), "reason": str(error)} for error in found.skipped
        ],
        "flagged_regions": [{"box_xyxy": list(box), "flag": flag} for box, flag in found.flagged],
        "warnings": warnings,
    }


def _plan(this: Input, slide: Slide, mpp_xy: tuple[float, float], warnings: list[str]) -> Plan:
    """Tissue or regions, and tiles; `warnings` gets what is odd about them."""
    regions = None
    if this.settings["regions"] is not None:
        drawn = find_regions(Path(this.settings["regions"]), this.source)
        regions = read_regions(drawn, slide.size)
        warnings += filter(None, [regions.note])
    plan = make_plan(
        slide,
        mpp_xy=mpp_xy,
        model_mpp=this.runtime.spec.mpp,
        tile_px=this.settings["tile_px"],
        margin_um=this.settings["margin_um"],
        regions=regions,
    )
    if not plan.tissue.mask.any():
        warnings.append("no stained tissue found: nothing was analysed")
    return plan


def _open_store(this: Input, plan: Plan, warnings: list[str]) -> PartStore:
    """The parts of this very analysis; what belongs to another one is removed."""
    store = PartStore(this.folder, this.runtime.spec.label_space, plan.mpp)
    if dropped := store.open(
        {**this.key, "mpp_xy": list(plan.mpp_xy), "version": version("histonuc")}
    ):
        warnings.append(dropped)
    for name in (SUMMARY_FILE, GEOJSON_FILE):
        (this.folder / name).unlink(missing_ok=True)
    remove_drafts(this.folder)
    return store


def _quality_warnings(found: Found, plan: Plan) -> Iterator[str]:
    """What is unlike the H&E that models are trained on, where it is more than a corner."""
    for flag, count in Counter(flag for _, flag in found.flagged).items():
        if count > MANY_FLAGGED * len(plan.tiles):
            yield f"{count} of {len(plan.tiles)} regions are {REASONS[flag]}"


def _scale_warnings(
    slide: Slide, plan: Plan, runtime: Model, found: Found, *, probe: bool
) -> Iterator[str]:
    """What the size of the nuclei says of the scale, and the network if it is to be asked."""
    num = len(found.tally)
    if num == 0:
        return
    diameter_um = 2 * math.sqrt(float(np.median(found.tally.area_px)) / math.pi) * plan.mpp
    warning = scale_warning(diameter_um, num, plan.mpp)
    if probe:
        warning = warning or probe_after(slide, plan, runtime, diameter_um, num)
    if warning:
        yield warning
