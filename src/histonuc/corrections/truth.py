"""What corrections teach: tiles of complete fields, and the classes of single nuclei."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.corrections.classes import CORRECTED_SPACE
from histonuc.corrections.records import Field
from histonuc.corrections.shown import ShownNuclei
from histonuc.nuclei import Nuclei, PointLabels, make_consecutive
from histonuc.taxonomy import UNCERTAIN, LabelSpace

TILE_PX = 256
"""Side of the tiles that hold nuclei of known class and nothing else that is known."""
_ROWS_PX = 128
"""Rows of pixels of a field that are looked at together."""
_RIM_PX = 2
"""So far around a nucleus that is not taught nothing is known either."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TruthTile:
    """A part of a slide and what is known there.

    Attributes:
        box: x, y, width and height in level-0 pixels.
        fold: from 1 on.
        instances: int32 (H, W), 0 = background, 1..n.
        candidates: uint32 (n,), candidate sets.
        ignore: bool (H, W), where nothing is known.
        points: centroids of the nuclei, of tiles where nothing but classes is known; else None.
    """

    box: tuple[int, int, int, int]
    fold: int
    instances: NDArray[np.int32]
    candidates: NDArray[np.uint32]
    ignore: NDArray[np.bool_]
    points: PointLabels | None = None


def list_classes(spaces: Sequence[LabelSpace]) -> LabelSpace:
    """One label space of the classes of several results, without the class of uncertain ones.

    Raises:
        ValueError: more classes than a store can hold.
    """
    colours = {
        name: colour
        for space in reversed(spaces)
        for name, colour in zip(space.classes, space.colours, strict=True)
        if name != UNCERTAIN
    }
    meanings = {
        name: meaning
        for space in reversed(spaces)
        for name, meaning in zip(space.classes, space.meanings, strict=False)
    }
    names = dict.fromkeys(name for space in spaces for name in space.classes if name in colours)
    is_first = tuple(names) == tuple(name for name in spaces[0].classes if name != UNCERTAIN)
    return LabelSpace(
        name=spaces[0].name if is_first else CORRECTED_SPACE,
        classes=tuple(names),
        colours=tuple(colours[name] for name in names),
        meanings=tuple(meanings.get(name, ()) for name in names) if meanings else (),
    )


def make_tiles(
    shown: ShownNuclei,
    space: LabelSpace,
    size: tuple[int, int],
    num_folds: int,
    first_fold: int = 0,
) -> Iterator[TruthTile]:
    """The tiles of one result: first those of complete fields, then those of single classes.

    Nuclei that are held out are in none of them: their places are not known in fields. Fields take
    turns in the folds in the order in which they were drawn, so that each keeps its own when others
    come; squares of single classes are spread by their place. Where fields overlap the first one is
    taught, and the place is not known in the others: else it would lie in several folds.

    Args:
        shown: the nuclei with their corrections.
        space: classes of the store.
        size: width and height of the slide in level-0 pixels.
        num_folds: how many folds there are to be.
        first_fold: of the first field, from 0 on.
    """
    fields = [field for field in shown.corrections.fields if field.complete]
    for rank, field in enumerate(fields):
        fold = 1 + (first_fold + rank) % num_folds
        if (tile := _make_field(shown, space, field, fields[:rank], size, fold)) is not None:
            yield tile
    yield from _make_class_tiles(shown, space, fields, size, num_folds)


def _make_field(
    shown: ShownNuclei,
    space: LabelSpace,
    field: Field,
    earlier: Sequence[Field],
    size: tuple[int, int],
    fold: int,
) -> TruthTile | None:
    """All nuclei with centroid in a field and in no earlier one; None where nothing is known.

    The rest of its box is not known.
    """
    x0, y0 = np.maximum(np.floor(field.ring.min(0)), 0).astype(int).tolist()
    x1, y1 = np.minimum(np.ceil(field.ring.max(0)), size).astype(int).tolist()
    if x1 <= x0 or y1 <= y0:
        return None
    box = (x0, y0, x1 - x0, y1 - y0)
    near = _find_overlapping(shown.nuclei, box)
    inside = _holds(field.ring, shown.nuclei.centroid[near], earlier)
    inside &= ~np.isin(_numbers(shown)[near], list(shown.corrections.held_out))
    unknown = _draw(shown.nuclei.select(near[~inside]), box) > 0
    kernel = np.ones((2 * _RIM_PX + 1,) * 2, np.uint8)
    ignore = cv2.dilate(unknown.astype(np.uint8), kernel) > 0
    ignore |= ~_draw_ring(field.ring, earlier, box)
    if ignore.all():
        return None
    taught = shown.nuclei.select(near[inside])
    instances, ids = make_consecutive(_draw(taught, box))
    return TruthTile(
        box=box,
        fold=fold,
        instances=instances,
        candidates=_find_candidates(taught, space)[ids - 1],
        ignore=ignore & (instances == 0),
    )


