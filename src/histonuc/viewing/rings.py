"""Outlines of many nuclei as two arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.viewing.kernels import FIXED


@dataclass(frozen=True, kw_only=True, eq=False)
class Rings:
    """The outlines of one row group.

    Attributes:
        vertices: int32 (P, 2), fixed, rings open.
        offsets: int32 (n + 1,), where each ring begins.
    """

    vertices: NDArray[np.int32]
    offsets: NDArray[np.int32]

    @property
    def num_bytes(self) -> int:
        """Of memory."""
        return self.vertices.nbytes + self.offsets.nbytes


def to_fixed_ring(ring: NDArray[np.float64]) -> NDArray[np.int32]:
    """An outline (k, 2) in level-0 pixels as `Rings` hold it."""
    return np.floor(ring * FIXED + 0.5).astype(np.int32)


def pack_rings(rings: Sequence[NDArray[np.int32]]) -> Rings:
    """Outlines (k, 2) of single nuclei together."""
    offsets = np.zeros(len(rings) + 1, np.int32)
    np.cumsum([len(ring) for ring in rings], out=offsets[1:])
    return Rings(vertices=np.concatenate([np.zeros((0, 2), np.int32), *rings]), offsets=offsets)
