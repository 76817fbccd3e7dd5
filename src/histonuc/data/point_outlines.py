"""Outlines of the nuclei that points mark: found by a model, kept beside the points in the store.

    DATA/outlines/outlines.json               of which store, by which model, checksum of the table
    DATA/outlines/tiles.parquet               where each tile's map is, and the checksum of it
    DATA/outlines/fold1/500x500/instances.npy uint16 (N, H, W): k where the nucleus lies that point
                                              k marks (counted from 1), 0 elsewhere; int32 in a
                                              shard `500x500-int32` of tiles with over 65,535 points
    DATA/outlines/without_nucleus.csv         points that mark nothing which the model found

They are no labels: the store is scored against its points, and outlines by a better model replace
these. Training takes the classes of the points at these pixels, and nothing else of such tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc._version import __version__
from histonuc.data.shards import ShardReader, ShardWriter
from histonuc.data.tables import make_table, read_table, to_arrays
from histonuc.data.writer import move_into_place
from histonuc.files import check_seal, file_sha256, read_json, reading, seal, write_json
from histonuc.nuclei import PointLabels, TileLabels

FOLDER = "outlines"
"""Where they lie in the folder of the store."""
_AGAIN = "run `histonuc prepare outline --overwrite`"

_FORMAT = 1
_FILE = "outlines.json"
_COLUMNS = {"tile": "int32", "shard": "string", "row": "int32", "crc32": "uint32"}


@dataclass(frozen=True, kw_only=True, eq=False)
class PointOutlines:
    """Outlines of a store's points, open for reading.

    Attributes:
        model: facts about the model that found them.
    """

    model: Mapping[str, Any]
    _shards: ShardReader
    _places: Mapping[int, tuple[str, int, int]]  # by tile: shard, row, checksum

    @staticmethod
    def open(store: Path) -> PointOutlines | None:
        """The outlines of a store; None where there are none.

        Args:
            store: folder of the store.

        Raises:
            ValueError: they are damaged, or of another store.
        """
        folder = store / FOLDER
        file = folder / _FILE
        if not file.is_file():
            return None
        record = read_json(file, "outlines of `histonuc prepare outline`")
        if record.get("format") != _FORMAT:
            raise ValueError(f"{file} has format {record.get('format')!r}, not {_FORMAT}: {_AGAIN}")
        check_seal(record, file)
        if record["store_sha256"] != file_sha256(store / "store.json"):
            raise ValueError(f"{file} is of another store than {store}: {_AGAIN}")
        with reading(file, "outlines of `histonuc prepare outline`"):
            columns = to_arrays(read_table(folder / "tiles.parquet", record["sha256"]))
        rows = zip(*(columns[name].tolist() for name in _COLUMNS), strict=True)
        return PointOutlines(
            model=record["model"],
            _shards=ShardReader(folder=folder),
            _places={tile: (shard, row, checksum) for tile, shard, row, checksum in rows},
        )

    def __contains__(self, tile: int) -> bool:
        return tile in self._places

    def labels(self, tile: int, points: PointLabels) -> TileLabels:
        """What a tile with points teaches: classes at the nuclei that points mark, nothing else.

        Args:
            tile: number of the tile.
            points: the points of it.
        """
        shard, row, checksum = self._places[tile]
        instances = self._shards.read(shard, "instances", row, checksum).astype(np.int32)
        return TileLabels(
            instances=instances,
            candidates=np.concatenate([np.zeros(1, np.uint32), points.candidates]),
            ignore=np.ones(instances.shape, bool),
            class_only=True,
        )


def write_outlines(
    store: Path,
    tiles: Iterable[tuple[int, int, NDArray[np.int32]]],
    *,
    draft: Path,
    model: Mapping[str, Any],
) -> None:
    """Write the outlines of a store's points; those that were there are replaced at the end.

    Args:
        store: folder of the store.
        tiles: number and fold of each tile, and int32 (H, W): k where the nucleus of point k lies.
        draft: folder on the same disk to write into, which becomes that of the outlines. It may
            hold further files already.
        model: facts about the model that found them; JSON-able.
    """
    import pyarrow.parquet as pq

    shards: dict[str, ShardWriter] = {}
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    try:
        for tile, fold, instances in tiles:
            key = f"fold{fold}/{instances.shape[0]}x{instances.shape[1]}"
            small = instances.max(initial=0) < 1 << 16
            key, dtype = (key, np.uint16) if small else (f"{key}-int32", np.int32)
            arrays = {"instances": instances.astype(dtype)}
            if key not in shards:
                shards[key] = ShardWriter(draft / key, arrays)
            row, checksums = shards[key].append(arrays)
            for name, value in zip(_COLUMNS, (tile, key, row, checksums["instances"]), strict=True):
                columns[name].append(value)
    finally:
        for shard in shards.values():
            shard.close()
    table = draft / "tiles.parquet"
    pq.write_table(make_table(columns, _COLUMNS), table)
    record = {
        "format": _FORMAT,
        "created_by": f"histonuc {__version__}",
        "model": dict(model),
        "store_sha256": file_sha256(store / "store.json"),
        "sha256": file_sha256(table),
    }
    write_json(seal(record), draft / _FILE)
    move_into_place(draft, store / FOLDER)
