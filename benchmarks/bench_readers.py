"""Speed of each slide reader on the same 4096² pixels of real tissue, and what the extras cost.

    .venv/bin/python benchmarks/bench_readers.py

The tissue is ../shared/slides/tcga-cr-7395-01a-01-ts1.svs, repeated; tiles of 256², JPEG of quality
85 unless the name says otherwise. `small_dicom.dcm` is its own 3236 × 2638. Each file is opened
afresh and read once in one window, and once in windows of 512² that overlap by 32 as the pipeline's
do; the medians of interleaved runs are printed in seconds and in megapixels a second.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import tifffile
import zarr

from histonuc.slides import open_slide

REPEATS = 3
SIDE = 4096
SHARED = Path(__file__).parents[2] / "shared" / "slides"


def tissue() -> np.ndarray:
    with open_slide(SHARED / "tcga-cr-7395-01a-01-ts1.svs") as slide:
        image = slide.read(0, 0, 2048, 2048, 2048, 2048)
    return np.tile(image, (2, 2, 1))


def write_files(folder: Path) -> dict[str, Path]:
    image = tissue()
    tiled = {"tile": (256, 256), "photometric": "rgb", "metadata": None}
    jpeg = {"compression": "jpeg", "compressionargs": {"level": 85}}
    aperio = "Aperio Image Library v1\r\n |AppMag = 40|MPP = 0.25"
    tifffile.imwrite(folder / "a.svs", image, description=aperio, **tiled, **jpeg)
    half = image[::2, ::2]
    for name, options in (("jpeg.tif", jpeg), ("jpeg2000.tif", {"compression": "jpeg2000"})):
        with tifffile.TiffWriter(folder / name) as tiff:
            tiff.write(image, **tiled, **options)
            tiff.write(half, subfiletype=1, **tiled, **options)
    group = zarr.open_group(str(folder / "a.zarr"), mode="w", zarr_format=3)
    array = group.create_array("0", shape=(3, SIDE, SIDE), chunks=(3, 256, 256), dtype="uint8")
    array[:] = np.moveaxis(image, -1, 0)
    scale = {"type": "scale", "scale": [1, 0.25, 0.25]}
    axes = [{"name": name} for name in "cyx"]
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    group.attrs["ome"] = {"multiscales": [{"axes": axes, "datasets": datasets}]}
    tifffile.imwrite(folder / "plain.tif", image, compression="deflate", photometric="rgb")
    return {
        "OpenSlide, SVS": folder / "a.svs",
        "tifffile, JPEG pyramid": folder / "jpeg.tif",
        "tifffile, JPEG 2000 pyramid": folder / "jpeg2000.tif",
        "zarr, OME-Zarr 0.5 (zstd)": folder / "a.zarr",
        "tifffile, plain (deflate)": folder / "plain.tif",
        "pydicom, small_dicom.dcm": SHARED / "small_dicom.dcm",
    }


def whole(path: Path) -> int:
    with open_slide(path) as slide:
        slide.read(0, 0, *slide.size, *slide.size)
        return slide.size[0] * slide.size[1]


def windows(path: Path) -> int:
    with open_slide(path) as slide:
        width, height = slide.size
        for y in range(0, height, 448):
            for x in range(0, width, 448):
                slide.read(x - 32, y - 32, 512, 512, 512, 512)
        return width * height


def timed(read: Callable[[Path], int], path: Path) -> tuple[float, int]:
    start = time.perf_counter()
    pixels = read(path)
    return time.perf_counter() - start, pixels


def import_seconds(module: str) -> float:
    clock = "time.perf_counter()"
    code = f"import time, numpy; t = {clock}; import {module}; print({clock} - t)"
    runs = [
        float(subprocess.check_output([sys.executable, "-c", code], text=True))
        for _ in range(REPEATS)
    ]
    return median(runs)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        files = write_files(Path(name))
        rows = {reader: ([], []) for reader in files}
        for _ in range(REPEATS):
            for reader, path in files.items():
                rows[reader][0].append(timed(whole, path))
                rows[reader][1].append(timed(windows, path))
    print(f"{'reader':<30}{'one window':>22}{'windows of 512²':>22}")
    for reader, columns in rows.items():
        cells = ""
        for runs in columns:
            seconds = median(run[0] for run in runs)
            cells += f"{seconds:>10.2f} s {runs[0][1] / 1e6 / seconds:>5.0f} MP/s"
        print(f"{reader:<30}{cells}")
    for module in ("openslide", "tifffile", "zarr", "pydicom"):
        print(f"import {module:<12} {import_seconds(module):.2f} s")


if __name__ == "__main__":
    main()
