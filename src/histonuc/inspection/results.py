"""What a prediction found: counts, densities and warnings of one input or of many."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from histonuc.corrections import read_corrections
from histonuc.exports import TABLE_FILE
from histonuc.exports.summary import SUMMARY_FILE, ClassResult, SlideResult
from histonuc.files import is_sealed
from histonuc.inspection.description import Description, to_lines
from histonuc.plain_text import counted

_MAX_CLASSES, _MAX_INPUTS = 4, 5
"""Classes and inputs that get a line of their own."""


def describe_prediction(folder: Path) -> Description:
    """Facts about the result of one input, or of a run over several.

    Args:
        folder: that holds `SUMMARY_FILE`.

    Raises:
        LookupError, TypeError, ValueError: it holds something else, or another version's.
    """
    record = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    changed = {} if is_sealed(record) else {"note": "summary.json was changed since it was written"}
    if "items" in record:
        items = [SlideResult.from_record(item) for item in record["items"]]
        kind, rows = "predictions", _run_rows(items, record["failed"])
    else:
        kind, rows = "prediction", _result_rows(SlideResult.from_record(record))
    corrected, told = _describe_corrections(folder)
    return Description(
        facts={"kind": kind, **changed, **record, **corrected},
        lines=to_lines([*rows, *told, *changed.items()]),
    )


def _describe_corrections(folder: Path) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """What people corrected in the result of one input, as facts and as lines."""
    if not (folder / TABLE_FILE).is_file() or (found := read_corrections(folder)) is None:
        return {}, []
    corrections = found.corrections
    facts = {"num_corrected": corrections.num_corrected, "people": dict(corrections.people)}
    return {"corrections": facts}, [("corrections", line) for line in found.lines()]


def _result_rows(result: SlideResult) -> Iterator[tuple[str, str]]:
    made_by = f"{result.model}, histonuc {result.version}"
    yield "prediction", f"{Path(result.source).name} (by {made_by})"
    width, height = result.size_px
    scale = f"{result.mpp:.4g} microns per pixel ({result.mpp_source})"
    yield "size", f"{width:,} x {height:,} pixels, {scale}"
    left_out = f", {result.left_out_mm2:.3g} mm² left out" if result.left_out_mm2 else ""
    left_out += f", {result.ink_mm2:.3g} mm² under ink left out" if result.ink_mm2 else ""
    counted = f"{result.num_nuclei:,} in {result.analysed_mm2:.3g} mm² of tissue{left_out}"
    yield "nuclei", counted + _density_text(result)
    classes = sorted(result.classes.items(), key=lambda one: -one[1].num_nuclei)
    for name, found in classes[:_MAX_CLASSES]:
        if found.num_nuclei:
            yield "", f"{name}: {found.num_nuclei:,} ({found.share:.1%}){_density_text(found)}"
    others = sum(found.num_nuclei for _, found in classes[_MAX_CLASSES:])
    if others:
        yield "", f"{others:,} of other classes"
    yield from (("note", warning) for warning in result.warnings)
    if result.class_note:
        yield "classes", result.class_note


def _run_rows(
    items: Sequence[SlideResult], failed: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    yield "predictions", f"{counted(len(items), 'input')}, {len(failed)} failed"
    area = sum(item.analysed_mm2 for item in items)
    yield "nuclei", f"{sum(item.num_nuclei for item in items):,} in {area:.3g} mm² of tissue"
    for item in items[:_MAX_INPUTS]:
        noted = f", {counted(len(item.warnings), 'note')}" if item.warnings else ""
        name = Path(item.source).name
        yield "", f"{name}: {counted(item.num_nuclei, 'nucleus')}{_density_text(item)}{noted}"
    if len(items) > _MAX_INPUTS:
        yield "", f"and {len(items) - _MAX_INPUTS} more"
    for failure in failed:
        yield "failed", f"{failure['source']}: {failure['error']}"


def _density_text(found: SlideResult | ClassResult) -> str:
    return "" if found.density_per_mm2 is None else f", {found.density_per_mm2:,.0f} per mm²"
