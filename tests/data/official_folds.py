"""Small folds in PanNuke's official layout, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from histonuc.data.store import Store
from histonuc.taxonomy import TISSUES

SIDE = 16


def draw_mask(seed: int, dtype: Any = np.float64) -> np.ndarray:
    """Overlapping blocks with ids that repeat across channels and reach above 255."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((SIDE, SIDE, 6), dtype)
    for _ in range(rng.integers(1, 8)):
        y, x = rng.integers(0, SIDE - 3, 2)
        mask[y : y + 4, x : x + 3, rng.integers(5)] = rng.choice([1, 2, 3, 90, 120])
    mask[..., 5] = (mask[..., :5] == 0).all(-1)
    return mask


def draw_fold(seed: int, tiles: int = 3, dtype: Any = np.float64) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "images": rng.integers(0, 256, (tiles, SIDE, SIDE, 3)).astype(dtype),
        "masks": np.stack([draw_mask(seed * 100 + i, dtype) for i in range(tiles)]),
        "types": np.array([TISSUES[(seed + i) % 19] for i in range(tiles)], "<U13"),
    }


FLAT = ("fold{k}/images.npy", "fold{k}/masks.npy", "fold{k}/types.npy")

LAYOUT_OF_SYNTH = {
    "images": "Fold {k}/images/fold{k}/images.npy",
    "masks": "Fold {k}/masks/fold{k}/masks.npy",
    "types": "Fold {k}/images/fold{k}/types.npy",
}


def write_fold(
    raw: Path, number: int, arrays: dict[str, np.ndarray], layout: tuple[str, ...] = FLAT
) -> None:
    names = zip(("images", "masks", "types"), layout, strict=True)
    for name, pattern in names:
        path = raw / pattern.format(k=number)
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in arrays:
            np.save(path, arrays[name])


def assert_holds(store: Store, fold: int, arrays: dict[str, np.ndarray]) -> None:
    """The store gives back the fold bit for bit."""
    tiles = store.select([fold])
    assert len(tiles) == len(arrays["masks"])
    for i, tile in enumerate(tiles):
        mask = store.official_mask(int(tile))
        assert mask.dtype == arrays["masks"].dtype
        assert mask.tobytes() == arrays["masks"][i].tobytes()
        assert np.array_equal(store.image(int(tile)), arrays["images"][i])
