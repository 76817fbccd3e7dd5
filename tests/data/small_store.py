"""Small stores, written tile by tile, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from histonuc.data.store import Store, StoreWriter, TileRecord
from histonuc.taxonomy import PANNUKE


def record(
    instances: Any = ((0, 0, 0, 0), (0, 1, 1, 0), (0, 1, 2, 2)),
    types: Any = (1, 5),
    *,
    fold: int = 1,
    **changes: Any,
) -> TileRecord:
    instances = np.asarray(instances, np.int32)
    types = np.asarray(types, np.int64)
    height, width = instances.shape
    values: dict[str, Any] = {
        "image": np.arange(height * width * 3).reshape(height, width, 3).astype(np.uint8),
        "instances": instances,
        "types": types,
        "candidates": np.where(types > 0, 1 << np.maximum(types - 1, 0), PANNUKE.any_class),
        "original_ids": np.arange(len(types)) * 10 + 7,
        "channels": np.full(len(types), -1),
        "fold": fold,
        "name": "tile",
        "tissue": "Colon",
        "source": "test",
        "mpp": 0.25,
    }
    return TileRecord(**(values | changes))


def write(out: Path, *records: TileRecord, overwrite: bool = False) -> Store:
    with StoreWriter(out, PANNUKE, source="test", overwrite=overwrite) as writer:
        for item in records:
            writer.add(item)
    return Store.open(out)


EMPTY = record(np.zeros((3, 4)), (), name="empty")
