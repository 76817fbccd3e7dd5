"""AnnData: nuclei as observations, for scanpy, squidpy and SpatialData."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from histonuc.exports.measurements import measurement_names, measurements
from histonuc.exports.source import Source, as_source
from histonuc.exports.table import to_facts
from histonuc.files import replacing
from histonuc.nuclei import Nuclei


def write_anndata(nuclei: Nuclei | Source | Path, path: Path) -> None:
    """Write ``*.h5ad``, one observation a nucleus; outlines are not part of it.

    ``X`` float32 holds the measurements by name, ``obs["class"]`` the class, ``obs["id"]`` the id
    of the table, ``obsm["spatial"]`` the centroids (x, y) float64 in level-0 pixels,
    ``uns["class_colors"]`` the colours as scanpy looks for them, ``uns["histonuc"]`` label space,
    mpp and the other facts of the result as JSON.
    """
    import anndata
    import pandas as pd

    source = as_source(nuclei)
    space, n = source.label_space, source.num_nuclei
    names = measurement_names(source)
    values, centroid = np.empty((n, len(names)), np.float32), np.empty((n, 2))
    ids, classes, at = np.empty(n, np.uint32), np.empty(n, np.int8), 0
    for batch in source.batches():
        rows = slice(at, at := at + len(batch.ids))
        values[rows] = measurements(batch, source)
        centroid[rows] = batch.nuclei.centroid
        ids[rows], classes[rows] = batch.ids, batch.nuclei.class_index
    observations = pd.DataFrame(
        {"id": ids, "class": pd.Categorical.from_codes(classes, list(space.classes))},
        index=ids.astype(str),
    )
    table = anndata.AnnData(
        X=values,
        obs=observations,
        var=pd.DataFrame(index=list(names)),
        obsm={"spatial": centroid},
        uns={
            "class_colors": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in space.colours],
            "histonuc": json.dumps(source.facts | to_facts(space, source.mpp)),
        },
    )
    with replacing(path) as draft:
        table.write_h5ad(draft, compression="lzf")
