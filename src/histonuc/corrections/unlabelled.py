"""Squares of a person's tissue in which nothing is labelled: the starting model speaks there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from histonuc.corrections.shown import ShownNuclei

SIDE_UM = 128.0
"""Side of a square: 512 px at the shipped models' 0.25 mpp, four training crops of 256 px. Around
larger crops the teacher would see more of the same tissue, in smaller ones more of the rim."""
_SEED = 0

Box = tuple[int, int, int, int]
"""x, y, width and height in level-0 pixels."""


def draw_unlabelled(shown: ShownNuclei, size: tuple[int, int], mpp: float) -> Iterator[Box]:
    """Squares around nuclei drawn at random; they do not overlap, and lie within the slide.

    None holds a part of a complete field, or of a nucleus that somebody corrected or that is held
    out. A square of a coarse grid that holds any nuclei is as likely as another one, so that they
    are spread over the tissue however dense its nuclei are. The same corrections give the same
    squares.

    Args:
        shown: the nuclei with their corrections.
        size: width and height of the slide in level-0 pixels.
        mpp: microns per level-0 pixel.
    """
    side = np.minimum(round(SIDE_UM / mpp), size)
    corner = np.clip(np.rint(shown.nuclei.centroid - side / 2), 0, size - side).astype(np.int64)
    rng = np.random.default_rng(_SEED)
    order = rng.permutation(len(corner))
    _, first = np.unique(corner[order] // side, axis=0, return_index=True)
    taken = _find_taken(shown)
    for row in order[rng.permutation(first)].tolist():
        low, high = corner[row], corner[row] + side
        if not ((taken[:, :2] < high) & (taken[:, 2:] > low)).all(1).any():
            taken = np.concatenate([taken, [[*low, *high]]])
            yield (*low.tolist(), *side.tolist())


def _find_taken(shown: ShownNuclei) -> NDArray[np.float64]:
    """Boxes (n, 4), left, top, right and bottom, of all that nobody may learn here."""
    corrections = shown.corrections
    rings = [field.ring for field in corrections.fields if field.complete]
    numbers = corrections.held_out | corrections.by.keys()
    rows = [shown.rows[number] for number in numbers if number in shown.rows]
    return np.concatenate(
        [
            np.array([[*ring.min(0), *ring.max(0)] for ring in rings]).reshape(-1, 4),
            shown.nuclei.box[rows].reshape(-1, 4),
        ]
    )