def _draw_ring(
    ring: NDArray[np.float64], without: Sequence[Field], box: tuple[int, int, int, int]
) -> NDArray[np.bool_]:
    """Which pixels (H, W) of a box have their centre in a ring and in none of some fields.

    Some rows at a time: the centres of all pixels of a large field would take 50 times its mask.
    """
    x0, y0, width, height = box
    inside = np.empty((height, width), bool)
    for first in range(0, height, _ROWS_PX):
        rows = np.arange(first, min(first + _ROWS_PX, height))
        x, y = np.meshgrid(np.arange(width) + x0 + 0.5, rows + y0 + 0.5)
        centres = np.stack([x.ravel(), y.ravel()], axis=1)
        inside[rows] = _holds(ring, centres, without).reshape(x.shape)
    return inside


def _make_class_tiles(
    shown: ShownNuclei,
    space: LabelSpace,
    fields: Sequence[Field],
    size: tuple[int, int],
    num_folds: int,
) -> Iterator[TruthTile]:
    """Nuclei whose class a person gave, outside of complete fields, by the squares of a grid."""
    given = set(shown.corrections.classes) - shown.corrections.held_out
    rows = np.array([shown.rows[n] for n in sorted(given) if n in shown.rows], np.int64)
    centroid = shown.nuclei.centroid[rows]
    outside = np.ones(len(rows), bool)
    for field in fields:
        outside &= ~_holds(field.ring, centroid)
    rows, centroid = rows[outside], centroid[outside]
    square = np.floor(centroid / TILE_PX).astype(int)
    for x, y in np.unique(square, axis=0).tolist():
        box = (x * TILE_PX, y * TILE_PX, TILE_PX, TILE_PX)
        width, height = (min(TILE_PX, size[j] - box[j]) for j in (0, 1))
        if min(width, height) < 1 or min(x, y) < 0:
            continue  # a nucleus beside the slide
        box = (*box[:2], width, height)
        chosen = shown.nuclei.select(rows[(square == (x, y)).all(1)])
        points = PointLabels(
            position=chosen.centroid - box[:2], candidates=_find_candidates(chosen, space)
        )
        yield TruthTile(
            box=box,
            fold=_choose_fold(f"{x} {y}", num_folds),
            instances=_draw(chosen, box),
            candidates=points.candidates,
            ignore=np.ones((height, width), bool),
            points=points,
        )


def _numbers(shown: ShownNuclei) -> NDArray[np.int64]:
    return np.array(shown.numbers(), np.int64)


def _find_overlapping(nuclei: Nuclei, box: tuple[int, int, int, int]) -> NDArray[np.int64]:
    """Rows of the nuclei whose boxes meet a box."""
    x, y, width, height = box
    low, high = nuclei.box[:, :2], nuclei.box[:, 2:]
    meets = (low < (x + width, y + height)).all(1) & (high > (x, y)).all(1)
    return np.flatnonzero(meets).astype(np.int64)


def _holds(
    ring: NDArray[np.float64], points: NDArray[np.float64], without: Sequence[Field] = ()
) -> NDArray[np.bool_]:
    """Which points (n, 2) lie in a ring, and in none of some fields."""
    import shapely

    polygon = shapely.Polygon(ring)
    if without:
        others = shapely.union_all([shapely.Polygon(field.ring) for field in without])
        polygon = shapely.difference(polygon, others)
    shapely.prepare(polygon)
    return np.asarray(shapely.contains_xy(polygon, points[:, 0], points[:, 1]))


def _draw(nuclei: Nuclei, box: tuple[int, int, int, int]) -> NDArray[np.int32]:
    """Label image int32 (H, W) of a box: i + 1 where nucleus i lies."""
    moved = replace(nuclei, points=nuclei.points - box[:2])
    return moved.to_labels(box[3], box[2])


def _find_candidates(nuclei: Nuclei, space: LabelSpace) -> NDArray[np.uint32]:
    """Candidate sets (n,): the class of each, any where that is not known."""
    sets = [
        space.candidates([name]) if name in space.classes else space.any_class
        for name in nuclei.label_space.classes
    ]
    return np.array(sets, np.uint32)[nuclei.class_index]


def _choose_fold(key: str, num_folds: int) -> int:
    """A fold from 1 on that depends on the key alone, so that it stays when others come."""
    return 1 + int(hashlib.sha256(key.encode()).hexdigest(), 16) % num_folds
