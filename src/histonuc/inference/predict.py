"""`histonuc predict`: many inputs, one folder of results each, resumable."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from histonuc.exports import TABLE_FILE, write_geojson, write_table
from histonuc.inference.overview import write_detail, write_overview
from histonuc.inference.pipeline import Clock, find_nuclei, make_plan
from histonuc.inference.progress import Meter, open_meter
from histonuc.inference.runtime import Runtime, load_runtime
from histonuc.inference.slide import KNOWN_SUFFIXES, Slide, open_slide
from histonuc.inference.summary import (
    SUMMARY_FILE,
    PredictSummary,
    measure,
    versions,
    write_json,
)
from histonuc.nuclei import Nuclei

log = logging.getLogger(__name__)


def predict(
    paths: Sequence[Path],
    out: Path,
    *,
    model: str = "default",
    device: str = "auto",
    mpp: float | None = None,
    tile_px: int = 512,
    batch_size: int = 4,
    margin_um: float = 16.0,
    overwrite: bool = False,
) -> PredictSummary:
    """Find, outline and classify the nuclei of images and slides.

    Args:
        paths: images, slides, and folders that are searched for them.
        out: folder for the results, one folder inside for each input.
        model: see `load_runtime`.
        device: ``auto``, ``cpu`` or ``cuda:0``.
        mpp: microns per level-0 pixel of all inputs, instead of what they state.
        tile_px: side of the network's input.
        batch_size: tiles a forward pass.
        margin_um: halo around the part of a tile that it owns.
        overwrite: do finished inputs again.

    Raises:
        ValueError: no input, no such model, or an impossible value. A bad input among others does
            not raise: see `PredictSummary.failed`.
    """
    if batch_size < 1:
        raise ValueError(f"--batch-size {batch_size}: expected 1 or more")
    if mpp is not None and not (math.isfinite(mpp) and mpp > 0):
        raise ValueError(f"--mpp {mpp}: expected microns per pixel above 0, e.g. 0.25")
    sources = find_inputs(paths)
    runtime = load_runtime(model, device)
    settings = {"mpp": mpp, "tile_px": tile_px, "batch_size": batch_size, "margin_um": margin_um}
    summary = PredictSummary(out=out)
    with open_meter() as meter:
        for source, folder in zip(sources, name_folders(sources, out), strict=True):
            key = _fingerprint(source, runtime, settings)
            finished = None if overwrite else _finished(folder, key)
            if finished is not None:
                summary.skipped.append(str(source))
                summary.items.append(finished)
                continue
            try:
                summary.items.append(_predict_one(source, folder, runtime, settings, key, meter))
            except (ValueError, OSError, MemoryError) as error:
                reason = str(error) or type(error).__name__
                log.warning("%s failed: %s", source, reason)
                summary.failed.append({"source": str(source), "error": reason})
    write_json(summary.to_dict(), out / SUMMARY_FILE)
    return summary


def find_inputs(paths: Sequence[Path]) -> list[Path]:
    """Files to predict: those given, and all of known kinds in the folders given.

    Raises:
        ValueError: nothing there.
    """
    if not paths:
        raise ValueError("expected images, slides or folders to predict, got none")
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise ValueError(f"nothing at {path}")
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        if path.is_dir():
            inside = [file for file in inside if _is_input(file)]
            if not inside:
                raise ValueError(
                    f"no images or slides in {path}: known are {sorted(KNOWN_SUFFIXES)}"
                )
        found |= dict.fromkeys(inside)
    return list(found)


def name_folders(sources: Sequence[Path], out: Path) -> list[Path]:
    """A folder in `out` for each source: its stem, numbered when others have the same.

    >>> [str(path) for path in name_folders([Path("a/x.png"), Path("b/x.svs")], Path("out"))]
    ['out/x', 'out/x-2']
    """
    taken: set[str] = set()
    folders = []
    for source in sources:
        name, number = source.stem, 1
        while name.lower() in taken:  # file systems may not tell cases apart
            number += 1
            name = f"{source.stem}-{number}"
        taken.add(name.lower())
        folders.append(out / name)
    return folders


def _is_input(file: Path) -> bool:
    return file.is_file() and file.suffix.lower() in KNOWN_SUFFIXES and file.name[0] != "."


def _predict_one(
    source: Path,
    folder: Path,
    runtime: Runtime,
    settings: dict[str, Any],
    key: dict[str, Any],
    meter: Meter,
) -> dict[str, Any]:
    """Analyse one input and write its folder; `SUMMARY_FILE` comes last."""
    clock = Clock()
    warnings: list[str] = []
    with open_slide(source) as slide:
        mpp, mpp_source = _resolve_mpp(slide, source, settings["mpp"], runtime, warnings)
        with clock.part("plan"):
            plan = make_plan(
                slide,
                mpp=mpp,
                model_mpp=runtime.mpp,
                tile_px=settings["tile_px"],
                margin_um=settings["margin_um"],
            )
        if not plan.tissue.mask.any():
            warnings.append("no stained tissue found: nothing was analysed")
        meter.start(source.name, len(plan.tiles))
        nuclei = find_nuclei(
            slide,
            runtime,
            plan,
            batch_size=settings["batch_size"],
            clock=clock,
            progress=meter.advance,
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SUMMARY_FILE).unlink(missing_ok=True)
        with clock.part("write"):
            _write_results(slide, nuclei, folder, source, runtime)
    for warning in warnings:
        log.warning("%s: %s", source, warning)
    record = {
        "source": str(source),
        "folder": str(folder),
        **measure(plan, nuclei),
        "mpp": mpp,
        "mpp_source": mpp_source,
        "warnings": warnings,
        "seconds": {name: round(value, 3) for name, value in clock.seconds.items()},
        "fingerprint": key,
        "versions": versions(),
    }
    write_json(record, folder / SUMMARY_FILE)
    return record


def _resolve_mpp(
    slide: Slide, source: Path, given: float | None, runtime: Runtime, warnings: list[str]
) -> tuple[float, str]:
    """Microns per level-0 pixel and where they come from: ``given``, ``file`` or ``assumed``."""
    if given is not None:
        if slide.mpp is not None and abs(math.log(given / slide.mpp)) > 0.1:
            warnings.append(f"the file states {slide.mpp:.4g} mpp, --mpp says {given:.4g}")
        return given, "given"
    if slide.mpp is not None:
        return slide.mpp, "file"
    if not slide.is_plain:
        raise ValueError(
            f"{source.name} does not state its microns per pixel: "
            "give --mpp, e.g. --mpp 0.25 for 40x or --mpp 0.5 for 20x"
        )
    warnings.append(
        f"the image does not state its microns per pixel: assumed the model's {runtime.mpp:g}; "
        "areas and densities depend on it; give --mpp if you know better"
    )
    return runtime.mpp, "assumed"


def _write_results(
    slide: Slide, nuclei: Nuclei, folder: Path, source: Path, runtime: Runtime
) -> None:
    facts = {
        "source": source.name,
        "image_size": list(slide.size),
        "model": runtime.name,
        "model_sha256": runtime.sha256,
        "version": version("histonuc"),
    }
    write_table(nuclei, folder / TABLE_FILE, facts)
    write_geojson(nuclei, folder / "nuclei.geojson")
    write_overview(slide, nuclei, folder / "overview.jpg", source.name)
    write_detail(slide, nuclei, folder / "detail.jpg", source.name)


def _fingerprint(source: Path, runtime: Runtime, settings: dict[str, Any]) -> dict[str, Any]:
    """Everything the result depends on: an input is done again when any of it changed."""
    stat = source.stat()
    return {
        "source": str(source.resolve()),
        "bytes": stat.st_size,
        "modified_ns": stat.st_mtime_ns,
        "model": runtime.name,
        "model_sha256": runtime.sha256,
        "settings": settings,
    }


def _finished(folder: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    """The summary of an earlier run that did the very same; None if there is none."""
    try:
        record: dict[str, Any] = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = record.get("fingerprint") == key and (folder / TABLE_FILE).is_file()
    return record if same else None
