"""The header of a DICOM slide, with what converters often get wrong put right.

Annotations take patient and study from the slide that they belong to, and may not be written with
an illegal value. Three rules, in this order:

- What can be read in one way only is written as DICOM wants it (the date 2021-01-07 as 20210107).
- Other illegal dates, times and codes are left empty where the standard lets the attribute be empty
  (type 2), and left out where it lets it be absent (type 3).
- Texts and identifiers that are too long or have odd characters stay as they are: they link the
  annotations to the patient, the order and the slide.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom import Dataset

MAY_BE_EMPTY = (
    "AccessionNumber",
    "FrameOfReferenceUID",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
"""A slide must have these, if empty; files of converters often lack them."""
_LINKS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_PATIENT_GROUP = 0x0010
"""First half of the tags of all that is said of the patient."""
_KEPT = ("LO", "LT", "PN", "SH", "ST", "UI", "UT")
"""Value representations of texts and identifiers."""
_SHOWN = 40


def read_slide_header(path: Path) -> tuple[Dataset, tuple[str, ...]]:
    """Header of a whole-slide image, without its pixels.

    Returns:
        The header, and a sentence for everything that was put right or left out.

    Raises:
        ValueError: no DICOM whole-slide image, or one that does not say which study, series and
            image it is.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError) as error:
        raise ValueError(f"--slide {path}: no DICOM file: {error}") from None
    if header.get("SOPClassUID") != _WHOLE_SLIDE:
        raise ValueError(f"--slide {path}: no VL Whole Slide Microscopy Image")
    stored = header.file_meta.get("MediaStorageSOPInstanceUID")
    if not header.get("SOPInstanceUID") and stored:
        header.SOPInstanceUID = stored
    if missing := [name for name in _LINKS if not header.get(name)]:
        raise ValueError(
            f"--slide {path}: its header lacks {', '.join(missing)}, so annotations cannot say "
            "which slide they belong to"
        )
    notes = _repair(header)
    for name in MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, None)
    return header, tuple(notes)


def _repair(header: Dataset) -> list[str]:
    """Put right, in place, what is illegal among the attributes that annotations take over."""
    from pydicom.datadict import dictionary_VR, keyword_for_tag

    notes = []
    for tag in list(header.keys()):
        name = keyword_for_tag(tag)
        is_taken = name.startswith("Study") or name in (*MAY_BE_EMPTY, *_LINKS)
        if not name or not (is_taken or tag.group == _PATIENT_GROUP) or dictionary_VR(tag) == "SQ":
            continue
        try:
            kind, value = header[tag].VR, header[tag].value
            is_legal = _is_legal(kind, name, value)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            kind, value, is_legal = "", str(error), False
        if is_legal:
            continue
        shown = f"{name} {str(value)[:_SHOWN]!r} of the slide is not as DICOM wants it"
        if kind in _KEPT:
            notes.append(f"{shown}: kept, as it says what the annotations belong to")
            continue
        repaired = _REPAIRS.get(kind, _no_repair)(str(value))
        if repaired is not None:
            header[tag].value = repaired
            notes.append(f"{shown}: written as {repaired}")
        elif name in MAY_BE_EMPTY:
            header[tag].value = None
            notes.append(f"{shown}: left empty")
        else:
            del header[tag]
            notes.append(f"{shown}: left out")
    return notes


def _is_legal(kind: str, name: str, value: Any) -> bool:
    """Whether a value is as DICOM wants it; an empty one is."""
    from pydicom import config
    from pydicom.valuerep import DA, TM, validate_value

    text = "" if value is None else str(value)
    if not text:
        return True
    try:
        if kind not in ("SQ", "IS", "DS"):
            validate_value(kind, text, config.RAISE)
        if kind == "DA":
            DA(text)
            return bool(re.fullmatch(r"\d{8}", text))
        if kind == "TM":
            TM(text)
        return name != "PatientSex" or text in ("F", "M", "O")
    except (TypeError, ValueError):
        return False


def _repair_date(text: str) -> str | None:
    """A date that begins with its year, with the separators that people and programs use."""
    found = re.fullmatch(r"(\d{4})[-./ ](\d{1,2})[-./ ](\d{1,2})([T ].*)?", text.strip())
    try:
        return date(*map(int, found.groups()[:3])).strftime("%Y%m%d") if found else None
    except ValueError:
        return None


def _repair_time(text: str) -> str | None:
    """A time of the day with colons."""
    found = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?(?:\.\d+)?", text.strip())
    if found is None:
        return None
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    try:
        return time(hours, minutes, seconds).strftime("%H%M%S")
    except ValueError:
        return None


def _repair_code(text: str) -> str | None:
    """A sex in full."""
    return {"FEMALE": "F", "MALE": "M", "OTHER": "O"}.get(text.strip().upper())


def _no_repair(text: str) -> str | None:
    return None


_REPAIRS: dict[str, Callable[[str], str | None]] = {
    "DA": _repair_date,
    "TM": _repair_time,
    "CS": _repair_code,
}
"""By value representation: what reads a value in the one way that it can be meant."""
