"""Tiles: half-open cores partition the slide, windows of one size around them overlap.

Every window lies inside the slide (unless the slide is smaller), and they are spread evenly, so
neighbouring windows overlap by at least twice the margin. The border between two cores runs
through the middle of their windows' overlap. Neighbouring tiles of one row form a part, which is
analysed and stored together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One forward pass worth of slide.

    Attributes:
        column, row: place in the grid.
        core: the part it owns.
        window: what is read: the core and a halo.
        alone: the part of the window that no other window touches; may be empty (x1 <= x0).
    """

    column: int
    row: int
    core: Box
    window: Box
    alone: Box


@dataclass(frozen=True, kw_only=True)
class View:
    """The part of a tile's window that the network sees.

    Attributes:
        box: where it lies, in level-0 pixels.
        input_px: width and height of the network's input for it.
    """

    box: Box
    input_px: tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class TileResult:
    """What came of one tile.

    Attributes:
        tile: which one.
        view: what was read of it.
        status: see `TileStatus`.
        nuclei: n nuclei in level-0 pixels that may concern the result; none unless `status` is
            "found".
        owned: bool (n,), whether the centroid lies in the tile's core; the others lie in the band
            around it.
        flag: what is unlike H&E about its image, see `inference.quality`; empty when nothing is.
        reason: why it could not be read; empty when it could.
    """

    tile: Tile
    view: View
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
        row: of the grid.
        tiles: left to right, at least one.
    """

    row: int
    tiles: tuple[Tile, ...]

    @property
    def name(self) -> str:
        """Name of its file, without suffix."""
        return f"part-{self.row:05d}-{self.tiles[0].column:05d}"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All tiles of a slide.

    Attributes:
        columns, rows: number of tiles across and down.
        window_size: width and height of every window in level-0 pixels.
    """

    columns: tuple[_Span, ...]
    rows: tuple[_Span, ...]
    window_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.columns) * len(self.rows)

    def __iter__(self) -> Iterator[Tile]:
        for j, row in enumerate(self.rows):
            for i, column in enumerate(self.columns):
                yield Tile(
                    column=i,
                    row=j,
                    core=Box(column.core[0], row.core[0], column.core[1], row.core[1]),
                    window=Box(column.window[0], row.window[0], column.window[1], row.window[1]),
                    alone=Box(column.alone[0], row.alone[0], column.alone[1], row.alone[1]),
                )


class _Span(NamedTuple):
    core: tuple[int, int]
    window: tuple[int, int]
    alone: tuple[int, int]


def make_parts(tiles: Sequence[Tile]) -> list[Part]:
    """Group tiles, which come row by row, into parts of at most `PART_TILES` of one row."""
    parts: list[list[Tile]] = []
    for tile in tiles:
        if not parts or parts[-1][0].row != tile.row or len(parts[-1]) == PART_TILES:
            parts.append([])
        parts[-1].append(tile)
    return [Part(row=tiles[0].row, tiles=tuple(tiles)) for tiles in parts]


def make_grid(size: tuple[int, int], window_px: tuple[int, int], margin_px: int) -> Grid:
    """Cover a slide with tiles.

    Args:
        size: width and height of the slide in level-0 pixels.
        window_px: width and height of a window in level-0 pixels; less where the slide is smaller.
        margin_px: least distance from a core's inner borders to its window's, in level-0 pixels.

    Raises:
        ValueError: windows too small for their margins.
    """
    if margin_px < 0 or min(window_px) <= 2 * margin_px:
        raise ValueError(
            f"tiles of {min(window_px)} level-0 pixels leave nothing between margins of "
            f"{margin_px}: raise --tile-px or lower --margin-um"
        )
    width, height = size
    return Grid(
        columns=_spans(width, window_px[0], margin_px),
        rows=_spans(height, window_px[1], margin_px),
        window_size=(min(width, window_px[0]), min(height, window_px[1])),
    )


def _spans(length: int, window: int, margin: int) -> tuple[_Span, ...]:
    window = min(length, window)
    num = max(1, math.ceil((length - 2 * margin) / max(window - 2 * margin, 1)))
    if window == length:
        num = 1
    steps = max(num - 1, 1)
    starts = [i * (length - window) // steps for i in range(num)]
    ends = [start + window for start in starts]
    seams = [0, *((ends[i] + starts[i + 1]) // 2 for i in range(num - 1)), length]
    before, after = [0, *ends[:-1]], [*starts[1:], length]
    return tuple(
        _Span(core=(seams[i], seams[i + 1]), window=(starts[i], ends[i]), alone=alone)
        for i, alone in enumerate(zip(before, after, strict=True))
    )
