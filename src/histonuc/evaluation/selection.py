"""Which tiles of a store are scored."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from histonuc.data.selection import choose_kind
from histonuc.plain_text import counted

if TYPE_CHECKING:
    from histonuc.data.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TileSelection:
    """Tiles of a store, as the options of `histonuc evaluate` name them.

    Attributes:
        folds: folds to score; all when empty.
        sources: data sets to score; all when empty.
        part: ``K/N``, the K-th of N parts of these tiles; all of them when empty.
    """

    folds: tuple[int, ...] = ()
    sources: tuple[str, ...] = ()
    part: str = ""

    def find_tiles(self, store: Store) -> NDArray[np.int64]:
        """Rows of the store, ascending.

        Raises:
            ValueError: a fold or a data set that the store lacks, or no such part.
        """
        tiles = self.find_all_parts(store)
        return take_part(tiles, self.part) if self.part else tiles

    def find_all_parts(self, store: Store, *, say: bool = False) -> NDArray[np.int64]:
        """The same for all parts together: a file of predictions has a row for each of these.

        Tiles with points are scored where none with outlines is selected, and those with sparse
        points where there is nothing else.

        Args:
            store: the store.
            say: whether to say in the log how many tiles are left out.
        """
        folds, sources = self.folds or None, self.sources or None
        tiles = store.select(folds, sources, labels=None)
        kinds = store.label_kinds(tiles)
        kind = choose_kind(kinds)
        chosen: NDArray[np.int64] = tiles[kinds == kind]
        if len(chosen) < len(tiles) and say:
            others = "points and no outlines" if kind == "outlines" else "sparse points"
            left_out = counted(len(tiles) - len(chosen), "tile")
            log.info("%s with %s: left out", left_out, others)
        return chosen


def take_part(tiles: NDArray[np.int64], part: str) -> NDArray[np.int64]:
    """Every N-th tile from the K-th on, so that all parts hold like tissues and take as long.

    Args:
        tiles: tiles (n,), the same for all parts.
        part: ``K/N``, K from 1 to N.

    Raises:
        ValueError: no such part, or no tile in it.

    >>> take_part(np.arange(5), "2/3").tolist()
    [1, 4]
    """
    found = re.fullmatch(r"(\d+)/(\d+)", part)
    number, num_parts = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= num_parts:
        raise ValueError(f"--part: expected K/N with K from 1 to N, as 2/8, got {part}")
    if number > len(tiles):
        raise ValueError(f"--part {part}: there are only {len(tiles)} tiles to score")
    return tiles[number - 1 :: num_parts]
