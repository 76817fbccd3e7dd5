"""The loops over pixels and places of `histonuc.representations.voting`, compiled.

None of them allocates: `np.empty` and `np.zeros` in compiled code cost a tenth of a second each to
compile, in NumPy nothing. So callers bring the arrays, and kernels write and return counts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import Whole, compiled_kernel, compiled_part

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

_APART_PX = 2
"""Between the pixels around a centre that are asked where they point."""


@compiled_part
def clip(value: float, size: int) -> float:
    """A coordinate moved to where pixels of that many are."""
    if value < 0:
        return 0.0
    return value if value < size - 1.0 else size - 1.0


@compiled_kernel
def land(
    nuclear: NDArray[np.bool_],
    offsets: Floats,
    rows: tuple[int, int],
    count: int,
    known: Ints,
    pixels: Ints,
    first: Ints,
    landing: Ints,
    places: Floats,
    number: Floats,
) -> int:
    """Note where the vectors of nuclear pixels point, rounded to pixels.

    Args:
        nuclear: (H, W).
        offsets: (2, H, W).
        rows: the first one and one past the last one to do.
        count: places that earlier rows led to.
        known: zeros (H, W) at first; number of the place + 1, written.
        pixels: flat indices of the nuclear pixels, written.
        first: (H + 1,), number of each row's first nuclear pixel, the first known, written.
        landing: number of the place each of them landed on, written.
        places: (n, 2), those places, within the image, in the order they were met, written.
        number: zeros; how many pixels landed on each, written.

    Returns:
        How many places there are.
    """
    height, width = nuclear.shape
    index = int(first[rows[0]])
    for y in range(rows[0], rows[1]):
        for x in range(width):
            if not nuclear[y, x]:
                continue
            v = int(clip(y + offsets[0, y, x], height) + 0.5)
            u = int(clip(x + offsets[1, y, x], width) + 0.5)
            if known[v, u] == 0:
                places[count, 0] = v
                places[count, 1] = u
                count += 1
                known[v, u] = count
            place = known[v, u] - 1
            pixels[index] = y * width + x
            landing[index] = place
            number[place] += 1
            index += 1
        first[y + 1] = index
    return count


@compiled_kernel
def follow(places: Floats, nuclear: NDArray[np.bool_], offsets: Floats, votes: Floats) -> None:
    """Where the nuclear pixels around each place point on average; the place itself without any."""
    height, width = nuclear.shape
    for index in range(len(places)):
        y, x = int(places[index, 0] + 0.5), int(places[index, 1] + 0.5)
        down, right, some = 0.0, 0.0, 0
        for v in range(y - 1 if y > 0 else y, y + 2 if y + 1 < height else y + 1):
            for u in range(x - 1 if x > 0 else x, x + 2 if x + 1 < width else x + 1):
                if nuclear[v, u]:
                    down += v - y + offsets[0, v, u]
                    right += u - x + offsets[1, v, u]
                    some += 1
        share = 1.0 / some if some else 0.0
        votes[index, 0] = clip(y + down * share, height)
        votes[index, 1] = clip(x + right * share, width)


@compiled_kernel
def look_around(
    centres: Floats, nuclear: NDArray[np.bool_], offsets: Floats, places: Floats, owner: Ints
) -> int:
    """Write where the nuclear pixels around each centre point; return how many these are.

    Args:
        centres: (k, 2).
        nuclear: (H, W).
        offsets: (2, H, W).
        places: (9 k, 2), written: where each of them points, within the image.
        owner: (9 k,), written: the centre (0..k-1) that it is near.
    """
    height, width = nuclear.shape
    count = 0
    for index in range(len(centres)):
        y, x = int(centres[index, 0] + 0.5), int(centres[index, 1] + 0.5)
        for number in range(9):
            v, u = y + _APART_PX * (number // 3 - 1), x + _APART_PX * (number % 3 - 1)
            if v < 0 or u < 0 or v >= height or u >= width or not nuclear[v, u]:
                continue
            places[count, 0] = clip(v + offsets[0, v, u], height)
            places[count, 1] = clip(u + offsets[1, v, u], width)
            owner[count] = index
            count += 1
    return count


@compiled_part
def _search(
    y: float, x: float, centres: Floats, last: Ints, before: Ints, bucket_px: int, but: Whole
) -> tuple[Whole, float]:
    """Number of the nearest centre in the 3 x 3 buckets around, except one; its squared distance.

    0 and infinity where there is none.
    """
    nearest: Whole = 0
    least = np.inf
    row, column = int(y) // bucket_px, int(x) // bucket_px
    for v in range(row, row + 3):
        for u in range(column, column + 3):
            centre = int(last[v, u])
            while centre:
                down, right = y - centres[centre - 1, 0], x - centres[centre - 1, 1]
                away = down * down + right * right
                if away < least and centre != but:
                    nearest, least = centre, away
                centre = int(before[centre])
    return nearest, least


@compiled_kernel
def find_nearest(
    points: Floats,
    centres: Floats,
    bucket_px: int,
    last: Ints,
    before: Ints,
    safe: NDArray[np.float64],
    guesses: Ints,
    nearest: Ints,
) -> None:
    """Write the number (1..k) of the centre nearest to each point; 0 where none is near.

    The centre of the point before in the same square of 8 px is a good guess. It is right, without
    a search, where it is less than half as far away as that centre is from the next one.

    Args:
        points: (n, 2), within the image.
        centres: (k, 2).
        bucket_px: centres in the same bucket of this side, or in one beside it, are near.
        last: zeros (rows + 2, columns + 2), buckets in a frame; number of a bucket's last centre.
        before: (k + 1,), number of the centre before, of the same bucket.
        safe: (k + 1,), squared distance from a centre within which no other is nearer.
        guesses: zeros (H // 8 + 1, W // 8 + 1), written: a centre by square.
        nearest: (n,), written.
    """
    for index in range(len(centres)):
        row, column = int(centres[index, 0]) // bucket_px, int(centres[index, 1]) // bucket_px
        before[index + 1] = last[row + 1, column + 1]
        last[row + 1, column + 1] = index + 1
    num = len(centres)
    for index in range(num + len(points)):  # one loop: `_search` is compiled once for both
        asking = np.int64(index + 1 if index < num else 0)
        if asking:
            y, x, row, column = centres[index, 0], centres[index, 1], 0, 0
        else:
            y, x = points[index - num, 0], points[index - num, 1]
            row, column = int(y) // 8, int(x) // 8
            guess = guesses[row, column]
            if guess:
                down, right = y - centres[guess - 1, 0], x - centres[guess - 1, 1]
                if down * down + right * right < safe[guess]:
                    nearest[index - num] = guess
                    continue
        found, away = _search(y, x, centres, last, before, bucket_px, asking)
        if asking:
            safe[asking] = (away if found and away < bucket_px**2 else bucket_px**2) / 4
        else:
            guesses[row, column] = found
            nearest[index - num] = found


@compiled_kernel
def split(
    pixels: Ints,
    landing: Ints,
    owners: Ints,
    first: Ints,
    width: int,
    start: Ints,
    end: Ints,
    value: Ints,
    begin: Ints,
) -> int:
    """Write `Runs` of pixels of one owner, that of the place they landed on; return how many.

    Args:
        pixels: `land`'s, and so are `landing` and `first`.
        landing: number of the place by nuclear pixel.
        owners: (k,), the owner of each place.
        first: (H + 1,), see `land`.
        width: W, the image's width in pixels.
        start: see `Runs`, and so are `end`, `value` and `begin`, which are written.
        end: see there.
        value: see there.
        begin: see there.
    """
    runs = 0
    for y in range(len(first) - 1):
        begin[y] = runs
        before: Whole = -1
        done = 0
        for index in range(first[y], first[y + 1]):
            x = pixels[index] - y * width
            owner = owners[landing[index]]
            if x > done and before != 0:
                start[runs], value[runs] = done, 0
                end[runs] = x
                runs += 1
                before = 0
            if owner != before:
                start[runs], value[runs] = x, owner
                runs += 1
                before = int(owner)
            done = x + 1
            end[runs - 1] = done
        if done < width and before != 0:
            start[runs], value[runs] = done, 0
            runs += 1
        end[runs - 1] = width
    begin[len(first) - 1] = runs
    return runs
