"""From vectors to labels: nuclear pixels vote for centres and go to the centre they vote for.

Compiled; time is linear in the pixels, whatever the number of nuclei. Places are (y, x) in pixels,
pixel centres at integers, unless they are said to be in cells: squares of `CELL_PX` pixels that
votes are counted in.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled
from histonuc.representations.regions import _top, tidy

CELL_PX = 2
"""Side of a cell. Votes are shared bilinearly between cells, so places stay finer than that."""
_LEAST_DENSITY = 0.5
"""Cells of the density below it (votes a cell) belong to no maximum."""
_BUCKET_PX = 32
"""Centres are looked for in buckets of this side and those around: up to 32 px away and more."""
_GROWTH_PX = 3
"""How far a nucleus takes over nuclear pixels beside it whose votes went astray."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


def votes_to_labels(
    nuclear: NDArray[np.bool_],
    offsets: Floats,
    *,
    blur_px: float,
    prominence: float,
    min_area_px: int,
) -> tuple[Ints, int]:
    """Nuclei of a tile.

    1. Every nuclear pixel lands where its vector points. Pixels that land together vote together:
       for the mean of where the nuclear pixels around that place (3x3) point, which are near the
       centre, so that their vectors are short and right.
    2. The votes' density is cut into its maxima. Two of them are one where the density between them
       does not fall below `prominence` times the lower one.
    3. A maximum is a centre if the pixels around it point to it rather than to another one.
    4. Each pixel goes to the centre nearest to where it landed. Pieces that are cut off from their
       nucleus go to a neighbour.

    Args:
        nuclear: bool (H, W).
        offsets: float32 (2, H, W), the way (y, x) in pixels to the centre.
        blur_px: standard deviation of the Gaussian that smooths the density.
        prominence: 0..1; smaller merges more.
        min_area_px: least votes of a centre and least area of a nucleus.

    Returns:
        int32 (H, W) with ids 1..n, and n.
    """
    shape = nuclear.shape
    cells = (-(-shape[0] // CELL_PX), -(-shape[1] // CELL_PX))
    scale = (cells[0] / shape[0], cells[1] / shape[1])  # symmetric also where a side is odd
    pixels, landing, places, number = _land(nuclear, offsets)
    votes = _follow(places, nuclear, offsets)
    density = _blurred(_count(votes, number, cells, scale), blur_px / CELL_PX)
    maxima = _cut(density, _descending(density), prominence)
    centres = _centres(votes, number, maxima, scale, min_area_px)
    true = _nearest(_follow(centres, nuclear, offsets), centres, shape)
    centres = centres[true == np.arange(1, len(centres) + 1)]
    labels = _assign(_nearest(places, centres, shape), pixels, landing, shape)
    labels, num = tidy(labels, min_area_px)
    _grow(labels, num, pixels, landing, places)
    return labels, num


def _blurred(density: Floats, sigma: float) -> Floats:
    blurred = cv2.GaussianBlur(density, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, np.float32)


def _descending(density: Floats) -> NDArray[np.intp]:
    """Flat indices of the cells that count, from the highest down."""
    flat = density.ravel()
    cells = np.flatnonzero(flat > _LEAST_DENSITY).astype(np.uint64)
    # The bits of positive floats rise with them. With the index below, equals keep their order, and
    # whole numbers are sorted four times as fast as floats with their indices.
    falling = ~flat[cells].view(np.uint32)
    keys = falling.astype(np.uint64) << np.uint64(32) | cells
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.intp)


@compiled
def _clip(value: float, size: int) -> float:
    return min(max(value, 0.0), size - 1.0)


@compiled
def _land(nuclear: NDArray[np.bool_], offsets: Floats) -> tuple[Ints, Ints, Floats, Floats]:
    """Where vectors point, rounded to pixels.

    Returns:
        Nuclear pixels (n,) as flat indices; the number of the place (n,) each landed on; the places
        (k, 2), within the image; and how many pixels landed on each (k,).
    """
    height, width = nuclear.shape
    most = 0
    for y in range(height):
        for x in range(width):
            most += nuclear[y, x]
    pixels = np.empty(most, np.int32)
    landing = np.empty(most, np.int32)
    places = np.empty((most, 2), np.float32)
    number = np.zeros(most, np.float32)
    known = np.zeros((height, width), np.int32)  # number of the place + 1
    index, count = 0, 0
    for y in range(height):
        for x in range(width):
            if not nuclear[y, x]:
                continue
            v = int(np.rint(_clip(y + offsets[0, y, x], height)))
            u = int(np.rint(_clip(x + offsets[1, y, x], width)))
            if known[v, u] == 0:
                places[count, 0] = v
                places[count, 1] = u
                count += 1
                known[v, u] = count
            pixels[index] = y * width + x
            landing[index] = known[v, u] - 1
            number[known[v, u] - 1] += 1
            index += 1
    return pixels, landing, places[:count], number[:count]


@compiled
def _follow(places: Floats, nuclear: NDArray[np.bool_], offsets: Floats) -> Floats:
    """Where the nuclear pixels around each place point on average; the place itself without any."""
    height, width = nuclear.shape
    votes = places.copy()
    for index in range(len(places)):
        y, x = int(np.rint(places[index, 0])), int(np.rint(places[index, 1]))
        sum_y, sum_x, some = 0.0, 0.0, 0
        for v in range(max(y - 1, 0), min(y + 2, height)):
            for u in range(max(x - 1, 0), min(x + 2, width)):
                if nuclear[v, u]:
                    sum_y += v + offsets[0, v, u]
                    sum_x += u + offsets[1, v, u]
                    some += 1
        if some:
            votes[index, 0] = _clip(sum_y / some, height)
            votes[index, 1] = _clip(sum_x / some, width)
    return votes


@compiled
def _cell(place: float, scale: float, size: int) -> float:
    """A coordinate in cells, cell centres at integers."""
    return _clip((place + 0.5) * scale - 0.5, size)


@compiled
def _count(
    votes: Floats, number: Floats, cells: tuple[int, int], scale: tuple[float, float]
) -> Floats:
    """Votes a cell, each shared bilinearly by the four cells around it."""
    density = np.zeros(cells, np.float32)
    for index in range(len(votes)):
        y = _cell(votes[index, 0], scale[0], cells[0])
        x = _cell(votes[index, 1], scale[1], cells[1])
        top, left = int(y), int(x)
        down, right = y - top, x - left
        below, beside = min(top + 1, cells[0] - 1), min(left + 1, cells[1] - 1)
        density[top, left] += number[index] * (1 - down) * (1 - right)
        density[top, beside] += number[index] * (1 - down) * right
        density[below, left] += number[index] * down * (1 - right)
        density[below, beside] += number[index] * down * right
    return density


@compiled
def _cut(density: Floats, order: NDArray[np.intp], prominence: float) -> Ints:
    """Maximum (1..k) that each cell of the density belongs to; 0 for cells not in `order`.

    Cells come from the highest down. A cell without a neighbour that came before is a new maximum;
    others follow their highest neighbour, and join the maxima they touch that do not stand out.
    """
    height, width = density.shape
    owner = np.zeros((height, width), np.int32)
    parent = np.zeros(len(order) + 1, np.int32)
    peak = np.zeros(len(order) + 1, np.float32)
    count = 0
    for cell in order:
        y, x = cell // width, cell % width
        best, highest = 0, -1.0
        for v in range(max(y - 1, 0), min(y + 2, height)):
            for u in range(max(x - 1, 0), min(x + 2, width)):
                if owner[v, u] and density[v, u] > highest:
                    best, highest = owner[v, u], density[v, u]
        if best == 0:
            count += 1
            parent[count] = count
            peak[count] = density[y, x]
            owner[y, x] = count
            continue
        owner[y, x] = best
        a = _top(parent, best)
        for v in range(max(y - 1, 0), min(y + 2, height)):
            for u in range(max(x - 1, 0), min(x + 2, width)):
                b = _top(parent, owner[v, u])
                if b and a != b and density[y, x] >= prominence * min(peak[a], peak[b]):
                    if peak[b] > peak[a]:
                        a, b = b, a
                    parent[b] = a
    for y in range(height):
        for x in range(width):
            owner[y, x] = _top(parent, owner[y, x])
    return owner


@compiled
def _centres(
    votes: Floats, number: Floats, maxima: Ints, scale: tuple[float, float], least: int
) -> Floats:
    """Mean places (k, 2) of the votes of each maximum that has at least `least`."""
    most = 0
    for y in range(maxima.shape[0]):
        for x in range(maxima.shape[1]):
            most = max(most, maxima[y, x])
    sums = np.zeros((most + 1, 3))
    for index in range(len(votes)):
        y = int(np.rint(_cell(votes[index, 0], scale[0], maxima.shape[0])))
        x = int(np.rint(_cell(votes[index, 1], scale[1], maxima.shape[1])))
        sums[maxima[y, x], 0] += number[index] * votes[index, 0]
        sums[maxima[y, x], 1] += number[index] * votes[index, 1]
        sums[maxima[y, x], 2] += number[index]
    centres = np.empty((most, 2), np.float32)
    count = 0
    for maximum in range(1, most + 1):
        if sums[maximum, 2] >= least:
            centres[count, 0] = sums[maximum, 0] / sums[maximum, 2]
            centres[count, 1] = sums[maximum, 1] / sums[maximum, 2]
            count += 1
    return centres[:count]


@compiled
def _nearest(places: Floats, centres: Floats, shape: tuple[int, int]) -> Ints:
    """Number (1..k) of the centre nearest to each place; 0 where none is near."""
    rows, columns = shape[0] // _BUCKET_PX + 1, shape[1] // _BUCKET_PX + 1
    first = np.zeros((rows, columns), np.int32)  # number of a bucket's last centre
    before = np.zeros(len(centres) + 1, np.int32)  # of the same bucket
    for index in range(len(centres)):
        row, column = int(centres[index, 0]) // _BUCKET_PX, int(centres[index, 1]) // _BUCKET_PX
        before[index + 1] = first[row, column]
        first[row, column] = index + 1
    nearest = np.zeros(len(places), np.int32)
    for index in range(len(places)):
        row, column = int(places[index, 0]) // _BUCKET_PX, int(places[index, 1]) // _BUCKET_PX
        least = np.inf
        for v in range(max(row - 1, 0), min(row + 2, rows)):
            for u in range(max(column - 1, 0), min(column + 2, columns)):
                centre = first[v, u]
                while centre:
                    down = places[index, 0] - centres[centre - 1, 0]
                    right = places[index, 1] - centres[centre - 1, 1]
                    if down * down + right * right < least:
                        least = down * down + right * right
                        nearest[index] = centre
                    centre = before[centre]
    return nearest


@compiled
def _assign(owners: Ints, pixels: Ints, landing: Ints, shape: tuple[int, int]) -> Ints:
    """Labels of `shape`: each nuclear pixel has the owner of the place it landed on."""
    labels = np.zeros(shape, np.int32)
    flat = labels.ravel()
    for index in range(len(pixels)):
        flat[pixels[index]] = owners[landing[index]]
    return labels


@compiled
def _grow(labels: Ints, num: int, pixels: Ints, landing: Ints, places: Floats) -> None:
    """Give nuclear pixels without a nucleus, in place, to the one beside them that they point to.

    That is the nucleus whose pixels land, on average, nearest to where the pixel landed.
    """
    height, width = labels.shape
    centre = np.zeros((num + 1, 3))
    stray = np.empty(len(pixels), np.int32)
    left = 0
    for index in range(len(pixels)):
        owner = labels[pixels[index] // width, pixels[index] % width]
        if owner:
            centre[owner, 0] += places[landing[index], 0]
            centre[owner, 1] += places[landing[index], 1]
            centre[owner, 2] += 1
        else:
            stray[left] = index
            left += 1
    taken = np.empty(left, np.int32)
    for _ in range(_GROWTH_PX):
        for k in range(left):
            y, x = pixels[stray[k]] // width, pixels[stray[k]] % width
            least = np.inf
            taken[k] = 0
            for side in range(4):
                v, u = y + (side == 0) - (side == 1), x + (side == 2) - (side == 3)
                if v < 0 or u < 0 or v >= height or u >= width or labels[v, u] == 0:
                    continue
                owner = labels[v, u]
                weight = max(centre[owner, 2], 1.0)  # a hole that was filled has no votes
                down = centre[owner, 0] / weight - places[landing[stray[k]], 0]
                right = centre[owner, 1] / weight - places[landing[stray[k]], 1]
                if down * down + right * right < least:
                    least = down * down + right * right
                    taken[k] = owner
        kept = 0
        for k in range(left):
            if taken[k]:
                labels[pixels[stray[k]] // width, pixels[stray[k]] % width] = taken[k]
            else:
                stray[kept] = stray[k]
                kept += 1
        left = kept
