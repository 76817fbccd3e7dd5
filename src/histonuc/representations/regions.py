"""Label images made tidy: one connected piece a nucleus, no holes, no specks, consecutive ids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled
from histonuc.representations.bands import bands, check_finite

Ints = NDArray[np.int32]
_NOTHING, _SEVERAL = -1, -2


def tidy(labels: NDArray[np.int32], min_area_px: int) -> tuple[NDArray[np.int32], int]:
    """Cut labels into 4-connected nuclei, fill their holes, drop specks, renumber.

    A piece that is not its label's largest is kept as a nucleus of its own when it has at least
    `min_area_px` pixels and half of the largest piece's; otherwise it becomes background, as do
    whole labels below `min_area_px`. Background that is enclosed by a single nucleus is given to
    it. Time is linear in the pixels (most of it one scan into runs), whatever the number of nuclei.

    Args:
        labels: int32 (H, W), 0 = background, any other ids in 1..H*W.
        min_area_px: smallest nucleus.

    Returns:
        int32 (H, W) with ids 1..n in the order of their first pixels, and n.
    """
    labels = np.ascontiguousarray(labels, np.int32)
    height, width = labels.shape
    start, value = np.empty(labels.size, np.int32), np.empty(labels.size, np.int32)
    begin = np.empty(height + 1, np.int32)
    num = _find_runs(labels, start, value, begin)
    clean, origin, _ = tidy_runs(start[:num], value[:num], begin, (height, width), min_area_px)
    return clean, len(origin)


def tidy_runs(
    start: Ints, value: Ints, begin: Ints, shape: tuple[int, int], min_area_px: int
) -> tuple[Ints, Ints, Ints]:
    """`tidy` of a label image that is given as the runs of equal labels in its rows.

    Args:
        start: int32 (r,), first column of each run, background included, row by row.
        value: int32 (r,), its label.
        begin: int32 (H + 1,), number of each row's first run.
        shape: H, W.
        min_area_px: smallest nucleus.

    Returns:
        int32 (H, W) with ids 1..n; int32 (n,), the label that each was part of; and int32 (p,), the
        flat indices of pixels that had a label and have none any more.
    """
    end = np.empty_like(start)
    end[:-1] = start[1:]
    end[begin[1:] - 1] = shape[1]
    every = np.arange(len(value), dtype=np.int32)
    root = every.copy()
    _join_runs(root, start, end, value, begin, False)
    area = np.bincount(root, end - start, len(value))
    largest = np.zeros(int(value.max(initial=0)) + 1)
    np.maximum.at(largest, value, area)
    keep = (value > 0) & (area >= min_area_px) & (2 * area >= largest[value])
    # What was dropped is background from now on; the background's pieces are joined with it.
    kept = np.where(keep[root], root + 1, 0).astype(np.int32)
    root = np.where(kept > 0, root, every)
    _join_runs(root, start, end, kept, begin, True)
    around = np.full(len(value), _NOTHING, np.int32)
    _surround(around, root, start, end, kept, begin)
    # A piece is its own owner, a hole what encloses it, and other background nobody (-1).
    owner = np.where(kept > 0, root, np.maximum(around[root], -1))
    first = np.flatnonzero(np.bincount(owner[owner >= 0], minlength=1))
    number = np.zeros(len(owner) + 1, np.int32)  # the last entry is for nobody
    number[first] = np.arange(1, len(first) + 1)
    clean = np.zeros(shape, np.int32)
    number = number[owner]
    _paint(clean, number, start, end, begin)
    return clean, value[first], _pixels_of((value > 0) & (number == 0), start, end, begin, shape[1])


def _pixels_of(runs: NDArray[np.bool_], start: Ints, end: Ints, begin: Ints, width: int) -> Ints:
    """Flat indices of the pixels of some runs."""
    some = np.flatnonzero(runs)
    low = (np.searchsorted(begin, some, "right") - 1) * width + start[some]
    length = (end - start)[some]
    before = np.cumsum(length) - length
    return (np.repeat(low - before, length) + np.arange(length.sum())).astype(np.int32)


def pool(
    labels: NDArray[np.int32], num: int, maps: NDArray[np.float32], channels: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sums of maps over each label; refuses NaN and infinite values in them.

    Args:
        labels: int32 (H, W), ids 0..num.
        num: number of labels.
        maps: float32 (K, H, W).
        channels: the maps to sum (k,).

    Returns:
        float64 (num, k), the sums, and int64 (num,), the areas in pixels.
    """
    sums, area = np.zeros((num + 1, len(channels))), np.zeros(num + 1, np.int64)
    start, end = np.empty((2, labels.shape[1] + 1), np.int32)
    maps = np.ascontiguousarray(maps)
    for rows in bands(*labels.shape):
        for channel in channels:
            check_finite(maps[channel : channel + 1, rows[0] : rows[1]])
        _pool(labels, maps, channels, rows, sums, area, start, end)
    return sums[1:], area[1:]


