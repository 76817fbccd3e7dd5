"""The store: memory-mapped images and instance maps, and tables of tiles and nuclei.

    DATA/store.json                     format, label space, folds, source, checksums of the tables
    DATA/fold1/256x256/images.npy       uint8 (N, H, W, 3)
    DATA/fold1/256x256/instances.npy    uint16 (N, H, W), 0 = background, 1..n; int32 in a shard
                                        `256x256-int32` where a tile has over 65,535 nuclei; none
                                        in a shard `256x256-points` of tiles without outlines, nor
                                        in `512x512-unlabelled` of tiles in which nothing is known
    DATA/fold1/256x256-ignore/ignore.npy  uint8 (N, H, W), 1 where it is not known what is there
    DATA/tiles.parquet                  one row a tile, with checksums of its image and its map
    DATA/nuclei.parquet                 one row a visible nucleus, sorted by tile and instance
    DATA/points.parquet                 one row a point that marks a nucleus without outline
    DATA/outlines/                      what a model outlines there: histonuc.data.point_outlines
    DATA/overlaps.parquet               mask pixels that the flat map and the nuclei cannot say

Fold 0 holds what is for checking only: training refuses it. Checksums of tables are compared when
they are read, those of arrays when a tile is first read: a flipped bit never becomes a label.

How official masks come back bit for bit: `histonuc.data.flatten`. Columns: `histonuc.data.tables`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.data.flatten import find_covered, paint_official_mask
from histonuc.data.point_outlines import PointOutlines
from histonuc.data.records import TileRecord
from histonuc.data.selection import NO_LABELS, LabelKind, select_tiles, select_unlabelled
from histonuc.data.shards import ShardReader
from histonuc.data.tables import FORMAT, find_rows, read_table, single_class, to_arrays
from histonuc.data.writer import StoreWriter
from histonuc.files import is_sealed, reading
from histonuc.nuclei import CoveredPixels, PointLabels, TileLabels
from histonuc.taxonomy import PANNUKE, LabelSpace, translate

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Store", "StoreWriter", "TileRecord"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Store:
    """A prepared data set, open for reading; nothing is loaded before it is asked for.

    Attributes:
        path: folder of the store.
        label_space: classes of the store.
        description: content of store.json.
    """

    path: Path
    label_space: LabelSpace
    description: Mapping[str, Any]

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
            if not is_sealed(description):
                raise ValueError(f"{file} is not as it was written: prepare the store again")
            return Store(
                path=path,
                label_space=LabelSpace.from_dict(description["label_space"]),
                description=description | {"folds": [int(fold) for fold in description["folds"]]},
            )

    def __len__(self) -> int:
        return int(self.tiles.num_rows)

    @property
    def folds(self) -> list[int]:
        """Numbers of the folds, without 0."""
        return [fold for fold in self.description["folds"] if fold > 0]

    @cached_property
    def tiles(self) -> pa.Table:
        """Table of tiles, columns `TILE_COLUMNS`."""
        return self._read_table("tiles")

    @cached_property
    def nuclei(self) -> pa.Table:
        """Table of visible nuclei, columns `NUCLEUS_COLUMNS`, sorted by tile and instance."""
        return self._read_table("nuclei")

    def select(
        self,
        folds: Sequence[int] | None = None,
        sources: Sequence[str] | None = None,
        *,
        labels: LabelKind | None = "outlines",
    ) -> NDArray[np.int64]:
        """Numbers of the tiles with labels of some folds and data sets, ascending.

        Args:
            folds: their numbers; None takes all from 1 on, and not 0.
            sources: names of the data sets; None takes all.
            labels: what the tiles must have; others are left out, and it is said. None takes
                outlines and points.

        Raises:
            ValueError: a fold or data set that is not there, or no tile is left.
        """
        return select_tiles(self._tile_columns, folds, sources, labels, origin=self.path)

    def select_unlabelled(
        self, folds: Sequence[int] | None = None, sources: Sequence[str] | None = None
    ) -> NDArray[np.int64]:
        """As `select`, the tiles in which nothing is known; there may be none."""
        return select_unlabelled(self._tile_columns, folds, sources, origin=self.path)

    def image(self, tile: int) -> NDArray[np.uint8]:
        """RGB image (H, W, 3), a read-only view of the memory map."""
        return self._read("images", tile, "image_crc32")

    def size(self, tile: int) -> tuple[int, int]:
        """Height and width of a tile in pixels, without reading it."""
        return int(self._tile_columns["height"][tile]), int(self._tile_columns["width"][tile])

    def label_kinds(self, tiles: NDArray[np.int64]) -> NDArray[Any]:
        """What tiles (n,) have, each a `LabelKind`."""
        return np.asarray(self._tile_columns["labels"][tiles])

    def has_outlines(self, tile: int) -> bool:
        """Whether the nuclei of a tile are outlined; else points mark some, or nothing does."""
        return str(self._tile_columns["labels"][tile]) == "outlines"

    def is_sparse(self, tile: int) -> bool:
        """Whether points mark some of the nuclei of a tile only."""
        return str(self._tile_columns["labels"][tile]) == "sparse points"

    def has_labels(self, tile: int) -> bool:
        """Whether something is known of a tile."""
        return str(self._tile_columns["labels"][tile]) != NO_LABELS

    def instances(self, tile: int) -> NDArray[np.int32]:
        """Instance map int32 (H, W), a copy.

        Raises:
            ValueError: the tile has no outlines: nothing is known of its pixels.
        """
        if not self.has_outlines(tile):
            has = "points and no outlines" if self.has_labels(tile) else "no labels"
            raise ValueError(
                f"tile {tile} of {self.path} ({self.source(tile)} {self.name(tile)}) has "
                f"{has}: its pixels are neither nucleus nor background"
            )
        return self._read("instances", tile, "instances_crc32").astype(np.int32)

    def ignore(self, tile: int) -> NDArray[np.bool_]:
        """Mask (H, W), True where neither nuclei nor background are known; a copy."""
        if not self.has_labels(tile):
            return np.ones(self.size(tile), bool)
        if "-ignore" not in str(self._tile_columns["shard"][tile]):
            return np.zeros(self.size(tile), bool)
        return self._read("ignore", tile, "ignore_crc32").astype(bool)

    def points(self, tile: int) -> PointLabels:
        """Points that mark nuclei of a tile; none where it has outlines."""
        rows = find_rows(self._point_columns, tile)
        x, y, candidates = (self._point_columns[name][rows] for name in ("x", "y", "candidates"))
        return PointLabels(position=np.stack([x, y], axis=1), candidates=candidates)

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
            self._channel_types,
            width=self.size(tile)[1],
        )

    def candidates(self, tile: int) -> NDArray[np.uint32]:
        """Candidate set by instance id (n + 1,); entry 0 (background) is 0."""
        return self._by_instance("candidates", tile)

    def labels(self, tile: int) -> TileLabels:
        """Truth as `encode` takes it; of points the classes of what a model outlined there.

        Where nothing is known there are no nuclei, and `ignore` is True everywhere.

        Raises:
            ValueError: the tile has points, and no model outlined what they mark.
        """
        if self.point_outlines is not None and tile in self.point_outlines:
            return self.point_outlines.labels(tile, self.points(tile))
        if self.has_labels(tile):
            instances = self.instances(tile)
        else:
            instances = np.zeros(self.size(tile), np.int32)
        candidates, ignore = self.candidates(tile), self.ignore(tile)
        return TileLabels(instances=instances, candidates=candidates, ignore=ignore)

    def tissue(self, tile: int) -> str:
        """Tissue, official spelling where it is one of the nineteen."""
        return str(self._tile_columns["tissue"][tile])

    def source(self, tile: int) -> str:
        """Name of the data set that the tile comes from."""
        return str(self._tile_columns["source"][tile])

    def name(self, tile: int) -> str:
        """Name of the tile in its source."""
        return str(self._tile_columns["name"][tile])

    def fold(self, tile: int) -> int:
        """Number of the tile's fold; 0 for what no training may take."""
        return int(self._tile_columns["fold"][tile])

    def mpp(self, tile: int) -> float:
        """Microns per pixel, NaN where unknown."""
        return float(self._tile_columns["mpp"][tile])

    def class_counts(self, tiles: NDArray[np.int64], *, points: bool = False) -> NDArray[np.int64]:
        """Visible nuclei of known class (len(tiles), C), with or without those that points mark."""
        tables = [self._nucleus_columns, *([self._point_columns] if points else [])]
        counts = np.zeros((len(self), len(self.label_space) + 1), np.int64)
        for columns in tables:
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
            num_classes=len(PANNUKE),
        )
        return mask.astype(np.dtype(dtypes[str(self._tile_columns["fold"][tile])]))

    def _overlaps(self, tile: int) -> NDArray[np.int64]:
        """Rows (k, 4) of the overlaps: y, x, channel, value."""
        columns, rows = self._overlap_columns, find_rows(self._overlap_columns, tile)
        names = ("y", "x", "channel", "value")
        return np.stack([columns[name][rows] for name in names], axis=1).astype(np.int64)

    def _by_instance(self, column: str, tile: int) -> NDArray[Any]:
        """A nucleus column indexed by instance id, entry 0 = 0."""
        values = self._nucleus_columns[column][find_rows(self._nucleus_columns, tile)]
        return np.concatenate([np.zeros(1, values.dtype), values])

    def _read(self, name: str, tile: int, checksum: str) -> NDArray[Any]:
        if not 0 <= tile < len(self):
            raise ValueError(f"tile {tile}: {self.path} has tiles 0..{len(self) - 1}")
        columns = self._tile_columns
        shard, row = str(columns["shard"][tile]), int(columns["row"][tile])
        return self._shards.read(shard, name, row, int(columns[checksum][tile]))

    def _read_table(self, name: str) -> pa.Table:
        path = self.path / f"{name}.parquet"
        return read_table(path, self.description["sha256"].get(path.name, ""))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process as a path: a pickled memory map would carry the whole file."""
        return Store.open, (self.path,)

    @cached_property
    def point_outlines(self) -> PointOutlines | None:
        """What a model outlined where points mark nuclei; None where none did."""
        return PointOutlines.open(self.path)

    @cached_property
    def _shards(self) -> ShardReader:
        return ShardReader(folder=self.path)

    @cached_property
    def _channel_types(self) -> NDArray[np.int32]:
        """Class + 1 in this store of each channel of official masks; 0 where it is not known."""
        sets = [translate([name], self.label_space) for name in PANNUKE.classes]
        return single_class(np.array(sets)).astype(np.int32)

    @cached_property
    def _tile_columns(self) -> dict[str, NDArray[Any]]:
        return to_arrays(self.tiles)

    @cached_property
    def _nucleus_columns(self) -> dict[str, NDArray[Any]]:
        return to_arrays(self.nuclei)

    @cached_property
    def _overlap_columns(self) -> dict[str, NDArray[Any]]:
        return to_arrays(self._read_table("overlaps"))

    @cached_property
    def _point_columns(self) -> dict[str, NDArray[Any]]:
        return to_arrays(self._read_table("points"))
