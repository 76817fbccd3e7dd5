"""Pictures kept of an evaluation, so that a report needs neither the model nor the store."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.evaluation.predictions import Prediction
from histonuc.evaluation.tile_scores import TileScore
from histonuc.evaluation.truth import TileTruth
from histonuc.files import reading

PANEL_PX = 256
"""Larger tiles are shown by the square of this side in their middle."""

_NUM_TISSUES = 19
_NUM_EXTREMES = 3
_FEW_NUCLEI = 8
_ARRAYS = ("image", "truth", "truth_types", "prediction", "prediction_types")


@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """Image, truth and prediction of one tile, or of the middle of a large one.

    Attributes:
        record: the whole tile's scores.
        reason: ``best``, ``worst`` or ``tissue``.
        image: uint8 (H, W, 3).
        truth, prediction: int32 (H, W), 0 = background.
        truth_types, prediction_types: int32, class + 1 by id, 0 = unknown.
    """

    record: TileScore
    reason: str
    image: NDArray[np.uint8]
    truth: NDArray[np.int32]
    truth_types: NDArray[np.int32]
    prediction: NDArray[np.int32]
    prediction_types: NDArray[np.int32]


def make_panel(record: TileScore, truth: TileTruth, prediction: Prediction) -> Panel | None:
    """The picture of a tile; None where it has no true nucleus.

    Args:
        record: the tile's scores.
        truth: what is true of it.
        prediction: what is predicted of it.
    """
    if record.num_truth == 0:
        return None
    types = prediction.types
    if types is None:
        types = np.zeros(int(prediction.labels.max()) + 1, np.int32)
    return Panel(
        record=record,
        reason="",
        image=crop_to_panel(truth.image),
        truth=crop_to_panel(truth.labels),
        truth_types=truth.types.astype(np.int32),
        prediction=crop_to_panel(prediction.labels),
        prediction_types=types,
    )


def choose_panels(records: Sequence[TileScore]) -> dict[int, str]:
    """Tiles to show and why: the best and the worst by quality, and one of each tissue.

    A tile once left out of a growing list is never chosen later, so the pictures of all others can
    be dropped on the way. The tile of a tissue is drawn by a hash of its name: it is neither the
    prettiest nor the first. Nor does the order of the records matter.
    """
    scored = sorted(
        (record for record in records if record.num_truth > 0),
        key=lambda r: (zlib.crc32(r.name.encode()), r.tile),
    )
    many = sorted(scored, key=lambda r: (r.num_truth < _FEW_NUCLEI, -r.quality))
    few = sorted(scored, key=lambda r: (r.num_truth < _FEW_NUCLEI, r.quality))
    chosen = {record.tile: "best" for record in many[:_NUM_EXTREMES]}
    for record in few[:_NUM_EXTREMES]:
        chosen.setdefault(record.tile, "worst")
    tissues = sorted({r.tissue for r in scored}, key=lambda name: zlib.crc32(name.encode()))
    for tissue in tissues[:_NUM_TISSUES]:
        drawn = next(record for record in scored if record.tissue == tissue)
        chosen.setdefault(drawn.tile, "tissue")
    return chosen


def keep_chosen(panels: Sequence[Panel]) -> tuple[Panel, ...]:
    """Those of `panels` that `choose_panels` takes, with the reason of now, by tile."""
    chosen = choose_panels([panel.record for panel in panels])
    return tuple(
        Panel(
            record=panel.record,
            reason=chosen[panel.record.tile],
            **{name: getattr(panel, name) for name in _ARRAYS},
        )
        for panel in sorted(panels, key=lambda panel: panel.record.tile)
        if panel.record.tile in chosen
    )


def crop_to_panel(array: NDArray[Any]) -> NDArray[Any]:
    """The middle of an (H, W) or (H, W, 3) array, at most `PANEL_PX` a side, as a copy."""
    top = max(array.shape[0] - PANEL_PX, 0) // 2
    left = max(array.shape[1] - PANEL_PX, 0) // 2
    return array[top : top + PANEL_PX, left : left + PANEL_PX].copy()


def save_panels(panels: Sequence[Panel], path: Path) -> None:
    """Write the panels into one compressed npz without pickled objects."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for index, panel in enumerate(panels):
        arrays |= {f"{name}_{index}": getattr(panel, name) for name in _ARRAYS}
    about = [{"reason": panel.reason, **asdict(panel.record)} for panel in panels]
    with path.open("wb") as stream:
        np.savez_compressed(stream, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]


def load_panels(path: str | Path) -> tuple[Panel, ...]:
    """Read what `save_panels` wrote.

    Raises:
        ValueError: the file is no such archive.
    """
    with opening_npz(Path(path), "panels of `histonuc evaluate`") as archive:
        about = json.loads(str(archive["about"]))
        return tuple(
            Panel(
                reason=record.pop("reason"),
                record=TileScore.from_dict(record),
                **{name: archive[f"{name}_{index}"] for name in _ARRAYS},
            )
            for index, record in enumerate(about)
        )


@contextmanager
def opening_npz(path: Path, kind: str) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Arrays of an npz without pickled objects; any damage ends in a ValueError, as `reading`."""
    # The stream is ours: np.load leaves the one it opens open when the archive is damaged.
    with (
        reading(path, kind),
        path.open("rb") as stream,
        np.load(stream, allow_pickle=False) as archive,
    ):
        yield archive
