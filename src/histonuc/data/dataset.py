"""Training crops: a deterministic function of (seed, epoch, position), whoever asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from histonuc.data.augment import change_pixels, random_crop, transfer_stain
from histonuc.data.augment_config import AugmentConfig
from histonuc.data.folds import CHECK_FOLD
from histonuc.data.store import Store
from histonuc.nuclei import TileLabels, make_consecutive

Encode = Callable[[TileLabels], dict[str, NDArray[Any]]]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How often tiles are drawn, and in which order.

    Attributes:
        samples_per_epoch: crops an epoch; 0 for as many as cover every tile's area once.
        balance: p, q, r in 0..1 for tissues, classes and data sets: 0 leaves their shares as they
            are, 1 makes them equal, see `balanced_order`.
        source_weights: factors on how often data sets are drawn, 1 for those not named; 0 draws
            none.
        seed: seed of order and crops.
    """

    samples_per_epoch: int = 0
    balance: tuple[float, float, float] = (0.0, 0.0, 0.0)
    source_weights: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0


class TileDataset(Dataset[dict[str, Any]]):
    """Augmented crops of a store's tiles.

    A key is ``epoch * samples_per_epoch + position``; the same key gives the same crop in any
    process, so that a resumed run goes on with exactly the crops it would have seen.

    Args:
        store: where the tiles are.
        tiles: numbers of the tiles to draw from.
        encode: the representation's `encode`.
        tile_px: side of a crop.
        mpp: microns per pixel of a crop; tiles of another scale (or of none: NaN) are resampled
            (left as they are).
        augment: what to change.
        sampling: how often tiles are drawn.

    Raises:
        ValueError: a tile that is for checking only.
    """

    def __init__(
        self,
        store: Store,
        tiles: NDArray[np.int64],
        encode: Encode,
        *,
        tile_px: int,
        mpp: float,
        augment: AugmentConfig,
        sampling: Sampling,
    ) -> None:
        self.store, self.tiles, self.encode = store, tiles, encode
        self.tile_px, self.mpp, self.augment, self.sampling = tile_px, mpp, augment, sampling
        _refuse_check_tiles(store, tiles)
        self.zoom = np.array([_zoom(store.mpp(int(tile)), mpp) for tile in tiles])
        shapes = np.array([store.size(int(tile)) for tile in tiles], np.float64)
        area = shapes.prod(1) / (tile_px * self.zoom) ** 2
        self.crops = np.maximum(np.rint(area), 1).astype(np.int64)
        self.samples_per_epoch = sampling.samples_per_epoch or int(self.crops.sum())
        self._order = lru_cache(maxsize=2)(self._make_order)

    def __len__(self) -> int:
        return self.samples_per_epoch

    def __getitem__(self, key: int) -> dict[str, Any]:
        """Image uint8 (3, S, S), the representation's targets, and the tile's number."""
        epoch, position = divmod(int(key), self.samples_per_epoch)
        index = int(self._order(epoch)[position])
        tile = int(self.tiles[index])
        rng = np.random.default_rng((self.sampling.seed, 1, epoch, position))
        truth = self.store.labels(tile)
        image, instances, outside = random_crop(
            self.store.image(tile),
            mark_ignored(truth),
            rng,
            self.augment,
            tile_px=self.tile_px,
            zoom=float(self.zoom[index]),
        )
        if rng.random() < self.augment.stain_transfer:
            other = int(self.tiles[rng.integers(len(self.tiles))])
            image = transfer_stain(image, self.store.image(other))
        image = change_pixels(image, rng, self.augment)
        labels = crop_labels(truth, instances, outside)
        targets = {name: _tensor(value) for name, value in self.encode(labels).items()}
        pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return {"image": pixels, "targets": targets, "tile": tile}

    def _make_order(self, epoch: int) -> NDArray[np.int64]:
        return balanced_order(
            self.store,
            self.tiles,
            self.crops,
            num_samples=self.samples_per_epoch,
            epoch=epoch,
            sampling=self.sampling,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the cache, which cannot be pickled."""
        return {name: value for name, value in self.__dict__.items() if name != "_order"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take everything over and make a new cache."""
        self.__dict__.update(state)
        self._order = lru_cache(maxsize=2)(self._make_order)


class InTurn(Dataset[dict[str, Any]]):
    """Crops of several kinds, one of each in turn.

    Args:
        parts: the crops of each, as many of each an epoch.
    """

    def __init__(self, *parts: TileDataset) -> None:
        if len(set(map(len, parts))) != 1:
            raise ValueError(f"expected as many crops of each, got {[*map(len, parts)]}")
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts) * len(self.parts[0])

    def __getitem__(self, key: int) -> dict[str, Any]:
        """As of `TileDataset`."""
        epoch, position = divmod(int(key), len(self))
        part = self.parts[position % len(self.parts)]
        return part[epoch * len(part) + position // len(self.parts)]


class BatchKeys(Sampler[list[int]]):
    """Keys of one process's batches of one epoch, from some batch on.

    Global batch ``b`` holds positions ``b * W * B`` to ``(b + 1) * W * B`` for ``W`` processes with
    batches of ``B``; process ``r`` takes the ``r``-th ``B`` of them. So two processes with batches
    of ``B`` see together what one sees with ``2 B``. The last incomplete batch is left out.
    """

    def __init__(
        self, samples: int, batch_size: int, *, epoch: int, first_batch: int, rank: int, world: int
    ) -> None:
        self.samples, self.batch_size, self.epoch = samples, batch_size, epoch
        self.first_batch, self.rank, self.world = first_batch, rank, world

    def __len__(self) -> int:
        return self.samples // (self.batch_size * self.world) - self.first_batch

    def __iter__(self) -> Iterator[list[int]]:
        stride = self.batch_size * self.world
        for batch in range(self.first_batch, self.samples // stride):
            start = self.epoch * self.samples + batch * stride + self.rank * self.batch_size
            yield list(range(start, start + self.batch_size))


def balanced_order(
    store: Store,
    tiles: NDArray[np.int64],
    crops: NDArray[np.int64],
    *,
    num_samples: int,
    epoch: int,
    sampling: Sampling,
) -> NDArray[np.int64]:
    """Which tile (index into `tiles`) each sample of an epoch is cut from.

    With no balancing every tile comes `crops` times before any comes again. With balancing samples
    are drawn with probability ∝ crops × tissue share^-p × (rarest class's share)^-q × source
    share^-r × the source's weight, with replacement.

    Args:
        store: store of the tiles, which has their tissues, sources and class counts.
        tiles: numbers of the tiles.
        crops: crops that cover each tile once.
        num_samples: length of the result.
        epoch: number of the epoch; epochs differ.
        sampling: powers p, q, r, weights of the sources, and the seed.
    """
    rng = np.random.default_rng((sampling.seed, 0, epoch))
    if not any(sampling.balance) and not sampling.source_weights:
        pool = np.repeat(np.arange(len(tiles)), crops)
        rounds = -(-num_samples // len(pool))
        return np.concatenate([rng.permutation(pool) for _ in range(rounds)])[:num_samples]
    tissue_power, class_power, source_power = sampling.balance
    weight = crops.astype(np.float64)
    tissues = np.array([store.tissue(int(tile)) for tile in tiles])
    sources = np.array([store.source(int(tile)) for tile in tiles])
    for values, power in ((tissues, tissue_power), (sources, source_power)):
        _, inverse = np.unique(values, return_inverse=True)
        share = np.bincount(inverse, crops) / crops.sum()
        weight *= share[inverse] ** -power
    counts = store.class_counts(tiles, points=True)
    share = np.maximum(counts.sum(0), 1) / max(counts.sum(), 1)
    rarest = np.where(counts > 0, share, np.inf).min(1)  # of the classes in the tile
    rarest[~np.isfinite(rarest)] = share.max()  # empty or unclassified tiles: as the commonest
    weight *= rarest**-class_power
    weight *= [sampling.source_weights.get(source, 1.0) for source in sources]
    return rng.choice(len(tiles), num_samples, p=weight / weight.sum())


def mark_ignored(truth: TileLabels) -> NDArray[np.int32]:
    """The instance map with one more id, ``len(truth.candidates)``, where the truth is unknown.

    So whatever moves the nuclei moves the mask along. Where nothing but classes is known there is
    no need to: nothing else is learned anywhere.
    """
    if truth.class_only or not truth.ignore.any():
        return truth.instances
    return np.where(truth.ignore, np.int32(len(truth.candidates)), truth.instances)


def crop_labels(
    truth: TileLabels, instances: NDArray[np.int32], outside: NDArray[np.bool_]
) -> TileLabels:
    """Labels of a crop: the nuclei still in it, renumbered 1..n.

    Args:
        truth: labels of the whole tile.
        instances: (H, W), ids of `mark_ignored` in the crop.
        outside: (H, W), True where the crop reaches over the tile's rim.
    """
    unknown = instances == len(truth.candidates)
    consecutive, ids = make_consecutive(np.where(unknown, 0, instances))
    return TileLabels(
        instances=consecutive,
        candidates=np.concatenate([truth.candidates[:1], truth.candidates[ids]]),
        ignore=np.ones_like(outside) if truth.class_only else outside | unknown,
        class_only=truth.class_only,
    )


def _refuse_check_tiles(store: Store, tiles: NDArray[np.int64]) -> None:
    for tile in map(int, tiles):
        if store.fold(tile) == CHECK_FOLD:
            raise ValueError(
                f"--folds: fold {CHECK_FOLD} of {store.path} is for checking a finished model "
                f"({store.source(tile)}), not for training: choose from {store.folds}"
            )


def _zoom(tile_mpp: float, mpp: float) -> float:
    return mpp / tile_mpp if np.isfinite(tile_mpp) else 1.0


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
