"""Counts of nuclei by class on a grid of cells over the slide, and over the values of a column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.viewing.columns import Column
from histonuc.viewing.filters import ALL, Filters, find_passing
from histonuc.viewing.kernels import FIXED_BITS, count_bins, count_cells, sum_cells
from histonuc.viewing.listing import list_values
from histonuc.viewing.squares import SquareGrid
from histonuc.viewing.table import NucleusTable

MAX_BYTES = 4 << 20
"""Counts of a whole slide in one reply, two bytes each."""
_CELLS_A_SIDE = 8
"""Cells along the side of the smallest square: 32 µm."""


@dataclass(frozen=True, kw_only=True)
class DensityGrid:
    """Cells over a slide.

    Attributes:
        cell_px: side of a cell in level-0 pixels, a power of two.
        columns: number of cells along x.
        rows: number of cells along y.
    """

    cell_px: int
    columns: int
    rows: int

    @property
    def shift(self) -> int:
        """Bits from a fixed position to a cell."""
        return self.cell_px.bit_length() - 1 + FIXED_BITS


def choose_grid(size_px: tuple[int, int], smallest: SquareGrid, classes: int) -> DensityGrid:
    """Cells of about 32 µm, or larger where a slide would have too many.

    Args:
        size_px: width and height of the slide in level-0 pixels.
        smallest: the grid of the smallest squares.
        classes: number of classes.
    """
    cell = max(1, smallest.side_px // _CELLS_A_SIDE)
    while True:
        columns, rows = (max(1, -(-side // cell)) for side in size_px)
        if 2 * classes * columns * rows <= MAX_BYTES:
            return DensityGrid(cell_px=cell, columns=columns, rows=rows)
        cell *= 2


def count_density(
    table: NucleusTable, grid: DensityGrid, filters: Filters = ALL
) -> NDArray[np.uint32]:
    """Number of nuclei by class and cell: uint32 (classes, rows, columns).

    Args:
        table: of the nuclei.
        grid: of the cells.
        filters: which nuclei count.

    Raises:
        RequestError: a column that the table lacks.
        ShownError: the table is damaged.
    """
    index = table.index()
    counts = np.zeros((len(table.label_space), grid.rows, grid.columns), np.uint32)
    for rows, passes in find_passing(table, filters):
        count_cells(index.x[rows], index.y[rows], index.kind[rows], passes, grid.shift, counts)
    return counts


def sum_density(
    table: NucleusTable, grid: DensityGrid, column: Column, filters: Filters = ALL
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Sums of a column by class and cell, and how many nuclei have a value there.

    Args:
        table: of the nuclei.
        grid: of the cells.
        column: whose values are added.
        filters: which nuclei count.

    Returns:
        uint32 and float32 (classes, rows, columns): numbers of nuclei with a value, and the sums.

    Raises:
        RequestError: a column that the table lacks.
        ShownError: the table is damaged.
    """
    index = table.index()
    shape = len(table.label_space), grid.rows, grid.columns
    valued, sums = np.zeros(shape, np.uint32), np.zeros(shape, np.float32)
    for rows, passes in find_passing(table, filters):
        places = index.x[rows], index.y[rows], index.kind[rows]
        values = list_values(table, column, rows)
        sum_cells(*places, values, passes, grid.shift, valued, sums)
    return valued, sums


def density_arrays(
    counts: NDArray[np.uint32], grid: DensityGrid
) -> tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]:
    """Counts as `wire.pack` takes them.

    Args:
        counts: uint32 (classes, rows, columns).
        grid: of the cells.
    """
    most = int(counts.max(initial=0))
    kind = np.uint32 if most > np.iinfo(np.uint16).max else np.uint16
    facts = {
        **{"cell_px": grid.cell_px, "columns": grid.columns, "rows": grid.rows, "max": most},
        **{"num_classes": len(counts), "totals": counts.sum(axis=(1, 2), dtype=np.int64).tolist()},
    }
    return facts, {"counts": counts.astype(kind)}


def count_classes(table: NucleusTable, filters: Filters = ALL) -> list[int]:
    """Number of nuclei of each class that pass filters."""
    index = table.index()
    counts = np.zeros(len(table.label_space), np.int64)
    for rows, passes in find_passing(table, filters):
        counts += np.bincount(index.kind[rows][passes], minlength=len(counts))
    return [int(count) for count in counts]


def count_histogram(
    table: NucleusTable,
    column: Column,
    bins: int,
    ends: tuple[float, float],
    filters: Filters = ALL,
) -> NDArray[np.int64]:
    """How many nuclei of each class have which values of a column.

    Args:
        table: of the nuclei.
        column: whose values are counted.
        bins: number of bins of equal width.
        ends: left end of the first bin, right end of the last; both belong to a bin.
        filters: which nuclei count.

    Returns:
        int64 (classes, bins + 3): the bins, then how many are below, above, and without a value.
    """
    index = table.index()
    counts = np.zeros((len(table.label_space), bins + 3), np.int64)
    stored = None if column.type == "u16" else table.values(column)
    for rows, passes in find_passing(table, filters):
        part = column.quantised(index.area[rows]) if stored is None else stored[rows]
        values = column.plain(part)
        count_bins(values, index.kind[rows], passes, *ends, counts)
    return counts
