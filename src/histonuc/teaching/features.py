"""What a classifier learns from: the network's features, shape, stain, and the neighbours' of each.

All of it is measured on images at the model's microns per pixel, so scanners compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from histonuc.exports import TABLE_FILE
from histonuc.exports.embeddings import Embeddings, read_beside
from histonuc.exports.facts import mpp_xy, schema_facts
from histonuc.files import reading
from histonuc.inference.features import FEATURES
from histonuc.models.engines import num_cores

if TYPE_CHECKING:
    import pyarrow as pa

MEASURED = ("area_um2", *(name for name in FEATURES if name != "orientation_deg"))
"""Columns of the table that tell a nucleus's shape and stain; which way it lies says nothing."""
NEIGHBOURS = 10
"""Nearest nuclei that make up the neighbourhood of one."""
_FARTHEST_UM = 200.0
"""A neighbour farther away is none: the distance is given as so much."""
BESIDE = ("neighbour_distance", *(f"neighbours_{name}" for name in MEASURED))
"""What is told of the neighbourhood: the logarithm of the distance to the tenth nearest nucleus in
microns, and the means of the ten nearest ones' measurements."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NucleusFeatures:
    """What a classifier sees of the n nuclei of one slide or image.

    Attributes:
        embedding: float16 (n, D), the network's features; D is 0 where there are none.
        measured: float32 (n, M), `MEASURED` and then `BESIDE`, all finite.
        centroid_um: float64 (n, 2), x and y in microns, in pixels where the scale is unknown.
        model: name of the model that made the embeddings; empty without.
        model_sha256: hex SHA-256 of its file; empty without embeddings.
    """

    embedding: NDArray[np.float16]
    measured: NDArray[np.float32]
    centroid_um: NDArray[np.float64]
    model: str = ""
    model_sha256: str = ""

    def __len__(self) -> int:
        return len(self.measured)

    @property
    def num_features(self) -> int:
        """D + M."""
        return int(self.embedding.shape[1] + self.measured.shape[1])

    def rows(self, index: NDArray[np.integer]) -> NDArray[np.float32]:
        """Features float32 (k, D + M) of some nuclei."""
        return np.concatenate(
            [self.embedding[index].astype(np.float32), self.measured[index]], axis=1
        )

    def without_embedding(self) -> NucleusFeatures:
        """The same nuclei by their shape, stain and neighbourhood alone."""
        return NucleusFeatures(
            embedding=np.zeros((len(self), 0), np.float16),
            measured=self.measured,
            centroid_um=self.centroid_um,
        )


def make_features(
    measured: NDArray[np.float32],
    centroid_um: NDArray[np.float64],
    embeddings: Embeddings | None = None,
) -> NucleusFeatures:
    """Features of all nuclei of one slide or image.

    Args:
        measured: float32 (n, 15), the columns `MEASURED`; NaN where a nucleus has no value, which
            is then taken to be the median of all.
        centroid_um: float64 (n, 2), in microns.
        embeddings: of the same n nuclei; None for none.
    """
    measured = _fill(measured)
    beside = measure_neighbourhood(centroid_um, measured)
    none = np.zeros((len(measured), 0), np.float16)
    return NucleusFeatures(
        embedding=none if embeddings is None else embeddings.values,
        measured=np.concatenate([measured, beside], axis=1),
        centroid_um=centroid_um,
        model="" if embeddings is None else embeddings.model,
        model_sha256="" if embeddings is None else embeddings.model_sha256,
    )


def read_features(folder: Path) -> NucleusFeatures:
    """Features of all nuclei that a result of `histonuc predict` holds, in the order of its table.

    Args:
        folder: of the result; with `embeddings.parquet` where it was predicted with them.

    Raises:
        ValueError: no result there, a damaged one, or embeddings of another table or model.
    """
    import pyarrow.parquet as pq

    path = folder / TABLE_FILE
    if not path.is_file():
        raise ValueError(f"no nuclei at {path}: run `histonuc predict` first")
    with reading(path, "table of nuclei"):
        schema = pq.read_schema(path)
        facts, names = schema_facts(schema), [n for n in ("x", "y", *MEASURED) if n in schema.names]
        table = pq.read_table(path, columns=names, page_checksum_verification=True)
        scale = np.array(mpp_xy(facts))
        centroid = np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1)
        measured = np.stack([_column(table, name) for name in MEASURED], axis=1)
    known = np.isfinite(scale).all()
    return make_features(measured, centroid * (scale if known else 1.0), read_beside(path))


def measure_neighbourhood(
    centroid_um: NDArray[np.float64], measured: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The columns `BESIDE` (n, 16) of nuclei; of one alone its own measurements stand for others'.

    Args:
        centroid_um: float64 (n, 2), in microns.
        measured: float32 (n, 15).
    """
    num = min(NEIGHBOURS, len(measured) - 1)
    if num < 1:
        far = np.full((len(measured), 1), np.log(_FARTHEST_UM), np.float32)
        return np.concatenate([far, measured], axis=1)
    tree = KDTree(centroid_um, balanced_tree=False)
    distance, index = tree.query(centroid_um, k=num + 1, workers=num_cores())
    total = np.zeros_like(measured)
    for column in index.T:  # its own nucleus is among them, and taken away again
        total += measured[column]
    mean = (total - measured) / num
    farthest = np.log(np.clip(distance[:, -1], 1.0, _FARTHEST_UM))
    return np.concatenate([farthest[:, None], mean], axis=1).astype(np.float32)


def _column(table: pa.Table, name: str) -> NDArray[np.float32]:
    """A column as float32 (n,), NaN where there is no value or no such column."""
    if name not in table.column_names:
        return np.full(len(table), np.nan, np.float32)
    values: NDArray[np.float32] = table[name].to_numpy().astype(np.float32)
    return values


def _fill(measured: NDArray[np.float32]) -> NDArray[np.float32]:
    """The median of a column where a nucleus has no value; 0 where none has."""
    missing = ~np.isfinite(measured)
    if not missing.any():
        return measured
    filled = measured.copy()
    for column in np.flatnonzero(missing.any(0)):
        known = measured[~missing[:, column], column]
        filled[missing[:, column], column] = np.median(known) if len(known) else 0.0
    return filled


def sample_rows(
    features: Sequence[NucleusFeatures], num: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Features (k, D + M) of up to `num` nuclei of each slide, drawn at random."""
    return np.concatenate(
        [one.rows(np.sort(rng.permutation(len(one))[:num])) for one in features], axis=0
    )
