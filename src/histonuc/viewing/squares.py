"""Nuclei by squares of the slide, as compact buffers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from histonuc.viewing.columns import Column
from histonuc.viewing.errors import RequestError
from histonuc.viewing.kernels import FIXED, FIXED_BITS, simplify_rings
from histonuc.viewing.table import NucleusTable
from histonuc.viewing.wire import pack

SMALLEST_UM = 256.0
"""Side of the smallest squares, in µm, before it is rounded to a power of two pixels."""
NUM_LEVELS = 4
OUTLINED_LEVELS = 2
"""The smallest squares, up to this level, are sent with outlines."""
UNITS = 1 << 14
"""Positions in a square are counted in so many steps along its side."""
OVERHANG_UM = 20.0
"""A nucleus may reach this far out of the square of its centroid."""
Detail = Literal["none", "points", "rough", "coarse", "fine", "full"]
DETAILS: tuple[Detail, ...] = get_args(Detail)
TOLERANCE_UM = {"rough": 0.4, "coarse": 0.25, "fine": 0.12, "full": -1.0}
"""How far an outline may leave the vertices that are left out, in µm; below 0 none are."""
USUAL_MPP = 0.25
"""Microns per pixel where no scale is known, to choose sizes by."""


@dataclass(frozen=True, kw_only=True)
class SquareGrid:
    """Squares over a slide.

    Attributes:
        level: 0 for the smallest.
        side_px: side of a square in level-0 pixels, a power of two.
        columns: number of squares along x.
        rows: number of squares along y.
        outlines: whether they are sent with outlines.
    """

    level: int
    side_px: int
    columns: int
    rows: int
    outlines: bool

    @property
    def shift(self) -> int:
        """Bits from a fixed position to a square."""
        return self.side_px.bit_length() - 1 + FIXED_BITS

    @property
    def unit_px(self) -> float:
        """Level-0 pixels of one step of a position in a buffer."""
        return self.side_px / UNITS

    def box(self, column: int, row: int) -> tuple[int, int, int, int]:
        """Corners x0, y0, x1, y1 of a square, fixed, half-open; those at the border have no end."""
        side, far = self.side_px * FIXED, 1 << 32
        x1 = far if column == self.columns - 1 else (column + 1) * side
        y1 = far if row == self.rows - 1 else (row + 1) * side
        return column * side, row * side, x1, y1


def list_grids(size_px: tuple[int, int], mpp: float | None) -> tuple[SquareGrid, ...]:
    """The grids of a slide, smallest squares first.

    Args:
        size_px: width and height of the slide in level-0 pixels.
        mpp: microns per level-0 pixel; None where unknown.
    """
    side = 2 ** round(math.log2(SMALLEST_UM / (mpp or USUAL_MPP)))
    side = min(max(side, 64), 1 << 13)
    return tuple(
        SquareGrid(
            level=level,
            side_px=side << level,
            columns=max(1, -(-size_px[0] // (side << level))),
            rows=max(1, -(-size_px[1] // (side << level))),
            outlines=level < OUTLINED_LEVELS,
        )
        for level in range(NUM_LEVELS)
    )


def read_square(
    table: NucleusTable,
    grid: SquareGrid,
    place: tuple[int, int],
    detail: Detail = "points",
    columns: Sequence[Column] = (),
    mpp: float | None = None,
) -> bytes:
    """The nuclei whose centroid lies in a square, as `wire.pack` packs them.

    Arrays are ``id`` and the columns asked for; but for detail ``none`` also ``x``, ``y`` (uint16,
    steps of the grid's `unit_px`), ``class`` and ``probability``, and where a person corrected one
    of them ``mark`` (uint8, see `edits.Mark`); with outlines also ``offsets``
    and ``vertices`` (int16, the same steps).

    Args:
        table: of the nuclei.
        grid: of squares.
        place: column and row of the square in the grid.
        detail: how much is told of each nucleus; outlines only where the grid has them.
        columns: further columns.
        mpp: microns per level-0 pixel; None where unknown.

    Raises:
        RequestError: no outlines at this level of squares.
        ShownError: the table is damaged.
    """
    has_outlines = detail in TOLERANCE_UM
    if has_outlines and not grid.outlines:
        raise RequestError(f"Squares of level {grid.level} are sent as points, not as outlines.")
    box = grid.box(*place)
    index = table.index()
    by_group = {int(group): index.rows_in(int(group), box) for group in index.groups_in(box)}
    rows = np.concatenate([np.zeros(0, np.int64), *by_group.values()])
    arrays: dict[str, NDArray[Any]] = {"id": (rows + 1).astype(np.uint32)}
    if detail != "none":
        arrays["x"] = _steps(index.x[rows], box[0], grid)
        arrays["y"] = _steps(index.y[rows], box[1], grid)
        arrays["class"], arrays["probability"] = index.kind[rows], index.probability[rows]
        marks = table.marks(rows)
        if marks.any():
            arrays["mark"] = marks
    arrays |= {column.name: table.rows_values(column, rows) for column in columns}
    if has_outlines:
        tolerance = TOLERANCE_UM[detail] / (mpp or USUAL_MPP) * FIXED
        arrays |= _outlines(table, grid, box[:2], by_group, tolerance)
    facts = {
        **{"z": grid.level, "column": place[0], "row": place[1], "detail": detail},
        **{"count": len(rows), "unit_px": grid.unit_px},
        "origin_px": [place[0] * grid.side_px, place[1] * grid.side_px],
    }
    return pack(facts, arrays)


def _steps(fixed: NDArray[np.uint32], origin: int, grid: SquareGrid) -> NDArray[np.uint16]:
    """Positions relative to a square's corner, in steps of its grid."""
    steps = (fixed.astype(np.int64) - origin) >> (grid.shift - (UNITS.bit_length() - 1))
    return np.asarray(np.minimum(steps, np.iinfo(np.uint16).max), np.uint16)


def _outlines(
    table: NucleusTable,
    grid: SquareGrid,
    origin: tuple[int, int],
    by_group: dict[int, NDArray[np.int64]],
    tolerance: float,
) -> dict[str, NDArray[Any]]:
    """Outlines of rows, given for each row group, as vertices relative to a square's corner."""
    starts = table.index().starts
    vertices, offsets = [np.zeros((0, 2), np.int32)], [np.zeros(1, np.int64)]
    for group, rows in by_group.items():
        if not len(rows):
            continue
        rings = table.rings(group)
        part, ends = simplify_rings(rings.vertices, rings.offsets, rows - starts[group], tolerance)
        vertices.append(part)
        offsets.append(ends[1:] + offsets[-1][-1])
    steps = FIXED * grid.side_px // UNITS
    relative = np.concatenate(vertices).astype(np.int64) - np.array(origin)
    rounded = (relative + steps // 2) // steps
    limits = np.iinfo(np.int16)
    return {
        "offsets": np.concatenate(offsets).astype(np.uint32),
        "vertices": np.clip(rounded, limits.min, limits.max).astype(np.int16),
    }