@compiled
def renumber(labels: Ints, number: Ints) -> None:
    """Give each label, in place, its new number (num + 1,); a third of the time of an index."""
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label and number[label] != label:
                labels[y, x] = number[label]


@compiled
def top(parent: Ints, item: int) -> int:
    """Root of an item, with its path shortened."""
    while parent[item] != item:
        parent[item] = parent[parent[item]]
        item = parent[item]
    return item


@compiled
def _find_runs(labels: Ints, start: Ints, value: Ints, begin: Ints) -> int:
    """Write runs as `tidy_runs` takes them; return how many."""
    height, width = labels.shape
    index = 0
    for y in range(height):
        begin[y] = index
        for x in range(width):
            if x == 0 or labels[y, x] != labels[y, x - 1]:
                start[index] = x
                value[index] = labels[y, x]
                index += 1
    begin[height] = index
    return index


@compiled
def _join_runs(
    root: Ints, start: Ints, end: Ints, value: Ints, begin: Ints, background: bool
) -> None:
    """Set the root of runs, at first themselves, to the first run of their component.

    Either those of the background, which is 8-connected, or those of nuclei, 4-connected.
    """
    reach = 1 if background else 0
    for y in range(len(begin) - 1):
        above = begin[y - 1] if y else begin[0]
        for run in range(begin[y], begin[y + 1]):
            if (value[run] == 0) != background:
                continue
            if run > begin[y] and value[run] == value[run - 1]:  # one of them was dropped
                root[run] = top(root, np.int64(run - 1))
            low, high = start[run] - reach, end[run] + reach
            while above < begin[y] and end[above] <= low:
                above += 1
            other = above
            while other < begin[y] and start[other] < high:
                if value[other] == value[run]:
                    a, b = top(root, np.int64(run)), top(root, np.int64(other))
                    if a < b:
                        root[b] = a
                    else:
                        root[a] = b
                other += 1
    for run in range(len(root)):
        root[run] = root[root[run]]


@compiled
def _surround(around: Ints, root: Ints, start: Ints, end: Ints, value: Ints, begin: Ints) -> None:
    """Note at the background's roots the one nucleus that they touch sideways, up or down.

    `_SEVERAL` stands for more than one, and for the image's edge.
    """
    height = len(begin) - 1
    for y in range(height):
        above, below = begin[y - 1] if y else 0, begin[y + 1]
        for run in range(begin[y], begin[y + 1]):
            if value[run]:
                continue
            if y == 0 or y == height - 1 or run == begin[y] or run == begin[y + 1] - 1:
                around[root[run]] = _SEVERAL
                continue
            _meet(around, root, value, run, run - 1)
            _meet(around, root, value, run, run + 1)
            while end[above] <= start[run]:
                above += 1
            while end[below] <= start[run]:
                below += 1
            other = above
            while other < begin[y] and start[other] < end[run]:
                _meet(around, root, value, run, other)
                other += 1
            other = below
            while other < begin[y + 2] and start[other] < end[run]:
                _meet(around, root, value, run, other)
                other += 1


@compiled
def _meet(around: Ints, root: Ints, value: Ints, run: int, other: int) -> None:
    if value[other]:
        a, b = root[run], root[other]
        around[a] = b if around[a] == _NOTHING or around[a] == b else _SEVERAL


@compiled
def _paint(clean: Ints, number: Ints, start: Ints, end: Ints, begin: Ints) -> None:
    """Write each run's number, where it is not 0, into its pixels."""
    for y in range(len(begin) - 1):
        for run in range(begin[y], begin[y + 1]):
            if number[run]:
                for x in range(start[run], end[run]):
                    clean[y, x] = number[run]


@compiled
def _pool(
    labels: Ints,
    maps: NDArray[np.float32],
    channels: NDArray[np.intp],
    rows: tuple[int, int],
    sums: NDArray[np.float64],
    area: NDArray[np.int64],
    start: Ints,
    end: Ints,
) -> None:
    """Run by run, so that no sum waits in memory. `start` and `end` (W,) are a row's, written."""
    width = labels.shape[1]
    for y in range(rows[0], rows[1]):
        runs, before = 0, np.int32(0)
        for x in range(width):
            label = labels[y, x]
            if label != before:
                if before:
                    end[runs] = x
                    runs += 1
                start[runs] = x
                before = label
        if before:
            end[runs] = width
            runs += 1
        for run in range(runs):
            area[labels[y, start[run]]] += end[run] - start[run]
        for column in range(len(channels)):
            channel = channels[column]
            for run in range(runs):
                total = 0.0
                for x in range(start[run], end[run]):
                    total += maps[channel, y, x]
                sums[labels[y, start[run]], column] += total
