"""Results of millions of real nuclei, with their slide: squares of tissue, predicted and repeated.

    python benchmarks/viewer_slides.py FOLDER --nuclei 1000000

Squares of real tissue (1024 px at 0.25 µm, of ../shared/data) are predicted once with the shipped
model. The slide shows them again and again, and the table has their nuclei moved along, written by
the writer of `histonuc predict`. FOLDER gets ``slide.tif`` and ``result``; what is there already is
taken as it is.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from synthetic_slide import BLOCK, STEP, layout, read_squares, write_slide

from histonuc.exports.summary import ClassResult, SlideResult, read_summary, write_summary
from histonuc.exports.table import open_table, read_table
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
from histonuc.inference.sources import content_sha256, fingerprint
from histonuc.nuclei import Nuclei

MPP, TISSUE = 0.25, 0.6
NUM_SQUARES = 4
DENSE = "high-nuclei-score-level0.png"
"""A picture of ../shared/slides with 20,000 nuclei a mm²."""


def make_result(folder: Path, num_nuclei: int, shared: Path) -> Path:
    """The folder of a result with about so many nuclei; made where it is not there."""
    result = folder / "result"
    if (result / "summary.json").is_file():
        return result
    squares = collect_squares(shared)
    nuclei, summary = predict_squares(folder, squares)
    mean = np.mean([len(part) for part in nuclei])
    side = int(np.ceil((num_nuclei / mean / TISSUE) ** 0.5))
    kinds = layout(side, side, TISSUE, len(squares))
    slide = folder / "slide.tif"
    write_slide(slide, squares, kinds, MPP)
    size = tuple(-(-side // STEP) * STEP * BLOCK for _ in "xy")
    counts = write_rows(result, nuclei, kinds, size)
    write_record(result, summary, slide, size, counts, nuclei[0].label_space.classes)
    return result


def collect_squares(shared: Path) -> list[NDArray[np.uint8]]:
    """Real tissue, uint8 (BLOCK, BLOCK, 3) each."""
    squares = read_squares(shared / "data", NUM_SQUARES - 1)
    image = cv2.cvtColor(cv2.imread(str(shared / "slides" / DENSE)), cv2.COLOR_BGR2RGB)
    missing = [(0, BLOCK - n) for n in image.shape[:2]]
    return [*squares, np.pad(image, [*missing, (0, 0)], "reflect")]


def predict_squares(
    folder: Path, squares: list[NDArray[np.uint8]]
) -> tuple[list[Nuclei], SlideResult]:
    """The nuclei of each square, and the record of one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "squares" / f"{i}.png" for i in range(len(squares))]
    paths[0].parent.mkdir(exist_ok=True)
    for path, square in zip(paths, squares, strict=True):
        cv2.imwrite(str(path), cv2.cvtColor(square, cv2.COLOR_RGB2BGR))
    out = folder / "squares" / "out"
    predict(paths, out, PredictOptions(mpp=MPP, geojson=False))
    nuclei = [read_table(out / path.stem / "nuclei.parquet") for path in paths]
    return nuclei, read_summary(out / "0")


def write_rows(
    result: Path, nuclei: list[Nuclei], kinds: NDArray[np.int64], size: tuple[int, ...]
) -> NDArray[np.int64]:
    """Write the table, a row of squares at a time; the number of nuclei of each class."""
    counts = np.zeros(len(nuclei[0].label_space), np.int64)
    facts = {"source": "slide.tif", "image_size": size, "bounds_xyxy": (0, 0, *size)}
    facts |= {"mpp_xy": (MPP, MPP), "model": "repeated", "version": "benchmark"}
    empty = nuclei[0].select([])
    with open_table(result / "nuclei.parquet", empty, facts) as append:
        for row, line in enumerate(kinds):
            parts = [
                move(nuclei[kind - 1], column * BLOCK, row * BLOCK)
                for column, kind in enumerate(line)
                if kind
            ]
            if parts:
                joined = Nuclei.concat(parts)
                append(joined)
                counts += np.bincount(joined.class_index, minlength=len(counts))
    return counts


def move(nuclei: Nuclei, x: int, y: int) -> Nuclei:
    """The same nuclei elsewhere."""
    shift = np.array([x, y], np.float64)
    return replace(nuclei, points=nuclei.points + shift, centroid=nuclei.centroid + shift)


def write_record(
    result: Path,
    summary: SlideResult,
    slide: Path,
    size: tuple[int, ...],
    counts: NDArray[np.int64],
    classes: tuple[str, ...],
) -> None:
    """Write the summary that `histonuc predict` would have written."""
    image_mm2 = float(np.prod(size)) * (MPP / 1000) ** 2
    tissue_mm2, total = TISSUE * image_mm2, int(counts.sum())
    by_class = {
        name: ClassResult(
            num_nuclei=count,
            share=count / total,
            density_per_mm2=count / tissue_mm2,
            density_per_image_mm2=count / image_mm2,
            median_area_um2=None,
        )
        for name, count in zip(classes, counts.tolist(), strict=True)
    }
    changed = replace(
        summary,
        source=str(slide),
        folder=str(result),
        size_px=size,
        bounds_xyxy=(0, 0, *size),
        image_mm2=image_mm2,
        tissue_mm2=tissue_mm2,
        num_nuclei=total,
        classes=by_class,
        density_per_mm2=total / tissue_mm2,
        density_per_image_mm2=total / image_mm2,
        fingerprint=json.loads(json.dumps({**summary.fingerprint, **fingerprint(slide)})),
        content_sha256=content_sha256(slide),
    )
    write_summary(changed, result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nuclei", type=int, default=1_000_000)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    arguments = parser.parse_args()
    print(make_result(arguments.folder, arguments.nuclei, arguments.shared))


if __name__ == "__main__":
    main()
