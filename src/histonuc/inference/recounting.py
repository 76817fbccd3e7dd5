"""`histonuc summarise`: the tables of results, as people corrected their nuclei."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from histonuc.exports import TABLE_FILE
from histonuc.exports.cohort import write_cohort, write_regions
from histonuc.exports.summary import SUMMARY_FILE, read_summary
from histonuc.files import log_failure
from histonuc.inference.corrected import CorrectedResult, correct_result
from histonuc.inference.predict import PredictSummary
from histonuc.inference.results import REGIONS_FILE

log = logging.getLogger(__name__)


def summarise_results(
    out: Path, *, uncorrected: bool = False, regions: Path | None = None
) -> PredictSummary:
    """Count the nuclei of results again, and write the tables of regions and of slides.

    Args:
        out: folder that `histonuc predict` wrote, of one input or of many.
        uncorrected: whether to count as predicted.
        regions: file or folder of the drawn regions, where they are not where they were.

    Raises:
        ValueError: no result there, or a single one that cannot be read.
    """
    is_one = (out / TABLE_FILE).is_file()
    folders = [out] if is_one else _list_results(out)
    if not folders:
        raise ValueError(f"no prediction in {out}: expected {TABLE_FILE} there or one folder below")
    summary = PredictSummary(out=out)
    for folder in folders:
        try:
            result = read_summary(folder)
            if uncorrected and result.regions:
                write_regions(result.regions, folder / REGIONS_FILE)
            summary.add(
                CorrectedResult(result=result)
                if uncorrected
                else correct_result(result, folder, regions=regions)
            )
        except (ValueError, OSError) as error:  # whatever ails one must not cost the others
            if is_one:
                raise
            summary.failed.append({"source": str(folder), "error": log_failure(folder, error, log)})
    if not is_one:
        write_cohort(summary.items, out, summary.list_corrected())
    return summary


def _list_results(out: Path) -> Sequence[Path]:
    """Folders of the results in a folder, in the order in which they were predicted."""
    found = {table.parent.name: table.parent for table in sorted(out.glob(f"*/{TABLE_FILE}"))}
    try:
        items = json.loads((out / SUMMARY_FILE).read_text(encoding="utf-8"))["items"]
        names = [Path(item["folder"]).name for item in items]
    except (OSError, ValueError, LookupError, TypeError):
        names = []
    order = dict.fromkeys(name for name in (*names, *found) if name in found)
    return [found[name] for name in order]
