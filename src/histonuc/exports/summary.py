"""The record of one result: `summary.json`, written and read in one place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from histonuc.files import check_seal, reading, seal, write_json

SUMMARY_FILE = "summary.json"
"""Name of the record in a result's folder. It is written last: a folder that holds it is finished.
The folder of many results holds a file of this name, too, which lists them all."""


@dataclass(frozen=True, kw_only=True)
class ClassResult:
    """What was found of one class.

    Attributes:
        num_nuclei: number of nuclei.
        share: of all nuclei, 0 to 1; None where there are none.
        density_per_mm2: nuclei a mm² of analysed tissue; None where no tissue was analysed.
        density_per_image_mm2: nuclei a mm² of the whole image, glass included.
        median_area_um2: median area of a nucleus in µm²; None where there are none.
    """

    num_nuclei: int
    share: float | None
    density_per_mm2: float | None
    density_per_image_mm2: float
    median_area_um2: float | None


@dataclass(frozen=True, kw_only=True)
class TrustResult:
    """How far the classes of a result can be trusted as a whole.

    Attributes:
        classes_extrapolated: whether most nuclei look unlike those that the classes were learned
            from; None where the model cannot tell, and where there are no nuclei.
        median_class_trust: median of the nuclei's ``class_trust``; None as well.
        share_unlike: share of the nuclei that look unlike those; None as well.
        class_note: the same as a sentence for people; empty where it is None.
    """

    classes_extrapolated: bool | None = None
    median_class_trust: float | None = None
    share_unlike: float | None = None
    class_note: str = ""


@dataclass(frozen=True, kw_only=True)
class RegionResult:
    """What was found in one drawn region.

    Attributes:
        name: its name, unique on the slide.
        class_name: its class; empty where it has none.
        area_mm2: area of the part of it that lies in the slide, without what ignored regions take.
        analysed_mm2: the same without what could not be read, is out of focus or lies under ink.
        tissue_mm2: area of the tissue in that; the rest is glass, fat or lumen.
        num_nuclei: number of nuclei, those of regions inside this one included.
        density_per_mm2: nuclei a mm² of ``analysed_mm2``; None where that is 0.
        density_per_tissue_mm2: nuclei a mm² of ``tissue_mm2``; None where that is 0.
        num_by_class: number of nuclei by name of the class.
    """

    name: str
    class_name: str
    area_mm2: float
    analysed_mm2: float
    tissue_mm2: float
    num_nuclei: int
    density_per_mm2: float | None
    density_per_tissue_mm2: float | None
    num_by_class: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class SkippedRegion:
    """A part of the slide that could not be read.

    Attributes:
        box_xyxy: x0, y0, x1, y1 in level-0 pixels.
        reason: why, in one line.
    """

    box_xyxy: tuple[int, int, int, int]
    reason: str


@dataclass(frozen=True, kw_only=True)
class FlaggedRegion:
    """A part of the slide whose image is unlike H&E.

    Attributes:
        box_xyxy: x0, y0, x1, y1 in level-0 pixels.
        flag: one of `inference.quality.REASONS`.
    """

    box_xyxy: tuple[int, int, int, int]
    flag: str


@dataclass(frozen=True, kw_only=True)
class SlideResult:
    """Everything that is known of the result of one slide or image, but the nuclei themselves.

    Attributes:
        source: path of the slide, as the user gave it.
        folder: path of the folder of results.
        size_px: width and height of the slide in level-0 pixels.
        image_mm2: area of the whole image.
        tissue_mm2: area of the tissue, or of the regions that were asked for.
        left_out_mm2: area of the tissue that could not be read or is out of focus.
        ink_mm2: area of the tissue, or of the regions, that lies under ink; it was left out and is
            no part of ``tissue_mm2``.
        tiles_analysed: number of tiles that cover the tissue.
        network_ratio: area that went through the network for each mm² of tissue that was analysed:
            windows overlap, and show what is beside the tissue; None where there is none.
        num_nuclei: number of nuclei.
        density_per_mm2: nuclei a mm² of the tissue that was analysed, ``tissue_mm2`` without
            ``left_out_mm2``; None where there is none.
        density_per_image_mm2: nuclei a mm² of the whole image, glass included.
        classes: the same by name of the class.
        classes_extrapolated, median_class_trust, share_unlike, class_note: see `TrustResult`.
        regions: the same by drawn region, which may overlap; empty where none were asked for.
        tiles_resumed: number of tiles that an earlier, interrupted run had analysed.
        geojson_bytes: size of ``nuclei.geojson``; None where it was not wanted.
        geojson_origin_px: level-0 pixel (x, y) that positions in ``nuclei.geojson`` are measured
            from.
        bounds_xyxy: left, top, right and bottom, in level-0 pixels, of the part that the scanner
            visited; QuPath shows that part alone.
        levels_px: width and height of each level of the slide in its own pixels.
        reader: what reads the slide.
        vendor: of the scanner, where OpenSlide knows it.
        mpp: microns per level-0 pixel: the side of a square of the same area.
        mpp_xy: microns per level-0 pixel along x and y.
        mpp_source: ``given`` by the user, ``assumed`` to be the model's, or what in the file states
            them.
        skipped_regions: parts that could not be read.
        flagged_regions: parts whose image is unlike H&E.
        warnings: sentences for the user.
        seconds: what the time went to, summed over threads, by name; ``total`` is of the clock.
        model: name of the model.
        version: of histonuc.
        settings: all options of the run, by name.
        fingerprint: all that the nuclei depend on: a result is made anew when it changes.
        content_sha256: see `inference.sources.content_sha256`.
        versions: of the libraries that a result may depend on, by name.
        classifier: of `histonuc teach` that gave the classes, as the user called it; empty where
            the model gave them.
        classifier_sha256: hex SHA-256 of its file; empty as well.
    """

    source: str
    folder: str
    size_px: tuple[int, int]
    image_mm2: float
    tissue_mm2: float
    left_out_mm2: float
    ink_mm2: float
    tiles_analysed: int
    network_ratio: float | None
    num_nuclei: int
    density_per_mm2: float | None
    density_per_image_mm2: float
    classes: dict[str, ClassResult]
    classes_extrapolated: bool | None
    median_class_trust: float | None
    share_unlike: float | None
    class_note: str
    regions: tuple[RegionResult, ...]
    tiles_resumed: int
    geojson_bytes: int | None
    geojson_origin_px: tuple[int, int]
    bounds_xyxy: tuple[int, int, int, int]
    levels_px: tuple[tuple[int, int], ...]
    reader: str
    vendor: str | None
    mpp: float
    mpp_xy: tuple[float, float]
    mpp_source: str
    skipped_regions: tuple[SkippedRegion, ...]
    flagged_regions: tuple[FlaggedRegion, ...]
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    model: str
    version: str
    settings: dict[str, Any]
    fingerprint: dict[str, Any]
    content_sha256: str
    versions: dict[str, str]
    classifier: str = ""
    classifier_sha256: str = ""

    @property
    def analysed_mm2(self) -> float:
        """Area of the tissue that was analysed."""
        return self.tissue_mm2 - self.left_out_mm2

    def to_record(self) -> dict[str, Any]:
        """The content of `SUMMARY_FILE`: plain values with their checksum."""
        return seal(json.loads(json.dumps(asdict(self))))

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> SlideResult:
        """Inverse of `to_record`.

        Raises:
            LookupError, TypeError, ValueError: the record is another's.
        """
        later = {"classifier": "", "classifier_sha256": ""}  # older results have none
        names = [field.name for field in fields(SlideResult)]
        values = {name: (later | dict(record))[name] for name in names}
        for name in ("size_px", "mpp_xy", "geojson_origin_px", "bounds_xyxy", "warnings"):
            values[name] = tuple(values[name])
        values["levels_px"] = tuple((width, height) for width, height in values["levels_px"])
        values["classes"] = {
            name: ClassResult(**found) for name, found in values["classes"].items()
        }
        values["regions"] = tuple(RegionResult(**found) for found in values["regions"])
        values["skipped_regions"] = tuple(
            SkippedRegion(box_xyxy=tuple(region["box_xyxy"]), reason=region["reason"])
            for region in values["skipped_regions"]
        )
        values["flagged_regions"] = tuple(
            FlaggedRegion(box_xyxy=tuple(region["box_xyxy"]), flag=region["flag"])
            for region in values["flagged_regions"]
        )
        return SlideResult(**values)


def write_summary(result: SlideResult, folder: Path) -> None:
    """Write the record of a result into its folder; it appears whole or not at all."""
    write_json(result.to_record(), folder / SUMMARY_FILE)


def read_summary(folder: Path) -> SlideResult:
    """Read the record of the result in a folder.

    Raises:
        ValueError: no record, a damaged or edited one, or one of another version of histonuc.
    """
    path = folder / SUMMARY_FILE
    with reading(path, "summary of a prediction by this version of histonuc"):
        record = json.loads(path.read_text(encoding="utf-8"))
        check_seal(record, path)
        return SlideResult.from_record(record)
