"""Write a store (layout: `histonuc.data.store`) tile by tile; it appears when all went well."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc._version import __version__
from histonuc.data.records import TileRecord
from histonuc.data.selection import NO_LABELS
from histonuc.data.shards import ShardWriter
from histonuc.data.tables import (
    FORMAT,
    IGNORE_COLUMN,
    NUCLEUS_COLUMNS,
    OVERLAP_COLUMNS,
    POINT_COLUMNS,
    TILE_COLUMNS,
    make_table,
    single_class,
)
from histonuc.files import DRAFT_PREFIX, draft_of, file_sha256, seal
from histonuc.nuclei import PointLabels
from histonuc.taxonomy import LabelSpace

log = logging.getLogger(__name__)

_OVERLAP_ROWS_IN_MEMORY = 1 << 20


class StoreWriter:
    """Context manager that writes into a hidden folder beside `out` and renames it at the end.

    Args:
        out: folder to create.
        label_space: classes of the store.
        source: where the data come from, for store.json.
        overwrite: replace a store that is already there.

    Raises:
        ValueError: something is at `out` already, and it is no store or may not be replaced.
    """

    def __init__(
        self, out: Path, label_space: LabelSpace, *, source: str, overwrite: bool = False
    ) -> None:
        _check_free(out, overwrite)
        self.extra: dict[str, Any] = {}
        """Further JSON-able facts for store.json; fill before the writer closes."""
        self._out = out
        self._temporary = draft_of(out.absolute())
        self._label_space = label_space
        self._source = source
        self._shards: dict[str, ShardWriter] = {}
        self._tiles: dict[str, list[Any]] = {name: [] for name in (*TILE_COLUMNS, *IGNORE_COLUMN)}
        self._nuclei: dict[str, list[NDArray[Any]]] = {name: [] for name in NUCLEUS_COLUMNS}
        self._points: dict[str, list[NDArray[Any]]] = {name: [] for name in POINT_COLUMNS}
        self._overlaps: list[NDArray[Any]] = []  # blocks (k, 5) not yet on disk
        self._overlap_file: Any = None

    def __enter__(self) -> StoreWriter:
        """Make the temporary folder."""
        import pyarrow.parquet as pq

        for stale in self._temporary.parent.glob(f"{DRAFT_PREFIX}*-{self._out.absolute().name}"):
            log.warning("%s is left of an interrupted prepare: delete it if none is running", stale)
        self._temporary.mkdir(parents=True)
        schema = make_table(dict.fromkeys(OVERLAP_COLUMNS, ()), OVERLAP_COLUMNS).schema
        self._overlap_file = pq.ParquetWriter(self._temporary / "overlaps.parquet", schema)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish and rename, or remove what was written."""
        try:
            if kind is None:
                self._finish()
        finally:
            self._overlap_file.close()
            for shard in self._shards.values():
                shard.close()
            shutil.rmtree(self._temporary, ignore_errors=True)

    def add(self, record: TileRecord) -> int:
        """Append one tile and return its number."""
        height, width = record.instances.shape
        num, labels = len(record.types), record.labels
        assert record.image.shape == (height, width, 3), record.image.shape
        assert record.image.dtype == np.uint8, record.image.dtype
        assert labels == "outlines" or num == 0, "only a tile with outlines has nuclei"
        arrays = {"images": record.image}
        if labels == "outlines":
            arrays["instances"] = record.instances.astype(np.int32 if num >= 1 << 16 else np.uint16)
        if labels != NO_LABELS and record.ignore is not None and record.ignore.any():
            arrays["ignore"] = record.ignore.astype(np.uint8)
        key = f"fold{record.fold}/{height}x{width}" + _variant(arrays, labels)
        if key not in self._shards:
            self._shards[key] = ShardWriter(self._temporary / key, arrays)
        tile = len(self._tiles["tile"])
        row, checksums = self._shards[key].append(arrays)
        place = (tile, record.fold, key, row, height, width)
        origin = (record.name, record.tissue, record.source, record.patient, record.mpp)
        known = (num, record.background, labels)
        sums = (checksums.get(name, 0) for name in ("images", "instances", "ignore"))
        values = (*place, *origin, *known, *sums)
        for name, value in zip(self._tiles, values, strict=True):
            self._tiles[name].append(value)
        self._add_nuclei(tile, record)
        self._add_points(tile, record.points)
        self._add_overlaps(tile, record.overlaps)
        return tile

    def _add_nuclei(self, tile: int, record: TileRecord) -> None:
        num = len(record.types)
        columns = {
            "tile": np.full(num, tile),
            "instance": np.arange(1, num + 1),
            "type": record.types,
            "candidates": record.candidates,
            "original_id": record.original_ids,
            "channel": record.channels,
            **_geometry(record.instances, num),
        }
        for name, parts in self._nuclei.items():
            assert len(columns[name]) == num, (name, len(columns[name]), num)
            parts.append(np.asarray(columns[name]))

    def _add_points(self, tile: int, points: PointLabels | None) -> None:
        if points is None:
            return
        columns = {
            "tile": np.full(len(points), tile),
            "type": single_class(points.candidates),
            "candidates": points.candidates,
            "x": points.position[:, 0],
            "y": points.position[:, 1],
        }
        for name, parts in self._points.items():
            parts.append(columns[name])

    def _add_overlaps(self, tile: int, overlaps: NDArray[np.integer]) -> None:
        if len(overlaps):
            self._overlaps.append(np.insert(overlaps.astype(np.int64), 0, tile, axis=1))
        if sum(map(len, self._overlaps)) > _OVERLAP_ROWS_IN_MEMORY:
            self._flush_overlaps()

    def _flush_overlaps(self) -> None:
        if self._overlaps:
            rows = np.concatenate(self._overlaps)
            columns = dict(zip(OVERLAP_COLUMNS, rows.T, strict=True))
            self._overlap_file.write_table(make_table(columns, OVERLAP_COLUMNS))
            self._overlaps = []

    def _finish(self) -> None:
        for shard in self._shards.values():
            shard.close()
        self._flush_overlaps()
        self._overlap_file.close()
        further = IGNORE_COLUMN if any(self._tiles["ignore_crc32"]) else {}
        self._write_table("tiles", self._tiles, {**TILE_COLUMNS, **further})
        self._write_table("nuclei", _join_columns(self._nuclei), NUCLEUS_COLUMNS)
        self._write_table("points", _join_columns(self._points), POINT_COLUMNS)
        tables = sorted(self._temporary.glob("*.parquet"))
        description = {
            "format": FORMAT,
            "label_space": self._label_space.to_dict(),
            "source": self._source,
            "folds": sorted(set(self._tiles["fold"])),
            "created_by": f"histonuc {__version__}",
            "sha256": {path.name: file_sha256(path) for path in tables},
            **self.extra,
        }
        text = json.dumps(seal(description), indent=2) + "\n"
        (self._temporary / "store.json").write_text(text, encoding="utf-8")
        move_into_place(self._temporary, self._out)

    def _write_table(
        self, name: str, columns: Mapping[str, Any], schema: Mapping[str, str]
    ) -> None:
        import pyarrow.parquet as pq

        pq.write_table(make_table(columns, schema), self._temporary / f"{name}.parquet")


