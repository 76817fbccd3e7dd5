"""Every export format on a drawn table of nuclei: seconds and peak memory, each in its own process.

    .venv/bin/python benchmarks/bench_exports.py                    # a million nuclei, all formats
    .venv/bin/python benchmarks/bench_exports.py --nuclei 20000 --to geojson csv

Contours have 44 vertices on half-pixel steps, one nucleus to 32 x 32 px in random order of rows
within a strip, and the measurements that `histonuc predict` makes. ``json.dump`` is the plain
version: one dict a nucleus, written as GeoJSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from histonuc.exports import TABLE_FILE, export_folder, open_source, to_table
from histonuc.exports.table import ROWS
from histonuc.inference.features import FEATURES
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import PANNUKE

PITCH_PX, VERTICES, MPP = 32, 44, 0.25
FORMATS = (
    "geojson",
    "geojson.gz",
    "centroids",
    "geoparquet",
    "csv",
    "coco",
    "ome-tiff",
    "ome-zarr",
    "anndata",
    "dicom",
    "json.dump",
)


def draw(first: int, num: int, columns: int) -> Nuclei:
    """Star-shaped outlines of about 11 px radius on a grid, shuffled."""
    rng = np.random.default_rng(first)
    cell = first + rng.permutation(num)
    centre = np.stack([cell % columns, cell // columns], axis=1) * PITCH_PX + PITCH_PX / 2
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    radius = rng.uniform(7, 13, (num, 1)) + rng.uniform(-1, 1, (num, VERTICES))
    rings = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * radius[..., None]
    points = np.round(2 * (centre[:, None] + rings)) / 2
    return Nuclei(
        points=points.reshape(-1, 2),
        offsets=np.arange(num + 1) * VERTICES,
        centroid=points.mean(axis=1),
        class_probabilities=rng.dirichlet(np.ones(5), num).astype(np.float32),
        score=rng.uniform(0, 1, num).astype(np.float32),
        label_space=PANNUKE,
        mpp=MPP,
    )


def write_drawn(num: int, path: Path) -> tuple[int, int]:
    """A `nuclei.parquet` of `num` nuclei, a row group at a time; the image's size."""
    columns = int(np.ceil(num**0.5))
    size = columns * PITCH_PX, -(-num // columns) * PITCH_PX
    writer = None
    for first in range(0, num, ROWS):
        part = draw(first, min(ROWS, num - first), columns)
        table = to_table(part, {"image_size": size})
        ids = pa.array(np.arange(first + 1, first + 1 + len(part)), pa.uint32())
        table = table.set_column(0, "id", ids)
        for name in FEATURES:
            table = table.append_column(name, pa.array(part.score * len(name)))
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=ROWS)
    if writer is not None:
        writer.close()
    return size


def plain_geojson(table: Path, path: Path) -> None:
    """What one would write first: dicts of all nuclei, then `json.dump`."""
    features = [
        feature for batch in open_source(table).batches() for feature in _dicts(batch.nuclei)
    ]
    with path.open("w") as stream:
        json.dump({"type": "FeatureCollection", "features": features}, stream)


def _dicts(nuclei: Nuclei) -> Iterator[dict[str, object]]:
    names = [PANNUKE.classes[j] for j in nuclei.class_index]
    for i, (name, area) in enumerate(zip(names, nuclei.area_px.tolist(), strict=True)):
        ring = nuclei.contour(i).tolist()
        yield {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
            "properties": {
                "objectType": "detection",
                "classification": {"name": name},
                "measurements": {"score": float(nuclei.score[i]), "area px": area},
            },
        }


def write_slide_header(path: Path, size: tuple[int, int]) -> None:
    """The header of a DICOM slide of that width and height, which annotations refer to."""
    import pydicom

    header = pydicom.Dataset()
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(header, name, pydicom.uid.generate_uid())
    header.Modality = "SM"
    header.TotalPixelMatrixColumns, header.TotalPixelMatrixRows = size
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.save_as(path, enforce_file_format=True)


def run_one(folder: Path, to: str, num: int) -> None:
    """Export, and print seconds, peak MB and bytes written."""
    if to == "draw":
        size = write_drawn(num, folder / TABLE_FILE)
        write_slide_header(folder / "slide.dcm", size)
        return
    start = time.perf_counter()
    if to == "json.dump":
        written = folder / "plain.geojson"
        plain_geojson(folder / TABLE_FILE, written)
    else:
        centroids = to == "centroids"
        name = "geojson" if centroids else to
        slide = folder / "slide.dcm" if to == "dicom" else None
        (written,) = export_folder(folder, name, centroids=centroids, slide=slide).written
    seconds = time.perf_counter() - start
    files = [written] if written.is_file() else [f for f in written.rglob("*") if f.is_file()]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, peak_mb, sum(f.stat().st_size for f in files)]))


def step(folder: str, to: str, num: int) -> str:
    """Run one part in a process of its own: what it prints."""
    command = [sys.executable, __file__, "--nuclei", str(num), "--one", folder, to]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nuclei", type=int, default=1_000_000)
    parser.add_argument("--to", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        folder, to = arguments.one
        run_one(Path(folder), to, arguments.nuclei)
        return
    with TemporaryDirectory() as folder:
        # Drawn by a child: a process starts with the peak memory of the one that started it.
        step(folder, "draw", arguments.nuclei)
        print(f"{arguments.nuclei:,} nuclei of {VERTICES} vertices")
        for to in arguments.to:
            seconds, peak_mb, num_bytes = json.loads(step(folder, to, arguments.nuclei))
            print(
                f"  {to:<12}{seconds:8.1f} s{peak_mb:10,.0f} MB peak"
                f"{num_bytes / 1e6:12,.1f} MB written",
                flush=True,
            )


if __name__ == "__main__":
    main()
