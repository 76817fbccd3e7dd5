"""Features of a trained network, averaged over the labelled nuclei of a store.

`tools/fit_classes.py` fits classes and trust to them, `tools/study_classes.py` asks what they know.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from histonuc.data.augment import change_pixels
from histonuc.data.augment_config import AugmentConfig
from histonuc.data.resampling import at_mpp, resample_labels
from histonuc.data.store import Store
from histonuc.models.network import Network
from histonuc.models.trust import pool_features
from histonuc.representations.cells import Cells

log = logging.getLogger(__name__)

COPIES = AugmentConfig(blur=0.4, noise=0.3, jpeg=0.6, brightness=0.1, stain=0.2)
"""How copies of a tile differ from it: as other scanners and other files would show it."""
_COARSE = 0.4
"""Share of the copies that were scanned with half as many pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pooled:
    """Features of n labelled nuclei.

    Attributes:
        levels: float32 (n, L), of all levels of the decoder, coarsest first.
        encoder: stride -> float32 (n, D), of the levels of the encoder.
        candidates: uint32 (n,), candidate sets.
        source, organ: of each nucleus, text (n,).
        fold, tile: of each nucleus, int64 (n,).
        copy: int64 (n,), 0 for nuclei of the tile itself, else of which of its copies.
    """

    levels: NDArray[np.float32]
    encoder: Mapping[int, NDArray[np.float32]]
    candidates: NDArray[np.uint32]
    source: NDArray[np.str_]
    organ: NDArray[np.str_]
    fold: NDArray[np.int64]
    tile: NDArray[np.int64]
    copy: NDArray[np.int64]

    def join_encoder(self, strides: Sequence[int]) -> NDArray[np.float32]:
        """Features (n, ΣD) of some levels of the encoder, one after the other."""
        return np.concatenate([self.encoder[stride] for stride in strides], axis=1)

    def save(self, path: Path) -> None:
        """Write an ``.npz``; features are rounded to half precision."""
        encoder = {f"encoder_{s}": x.astype(np.float16) for s, x in self.encoder.items()}
        names = ("candidates", "source", "organ", "fold", "tile", "copy")
        others = {name: getattr(self, name) for name in names}
        np.savez(path, levels=self.levels.astype(np.float16), **encoder, **others)

    @staticmethod
    def load(path: Path) -> Pooled:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            arrays = {
                name: file[name].astype(np.float32)
                if file[name].dtype == np.float16
                else file[name]
                for name in file.files
            }
        strides = [int(name.removeprefix("encoder_")) for name in arrays if "encoder_" in name]
        encoder = {stride: arrays.pop(f"encoder_{stride}") for stride in strides}
        return Pooled(encoder=encoder, **arrays)


def collect(
    network: Network,
    store: Store,
    sources: Sequence[str],
    *,
    copies: Mapping[str, int] | None = None,
    most: int = 0,
) -> Pooled:
    """Features of all labelled nuclei of some data sets.

    Args:
        network: whose features.
        store: with outlines for the points, where there are points.
        sources: data sets to read.
        copies: data set -> number of changed copies of each of its tiles that are read, too.
        most: tiles of each data set that is not copied, drawn at random; 0 for all.
    """
    rows: list[tuple[NDArray[np.float32], ...]] = []
    facts: list[tuple[int, str, str, int, int, int]] = []
    copies = copies or {}
    tiles = [tile for source in sources for tile in _draw(store, source, copies, most)]
    for count, tile in enumerate(tiles):
        image = at_mpp(store, tile, network.spec.mpp)
        labels = store.labels(tile)
        instances = resample_labels(labels.instances, image.shape[1], image.shape[0])
        num = len(labels.candidates) - 1
        present = np.bincount(instances.ravel(), minlength=num + 1)[1:] > 0
        fact = store.source(tile), store.tissue(tile), store.fold(tile), tile
        for copy in range(1 + copies.get(store.source(tile), 0)):
            shown = _change(image, np.random.default_rng((tile, copy))) if copy else image
            rows.append(tuple(x[present] for x in _pool(network, shown, instances, num)))
            facts += [(int(c), *fact, copy) for c in labels.candidates[1:][present]]
        if count % 20 == 0:
            log.info("%d of %d tiles", count, len(tiles))
    candidates, source, organ, fold, number, copy_of = map(np.array, zip(*facts, strict=True))
    levels, *encoder = (np.concatenate(part) for part in zip(*rows, strict=True))
    return Pooled(
        levels=levels,
        encoder=dict(zip(network.trunk.encoder_strides, encoder, strict=True)),
        candidates=candidates.astype(np.uint32),
        source=source,
        organ=organ,
        fold=fold,
        tile=number,
        copy=copy_of,
    )


def _draw(store: Store, source: str, copies: Mapping[str, int], most: int) -> list[int]:
    """Tiles of a data set in rising order: all of one that is copied, else at most so many."""
    tiles = store.select(None, [source], labels=None)
    if most and source not in copies and len(tiles) > most:
        tiles = np.sort(np.random.default_rng(0).choice(tiles, most, replace=False))
    return [int(tile) for tile in tiles]


def _change(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The tile as another scanner would show it."""
    if rng.random() < _COARSE:
        height, width = image.shape[:2]
        small = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(small, (width, height)), np.uint8)
    return change_pixels(image, rng, COPIES)


@torch.no_grad()
def _pool(
    network: Network, image: NDArray[np.uint8], instances: NDArray[np.int32], num: int
) -> list[NDArray[np.float32]]:
    """Features (num, …) of the decoder's levels together, and of each level of the encoder."""
    trunk = network.trunk
    x = network.pad(torch.from_numpy(image[None].copy()).permute(0, 3, 1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        features = trunk(x)

    def cells(values: torch.Tensor, stride: int) -> Cells:
        return Cells(values=values[0].float().numpy(), stride=stride)

    levels = list(map(cells, features.levels, trunk.level_strides))
    encoder = [[cells(*one)] for one in zip(features.encoder, trunk.encoder_strides, strict=True)]
    return [pool_features(grids, instances, num) for grids in (levels, *encoder)]
