"""What to look at next: where a label teaches most, and at random for an honest score."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from histonuc.nuclei import CLASS_TRUST
from histonuc.teaching.live import HELD_OUT_SHARE
from histonuc.viewing.index import DELETED
from histonuc.viewing.kernels import FIXED
from histonuc.viewing.wishes import Scene

_SAMPLE = 200_000
_MOST_READ = 2_000_000
"""Nuclei of a table whose trust is read: of larger ones that would take long."""
_DOUBTFUL = 300
"""Of the least certain of a sample the one is taken that lies farthest from what was looked at."""
Why = Literal["random", "unsure", "unlike"]
Chooser = Callable[[Collection[int], Collection[int], int], "int | None"]
"""Chooses a nucleus by the numbers of those that are labelled and of those that are not wanted, and
a seed; None where it cannot."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A nucleus to look at.

    Attributes:
        id: its number.
        x: of its centroid, in level-0 pixels.
        y: of its centroid, in level-0 pixels.
        why: it was drawn at ``random``, its class is ``unsure``, or it is ``unlike`` the labelled.
    """

    id: int
    x: float
    y: float
    why: Why


class Proposer:
    """Proposes nuclei of one result, none of them twice while it is open.

    Args:
        seed: of what is drawn; None for another one each time.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = np.random.default_rng(seed)
        self._proposed: list[int] = []

    def propose(self, scene: Scene, choose: Chooser) -> Proposal | None:
        """The next one; None where all were looked at.

        Args:
            scene: the nuclei as corrected until now.
            choose: knows what is uncertain and unlike those that are labelled, once it was taught.
        """
        rows = self._draw(scene)
        if len(rows) == 0:
            return None
        why: Why = "random"
        if self._random.uniform() < HELD_OUT_SHARE:
            row = int(rows[0])
        else:
            found, why = self._choose_unlike(scene, choose), "unlike"
            if found is None:
                best = rows[np.argsort(-_doubt(scene, rows), kind="stable")[:_DOUBTFUL]]
                found, why = int(best[self._farthest(scene, best)]), "unsure"
            row = found
        self._proposed.append(row)
        x, y = scene.table.index().xy(row).tolist()
        return Proposal(id=row + 1, x=x, y=y, why=why)

    def _draw(self, scene: Scene) -> NDArray[np.int64]:
        """Some nuclei of the table that nobody looked at, all where they are few, in any order."""
        index, num = scene.table.index(), scene.table.num_nuclei
        if num <= _SAMPLE:
            rows = self._random.permutation(num)
        else:
            rows = np.unique(self._random.integers(0, num, _SAMPLE))
            self._random.shuffle(rows)
        is_new = index.kind[rows] != DELETED
        is_new &= scene.table.marks(rows) == 0
        is_new &= ~np.isin(rows, np.array(self._proposed, np.int64))
        found: NDArray[np.int64] = rows[is_new].astype(np.int64)
        return found

    def _choose_unlike(self, scene: Scene, choose: Chooser) -> int | None:
        """Row of a nucleus that was chosen by what was taught; None where nothing was."""
        found = scene.corrections
        seen = {*found.by, *found.deleted, *found.held_out, *(row + 1 for row in self._proposed)}
        number = choose(
            found.classes.keys() - found.held_out, seen, int(self._random.integers(1 << 31))
        )
        return None if number is None else number - 1

    def _farthest(self, scene: Scene, rows: NDArray[np.int64]) -> int:
        """Which of some nuclei lies farthest from all that were looked at; the first where none."""
        from scipy.spatial import KDTree

        index = scene.table.index()
        seen = np.array([*scene.corrections.by, *(row + 1 for row in self._proposed)], np.int64)
        seen = seen[seen <= scene.table.num_nuclei] - 1
        if len(seen) == 0:
            return 0
        places = np.stack([index.x[seen], index.y[seen]], axis=1) / FIXED
        distances, _ = KDTree(places).query(np.stack([index.x[rows], index.y[rows]], 1) / FIXED)
        return int(np.argmax(distances))


def _doubt(scene: Scene, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """How uncertain the classes of some nuclei are, 0 to 1."""
    table = scene.table
    sure = table.index().probability[rows] / np.float32(255)
    trusted = [column for column in table.columns if column.name == CLASS_TRUST]
    if trusted and table.num_nuclei <= _MOST_READ:
        trust = np.nan_to_num(table.values(trusted[0])[rows], nan=1.0)
        sure = np.minimum(sure, trust)
    return (1 - sure).astype(np.float32)
