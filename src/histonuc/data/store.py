"""The store: memory-mapped images and instance maps, and tables of tiles and nuclei.

    DATA/store.json                     format, label space, folds, source
    DATA/fold1/256x256/images.npy       uint8 (N, H, W, 3)
    DATA/fold1/256x256/instances.npy    uint16 (N, H, W), 0 = background, 1..n; int32 in a shard
                                        `256x256-int32` where a tile has over 65,535 nuclei
    DATA/tiles.parquet                  one row a tile
    DATA/nuclei.parquet                 one row a visible nucleus, sorted by tile and instance
    DATA/overlaps.parquet               mask pixels that the flat map and the nuclei cannot say

Official masks have one channel a class and may overlap; the flat map lets the later channel win, as
the official `binarize` does. `Store.official_mask` paints every visible nucleus into its channel
with its official id, derives the background channel, and then applies the overlap pixels: what
comes out equals what went in, bit for bit. A nucleus that later channels hide wholly has no row in
nuclei.parquet; its pixels are all among the overlaps.

Columns: `histonuc.data.tables`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.data.flatten import find_covered, paint_official_mask
from histonuc.data.tables import (
    FORMAT,
    NUCLEUS_COLUMNS,
    OVERLAP_COLUMNS,
    TILE_COLUMNS,
    read_table,
    to_arrays,
)
from histonuc.data.writer import StoreWriter, TileRecord
from histonuc.files import reading
from histonuc.nuclei import CoveredPixels, TileLabels
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Store", "StoreWriter", "TileRecord"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Store:
    """A prepared data set, open for reading; nothing is loaded before it is asked for.

    Attributes:
        path: its folder.
        label_space: its classes.
        description: the content of store.json.
    """

    path: Path
    label_space: LabelSpace
    description: Mapping[str, Any]
    _shards: dict[tuple[str, str], NDArray[Any]] = field(default_factory=dict, repr=False)

    @staticmethod
    def open(path: str | Path) -> Store:
        """Open a store.

        Raises:
            ValueError: no store there, or of a format this version does not read.
        """
        path = Path(path)
        file = path / "store.json"
        if not file.is_file():
            raise ValueError(
                f"{path} is no store (no store.json): make one with "
                f"`histonuc prepare pannuke RAW --out {path}` or `histonuc prepare folder`"
            )
        with reading(file, "description of a store"):
            description = json.loads(file.read_text())
            if description["format"] != FORMAT:
                raise ValueError(
                    f"{file} states store format {description['format']!r}, this version reads "
                    f"{FORMAT}: prepare it again"
                )
            return Store(
                path=path,
                label_space=LabelSpace.from_dict(description["label_space"]),
                description=description | {"folds": [int(fold) for fold in description["folds"]]},
            )

    def __len__(self) -> int:
        return int(self.tiles.num_rows)

    @property
    def folds(self) -> list[int]:
        """Numbers of the folds."""
        return list(self.description["folds"])

    @cached_property
    def tiles(self) -> pa.Table:
        """Table of tiles, columns `TILE_COLUMNS`."""
        return read_table(self.path / "tiles.parquet", TILE_COLUMNS)

    @cached_property
    def nuclei(self) -> pa.Table:
        """Table of visible nuclei, columns `NUCLEUS_COLUMNS`, sorted by tile and instance."""
        return read_table(self.path / "nuclei.parquet", NUCLEUS_COLUMNS)

    def select(
        self, folds: Sequence[int] | None = None, sources: Sequence[str] | None = None
    ) -> NDArray[np.int64]:
        """Numbers of the tiles of some folds and data sets, ascending; None takes all.

        Raises:
            ValueError: a fold or data set that is not there, or no tile is left.
        """
        keep = np.ones(len(self), bool)
        for column, wanted, flag in (("fold", folds, "--folds"), ("source", sources, "--sources")):
            if wanted is None:
                continue
            values = self._tile_columns[column]
            known = np.unique(values.astype(str) if column == "source" else values).tolist()
            unknown = [value for value in wanted if value not in known]
            if unknown:
                raise ValueError(f"{flag}: {self.path} has no {unknown}; it has {known}")
            keep &= np.isin(values, np.asarray(wanted, values.dtype))
        if not keep.any():
            raise ValueError(f"no tile in {self.path} is of folds {folds} and sources {sources}")
        return np.flatnonzero(keep)

    def image(self, tile: int) -> NDArray[np.uint8]:
        """RGB image (H, W, 3), a read-only view of the memory map."""
        return self._shard_row("images", tile)

    def instances(self, tile: int) -> NDArray[np.int32]:
        """Instance map int32 (H, W), a copy."""
        return self._shard_row("instances", tile).astype(np.int32)

    def types(self, tile: int) -> NDArray[np.int32]:
        """Class + 1 by instance id (n + 1,); 0 = background or unknown."""
        return self._by_instance("type", tile).astype(np.int32)

    def covered(self, tile: int) -> CoveredPixels | None:
        """Official nuclear pixels that the instance map cannot show; None where it shows all."""
        overlaps = self._overlaps(tile)
        if len(overlaps) == 0:
            return None
        return find_covered(
            overlaps,
            self._by_instance("channel", tile),
            self._by_instance("original_id", tile),
            self.types(tile),
            num_classes=len(self.label_space),
            width=int(self._tile_columns["width"][tile]),
        )

    def candidates(self, tile: int) -> NDArray[np.uint32]:
        """Candidate set by instance id (n + 1,); entry 0 (background) is 0."""
        return self._by_instance("candidates", tile)

    def labels(self, tile: int) -> TileLabels:
        """Truth as `encode` takes it; nothing is ignored."""
        instances = self.instances(tile)
        return TileLabels(
            instances=instances,
            candidates=self.candidates(tile),
            ignore=np.zeros(instances.shape, bool),
        )

    def tissue(self, tile: int) -> str:
        """Tissue, official spelling where it is one of the nineteen."""
        return str(self._tile_columns["tissue"][tile])

    def source(self, tile: int) -> str:
        """Data set the tile comes from."""
        return str(self._tile_columns["source"][tile])

    def name(self, tile: int) -> str:
        """Name of the tile in its source."""
        return str(self._tile_columns["name"][tile])

    def mpp(self, tile: int) -> float:
        """Microns per pixel, NaN where unknown."""
        return float(self._tile_columns["mpp"][tile])

    def class_counts(self, tiles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Visible nuclei of known class (len(tiles), C) of every tile and class."""
        columns = self._nucleus_columns
        counts = np.zeros((len(self), len(self.label_space) + 1), np.int64)
        np.add.at(counts, (columns["tile"], columns["type"]), 1)
        return counts[tiles, 1:]

    def official_mask(self, tile: int) -> NDArray[Any]:
        """The official mask (H, W, C + 1) of the tile as it was read, dtype included.

        Raises:
            ValueError: the store was not made from official folds.
        """
        dtypes = self.description.get("mask_dtypes")
        if dtypes is None:
            raise ValueError(f"{self.path} was not made from official folds: no masks to rebuild")
        instances = self.instances(tile)
        mask = paint_official_mask(
            instances,
            self._by_instance("channel", tile),
            self._by_instance("original_id", tile),
            self._overlaps(tile),
            background=int(self._tile_columns["background"][tile]),
            num_classes=len(self.label_space),
        )
        return mask.astype(np.dtype(dtypes[str(self._tile_columns["fold"][tile])]))

    def _overlaps(self, tile: int) -> NDArray[np.int64]:
        """Rows (k, 4) of the overlaps: y, x, channel, value."""
        start, stop = self._overlap_offsets[tile : tile + 2]
        names = ("y", "x", "channel", "value")
        columns = [self._overlap_columns[name][start:stop] for name in names]
        return np.stack(columns, axis=1).astype(np.int64)

    def _by_instance(self, column: str, tile: int) -> NDArray[Any]:
        """A nucleus column indexed by instance id, entry 0 = 0."""
        start, stop = self._nucleus_offsets[tile : tile + 2]
        values = self._nucleus_columns[column][start:stop]
        return np.concatenate([np.zeros(1, values.dtype), values])

    def _shard_row(self, name: str, tile: int) -> NDArray[Any]:
        if not 0 <= tile < len(self):
            raise ValueError(f"tile {tile}: {self.path} has tiles 0..{len(self) - 1}")
        shard = str(self._tile_columns["shard"][tile])
        if (name, shard) not in self._shards:
            file = self.path / shard / f"{name}.npy"
            try:
                mapped = np.load(file, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise ValueError(f"{file} is damaged ({error}): prepare the store again") from None
            self._shards[name, shard] = np.asarray(mapped)
        row: NDArray[Any] = self._shards[name, shard][self._tile_columns["row"][tile]]
        return row

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process as a path: a pickled memory map would carry the whole file."""
        return Store.open, (self.path,)

    @cached_property
    def _tile_columns(self) -> dict[str, NDArray[Any]]:
        return to_arrays(self.tiles)

    @cached_property
    def _nucleus_columns(self) -> dict[str, NDArray[Any]]:
        return to_arrays(self.nuclei)

    @cached_property
    def _overlap_columns(self) -> dict[str, NDArray[Any]]:
        return to_arrays(read_table(self.path / "overlaps.parquet", OVERLAP_COLUMNS))

    @cached_property
    def _nucleus_offsets(self) -> NDArray[np.int64]:
        return np.searchsorted(self._nucleus_columns["tile"], np.arange(len(self) + 1))

    @cached_property
    def _overlap_offsets(self) -> NDArray[np.int64]:
        return np.searchsorted(self._overlap_columns["tile"], np.arange(len(self) + 1))
