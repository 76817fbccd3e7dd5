"""Which tiles of a store are meant by folds, data sets and kind of labels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from histonuc.plain_text import counted

log = logging.getLogger(__name__)

NO_LABELS = "none"
"""What the column `labels` says of tiles in which nothing is known."""
LabelKind = Literal["outlines", "points", "sparse points"]
"""What a tile has: outlines of all nuclei, points that mark all, or points that mark some."""


def choose_kind(kinds: NDArray[Any]) -> LabelKind:
    """What tiles are scored by: the kind of labels (n,) that tells most, of those that they have.

    >>> choose_kind(np.array(["sparse points", "points", "points"]))
    'points'
    """
    found = set(map(str, kinds))
    known: tuple[LabelKind, ...] = ("outlines", "points")
    return next((kind for kind in known if kind in found), "sparse points")


def select_tiles(
    columns: Mapping[str, NDArray[Any]],
    folds: Sequence[int] | None,
    sources: Sequence[str] | None,
    labels: LabelKind | None,
    *,
    origin: Path,
) -> NDArray[np.int64]:
    """Numbers of the tiles, ascending; tiles with other labels are left out, and it is said.

    Tiles without labels are never among them, see `select_unlabelled`.

    Args:
        columns: columns of the table of tiles.
        folds: their numbers; None takes all from 1 on, and not 0.
        sources: names of the data sets; None takes all.
        labels: what the tiles must have; None takes all kinds of labels.
        origin: the store, for messages.

    Raises:
        ValueError: a fold or data set that is not there, or no tile is left.
    """
    chosen = _find_rows(columns, folds, sources, origin)
    if not chosen.any():
        raise ValueError(f"no tile in {origin} is of folds {folds} and sources {sources}")
    chosen &= columns["labels"] != NO_LABELS
    if not chosen.any():
        raise ValueError(
            f"no tile of folds {folds} and sources {sources} in {origin} has labels: choose others"
        )
    fits = np.ones_like(chosen) if labels is None else np.asarray(columns["labels"] == labels)
    if labels is not None and (chosen & ~fits).any():
        message = _describe_others(columns["source"][chosen & ~fits], labels)
        if not (chosen & fits).any():
            raise ValueError(f"{origin}: {message}: choose others with --sources or --folds")
        log.info("%s: left out", message)
    return np.flatnonzero(chosen & fits)


def select_unlabelled(
    columns: Mapping[str, NDArray[Any]],
    folds: Sequence[int] | None,
    sources: Sequence[str] | None,
    *,
    origin: Path,
) -> NDArray[np.int64]:
    """As `select_tiles`, the tiles in which nothing is known; there may be none."""
    chosen = _find_rows(columns, folds, sources, origin)
    return np.flatnonzero(chosen & (columns["labels"] == NO_LABELS))


def _find_rows(
    columns: Mapping[str, NDArray[Any]],
    folds: Sequence[int] | None,
    sources: Sequence[str] | None,
    origin: Path,
) -> NDArray[np.bool_]:
    """Which tiles are of some folds and data sets, whatever their labels.

    Raises:
        ValueError: a fold or data set that is not there.
    """
    chosen = columns["fold"] > 0 if folds is None else np.ones(len(columns["fold"]), bool)
    for column, wanted, flag in (("fold", folds, "--folds"), ("source", sources, "--sources")):
        if wanted is None:
            continue
        values = columns[column]
        known = np.unique(values.astype(str) if column == "source" else values).tolist()
        unknown = [value for value in wanted if value not in known]
        if unknown:
            raise ValueError(f"{flag}: {origin} has no {unknown}; it has {known}")
        chosen &= np.isin(values, np.asarray(wanted, values.dtype))
    return np.asarray(chosen, bool)


def _describe_others(sources: NDArray[Any], labels: LabelKind) -> str:
    names = ", ".join(sorted(set(map(str, sources))))
    has = "points and no outlines" if labels == "outlines" else f"no {labels}"
    verb = "has" if len(sources) == 1 else "have"
    return f"{counted(len(sources), 'tile')} of {names} {verb} {has}"
