"""Label images made tidy: one connected piece a nucleus, no holes, no specks, consecutive ids."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import Whole, compiled_kernel, compiled_part

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
    runs = Runs.empty(labels.size, labels.shape)
    num = _find_runs(labels, runs.start, runs.end, runs.value, runs.begin)
    clean, origin, _ = tidy_runs(runs.first(num), min_area_px)
    return clean, len(origin)


@dataclass(frozen=True, eq=False)
class Runs:
    """A label image as the runs of equal labels in its rows, row by row, background included.

    Attributes:
        start: int32 (r,), first column of each run.
        end: int32 (r,), one past its last column.
        value: int32 (r,), its label.
        begin: int32 (H + 1,), number of each row's first run.
        shape: H, W.
    """

    start: Ints
    end: Ints
    value: Ints
    begin: Ints
    shape: tuple[int, int]

    @staticmethod
    def empty(most: int, shape: tuple[int, int]) -> Runs:
        """Room for that many runs, to be written."""
        start, end, value = (np.empty(most, np.int32) for _ in range(3))
        return Runs(start, end, value, np.empty(shape[0] + 1, np.int32), shape)

    def first(self, num: int) -> Runs:
        """The runs that were written."""
        return replace(self, start=self.start[:num], end=self.end[:num], value=self.value[:num])


def tidy_runs(runs: Runs, min_area_px: int) -> tuple[Ints, Ints, Ints]:
    """`tidy` of a label image that is given as runs.

    Returns:
        int32 (H, W) with ids 1..n; int32 (n,), the label that each was part of; and int32 (p,), the
        flat indices of pixels that had a label and have none any more.
    """
    start, end, value, begin = runs.start, runs.end, runs.value, runs.begin
    root = np.arange(len(value), dtype=np.int32)
    _join_runs(root, start, end, value, begin, False)
    area, largest = np.zeros_like(root), np.zeros(int(value.max(initial=0)) + 1, np.int32)
    kept = np.empty_like(root)
    num_lost = _drop(root, start, end, value, area, largest, kept, min_area_px)
    # What was dropped is background from now on; the background's pieces are joined with it.
    _join_runs(root, start, end, kept, begin, True)
    around = np.full(len(value), _NOTHING, np.int32)
    _surround(around, root, start, end, kept, begin)
    clean, number = np.zeros(runs.shape, np.int32), np.zeros_like(root)
    origin, lost = area, np.empty(num_lost, np.int32)  # the areas are no longer needed
    num, num_lost = _paint(
        clean, root, around, kept, start, end, value, begin, number, origin, lost
    )
    return clean, origin[:num], lost[:num_lost]


@compiled_part
def top(parent: Ints, item: Whole) -> Whole:
    """Root of an item, with its path shortened."""
    while parent[item] != item:
        parent[item] = parent[parent[item]]
        item = parent[item]
    return item


@compiled_kernel
def _find_runs(labels: Ints, start: Ints, end: Ints, value: Ints, begin: Ints) -> int:
    """Write `Runs`; return how many."""
    height, width = labels.shape
    index = 0
    for y in range(height):
        begin[y] = index
        for x in range(width):
            if x == 0 or labels[y, x] != labels[y, x - 1]:
                if x:
                    end[index - 1] = x
                start[index] = x
                value[index] = labels[y, x]
                index += 1
        if width:
            end[index - 1] = width
    begin[height] = index
    return index


@compiled_kernel
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


@compiled_kernel
def _drop(
    root: Ints,
    start: Ints,
    end: Ints,
    value: Ints,
    area: Ints,
    largest: Ints,
    kept: Ints,
    least: int,
) -> int:
    """Choose the pieces that stay, see `tidy`; those that do not become their own roots.

    Args:
        root: first run of each run's piece, written over.
        start: as in `Runs`, and so are `end` and `value`.
        end: see there.
        value: see there.
        area: zeros by run, written.
        largest: zeros by label, written: area of its largest piece.
        kept: (r,), written for each run: root + 1 of those that stay, 0 of all others.
        least: smallest nucleus.

    Returns:
        Pixels of the nuclei that were dropped.
    """
    for run in range(len(root)):
        area[root[run]] += end[run] - start[run]
    for run in range(len(root)):
        if area[run] > largest[value[run]]:
            largest[value[run]] = area[run]
    dropped = 0
    for run in range(len(root)):
        size = area[root[run]]
        if value[run] and size >= least and 2 * size >= largest[value[run]]:
            kept[run] = root[run] + 1
            continue
        if value[run]:
            dropped += end[run] - start[run]
        kept[run] = 0
        root[run] = run
    return dropped


@compiled_kernel
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


@compiled_part
def _meet(around: Ints, root: Ints, value: Ints, run: int, other: int) -> None:
    if value[other]:
        a, b = root[run], root[other]
        around[a] = b if around[a] == _NOTHING or around[a] == b else _SEVERAL


@compiled_kernel
def _paint(
    clean: Ints,
    root: Ints,
    around: Ints,
    kept: Ints,
    start: Ints,
    end: Ints,
    value: Ints,
    begin: Ints,
    number: Ints,
    origin: Ints,
    lost: Ints,
) -> tuple[int, int]:
    """Number the nuclei in the order they come, and write the numbers into their pixels and holes.

    A piece owns itself, a hole belongs to what encloses it, and other background to nobody.

    Returns:
        How many nuclei there are, whose labels are in `origin`; how many pixels are in `lost`.
    """
    num, left, width = 0, 0, clean.shape[1]
    for y in range(len(begin) - 1):
        for run in range(begin[y], begin[y + 1]):
            owner = root[run] if kept[run] else around[root[run]]
            if owner < 0:
                if value[run]:
                    for x in range(start[run], end[run]):
                        lost[left] = y * width + x
                        left += 1
                continue
            if number[owner] == 0:
                origin[num] = value[owner]
                num += 1
                number[owner] = num
            for x in range(start[run], end[run]):
                clean[y, x] = number[owner]
    return num, left