def _join_columns(
    columns: Mapping[str, list[NDArray[Any]]],
) -> dict[str, NDArray[Any] | tuple[()]]:
    return {name: np.concatenate(parts) if parts else () for name, parts in columns.items()}


def _variant(arrays: Mapping[str, NDArray[Any]], labels: str) -> str:
    """What the name of a shard says behind the size of its tiles."""
    further = "-ignore" if "ignore" in arrays else ""
    if labels == NO_LABELS:
        return "-unlabelled"
    if "instances" not in arrays:
        return f"-points{further}"
    return f"-int32{further}" if arrays["instances"].dtype == np.int32 else further


def _check_free(out: Path, overwrite: bool) -> None:
    if out.is_dir() and not any(out.iterdir()):
        return
    if out.exists() and not (out / "store.json").is_file():
        raise ValueError(f"--out {out} exists and is no store: choose another place")
    if out.exists() and not overwrite:
        raise ValueError(f"--out {out} exists already: choose another place or give --overwrite")


def move_into_place(temporary: Path, out: Path) -> None:
    """Rename; a store that was there stays until its successor has its place."""
    old = temporary.with_name(temporary.name.replace(".writing-", ".replaced-"))
    if out.exists():
        os.replace(out, old)
    try:
        os.replace(temporary, out)
    except OSError:
        if old.exists():
            os.replace(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _geometry(instances: NDArray[np.integer], num: int) -> dict[str, NDArray[Any]]:
    """Area, mean pixel centre and half-open box of every instance 1..num."""
    height, width = instances.shape
    flat = instances.ravel()
    pixels = np.flatnonzero(flat)
    ids = flat[pixels].astype(np.int64) - 1
    ys, xs = np.divmod(pixels, width)
    area = np.bincount(ids, minlength=num)
    assert len(area) == num, (len(area), num)
    assert num == 0 or area.min() > 0, "every id must be present"
    low = np.full((2, num), max(height, width))
    high = np.zeros((2, num), np.int64)
    for axis, values in enumerate((xs, ys)):
        np.minimum.at(low[axis], ids, values)
        np.maximum.at(high[axis], ids, values + 1)
    return {
        "area_px": area,
        "x": np.bincount(ids, xs, minlength=num) / area + 0.5,
        "y": np.bincount(ids, ys, minlength=num) / area + 0.5,
        "x_min": low[0],
        "y_min": low[1],
        "x_max": high[0],
        "y_max": high[1],
    }
