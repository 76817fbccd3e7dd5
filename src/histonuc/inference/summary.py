"""What a prediction reports: counts, areas and densities, for programs and for people."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.inference.plan import Plan
from histonuc.inference.tiles import Box
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import LabelSpace

SUMMARY_FILE = "summary.json"
"""Written last: a folder that holds it is finished."""
_PACKAGES = (
    *("histonuc", "numpy", "numba", "openvino", "torch", "pyarrow", "shapely", "pillow"),
    *("openslide-python", "openslide-bin", "tifffile", "imagecodecs", "zarr", "pydicom"),
)
OVERVIEW_FILE, DETAIL_FILE, DENSITY_FILE = "overview.jpg", "detail.jpg", "density.jpg"


@dataclass(frozen=True, kw_only=True)
class PredictSummary:
    """What a prediction did.

    Attributes:
        out: folder of the results.
        items: the content of every finished input's ``summary.json``, in order.
        skipped: sources among them that an earlier run had finished.
        failed: sources that could not be predicted, with the reason.
    """

    out: Path
    items: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON; also the content of ``OUT/summary.json``."""
        return {
            "out": str(self.out),
            "num_nuclei": sum(item["num_nuclei"] for item in self.items),
            "items": self.items,
            "skipped": self.skipped,
            "failed": self.failed,
        }

    def lines(self) -> list[str]:
        """The same for people: all about a single input, a table of several."""
        if len(self.items) == 1 and not self.failed:
            return _item_lines(self.items[0], self.skipped)
        lines = [_ROW.format("input", "nuclei", "mm²", "per mm²", "seconds", "mm²/s", "")]
        lines += [_row(item, self.skipped) for item in self.items]
        lines += [
            f"  note on {Path(item['source']).name}: {warning}"
            for item in self.items
            for warning in item["warnings"]
        ]
        total = sum(item["num_nuclei"] for item in self.items)
        lines.append(f"{len(self.items)} inputs, {total:,} nuclei in all, in {self.out}")
        if self.failed:
            lines.append(f"{len(self.failed)} failed:")
            lines += [f"  {failure['source']}: {failure['error']}" for failure in self.failed]
        return lines


@dataclass(kw_only=True, eq=False)
class Tally:
    """What the summary and the pictures need of each nucleus, 13 bytes, as they come.

    Attributes:
        label_space: of the nuclei.
        mpp: microns per level-0 pixel.
    """

    label_space: LabelSpace
    mpp: float
    _centroid: list[NDArray[np.float32]] = field(default_factory=list)
    _class_index: list[NDArray[np.int8]] = field(default_factory=list)
    _area_px: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, nuclei: Nuclei) -> None:
        """Count some more."""
        self._centroid.append(nuclei.centroid.astype(np.float32))
        self._class_index.append(nuclei.class_index.astype(np.int8))
        self._area_px.append(nuclei.area_px.astype(np.float32))

    def __len__(self) -> int:
        return sum(map(len, self._class_index))

    @property
    def centroid(self) -> NDArray[np.float32]:
        """float32 (n, 2), (x, y) in level-0 pixels."""
        return np.concatenate([np.zeros((0, 2), np.float32), *self._centroid])

    @property
    def class_index(self) -> NDArray[np.int8]:
        """int8 (n,), most probable class."""
        return np.concatenate([np.zeros(0, np.int8), *self._class_index])

    @property
    def area_px(self) -> NDArray[np.float32]:
        """float32 (n,), in square level-0 pixels."""
        return np.concatenate([np.zeros(0, np.float32), *self._area_px])

    @property
    def counts(self) -> list[int]:
        """Nuclei of each class."""
        counts = np.bincount(self.class_index, minlength=len(self.label_space))
        return [int(count) for count in counts]


def measure(plan: Plan, tally: Tally, left_out: Sequence[Box]) -> dict[str, Any]:
    """Counts, areas and densities of one input, in all and by class.

    ``density_per_mm2`` is a mm² of tissue that was analysed: not glass, fat and lumen, and not
    ``left_out_mm2``, the tissue in `left_out`, which could not be read or was out of focus.
    ``density_per_image_mm2`` is a mm² of everything.
    """
    width, height = plan.tissue.size
    image_mm2 = width * height * (plan.mpp / 1000) ** 2
    tissue_mm2 = image_mm2 * plan.tissue.fraction
    left_out_mm2 = image_mm2 * plan.tissue.fraction_in(left_out)
    analysed_mm2 = tissue_mm2 - left_out_mm2
    classes, counts, total = tally.label_space.classes, tally.counts, len(tally)
    areas, class_index = tally.area_px * plan.mpp**2, tally.class_index
    return {
        "size_px": [width, height],
        "image_mm2": image_mm2,
        "tissue_mm2": tissue_mm2,
        "left_out_mm2": left_out_mm2,
        "tiles": len(plan.grid),
        "tiles_analysed": len(plan.tiles),
        "num_nuclei": total,
        "density_per_mm2": total / analysed_mm2 if analysed_mm2 > 0 else None,
        "density_per_image_mm2": total / image_mm2,
        "classes": {
            name: {
                "num_nuclei": count,
                "share": count / total if total else None,
                "density_per_mm2": count / analysed_mm2 if analysed_mm2 > 0 else None,
                "density_per_image_mm2": count / image_mm2,
                "median_area_um2": (float(np.median(areas[class_index == j])) if count else None),
            }
            for j, (name, count) in enumerate(zip(classes, counts, strict=True))
        },
    }


def versions() -> dict[str, str]:
    """Versions of what a result may depend on, as far as it is installed."""
    found = {"python": platform.python_version(), "opencv": cv2.__version__}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


_ROW = "{:<32}{:>11}{:>9}{:>9}{:>9}{:>8}  {}"


def _row(item: dict[str, Any], skipped: Sequence[str]) -> str:
    """One line about an input; its figures are those of `_item_lines`."""
    source, seconds = item["source"], item["seconds"]["total"]
    area, density = item["tissue_mm2"] - item["left_out_mm2"], item["density_per_mm2"]
    notes = [f"{len(item['warnings'])} notes"] if item["warnings"] else []
    return _ROW.format(
        Path(source).name,
        f"{item['num_nuclei']:,}",
        f"{area:.3g}",
        "" if density is None else f"{density:,.0f}",
        f"{seconds:.1f}",
        f"{area / seconds:.2f}" if seconds else "",
        ", ".join((["finished before"] if source in skipped else []) + notes),
    ).rstrip()


def _item_lines(item: dict[str, Any], skipped: Sequence[str]) -> list[str]:
    done = " (finished before)" if item["source"] in skipped else ""
    density = item["density_per_mm2"]
    lines = [
        f"{item['source']}{done}: {item['num_nuclei']:,} nuclei in "
        f"{item['tissue_mm2'] - item['left_out_mm2']:.3g} mm² "
        f"of tissue{'' if density is None else f', {density:,.0f} per mm²'}, "
        f"in {item['seconds']['total']:.1f} s -> {item['folder']}"
    ]
    for name, row in item["classes"].items():
        if row["num_nuclei"]:
            per_mm2 = "" if density is None else f"{row['density_per_mm2']:>10,.0f} per mm²"
            lines.append(f"  {name:<26}{row['num_nuclei']:>9,}{row['share']:>8.1%}{per_mm2}")
    return lines + [f"  note: {warning}" for warning in item["warnings"]]
