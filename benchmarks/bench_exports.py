"""Every export format on a drawn table of nuclei: seconds and peak memory, each in its own process.

    .venv/bin/python benchmarks/bench_exports.py                    # a million nuclei, all formats
    .venv/bin/python benchmarks/bench_exports.py --nuclei 20000 --to geojson csv

Contours have 44 vertices on half-pixel steps, one nucleus to 32 x 32 px in random order of rows
within a strip, six extra measurement columns. ``json.dump`` is the plain version: one dict a
nucleus, written as GeoJSON.
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

from histonuc.exports import TABLE_FILE, as_source, export_folder, to_table
from histonuc.exports.table import ROWS
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


def write_drawn(num: int, path: Path) -> None:
    """A `nuclei.parquet` of `num` nuclei, a row group at a time."""
    columns = int(np.ceil(num**0.5))
    size = [columns * PITCH_PX, -(-num // columns) * PITCH_PX]
    writer = None
    for first in range(0, num, ROWS):
        part = draw(first, min(ROWS, num - first), columns)
        table = to_table(part, {"image_size": size})
        ids = pa.array(np.arange(first + 1, first + 1 + len(part)), pa.uint32())
        table = table.set_column(0, "id", ids)
        for name in ("perimeter", "eccentricity", "solidity", "od_mean", "od_std", "entropy"):
            table = table.append_column(name, pa.array(part.score.astype(float) * len(name)))
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=ROWS)
    if writer is not None:
        writer.close()


def plain_geojson(table: Path, path: Path) -> None:
    """What one would write first: dicts of all nuclei, then `json.dump`."""
    features = [feature for batch in as_source(table).batches() for feature in _dicts(batch.nuclei)]
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


def run_one(folder: Path, to: str, reference: Path | None) -> None:
    """Export, and print seconds, peak MB and bytes written."""
    start = time.perf_counter()
    if to == "json.dump":
        written = folder / "plain.geojson"
        plain_geojson(folder / TABLE_FILE, written)
    else:
        centroids = to == "centroids"
        name = "geojson" if centroids else to
        (written,) = export_folder(folder, name, centroids=centroids, slide=reference if to == "dicom" else None)
    seconds = time.perf_counter() - start
    files = [written] if written.is_file() else [f for f in written.rglob("*") if f.is_file()]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, peak_mb, sum(f.stat().st_size for f in files)]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nuclei", type=int, default=1_000_000)
    parser.add_argument("--to", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    shared = Path(__file__).parents[2] / "shared/slides/small_dicom.dcm"
    reference = shared if shared.is_file() else None
    if arguments.one:
        folder, to = arguments.one
        run_one(Path(folder), to, reference)
        return
    with TemporaryDirectory() as folder:
        write_drawn(arguments.nuclei, Path(folder) / TABLE_FILE)
        print(f"{arguments.nuclei:,} nuclei of {VERTICES} vertices")
        for to in arguments.to:
            if to == "dicom" and reference is None:
                print("  dicom       needs ../shared/slides")
                continue
            command = [sys.executable, __file__, "--one", folder, to]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            seconds, peak_mb, num_bytes = json.loads(output)
            print(
                f"  {to:<12}{seconds:8.1f} s{peak_mb:10,.0f} MB peak"
                f"{num_bytes / 1e6:12,.1f} MB written",
                flush=True,
            )


if __name__ == "__main__":
    main()
