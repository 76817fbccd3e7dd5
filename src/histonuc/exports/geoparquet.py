"""GeoParquet 1.1: outlines as WKB for QGIS, GDAL, DuckDB and geopandas; and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.facts import METADATA_KEY, schema_facts
from histonuc.exports.reading import (
    Outlined,
    choose_mpp,
    choose_space,
    known_classes,
    to_class_name,
    to_nuclei,
)
from histonuc.exports.rings import largest
from histonuc.exports.source import Batch, Source, open_source, plain_columns
from histonuc.exports.table import BOX, feature_names, read_features, read_texts, text_names
from histonuc.exports.wkb import GEO_KEY, GEOMETRY, geo_metadata, wkb_column
from histonuc.files import reading, replacing
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    import pyarrow as pa

_COVERING = ("xmin", "ymin", "xmax", "ymax")
_ROWS = 16_384
_QUPATH_CLASS = "classification"
_COVERED = {"covering": {"bbox": {name: ["bbox", name] for name in _COVERING}}}


def write_geoparquet(nuclei: Nuclei | Source | Path, path: Path) -> None:
    """Write the columns of the table with the contour as a WKB polygon and the box as covering.

    There is no coordinate reference system: coordinates are level-0 pixels, y down.
    """
    import pyarrow.parquet as pq

    source = open_source(nuclei)
    schema = _to_table(source.empty_batch(), source).schema.with_metadata(
        {METADATA_KEY: json.dumps(source.facts), GEO_KEY: geo_metadata(**_COVERED)}
    )
    with replacing(path) as draft, pq.ParquetWriter(draft, schema, compression="zstd") as writer:
        for batch in source.batches(_ROWS):
            table = _to_table(batch, source).replace_schema_metadata(schema.metadata)
            writer.write_table(table)


def _to_table(batch: Batch, source: Source) -> pa.Table:
    import pyarrow as pa

    table = plain_columns(batch, source)
    corners = [table[name].combine_chunks() for name in BOX]
    box = pa.StructArray.from_arrays(corners, names=_COVERING)
    table = table.drop_columns(list(BOX))
    return table.append_column("bbox", box).append_column(GEOMETRY, wkb_column(batch.nuclei))


def read_geoparquet(
    path: Path,
    *,
    label_space: LabelSpace | None = None,
    class_map: Mapping[str, str] | None = None,
    mpp: float | None = None,
) -> Nuclei:
    """Read polygons in WKB with a class each; other programs may have written or edited them.

    The class stands in a column ``class`` or, as QuPath's GeoJSON has it, ``classification``.
    Further columns become features and texts, also where the outline was changed since.

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
        rings = _read_rings(table[geometry])
        is_ours = METADATA_KEY in table.schema.metadata
        facts = schema_facts(table.schema) if is_ours else None
        space = choose_space(label_space, facts, path)
        outlines = [
            Outlined(ring=ring, class_name=name, **values)
            for ring, name, values in zip(
                rings, _read_classes(table), _read_values(table, space), strict=True
            )
        ]
        nuclei = to_nuclei(
            outlines,
            label_space=space,
            class_map=class_map,
            mpp=choose_mpp(mpp, facts),
            origin=path.name,
        )
        further = feature_names(table.schema, known_classes(space, facts, class_map))
        return replace(
            nuclei,
            features=read_features(table, further),
            texts=read_texts(table, [n for n in text_names(table.schema) if n != _QUPATH_CLASS]),
        )


def _read_rings(column: pa.ChunkedArray) -> list[NDArray[np.float64]]:
    """Outer ring of each polygon, the largest one of several; empty where there is no polygon."""
    import shapely

    def rings(shape: Any) -> list[NDArray[np.float64]]:
        parts = [] if shape is None else shapely.get_parts(shape)
        return [shapely.get_coordinates(p.exterior) for p in parts if p.geom_type == "Polygon"]

    return [largest(rings(shape)) for shape in shapely.from_wkb(column.to_numpy())]


def _read_classes(table: pa.Table) -> list[str]:
    """Class of each row; without a column ``class``, of what GeoJSON of QuPath has in its place."""
    for name in ("class", _QUPATH_CLASS):
        if name in table.column_names:
            return [to_class_name(value) for value in table[name].to_pylist()]
    raise ValueError(f"expected a column 'class', got {table.column_names}")


def _read_values(table: pa.Table, space: LabelSpace) -> Iterator[dict[str, Any]]:
    """What our own columns say of each nucleus, as far as the table has them."""
    columns = {
        name: table[name].to_pylist()
        for name in ("score", "x", "y", "area_px", *(f"p_{c}" for c in space.classes))
        if name in table.column_names
    }
    for i in range(len(table)):
        row = {name: values[i] for name, values in columns.items()}
        yield {
            "probabilities": {c: row[f"p_{c}"] for c in space.classes if f"p_{c}" in row},
            "score": row.get("score"),
            "centroid": (row.get("x"), row.get("y")),
            "area_px": row.get("area_px"),
        }
