"""What is found of a slide, kept on disk a part at a time: an interrupted run goes on from there.

A part is a run of tiles in one row of the grid. Its file appears whole or not at all, holds nothing
but arrays, and is checked when it is read (zip keeps a checksum of each array): a part is either
right or done again. ``run.json`` beside them says what they are parts of.
"""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from histonuc.files import reading, remove_drafts, replacing, write_text
from histonuc.inference.features import FEATURES
from histonuc.inference.seams import TileNuclei
from histonuc.inference.tiles import Tile
from histonuc.nuclei import Nuclei
from histonuc.slides import RegionError
from histonuc.taxonomy import LabelSpace

log = logging.getLogger(__name__)

PARTS_FOLDER = "parts"
"""Folder of the parts inside a result's folder; gone when the result is complete."""
RUN_FILE = "run.json"
_ARRAYS = (
    *("points", "offsets", "centroid", "class_probabilities", "score", "features", "owned"),
    *("column", "count", "flag", "skipped"),
)
PART_TILES = 32
"""Tiles of a part at most: a few seconds of work, which is what an interruption costs."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Neighbouring tiles of one row that are analysed and kept together.

    Attributes:
        row: of the grid.
        tiles: left to right, at least one.
    """

    row: int
    tiles: tuple[Tile, ...]

    @property
    def name(self) -> str:
        """Of its file, without suffix."""
        return f"part-{self.row:05d}-{self.tiles[0].column:05d}"


@dataclass(frozen=True, kw_only=True, eq=False)
class PartResult:
    """What the analysis of a part gave.

    Attributes:
        tiles: what was found in each tile that was analysed, in order; blank tiles are left out.
        skipped: the regions that could not be read.
    """

    tiles: tuple[TileNuclei, ...]
    skipped: tuple[RegionError, ...] = ()


def make_parts(tiles: Sequence[Tile]) -> list[Part]:
    """Group tiles, which come row by row, into parts."""
    parts: list[list[Tile]] = []
    for tile in tiles:
        if not parts or parts[-1][0].row != tile.row or len(parts[-1]) == PART_TILES:
            parts.append([])
        parts[-1].append(tile)
    return [Part(row=tiles[0].row, tiles=tuple(tiles)) for tiles in parts]


def remove_parts(folder: Path) -> None:
    """Drop the parts of the result in `folder`, if any: it is complete, or to be done again."""
    shutil.rmtree(folder / PARTS_FOLDER, ignore_errors=True)


def read_run(folder: Path) -> dict[str, Any]:
    """The key of the unfinished result in `folder`, see `PartStore.open`; empty without one."""
    try:
        found = json.loads((folder / PARTS_FOLDER / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class PartStore:
    """The finished parts of one result.

    Args:
        folder: of the result.
        label_space: of the nuclei.
        mpp: of the nuclei.
    """

    def __init__(self, folder: Path, label_space: LabelSpace, mpp: float) -> None:
        self._result, self._folder = folder, folder / PARTS_FOLDER
        self._space, self._mpp = label_space, mpp

    def open(self, key: Mapping[str, Any]) -> str:
        """Keep the parts of an earlier run when `key` says they are of the very same; else drop.

        Args:
            key: JSON-able facts of all that the parts depend on.

        Returns:
            What was dropped and why; empty when nothing was.
        """
        wanted = json.loads(json.dumps(dict(key)))
        found = read_run(self._result)
        if found == wanted:
            remove_drafts(self._folder)
            return ""
        reason = ""
        if self._folder.is_dir() and any(self._folder.glob("part-*.npz")):
            changed = sorted(k for k in wanted if found.get(k) != wanted[k])
            reason = (
                "an interrupted run of this input was begun anew: it was made with another "
                f"{', '.join(changed)}"
            )
        shutil.rmtree(self._folder, ignore_errors=True)
        write_text(self._folder / RUN_FILE, json.dumps(wanted, indent=2) + "\n")
        return reason

    def has(self, part: Part) -> bool:
        """Whether a sound file of the whole part is there.

        One that is damaged, or lacks regions that could not be read, is to be done again.
        """
        path = self._path(part)
        if not path.exists():
            return False
        try:
            with reading(path, "part of a prediction"), zipfile.ZipFile(path) as file:
                if damaged := file.testzip():
                    raise ValueError(f"the checksum of {damaged} is wrong")
                if set(file.namelist()) != {f"{name}.npy" for name in _ARRAYS}:
                    raise ValueError(f"it holds {', '.join(file.namelist())}")
                with file.open("skipped.npy") as stream:
                    skipped = np.lib.format.read_array(stream, allow_pickle=False)
                return not json.loads(skipped.tobytes())
        except ValueError as error:
            log.warning("%s: it is done again", error)
            return False

    def save(self, part: Part, result: PartResult) -> None:
        """Write a part; it appears whole or not at all.

        Raises:
            OSError: the disk is full or gone.
        """
        nuclei = Nuclei.concat(
            [
                Nuclei.empty(self._space, self._mpp, FEATURES),
                *(found.nuclei for found in result.tiles),
            ]
        )
        owned = [found.owned for found in result.tiles]
        skipped = [[list(error.box_xyxy), str(error)] for error in result.skipped]
        arrays: dict[str, Any] = {
            "points": nuclei.points,
            "offsets": nuclei.offsets,
            "centroid": nuclei.centroid,
            "class_probabilities": nuclei.class_probabilities,
            "score": nuclei.score,
            "features": np.stack(list(nuclei.features.values()), axis=1),
            "owned": np.concatenate([np.zeros(0, bool), *owned]),
            "column": np.array([found.tile.column for found in result.tiles], np.int64),
            "count": np.array([len(values) for values in owned], np.int64),
            "flag": np.array([found.flag for found in result.tiles], "U16"),
            "skipped": np.frombuffer(json.dumps(skipped).encode(), np.uint8),
        }
        assert tuple(arrays) == _ARRAYS  # else no part would ever be found sound
        with replacing(self._path(part)) as draft, draft.open("wb") as stream:
            np.savez(stream, **arrays)

    def load(self, part: Part) -> PartResult:
        """Read a part that is there."""
        with np.load(self._path(part), allow_pickle=False) as arrays:
            return self._to_result(part, dict(arrays))

    def _to_result(self, part: Part, arrays: dict[str, Any]) -> PartResult:
        nuclei = Nuclei(
            points=arrays["points"],
            offsets=arrays["offsets"],
            centroid=arrays["centroid"],
            class_probabilities=arrays["class_probabilities"],
            score=arrays["score"],
            label_space=self._space,
            mpp=self._mpp,
            features=dict(zip(FEATURES, arrays["features"].T, strict=True)),
        )
        tiles = {tile.column: tile for tile in part.tiles}
        ends = np.cumsum(arrays["count"])
        found = []
        facts = zip(arrays["column"], arrays["count"], ends, arrays["flag"], strict=True)
        for column, count, end, flag in facts:
            rows = np.arange(end - count, end)
            found.append(
                TileNuclei(
                    tile=tiles[int(column)],
                    nuclei=nuclei.select(rows),
                    owned=arrays["owned"][rows],
                    flag=str(flag),
                )
            )
        skipped = json.loads(arrays["skipped"].tobytes())
        return PartResult(
            tiles=tuple(found),
            skipped=tuple(RegionError(reason, tuple(box)) for box, reason in skipped),
        )

    def _path(self, part: Part) -> Path:
        return self._folder / f"{part.name}.npz"
