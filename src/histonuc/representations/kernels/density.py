"""The loops over cells of `histonuc.representations.voting`, compiled: votes and their maxima.

Votes are (y, x) in pixels; cells are squares of `CELL_PX`, their centres at integers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled_kernel, compiled_part
from histonuc.representations.kernels.regions import top
from histonuc.representations.kernels.voting import clip

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@compiled_part
def _cell(place: float, scale: float, size: int) -> float:
    """A coordinate in cells, cell centres at integers."""
    return clip((place + 0.5) * scale - 0.5, size)


@compiled_kernel
def count(votes: Floats, number: Floats, scale: tuple[float, float], density: Floats) -> None:
    """Add the votes to the cells' density, each shared bilinearly by the four cells around it."""
    height, width = density.shape
    for index in range(len(votes)):
        y = _cell(votes[index, 0], scale[0], height)
        x = _cell(votes[index, 1], scale[1], width)
        above, left = int(y), int(x)
        below = above + 1 if above + 1 < height else above
        beside = left + 1 if left + 1 < width else left
        down, right = y - above, x - left
        density[above, left] += number[index] * (1 - down) * (1 - right)
        density[above, beside] += number[index] * (1 - down) * right
        density[below, left] += number[index] * down * (1 - right)
        density[below, beside] += number[index] * down * right


@compiled_kernel
def rank_cells(bits: NDArray[np.uint32], least: int, keys: NDArray[np.uint64]) -> int:
    """Write a key for each cell of a higher density than the least; sorted, the highest is first.

    The bits of positive floats rise with them. With the index below, equals keep their order, and
    whole numbers are sorted four times as fast as floats with their indices.
    """
    num = 0
    for cell in range(len(bits)):
        if bits[cell] > least:
            falling = np.uint64(0xFFFFFFFF) - np.uint64(bits[cell])
            keys[num] = (falling << np.uint64(32)) | np.uint64(cell)
            num += 1
    return num


@compiled_kernel
def find_maxima(
    density: Floats,
    keys: NDArray[np.uint64],
    prominence: float,
    owner: Ints,
    parent: Ints,
    peak: Floats,
) -> int:
    """Find the maximum (1..k) that each cell that has a key belongs to, and return k.

    Cells come from the highest down. A cell without a neighbour that came before is a new maximum;
    others follow their highest neighbour, and join the maxima they touch that do not stand out.

    Args:
        density: (Y, X).
        keys: sorted, of `rank_cells`.
        prominence: see `Offset`.
        owner: zeros (Y + 2, X + 2), written: the maxima, in a frame of nothing.
        parent: zeros (len(keys) + 1,), written over.
        peak: the same.
    """
    width = density.shape[1]
    maxima = 0
    for key in keys:
        cell = np.int64(key & np.uint64(0xFFFFFFFF))
        y, x = cell // width, cell % width
        best, highest = np.int64(0), np.float32(-1)
        for v in range(y - 1, y + 2):
            for u in range(x - 1, x + 2):
                if owner[v + 1, u + 1] and density[v, u] > highest:
                    best, highest = np.int64(owner[v + 1, u + 1]), density[v, u]
        here = density[y, x]
        if best == 0:
            maxima += 1
            parent[maxima] = maxima
            peak[maxima] = here
            owner[y + 1, x + 1] = maxima
            continue
        owner[y + 1, x + 1] = best
        a = top(parent, best)
        for v in range(y, y + 3):
            for u in range(x, x + 3):
                b = top(parent, np.int64(owner[v, u]))
                if b and a != b and (here >= prominence * peak[a] or here >= prominence * peak[b]):
                    if peak[b] > peak[a]:
                        a, b = b, a
                    parent[b] = a
    for key in keys:
        cell = np.int64(key & np.uint64(0xFFFFFFFF))
        y, x = cell // width, cell % width
        owner[y + 1, x + 1] = top(parent, np.int64(owner[y + 1, x + 1]))
    return maxima


@compiled_kernel
def add_votes(
    votes: Floats,
    number: Floats,
    maxima: Ints,
    scale: tuple[float, float],
    sums: NDArray[np.float64],
) -> None:
    """Add to `sums` (k + 1, 3) the y, the x and the number of the votes for each maximum.

    `maxima` has a frame, as `find_maxima` leaves it.
    """
    height, width = maxima.shape
    for index in range(len(votes)):
        y = int(_cell(votes[index, 0], scale[0], height - 2) + 1.5)
        x = int(_cell(votes[index, 1], scale[1], width - 2) + 1.5)
        maximum = maxima[y, x]
        sums[maximum, 0] += number[index] * votes[index, 0]
        sums[maximum, 1] += number[index] * votes[index, 1]
        sums[maximum, 2] += number[index]
