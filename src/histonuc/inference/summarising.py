"""The record of one input: what was measured, and what is known of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from histonuc._version import __version__, library_versions
from histonuc.exports.summary import SlideResult
from histonuc.inference.clock import Clock
from histonuc.inference.options import PredictOptions
from histonuc.inference.plan import Plan
from histonuc.inference.progress import Tally
from histonuc.inference.quality import DEFOCUSED
from histonuc.inference.results import ResultFolder
from histonuc.inference.scale import Scale
from histonuc.inference.sources import content_sha256
from histonuc.inference.tiles import Box
from histonuc.models.model import Model
from histonuc.plain_text import readable
from histonuc.slides import Slide


def measure_slide(slide: Slide, scale: Scale, plan: Plan, tally: Tally) -> partial[SlideResult]:
    """Everything of a result that the slide and its nuclei tell.

    Densities are a mm² of tissue that was analysed: not glass, fat and lumen, and not what could
    not be read or was out of focus.
    """
    width, height = plan.tissue.size
    defocused = [region.box_xyxy for region in tally.flagged if region.flag == DEFOCUSED]
    left_out = [Box(*box) for box in (*(region.box_xyxy for region in tally.skipped), *defocused)]
    image_mm2 = width * height * (plan.mpp / 1000) ** 2
    tissue_mm2 = image_mm2 * plan.tissue.fraction
    left_out_mm2 = image_mm2 * plan.tissue.fraction_in(left_out)
    analysed_mm2 = tissue_mm2 - left_out_mm2
    network_mm2 = tally.network_px * (plan.mpp / 1000) ** 2
    return partial(
        SlideResult,
        size_px=(width, height),
        image_mm2=image_mm2,
        tissue_mm2=tissue_mm2,
        left_out_mm2=left_out_mm2,
        ink_mm2=image_mm2 * plan.tissue.ink_fraction,
        tiles_analysed=len(plan.tiles),
        network_ratio=network_mm2 / analysed_mm2 if analysed_mm2 > 0 else None,
        num_nuclei=len(tally),
        density_per_mm2=len(tally) / analysed_mm2 if analysed_mm2 > 0 else None,
        density_per_image_mm2=len(tally) / image_mm2,
        classes=tally.measure_classes(analysed_mm2, image_mm2),
        **asdict(tally.judge_trust()),
        regions=tally.by_region.measure(plan.mpp_xy, left_out) if tally.by_region else (),
        tiles_resumed=tally.tiles_resumed,
        bounds_xyxy=slide.bounds_xyxy,
        levels_px=tuple(slide.levels),
        reader=slide.reader,
        vendor=slide.properties.get("openslide.vendor"),
        mpp=plan.mpp,
        mpp_xy=plan.mpp_xy,
        mpp_source=scale.source,
        skipped_regions=tuple(tally.skipped),
        flagged_regions=tuple(tally.flagged),
    )


def summarise_slide(
    measured: partial[SlideResult],
    source: Path,
    folder: ResultFolder,
    key: Mapping[str, Any],
    options: PredictOptions,
    model: Model,
    warnings: Sequence[str],
    clock: Clock,
) -> SlideResult:
    """The whole result: what was measured, and what is known of the run."""
    return measured(
        source=readable(str(source)),
        folder=str(folder.path),
        geojson_bytes=folder.geojson.stat().st_size if options.geojson else None,
        geojson_origin_px=options.origin_px(measured.keywords["bounds_xyxy"]),
        warnings=tuple(warnings),
        seconds={name: round(value, 3) for name, value in clock.seconds.items()},
        model=model.name,
        version=__version__,
        settings=options.to_dict(),
        fingerprint=dict(key),
        content_sha256=content_sha256(source),
        versions=library_versions(),
    )
