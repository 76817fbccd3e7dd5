"""Which tiles of a store are meant by folds, data sets and kind of labels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

LabelKind = Literal["outlines", "points"]
NO_LABELS = "none"
"""What the column `labels` says of tiles in which nothing is known."""


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
        labels: what the tiles must have; None takes both kinds of labels.
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
    has = "points and no outlines" if labels == "outlines" else "outlines and no points"
    return f"{len(sources)} tiles of {names} have {has}"
