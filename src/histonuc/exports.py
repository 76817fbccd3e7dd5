"""Nuclei as files, and back: Parquet (the result itself), GeoJSON for QuPath, CSV."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from histonuc.files import replacing
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"histonuc"
"""Key of the JSON text in the table's schema metadata: label space, mpp, image size, model."""
TABLE_FILE = "nuclei.parquet"
"""Name of the table in a prediction's folder."""
Format = Literal["geojson", "geojson.gz", "csv"]


def to_table(nuclei: Nuclei, metadata: Mapping[str, Any] | None = None) -> pa.Table:
    """One row a nucleus; the columns are described in docs.

    Args:
        nuclei: what to write, level-0 pixels.
        metadata: JSON-able facts for the schema (image size, model, version).
    """
    import pyarrow as pa

    n, box = len(nuclei), nuclei.box
    classes = np.array(nuclei.label_space.classes)
    coordinate_offsets = pa.array(2 * nuclei.offsets, pa.int32())
    columns: dict[str, Any] = {
        "id": pa.array(np.arange(1, n + 1), pa.uint32()),
        "class": pa.array(classes[nuclei.class_index].tolist(), pa.string()),
        "class_index": pa.array(nuclei.class_index, pa.int8()),
    }
    for j, name in enumerate(nuclei.label_space.classes):
        columns[f"p_{name}"] = pa.array(nuclei.class_probabilities[:, j], pa.float32())
    columns["score"] = pa.array(nuclei.score, pa.float32())
    columns |= {axis: pa.array(nuclei.centroid[:, j]) for j, axis in enumerate("xy")}
    for j, name in enumerate(("x_min", "y_min", "x_max", "y_max")):
        columns[name] = pa.array(box[:, j])
    columns["area_px"] = pa.array(nuclei.area_px)
    columns["area_um2"] = pa.array(nuclei.area_um2, pa.float64(), from_pandas=True)
    columns["contour"] = pa.ListArray.from_arrays(
        coordinate_offsets, pa.array(nuclei.points.ravel(), pa.float64())
    )
    facts = dict(metadata or {}) | {
        "label_space": nuclei.label_space.to_dict(),
        "mpp": None if math.isnan(nuclei.mpp) else nuclei.mpp,
    }
    return pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(facts)})


def from_table(table: pa.Table) -> Nuclei:
    """Inverse of `to_table`.

    Raises:
        ValueError: not a table of nuclei.
    """
    facts = table_facts(table)
    space = LabelSpace.from_dict(facts["label_space"])
    contour = table["contour"].combine_chunks()
    offsets = np.zeros(len(table) + 1, np.int64)
    np.cumsum(contour.value_lengths().to_numpy(zero_copy_only=False) // 2, out=offsets[1:])
    probabilities = [table[f"p_{name}"].to_numpy() for name in space.classes]
    return Nuclei(
        points=contour.flatten().to_numpy().reshape(-1, 2),
        offsets=offsets,
        centroid=np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1),
        class_probabilities=np.stack(probabilities, axis=1),
        score=table["score"].to_numpy(),
        label_space=space,
        mpp=float("nan") if facts["mpp"] is None else float(facts["mpp"]),
    )


def table_facts(table: pa.Table) -> dict[str, Any]:
    """The JSON in the schema metadata of a table of nuclei."""
    metadata = table.schema.metadata or {}
    if METADATA_KEY not in metadata:
        raise ValueError("not a table of nuclei: its schema has no metadata 'histonuc'")
    facts: dict[str, Any] = json.loads(metadata[METADATA_KEY])
    return facts


