"""The nuclei of a labelled store, as a classifier would see them: outlined as the labels say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.data.resampling import at_mpp, resample_labels
from histonuc.data.store import Store
from histonuc.data.tables import single_class
from histonuc.exports.embeddings import Embeddings, to_embedding
from histonuc.inference.features import measure_features
from histonuc.models.model import Model
from histonuc.nuclei import Instances, Nuclei
from histonuc.teaching.features import MEASURED, NucleusFeatures, make_features


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledNuclei:
    """Nuclei of known class.

    Attributes:
        features: of the n nuclei, those of each tile measured among all of that tile.
        classes: int64 (n,), class of the store's label space.
        tile: int64 (n,), number of the tile.
        instance: int64 (n,), id in the tile's instance map.
    """

    features: NucleusFeatures
    classes: NDArray[np.int64]
    tile: NDArray[np.int64]
    instance: NDArray[np.int64]


def describe_store(store: Store, tiles: Iterable[int], model: Model) -> LabelledNuclei:
    """Run a network over tiles and take its features of the labelled nuclei.

    Args:
        store: with outlines, or with points that `histonuc prepare outline` outlined.
        tiles: their numbers.
        model: whose features are taken; shape and stain alone where it gives none.

    Raises:
        ValueError: no nucleus of the tiles has one known class.
    """
    parts = [(int(tile), *_describe_tile(store, int(tile), model)) for tile in tiles]
    classes = [single_class(store.labels(tile).candidates[ids]) - 1 for tile, ids, _ in parts]
    known = [values >= 0 for values in classes]
    if not any(mask.any() for mask in known):
        raise ValueError(f"{store.path}: no nucleus of these tiles has one known class")
    every = [features for _, _, features in parts]
    picked = [
        (features.embedding[mask], features.measured[mask], features.centroid_um[mask])
        for features, mask in zip(every, known, strict=True)
    ]
    embedding, measured, centroid = (np.concatenate(arrays) for arrays in zip(*picked, strict=True))
    return LabelledNuclei(
        features=NucleusFeatures(
            embedding=embedding,
            measured=measured,
            centroid_um=centroid,
            model=every[0].model,
            model_sha256=every[0].model_sha256,
        ),
        classes=np.concatenate(
            [values[mask] for values, mask in zip(classes, known, strict=True)]
        ).astype(np.int64),
        tile=np.repeat([tile for tile, _, _ in parts], [mask.sum() for mask in known]),
        instance=np.concatenate(
            [ids[mask] for (_, ids, _), mask in zip(parts, known, strict=True)]
        ).astype(np.int64),
    )


def _describe_tile(
    store: Store, tile: int, model: Model
) -> tuple[NDArray[np.int64], NucleusFeatures]:
    """Ids of the nuclei of a tile that the model's resolution shows, and their features."""
    mpp, image = model.spec.mpp, at_mpp(store, tile, model.spec.mpp)
    whole = resample_labels(store.labels(tile).instances, image.shape[1], image.shape[0])
    ids = np.unique(whole[whole > 0]).astype(np.int64)
    labels = np.searchsorted(np.concatenate([[0], ids]), whole).astype(np.int32)
    space, num = model.spec.label_space, len(ids)
    instances = Instances(
        labels=labels,
        class_probabilities=np.full((num, len(space)), 1 / len(space), np.float32),
        score=np.ones(num, np.float32),
    )
    nuclei = Nuclei.from_instances(instances, space, mpp)
    found = measure_features(labels, image, nuclei, mpp)
    found["area_um2"] = nuclei.area_um2.astype(np.float32)
    measured = np.stack([found[name] for name in MEASURED], axis=1)
    embeddings = None
    if model.spec.features:
        pooled = model.outputs(image[None]).embed(model.spec, labels, num, 0)
        embeddings = Embeddings(
            values=to_embedding(pooled), model=model.name, model_sha256=model.sha256
        )
    return ids, make_features(measured, nuclei.centroid * mpp, embeddings)
