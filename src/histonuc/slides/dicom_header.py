"""What the header of a DICOM slide says of its scale, its objective and its dates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from histonuc.slides.resolution import Scale, plausible_scale


def read_scale(facts: Any) -> tuple[Scale | None, tuple[str, ...]]:
    """The scale from the pixel spacing, and what to tell about a file without one.

    Args:
        facts: the pydicom data set of a slide.

    The size of the imaged volume would give it too, but converters that leave out the spacing write
    placeholders there.
    """
    spacing = _spacing(facts)
    if spacing is not None:
        y, x = (1e3 * float(value) for value in spacing)  # in mm, of rows first
        return plausible_scale((x, y), "DICOM: PixelSpacing"), ()
    note = "it states no PixelSpacing"
    sides_mm = [float(facts.get(f"ImagedVolume{side}") or 0) for side in ("Width", "Height")]
    if all(sides_mm):
        size = (facts.TotalPixelMatrixColumns, facts.TotalPixelMatrixRows)
        x, y = (1e3 * mm / num for mm, num in zip(sides_mm, size, strict=True))
        note += (
            f"; its imaged volume would mean pixels of {x:.3g} x {y:.3g} microns, which is often a "
            "placeholder and not taken"
        )
    return None, (note,)


def _spacing(facts: Any) -> Any:
    """The pixel spacing, wherever in the header it stands; None without."""
    groups = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
    for group in (facts.get(name) for name in groups):
        measures = group[0].get("PixelMeasuresSequence") if group else None
        if measures and measures[0].get("PixelSpacing"):
            return measures[0].PixelSpacing
    return facts.get("PixelSpacing") or None


def read_objective(paths: Any) -> float | None:
    """The nominal magnification of the first of a sequence of optical paths; None without."""
    power = paths[0].get("ObjectiveLensPower") if paths else None
    return None if power is None else float(power)


def date_notes(properties: Mapping[str, str]) -> tuple[str, ...]:
    """What to tell about dates of a DICOM file that are none.

    >>> wrong = {"dicom.StudyDate": "2021-01-07", "dicom.ContentDate": "2021-01-07"}
    >>> date_notes(wrong | {"dicom.SeriesDate": "20210107"})
    ("'2021-01-07' (StudyDate, ContentDate) is no date as DICOM writes them, 20210131 for example",)
    """
    wrong: dict[str, list[str]] = {}
    for name, value in properties.items():
        if not (name.startswith("dicom.") and name.endswith("Date")) or value in ("", "None"):
            continue
        try:
            datetime.strptime(value.strip(), "%Y%m%d")
        except ValueError:
            wrong.setdefault(value, []).append(name.removeprefix("dicom."))
    return tuple(
        f"{value!r} ({', '.join(names)}) is no date as DICOM writes them, 20210131 for example"
        for value, names in wrong.items()
    )
