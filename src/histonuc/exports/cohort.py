"""Tables of results: one row a slide of a batch, and one row a drawn region of a slide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histonuc.exports.summary import ClassResult, RegionResult, SlideResult
from histonuc.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

COHORT_CSV, COHORT_PARQUET = "summary.csv", "summary.parquet"
"""Names of the tables in the folder of many results."""


def write_cohort(
    results: Sequence[SlideResult], out: Path, corrected: Sequence[tuple[int, str]] = ()
) -> None:
    """Write the table of a batch as CSV and as Parquet; each file appears whole or not at all.

    Args:
        results: one for each row.
        out: folder of the results.
        corrected: see `to_cohort_table`.

    Raises:
        OSError: the disk is full or gone.
    """
    import pyarrow.csv
    import pyarrow.parquet

    table = to_cohort_table(results, corrected)
    with replacing(out / COHORT_CSV) as draft:
        pyarrow.csv.write_csv(table, draft)
    with replacing(out / COHORT_PARQUET) as draft:
        pyarrow.parquet.write_table(table, draft)


def to_cohort_table(
    results: Sequence[SlideResult], corrected: Sequence[tuple[int, str]] = ()
) -> pa.Table:
    """One row a slide, with typed columns whose names say the unit; docs describe each.

    A class that a slide's model does not have is null in its row.

    Args:
        results: one for each row.
        corrected: for each the number of nuclei that people corrected, and their names; empty where
            nobody did, and the table has no columns of it.
    """
    import pyarrow as pa

    columns: dict[str, pa.Array] = {}

    def add(name: str, values: list[Any], kind: pa.DataType) -> None:
        columns[name] = pa.array(values, kind)

    text, count, number = pa.string(), pa.int64(), pa.float64()
    add("slide", [Path(result.source).name for result in results], text)
    add("source", [result.source for result in results], text)
    add("folder", [result.folder for result in results], text)
    add("num_nuclei", [result.num_nuclei for result in results], count)
    for name in ("density_per_mm2", "density_per_image_mm2", "tissue_mm2", "left_out_mm2"):
        add(name, [getattr(result, name) for result in results], number)
    add("ink_mm2", [result.ink_mm2 for result in results], number)
    add("analysed_mm2", [result.analysed_mm2 for result in results], number)
    add("network_ratio", [result.network_ratio for result in results], number)
    add("image_mm2", [result.image_mm2 for result in results], number)
    for label in dict.fromkeys(name for result in results for name in result.classes):
        of_class = [result.classes.get(label) for result in results]
        for name, kind in _CLASS_COLUMNS.items():
            values = [_get(found, name) for found in of_class]
            add(f"{name}_{label}", values, count if kind is int else number)
    add("classes_extrapolated", [r.classes_extrapolated for r in results], pa.bool_())
    add("median_class_trust", [r.median_class_trust for r in results], number)
    add("share_unlike", [r.share_unlike for r in results], number)
    add("width_px", [result.size_px[0] for result in results], count)
    add("height_px", [result.size_px[1] for result in results], count)
    add("mpp", [result.mpp for result in results], number)
    add("mpp_source", [result.mpp_source for result in results], text)
    add("model", [result.model for result in results], text)
    add("version", [result.version for result in results], text)
    add("seconds", [result.seconds["total"] for result in results], number)
    add("num_warnings", [len(result.warnings) for result in results], count)
    add("warnings", [" | ".join(result.warnings) for result in results], text)
    return _add_corrected(pa.table(columns), corrected)


def _add_corrected(table: pa.Table, corrected: Sequence[tuple[int, str]]) -> pa.Table:
    """The table with columns of what people corrected, where anybody did."""
    import pyarrow as pa

    if not corrected:
        return table
    numbers = pa.array([number for number, _ in corrected], pa.int64())
    names = pa.array([name for _, name in corrected], pa.string())
    return table.append_column("num_corrected", numbers).append_column("corrected_by", names)


def write_regions(regions: Sequence[RegionResult], path: Path) -> None:
    """Write the drawn regions of a slide as CSV, one row a region; it appears whole or not at all.

    Args:
        regions: one or more, of one slide.
        path: file to write.

    Raises:
        OSError: the disk is full or gone.
    """
    import pyarrow as pa
    import pyarrow.csv

    rows = []
    for region in regions:
        row: dict[str, Any] = {
            "region": region.name,
            "region_class": region.class_name,
            "num_nuclei": region.num_nuclei,
            "density_per_mm2": region.density_per_mm2,
            "density_per_tissue_mm2": region.density_per_tissue_mm2,
            "area_mm2": region.area_mm2,
            "analysed_mm2": region.analysed_mm2,
            "tissue_mm2": region.tissue_mm2,
        }
        for label, count in region.num_by_class.items():
            row[f"num_nuclei_{label}"] = count
            row[f"share_{label}"] = count / region.num_nuclei if region.num_nuclei else None
            row[f"density_per_mm2_{label}"] = (
                count / region.analysed_mm2 if region.analysed_mm2 > 0 else None
            )
        rows.append(row)
    with replacing(path) as draft:
        pyarrow.csv.write_csv(pa.Table.from_pylist(rows), draft)


_CLASS_COLUMNS = {
    "num_nuclei": int,
    "share": float,
    "density_per_mm2": float,
    "median_area_um2": float,
}
"""Fields of `ClassResult` that have a column for each class, with their type."""


def _get(found: ClassResult | None, name: str) -> float | None:
    value: float | None = None if found is None else getattr(found, name)
    return value
