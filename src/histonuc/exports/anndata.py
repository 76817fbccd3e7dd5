"""AnnData: nuclei as observations, for scanpy, squidpy and SpatialData."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.exports.source import Source, open_source
from histonuc.files import replacing
from histonuc.nuclei import CLASS_TRUST, Nuclei

if TYPE_CHECKING:
    import pandas as pd


def write_anndata(
    nuclei: Nuclei | Source | Path,
    path: Path,
    *,
    sample: str = "",
    picture: NDArray[np.uint8] | None = None,
    embedding: NDArray[np.float16] | None = None,
) -> None:
    """Write ``*.h5ad``, one observation a nucleus; outlines are not part of it.

    ``X`` float32 holds what was measured on each nucleus: its area and the features of the table.
    ``obs`` has the table's ``id``, ``sample``, ``slide``, ``class``, the probabilities, the score,
    ``class_trust`` where the table has it, and further columns of text. ``obsm["spatial"]`` float64
    (n, 2) holds the centroids (x, y) in microns, or in level-0 pixels where mpp is unknown, and
    ``obsm["X_embedding"]`` float32 (n, D) the network's features, NaN of nuclei that people drew.
    ``uns["spatial"][sample]`` has the picture of the slide as squidpy looks for it,
    ``uns["class_colors"]`` the colours as scanpy does, and ``uns["histonuc"]`` the facts of the
    result as JSON.

    Args:
        nuclei: what to write.
        path: ``*.h5ad``.
        sample: begins the name of every observation, so that several files can be joined; the
            slide's name where it is empty.
        picture: RGB uint8 (H, W, 3) of the whole slide; None for none.
        embedding: float16 (N, D), of the nuclei with ids 1..N; None for none.
    """
    import anndata
    import pandas as pd

    source = open_source(nuclei)
    # "/" would make a group of the file.
    sample = (sample or Path(source.slide).stem or "nuclei").replace("/", "_")
    n, unit_xy = source.num_nuclei, _units_per_px(source)
    # What is not measured on a nucleus is an annotation of it.
    is_measured = np.array([name != CLASS_TRUST for name in source.extra_names], bool)
    measured = [name for name in source.extra_names if name != CLASS_TRUST]
    names = ["area_px" if math.isnan(source.mpp) else "area_um2", *measured]
    values, centroid = np.empty((n, len(names)), np.float32), np.empty((n, 2))
    observations, at = [], 0
    for batch in source.batches():
        rows = slice(at, at := at + len(batch.ids))
        values[rows, 0] = batch.nuclei.area_px * np.prod(unit_xy)
        values[rows, 1:] = batch.extra[:, is_measured]
        centroid[rows] = batch.nuclei.centroid * unit_xy
        annotated = dict(zip(source.extra_names, batch.extra.T, strict=True))
        observations.append(_columns(batch.ids, batch.nuclei, annotated.get(CLASS_TRUST)))
    obs = _observations(observations, source, sample)
    obsm: dict[str, NDArray[Any]] = {"spatial": centroid}
    if embedding is not None:
        obsm["X_embedding"] = _pick(embedding, obs["id"].to_numpy())
    table = anndata.AnnData(
        X=values,
        obs=obs,
        var=pd.DataFrame(index=names),
        obsm=obsm,
        uns={
            "class_colors": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in source.label_space.colours],
            "histonuc": json.dumps(source.facts),
            "spatial": {sample: _slide_record(source, values[:, 0], picture)},
        },
    )
    with replacing(path) as draft:
        table.write_h5ad(draft, compression="lzf")


def _pick(embedding: NDArray[np.float16], ids: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Features float32 (n, D) of nuclei by their ids, NaN of those that have none."""
    found = np.full((len(ids), embedding.shape[1]), np.nan, np.float32)
    known = (ids >= 1) & (ids <= len(embedding))
    found[known] = embedding[ids[known].astype(np.int64) - 1]
    return found


def _units_per_px(source: Source) -> tuple[float, float]:
    """Microns per level-0 pixel along x and y; 1 where they are unknown: then pixels are units."""
    return (1.0, 1.0) if math.isnan(source.mpp) else source.mpp_xy


def _columns(
    ids: NDArray[np.uint32], nuclei: Nuclei, trust: NDArray[np.float64] | None
) -> dict[str, NDArray[Any]]:
    """What is known of some nuclei beside their measurements, by name."""
    probabilities = zip(nuclei.label_space.classes, nuclei.class_probabilities.T, strict=True)
    return {
        "id": ids,
        "class": nuclei.class_index.astype(np.int8),
        **nuclei.texts,
        **{f"p_{name}": values for name, values in probabilities},
        "score": nuclei.score,
        **({} if trust is None else {CLASS_TRUST: trust.astype(np.float32)}),
    }


def _observations(
    batches: list[dict[str, NDArray[Any]]], source: Source, sample: str
) -> pd.DataFrame:
    """All nuclei, with names that begin with the sample's."""
    import pandas as pd

    empty = source.empty_batch()
    trust = np.zeros(0) if CLASS_TRUST in source.extra_names else None
    batches = [_columns(empty.ids, empty.nuclei, trust), *batches]
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    ids = columns.pop("id")
    classes = columns.pop("class")
    for name in source.text_names:
        columns[name] = pd.Categorical(columns[name])
    return pd.DataFrame(
        {
            "id": ids,
            "sample": pd.Categorical.from_codes(np.zeros(len(ids), np.int8), [sample]),
            "slide": pd.Categorical.from_codes(np.zeros(len(ids), np.int8), [source.slide]),
            "class": pd.Categorical.from_codes(classes, list(source.label_space.classes)),
            **columns,
        },
        index=[f"{sample}-{number}" for number in ids.tolist()],
    )


def _slide_record(
    source: Source, area: NDArray[np.float32], picture: NDArray[np.uint8] | None
) -> dict[str, Any]:
    """What squidpy wants to know of a slide: positions times a scale are pixels of the picture."""
    unit_x, unit_y = _units_per_px(source)
    typical = float(np.median(area)) if len(area) else 0.0
    # A diameter "of full resolution" is one in the units of the positions.
    scales = {"spot_diameter_fullres": 2 * math.sqrt(typical / math.pi)}
    images = {}
    if picture is not None:
        width, height = source.size
        scale = picture.shape[1] / (width * unit_x)
        # Squidpy knows one scale for both axes.
        shown = (picture.shape[1], max(1, round(height * unit_y * scale)))
        images["hires"] = cv2.resize(picture, shown, interpolation=cv2.INTER_AREA)
        scales["tissue_hires_scalef"] = scale
    return {
        "images": images,
        "scalefactors": scales,
        "metadata": {
            "slide": source.slide,
            "unit": "pixel" if math.isnan(source.mpp) else "micrometer",
            "microns_per_pixel_x": source.mpp_xy[0],
            "microns_per_pixel_y": source.mpp_xy[1],
        },
    }
