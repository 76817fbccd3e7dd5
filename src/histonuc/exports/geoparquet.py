"""GeoParquet 1.1: outlines as WKB for QGIS, GDAL, DuckDB and geopandas; and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.reading import (
    Outlined,
    choose_mpp,
    choose_space,
    known_classes,
    largest,
    to_nuclei,
)
from histonuc.exports.source import Batch, Source, as_source, plain_columns
from histonuc.exports.table import (
    METADATA_KEY,
    feature_names,
    read_features,
    schema_facts,
    to_facts,
)
from histonuc.exports.wkb import GEO_KEY, GEOMETRY, geo_metadata, wkb_column
from histonuc.files import reading, replacing
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    import pyarrow as pa

_BOX = ("x_min", "y_min", "x_max", "y_max")
_COVERING = ("xmin", "ymin", "xmax", "ymax")
_ROWS = 16_384
_COVERED = {"covering": {"bbox": {name: ["bbox", name] for name in _COVERING}}}


def write_geoparquet(nuclei: Nuclei | Source | Path, path: Path) -> None:
    """Write the columns of the table with the contour as a WKB polygon and the box as covering.

    There is no coordinate reference system: coordinates are level-0 pixels, y down.
    """
    import pyarrow.parquet as pq

    source = as_source(nuclei)
    facts = source.facts | to_facts(source.label_space, source.mpp)
    schema = _to_table(source.empty_batch(), source).schema.with_metadata(
        {METADATA_KEY: json.dumps(facts), GEO_KEY: geo_metadata(**_COVERED)}
    )
    with replacing(path) as draft, pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        for batch in source.batches(_ROWS):
            table = _to_table(batch, source).replace_schema_metadata(schema.metadata)
            writer.write_table(table)


def _to_table(batch: Batch, source: Source) -> pa.Table:
    import pyarrow as pa

    table = plain_columns(batch, source)
    corners = [table[name].combine_chunks() for name in _BOX]
    box = pa.StructArray.from_arrays(corners, names=_COVERING)
    table = table.drop_columns(list(_BOX))
    return table.append_column("bbox", box).append_column(GEOMETRY, wkb_column(batch.nuclei))


def read_geoparquet(
    path: Path,
    *,
    label_space: LabelSpace | None = None,
    class_map: Mapping[str, str] | None = None,
    mpp: float | None = None,
) -> Nuclei:
    """Read polygons in WKB with a column ``class``; other programs may have edited them.

    Further numeric columns become features as they are, also where the outline was changed since.

    Args:
        path: GeoParquet.
        label_space: classes wanted; the file's own when histonuc wrote it.
        class_map: name in the file -> name in the label space, where they differ.
        mpp: microns per pixel; the file's own, or unknown, when not given.

    Raises:
        ValueError: no GeoParquet of classified polygons, or a class that is not known.
    """
    import pyarrow.parquet as pq

    with reading(path, "GeoParquet of classified polygons"):
        table = pq.read_table(path)
        geometry = json.loads((table.schema.metadata or {})[GEO_KEY])["primary_column"]
        rings = _rings(table[geometry])
        names = [name or "" for name in table["class"].to_pylist()]
        own = METADATA_KEY in table.schema.metadata
        facts = schema_facts(table.schema) if own else None
        space = choose_space(label_space, facts, path)
        outlines = [
            Outlined(ring=ring, class_name=name, **values)
            for ring, name, values in zip(rings, names, _values(table, space), strict=True)
        ]
        nuclei = to_nuclei(
            outlines,
            label_space=space,
            class_map=class_map,
            mpp=choose_mpp(mpp, facts),
            origin=path.name,
        )
        further = feature_names(table.schema, known_classes(space, facts, class_map))
        return replace(nuclei, features=read_features(table, further))


def _rings(column: pa.ChunkedArray) -> list[NDArray[np.float64]]:
    """Outer ring of each polygon; the largest one of several."""
    import shapely

    geometries = shapely.from_wkb(column.to_numpy())
    return [
        largest([shapely.get_coordinates(part.exterior) for part in shapely.get_parts(shape)])
        for shape in geometries
        if shape is not None
    ]


def _values(table: pa.Table, space: LabelSpace) -> Iterator[dict[str, Any]]:
    """What our own columns say of each nucleus, as far as the table has them."""
    columns = {
        name: table[name].to_pylist()
        for name in ("score", "x", "y", "area_px", *(f"p_{c}" for c in space.classes))
        if name in table.column_names
    }
    for i in range(len(table)):
        row = {name: values[i] for name, values in columns.items() if values[i] is not None}
        yield {
            "probabilities": {c: row[f"p_{c}"] for c in space.classes if f"p_{c}" in row},
            "score": row.get("score", 1.0),
            "centroid": (row["x"], row["y"]) if {"x", "y"} <= row.keys() else None,
            "area_px": row.get("area_px"),
        }
