"""The counts of a result as people corrected its nuclei."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from histonuc.corrections.source import ResultCorrections, apply_corrections, read_corrections
from histonuc.exports import TABLE_FILE
from histonuc.exports.cohort import write_regions
from histonuc.exports.source import Source, open_source
from histonuc.exports.summary import RegionResult, SlideResult
from histonuc.files import file_sha256
from histonuc.inference.drawn import Regions
from histonuc.inference.drawn_reader import find_regions, read_regions
from histonuc.inference.progress import Tally
from histonuc.inference.results import REGIONS_FILE


@dataclass(frozen=True, kw_only=True)
class CorrectedResult:
    """A result with its corrections.

    Attributes:
        result: the counts of the corrected nuclei; all else is as it was predicted.
        corrections: what was corrected; None where nothing was.
        lines: sentences about it.
    """

    result: SlideResult
    corrections: ResultCorrections | None = None
    lines: tuple[str, ...] = ()

    @property
    def people(self) -> Mapping[str, int]:
        """Name -> number of nuclei that the person corrected."""
        return {} if self.corrections is None else self.corrections.corrections.people

    @property
    def num_corrected(self) -> int:
        """Number of nuclei that are not as predicted."""
        return 0 if self.corrections is None else self.corrections.corrections.num_corrected

    def count_by_hand(self) -> Mapping[str, int]:
        """Number of nuclei by class that people gave this class."""
        if self.corrections is None:
            return {}
        found = self.corrections.corrections
        given = {n: name for n, name in found.classes.items() if n not in found.deleted}
        added = {one.id: one.class_name for one in found.made if one.how == "added"}
        return Counter({**added, **given}.values())

    def to_dict(self) -> dict[str, Any]:
        """What was corrected, for JSON."""
        if self.corrections is None:
            return {}
        found = self.corrections.corrections
        return {
            "folder": self.result.folder,
            "num_corrected": self.num_corrected,
            "people": dict(self.people),
            "num_conflicts": len(found.conflicts),
            "num_unmatched": len(found.unmatched),
            "notes": list(self.lines),
        }


def correct_result(
    result: SlideResult, folder: Path, *, regions: Path | None = None
) -> CorrectedResult:
    """Count the nuclei of a result as people corrected them, and write its table of regions anew.

    Args:
        result: as it was predicted.
        folder: of the result.
        regions: file or folder of its drawn regions, where it is not where it was.

    Raises:
        ValueError: the corrections or the table cannot be read.
    """
    found = read_corrections(folder)
    if found is None:
        return CorrectedResult(result=result)
    source = apply_corrections(open_source(folder / TABLE_FILE), found.corrections)
    lines = found.lines()
    if found.corrections.by:
        drawn, told = _find_regions(result, regions) if result.regions else (None, [])
        result, lines = _count(result, source, drawn), [*lines, *told]
    if result.regions:
        write_regions(result.regions, folder / REGIONS_FILE)
    return CorrectedResult(result=result, corrections=found, lines=tuple(lines))


def _count(result: SlideResult, source: Source, regions: Regions | None) -> SlideResult:
    """The result with the counts of other nuclei."""
    space = source.label_space
    tally = Tally(label_space=space, mpp=result.mpp, features=())
    in_region = np.zeros((len(result.regions), len(space)), np.int64)
    for batch in source.batches():
        tally.add_nuclei(batch.nuclei)
        if regions is not None:
            nucleus, region = regions.pair(batch.nuclei.centroid)
            np.add.at(in_region, (region, batch.nuclei.class_index[nucleus]), 1)
    counted = result.regions
    if regions is not None:
        counted = tuple(
            _count_region(region, dict(zip(space.classes, counts, strict=True)))
            for region, counts in zip(result.regions, in_region.tolist(), strict=True)
        )
    total, analysed_mm2 = len(tally), result.analysed_mm2
    return replace(
        result,
        num_nuclei=total,
        density_per_mm2=total / analysed_mm2 if analysed_mm2 > 0 else None,
        density_per_image_mm2=total / result.image_mm2,
        classes=tally.measure_classes(analysed_mm2, result.image_mm2),
        regions=counted,
    )


def _count_region(region: RegionResult, num_by_class: dict[str, int]) -> RegionResult:
    total = sum(num_by_class.values())
    return replace(
        region,
        num_nuclei=total,
        density_per_mm2=total / region.analysed_mm2 if region.analysed_mm2 > 0 else None,
        density_per_tissue_mm2=total / region.tissue_mm2 if region.tissue_mm2 > 0 else None,
        num_by_class=num_by_class,
    )


def _find_regions(result: SlideResult, given: Path | None) -> tuple[Regions | None, Sequence[str]]:
    """The drawn regions of a result, where their file is still there; else why not."""
    given = given or Path(str(result.settings.get("regions")))
    source = Path(result.fingerprint.get("source", result.source))
    try:
        path = find_regions(given, source)
        if file_sha256(path) != result.fingerprint.get("regions_sha256"):
            raise ValueError(f"{path} was changed since the prediction")
        origin = result.geojson_origin_px
        regions = read_regions(path, result.size_px, origin)
    except (OSError, ValueError) as error:
        return None, [
            f"the counts of the regions are those of the prediction: {error}; give the file to "
            "`histonuc summarise --regions`"
        ]
    return regions, []
