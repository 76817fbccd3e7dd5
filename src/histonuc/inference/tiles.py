"""Tiles: half-open cores do not overlap, the windows around them do.

Neighbouring tiles of one row form a part, which is analysed and stored together. Where the tiles
lie is told by `histonuc.inference.windows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from histonuc.nuclei import Nuclei

PART_TILES = 32
"""Largest number of tiles in a part: a few seconds of work, which is what an interruption costs."""
TileStatus = Literal["found", "blank", "unreadable", "out of focus"]
"""What came of a tile: its nuclei were looked for, it shows nothing at all, it could not be read,
or it is so far out of focus that no nuclei were looked for."""


class Box(NamedTuple):
    """Half-open box in level-0 pixels: ``x0 <= x < x1``, ``y0 <= y < y1``."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.x1 - self.x0, self.y1 - self.y0

    def overlaps(self, other: Box) -> bool:
        """Whether any pixel lies in both."""
        along_x = self.x0 < other.x1 and other.x0 < self.x1
        return along_x and self.y0 < other.y1 and other.y0 < self.y1


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One forward pass worth of slide.

    Attributes:
        row: number of its row of tiles, from the top.
        column: number of the tile in its row, from the left.
        core: the part it owns, in which no other tile's lies.
        window: what is read: the core and a margin.
        input_px: width and height of the network's input for the window.
        alone: a part of the window that no other window touches; may be empty (x1 <= x0).
    """

    row: int
    column: int
    core: Box
    window: Box
    input_px: tuple[int, int]
    alone: Box


@dataclass(frozen=True, kw_only=True, eq=False)
class TileResult:
    """What came of one tile.

    Attributes:
        tile: which one.
        status: see `TileStatus`.
        nuclei: n nuclei in level-0 pixels that may concern the result; none unless `status` is
            "found".
        owned: bool (n,), whether the centroid lies in the tile's core; the others lie in the band
            around it.
        flag: what is unlike H&E about its image, see `inference.quality`; empty when nothing is.
        reason: why it could not be read; empty when it could.
    """

    tile: Tile
    status: TileStatus
    nuclei: Nuclei
    owned: NDArray[np.bool_]
    flag: str = ""
    reason: str = ""

    @property
    def is_analysed(self) -> bool:
        """Whether its core was looked at, so that no neighbour has to speak for it."""
        return self.status in ("found", "out of focus")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Neighbouring tiles of one row that are analysed and stored together.

    Attributes:
        row: number of its row of tiles.
        tiles: left to right, at least one.
    """

    row: int
    tiles: tuple[Tile, ...]

    @property
    def name(self) -> str:
        """Name of its file, without suffix."""
        return f"part-{self.row:05d}-{self.tiles[0].column:05d}"


def make_parts(tiles: Sequence[Tile]) -> list[Part]:
    """Group tiles, which come row by row, into parts of at most `PART_TILES` of one row."""
    parts: list[list[Tile]] = []
    for tile in tiles:
        if not parts or parts[-1][0].row != tile.row or len(parts[-1]) == PART_TILES:
            parts.append([])
        parts[-1].append(tile)
    return [Part(row=tiles[0].row, tiles=tuple(tiles)) for tiles in parts]
