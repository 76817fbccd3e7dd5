"""Label images made tidy: one connected piece a nucleus, no holes, no specks, consecutive ids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled

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
    width = labels.shape[1]
    start, value, first = _find_runs(labels)
    root = np.arange(len(value), dtype=np.int32)
    _join_runs(root, start, value, first, width)
    area = np.zeros(len(value), np.int64)
    _add_areas(area, root, start, first, width)
    largest = np.zeros(int(value.max(initial=0)) + 1, np.int64)
    np.maximum.at(largest, value, area)
    keep = (value > 0) & (area >= min_area_px) & (2 * area >= largest[value])
    # What was dropped is background from now on, so the background's pieces are joined anew.
    value = np.where(keep[root], root + 1, 0).astype(np.int32)
    root = np.arange(len(value), dtype=np.int32)
    _join_runs(root, start, value, first, width)
    around = np.full(len(value), _NOTHING, np.int32)
    _surround(around, root, start, first, width)
    # A piece is its own owner, a hole what encloses it, and other background nobody (-1).
    owner = np.where(value > 0, root, np.maximum(around[root], -1))
    kept = np.flatnonzero(np.bincount(owner[owner >= 0], minlength=1))
    number = np.zeros(len(owner) + 1, np.int32)  # the last entry is for nobody
    number[kept] = np.arange(1, len(kept) + 1)
    clean = np.empty(labels.shape, np.int32)
    _paint(clean, number[owner], start, first)
    return clean, len(kept)


def pool(
    labels: NDArray[np.int32], num: int, maps: NDArray[np.float32], channels: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sums of maps over each label.

    Args:
        labels: int32 (H, W), ids 0..num.
        num: number of labels.
        maps: float32 (K, H, W).
        channels: the maps to sum (k,).

    Returns:
        float64 (num, k), the sums, and int64 (num,), the areas in pixels.
    """
    sums, area = np.zeros((num + 1, len(channels))), np.zeros(num + 1, np.int64)
    _pool(labels, np.ascontiguousarray(maps), channels, sums, area)
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
def _top(parent: Ints, item: int) -> int:
    """Root of an item, with its path shortened."""
    while parent[item] != item:
        parent[item] = parent[parent[item]]
        item = parent[item]
    return item


@compiled
def _find_runs(
    labels: Ints,
) -> tuple[Ints, Ints, Ints]:
    """Runs of equal labels in each row: first column (and a last sentinel), label, row starts."""
    height, width = labels.shape
    count = 0
    for y in range(height):
        count += 1
        for x in range(1, width):
            count += labels[y, x] != labels[y, x - 1]
    start = np.empty(count + 1, np.int32)
    value = np.empty(count, np.int32)
    first = np.empty(height + 1, np.int32)
    index = 0
    for y in range(height):
        first[y] = index
        last = -1
        for x in range(width):
            if labels[y, x] != last:
                last = labels[y, x]
                start[index] = x
                value[index] = last
                index += 1
    first[height] = index
    start[index] = 0
    return start, value, first


@compiled
def _end(start: Ints, run: int, last: int, width: int) -> int:
    """One past the last column of a run; `last` is one past the last run of its row."""
    return width if run + 1 == last else start[run + 1]


@compiled
def _join_runs(root: Ints, start: Ints, value: Ints, first: Ints, width: int) -> None:
    """Set each run's root, at first itself, to the first run of its component.

    Nuclei are 4-connected, background 8-connected.
    """
    for y in range(len(first) - 1):
        above = first[max(y - 1, 0)]
        for run in range(first[y], first[y + 1]):
            if run > first[y] and value[run] == value[run - 1]:  # both were dropped
                root[run] = _top(root, run - 1)
            if y == 0:
                continue
            low, high = start[run], _end(start, run, first[y + 1], width)
            reach = 1 if value[run] == 0 else 0
            while above > first[y - 1] and start[above] > low - reach:
                above -= 1
            while above < first[y] - 1 and _end(start, above, first[y], width) + reach <= low:
                above += 1
            other = above
            while other < first[y] and start[other] < high + reach:
                if value[other] == value[run]:
                    a, b = _top(root, run), _top(root, other)
                    root[max(a, b)] = min(a, b)
                other += 1
            above = max(other - 1, first[y - 1])
    for run in range(len(root)):
        root[run] = root[root[run]]


@compiled
def _add_areas(area: NDArray[np.int64], root: Ints, start: Ints, first: Ints, width: int) -> None:
    """Add the pixels of each run to its root's entry."""
    for y in range(len(first) - 1):
        for run in range(first[y], first[y + 1]):
            area[root[run]] += _end(start, run, first[y + 1], width) - start[run]


@compiled
def _surround(around: Ints, root: Ints, start: Ints, first: Ints, width: int) -> None:
    """Note at each root the one component that its component touches sideways, up or down.

    `_SEVERAL` stands for more than one, and for the image's edge.
    """
    height = len(first) - 1
    for y in range(height):
        below = first[y + 1]
        for run in range(first[y], first[y + 1]):
            if y == 0 or y == height - 1 or run == first[y] or run == first[y + 1] - 1:
                around[root[run]] = _SEVERAL
            if run > first[y]:
                _meet(around, root[run], root[run - 1])
            if y + 1 == height:
                continue
            high = _end(start, run, first[y + 1], width)
            while below + 1 < first[y + 2] and start[below + 1] <= start[run]:
                below += 1
            other = below
            while other < first[y + 2] and start[other] < high:
                _meet(around, root[run], root[other])
                other += 1


@compiled
def _meet(around: Ints, a: int, b: int) -> None:
    if a != b:
        around[a] = b if around[a] == _NOTHING or around[a] == b else _SEVERAL
        around[b] = a if around[b] == _NOTHING or around[b] == a else _SEVERAL


@compiled
def _paint(clean: Ints, number: Ints, start: Ints, first: Ints) -> None:
    """Write each run's number into its pixels."""
    for y in range(len(first) - 1):
        for run in range(first[y], first[y + 1]):
            for x in range(start[run], _end(start, run, first[y + 1], clean.shape[1])):
                clean[y, x] = number[run]


@compiled
def _pool(
    labels: Ints,
    maps: NDArray[np.float32],
    channels: NDArray[np.intp],
    sums: NDArray[np.float64],
    area: NDArray[np.int64],
) -> None:
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label:
                area[label] += 1
                for column in range(len(channels)):
                    sums[label, column] += maps[channels[column], y, x]