def write_table(nuclei: Nuclei, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write Parquet; the file appears whole or not at all."""
    import pyarrow.parquet as pq

    with replacing(path) as partial:
        pq.write_table(to_table(nuclei, metadata), partial, compression="zstd")


def read_table(path: Path) -> Nuclei:
    """Read what `write_table` wrote.

    Raises:
        ValueError: no such file, no Parquet, or not a table of nuclei.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise ValueError(f"no nuclei at {path}: run `histonuc predict` first")
    try:
        return from_table(pq.read_table(path))
    except pa.ArrowException as error:
        raise ValueError(f"{path} is damaged or no Parquet file: {error}") from None


def write_geojson(nuclei: Nuclei, path: Path) -> None:
    """Write a FeatureCollection of QuPath detections, one after the other.

    Args:
        nuclei: what to write; coordinates are level-0 pixels, as QuPath wants them.
        path: ``*.geojson``, or ``*.geojson.gz`` to compress.
    """
    with replacing(path) as partial, _open_text(path, partial) as stream:
        facts = {
            "label_space": nuclei.label_space.to_dict(),
            "mpp": None if math.isnan(nuclei.mpp) else nuclei.mpp,
        }
        stream.write(f'{{"type": "FeatureCollection", "histonuc": {json.dumps(facts)},\n')
        stream.write('"features": [')
        for i, feature in enumerate(_features(nuclei)):
            stream.write((",\n" if i else "\n") + json.dumps(feature, separators=(",", ":")))
        stream.write("\n]}\n")


def read_geojson(path: Path) -> Nuclei:
    """Read what `write_geojson` wrote.

    Raises:
        ValueError: no JSON, or not written by histonuc.
    """
    try:
        content = path.read_bytes()
        collection = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
        facts = collection["histonuc"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, gzip.BadGzipFile):
        raise ValueError(f"{path} is no GeoJSON that histonuc wrote") from None
    space = LabelSpace.from_dict(facts["label_space"])
    features = collection["features"]
    measured = [feature["properties"]["measurements"] for feature in features]
    rings = [np.array(feature["geometry"]["coordinates"][0][:-1]) for feature in features]
    probabilities = [[row[f"p {name}"] for name in space.classes] for row in measured]
    return Nuclei(
        points=np.concatenate([np.zeros((0, 2)), *rings]),
        offsets=np.cumsum([0, *(len(ring) for ring in rings)]).astype(np.int64),
        centroid=np.array([[row["x px"], row["y px"]] for row in measured]).reshape(-1, 2),
        class_probabilities=np.array(probabilities, np.float32).reshape(-1, len(space)),
        score=np.array([row["score"] for row in measured], np.float32),
        label_space=space,
        mpp=float("nan") if facts["mpp"] is None else float(facts["mpp"]),
    )


def write_csv(nuclei: Nuclei, path: Path) -> None:
    """Write the table without the contours as CSV; an unknown area in µm² is left empty."""
    table = to_table(nuclei).drop_columns(["contour"])
    with replacing(path) as partial, partial.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(table.column_names)
        for batch in table.to_batches(max_chunksize=10_000):
            writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))


def export_folder(out: Path, to: Format = "geojson") -> list[Path]:
    """Write the nuclei of predictions in another format, beside their tables.

    Args:
        out: folder of one prediction, or of many.
        to: ``geojson``, ``geojson.gz`` or ``csv``.

    Returns:
        The files written.

    Raises:
        ValueError: no prediction there, or an unknown format.
    """
    if to not in ("geojson", "geojson.gz", "csv"):
        raise ValueError(f"--to {to}: choose from geojson, geojson.gz and csv")
    folders = [out] if (out / TABLE_FILE).is_file() else []
    folders = folders or sorted(table.parent for table in out.glob(f"*/{TABLE_FILE}"))
    if not folders:
        raise ValueError(f"no prediction in {out}: expected {TABLE_FILE} there or one folder below")
    written = []
    for folder in folders:
        path = folder / f"nuclei.{to}"
        write = write_csv if to == "csv" else write_geojson
        write(read_table(folder / TABLE_FILE), path)
        written.append(path)
    return written


def _features(nuclei: Nuclei) -> Iterator[dict[str, Any]]:
    space = nuclei.label_space
    areas_um2 = nuclei.area_um2
    for i, (class_index, area) in enumerate(zip(nuclei.class_index, nuclei.area_px, strict=True)):
        ring = nuclei.contour(i).tolist()
        measurements = {
            "score": float(nuclei.score[i]),
            "area px": float(area),
            "x px": float(nuclei.centroid[i, 0]),
            "y px": float(nuclei.centroid[i, 1]),
        }
        if not math.isnan(nuclei.mpp):
            measurements["area µm²"] = float(areas_um2[i])
        for name, probability in zip(space.classes, nuclei.class_probabilities[i], strict=True):
            measurements[f"p {name}"] = float(probability)
        yield {
            "type": "Feature",
            "id": _feature_id(nuclei.centroid[i], i),
            "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
            "properties": {
                "objectType": "detection",
                "classification": {
                    "name": space.classes[class_index],
                    "color": list(space.colours[class_index]),
                },
                "measurements": measurements,
            },
        }


def _feature_id(centroid: NDArray[np.float64], index: int) -> str:
    """QuPath reads ids as UUIDs; this one is the same on every run."""
    return str(uuid.UUID(bytes=centroid[:1].tobytes() + (index + 1).to_bytes(8, "big"), version=4))


@contextmanager
def _open_text(path: Path, partial: Path) -> Iterator[IO[str]]:
    if path.suffix != ".gz":
        with partial.open("w", encoding="utf-8") as stream:
            yield stream
        return
    with (
        partial.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8") as stream,
    ):
        yield stream
