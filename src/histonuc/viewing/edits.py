"""What people made of single nuclei, as the viewer shows it over the predicted table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from histonuc.viewing.index import DELETED


class Mark(IntFlag):
    """What a person did to a nucleus: a sum of these."""

    CLASS = 1
    """Gave it a class."""
    OUTLINE = 2
    """Drew its outline anew."""
    MADE = 4
    """Made it: added it, or split or joined others."""
    HELD_OUT = 8
    """It is only scored on, never taught."""
    CONFLICT = 16
    """People disagree about it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Edit:
    """One nucleus as a person corrected it.

    Attributes:
        kind: number of its class, `DELETED`, or None for as it was predicted.
        ring: float64 (k, 2), its outline in level-0 pixels, open; None for as it was predicted.
        mark: what was done, a sum of `Mark`.
    """

    kind: int | None = None
    ring: NDArray[np.float64] | None = None
    mark: int = 0

    def is_like(self, other: Edit | None) -> bool:
        """Whether another says the same."""
        if other is None or (self.kind, self.mark) != (other.kind, other.mark):
            return False
        if self.ring is None or other.ring is None:
            return self.ring is other.ring
        return self.ring is other.ring or np.array_equal(self.ring, other.ring)


NOT_THERE = Edit(kind=DELETED)
"""A number that a person's nucleus had, and that is not given again."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """Classes that are shown where no person gave one.

    Attributes:
        kind: uint8 (n,), number of the class of each nucleus of the table.
        probability: uint8 (n,), of that class, in steps of 1 / 255.
    """

    kind: NDArray[np.uint8]
    probability: NDArray[np.uint8]
