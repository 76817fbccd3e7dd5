"""The sums of an evaluation as a file: what score folders of pieces are merged from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.evaluation.panels import opening_npz
from histonuc.evaluation.results import GroupCounts
from histonuc.metrics.counts import Counts

_FORMAT = 1


def save_counts(groups: Mapping[tuple[str, str], GroupCounts], path: Path) -> None:
    """Write counts by (source, tissue) into one npz.

    It has an int64 array ``PART.FIELD`` (G, ...) for every field of every part of `GroupCounts`,
    ``num_tiles`` (G,), and ``about``: JSON text of the format and of the names of the G groups.
    """
    keys = sorted(groups)
    rows = [groups[key] for key in keys]
    about = json.dumps({"format": _FORMAT, "groups": keys})
    arrays = {"num_tiles": np.array([row.num_tiles for row in rows], np.int64)}
    for part in _parts(rows[0]):
        by_group = [getattr(row, part).to_dict() for row in rows]
        arrays |= {
            f"{part}.{name}": np.array([own[name] for own in by_group], np.int64)
            for name in by_group[0]
        }
    with path.open("wb") as stream:
        np.savez_compressed(stream, about=np.array(about), **arrays)  # type: ignore[arg-type]


def load_counts(path: Path, num_classes: int) -> dict[tuple[str, str], GroupCounts]:
    """Read what `save_counts` wrote.

    Args:
        path: the file.
        num_classes: C of the label space that was scored.

    Raises:
        ValueError: no file there, a damaged one, or one of another format or number of classes.
    """
    zero = GroupCounts.zero(num_classes)
    with opening_npz(path, "counts of `histonuc evaluate`") as archive:
        about = json.loads(str(archive["about"]))
        if about["format"] != _FORMAT:
            raise ValueError(
                f"{path} has format {about['format']}, this version reads {_FORMAT}: "
                "run `histonuc evaluate` again"
            )
        keys = [(str(source), str(tissue)) for source, tissue in about["groups"]]
        num_tiles = _take(archive["num_tiles"], (len(keys),))
        arrays = {
            part: {
                name: _take(archive[f"{part}.{name}"], (len(keys), *np.shape(values)))
                for name, values in counts.to_dict().items()
            }
            for part, counts in _parts(zero).items()
        }
    groups = {}
    for row, key in enumerate(keys):
        parts: dict[str, Any] = {
            part: type(counts).from_dict({name: own[row] for name, own in arrays[part].items()})
            for part, counts in _parts(zero).items()
        }
        groups[key] = GroupCounts(**parts, num_tiles=int(num_tiles[row]))
    return groups


def _parts(counts: GroupCounts) -> dict[str, Counts]:
    """All that adds up field by field, by name."""
    values = {field.name: getattr(counts, field.name) for field in fields(counts)}
    return {name: value for name, value in values.items() if isinstance(value, Counts)}


def _take(array: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.int64]:
    if array.dtype != np.int64 or array.shape != shape:
        raise ValueError(f"expected int64 {shape}, got {array.dtype} {array.shape}")
    return np.asarray(array, np.int64)
