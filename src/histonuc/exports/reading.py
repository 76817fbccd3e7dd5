"""Outlines with class names, as other programs keep them, into `Nuclei`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.table import from_facts
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import LabelSpace

FARTHEST_PX = 2**31
"""No slide is that wide: a coordinate beyond it is damage."""
SAME_AREA = 0.01
"""An outline whose area left the stored one by more than this share was changed by hand."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outlined:
    """One nucleus of a file.

    Attributes:
        ring: float64 (k, 2), vertices (x, y) of the outline, open or closed, in level-0 pixels.
        class_name: as the file says it, empty where it says none.
        probabilities: class name -> probability; empty where the file has none.
        score: detection score in 0..1; 1 for what a person drew.
        centroid: (x, y); the outline's own where the file has none.
        area_px: what the file says, to notice outlines that were changed since.
        features: further measurements by name, as far as the file has them.
    """

    ring: NDArray[np.float64]
    class_name: str
    probabilities: Mapping[str, float] = field(default_factory=dict)
    score: float = 1.0
    centroid: tuple[float, float] | None = None
    area_px: float | None = None
    features: Mapping[str, float | None] = field(default_factory=dict)


def to_nuclei(
    outlines: Sequence[Outlined],
    *,
    label_space: LabelSpace,
    class_map: Mapping[str, str] | None,
    mpp: float,
    origin: str,
    feature_names: Sequence[str] = (),
) -> Nuclei:
    """Nuclei of a label space; a class that a person changed gets probability 1.

    Args:
        outlines: what a file holds.
        label_space: classes wanted.
        class_map: name in the file -> name in `label_space`; the empty name stands for objects
            without a class.
        mpp: microns per level-0 pixel.
        origin: the file's name, for messages.
        feature_names: features to have first, also where no outline has a value.

    Raises:
        ValueError: a class that neither `label_space` nor `class_map` knows, or an outline of fewer
            than three different points or with one that is nowhere.
    """
    classes = class_indices(
        [outline.class_name for outline in outlines], label_space, class_map, origin
    )
    rings = [_open_ring(outline.ring) for outline in outlines]
    if short := sum(len(ring) < 3 for ring in rings):
        raise ValueError(
            f"{origin}: {short} objects have no outline (points or lines): "
            "expected polygons; was it exported with --centroids?"
        )
    points = np.concatenate([np.zeros((0, 2)), *rings])
    if not (np.abs(points) < FARTHEST_PX).all():
        raise ValueError(f"{origin}: an outline with a point that is no position in a slide")
    offsets = np.cumsum([0, *map(len, rings)]).astype(np.int64)
    points = _clockwise(points, offsets)
    probabilities = np.array(
        [[o.probabilities.get(name, np.nan) for name in label_space.classes] for o in outlines]
    ).reshape(-1, len(label_space))
    return Nuclei(
        points=points,
        offsets=offsets,
        centroid=_centroids(points, offsets, outlines),
        class_probabilities=_agreeing(probabilities.astype(np.float32), classes),
        score=np.array([outline.score for outline in outlines], np.float32),
        label_space=label_space,
        mpp=mpp,
        features=_features(outlines, feature_names),
    )


def known_classes(
    space: LabelSpace, facts: Mapping[str, Any] | None, class_map: Mapping[str, str] | None
) -> set[str]:
    """Classes whose probabilities a file may hold: those wanted, the file's own and those mapped.

    Args:
        space: classes wanted.
        facts: what histonuc wrote into the file, if it did.
        class_map: name in the file -> name in `space`.
    """
    own = () if facts is None else from_facts(facts)[0].classes
    return {*space.classes, *own, *(class_map or ())}


def choose_space(
    given: LabelSpace | None, facts: Mapping[str, Any] | None, path: Path
) -> LabelSpace:
    """The label space given, else the one that histonuc wrote into the file.

    Raises:
        ValueError: neither is there.
    """
    if given is not None:
        return given
    if facts is None:
        raise ValueError(
            f"{path} does not say which classes there are: give label_space, e.g. "
            "histonuc.taxonomy.PANNUKE"
        )
    return from_facts(facts)[0]


def choose_mpp(given: float | None, facts: Mapping[str, Any] | None) -> float:
    """The mpp given, else the file's own, else NaN."""
    if given is not None:
        return given
    return float("nan") if facts is None else from_facts(facts)[1]


def largest(rings: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The ring of the largest area; of an object in several parts one outline is kept."""
    if len(rings) == 1:
        return rings[0]
    offsets = np.cumsum([0, *map(len, rings)]).astype(np.int64)
    areas = np.abs(_moments(np.concatenate(rings), offsets)[0])
    return rings[int(areas.argmax())]


def to_ring(coordinates: Any) -> NDArray[np.float64]:
    """Vertices (k, 2) of a JSON list of points; a third coordinate is dropped.

    Raises:
        TypeError: no such list.
    """
    try:
        return np.array(coordinates, np.float64)[:, :2]
    except (IndexError, ValueError) as error:
        raise TypeError(f"no ring of points: {error}") from None


def class_indices(
    names: Sequence[str], space: LabelSpace, class_map: Mapping[str, str] | None, origin: str
) -> NDArray[np.int64]:
    """Index int64 (n,) of each name in the label space.

    Raises:
        ValueError: names that neither the label space nor `class_map` knows.
    """
    index = {name: j for j, name in enumerate(space.classes)}
    for name, wanted in (class_map or {}).items():
        if wanted not in space.classes:
            raise ValueError(
                f"class_map sends {name!r} to {wanted!r}: {space.name} has {list(space.classes)}"
            )
        index[name] = space.classes.index(wanted)
    unknown = Counter(name for name in names if name not in index)
    if unknown:
        counted = ", ".join(f"{name or 'no class'!r} ({n})" for name, n in unknown.most_common(5))
        raise ValueError(
            f"{origin} has classes that {space.name} does not: {counted}; known are "
            f"{list(space.classes)}; say with class_map={{'name in the file': 'known name'}} what "
            "they are ('' for objects without a class)"
        )
    return np.array([index[name] for name in names], np.int64)


def _agreeing(
    probabilities: NDArray[np.float32], classes: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Probabilities whose arg-max is the class: where it is not, a person has decided."""
    if len(classes) == 0:
        return probabilities
    decided = np.isnan(probabilities).any(1) | (np.nan_to_num(probabilities).argmax(1) != classes)
    probabilities[decided] = np.eye(probabilities.shape[1], dtype=np.float32)[classes[decided]]
    return probabilities


def _features(outlines: Sequence[Outlined], first: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Features float32 (n,) by name, NaN where an outline has no value."""
    names = dict.fromkeys([*first, *(name for o in outlines for name in o.features)])
    return {
        name: np.array([o.features.get(name, np.nan) for o in outlines], np.float32)
        for name in names
    }


def _open_ring(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    is_closed = len(ring) > 1 and bool((ring[0] == ring[-1]).all())
    return ring[:-1] if is_closed else ring


def _clockwise(points: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rings turned to run clockwise on the screen; those that do so are left as they are."""
    for i in np.flatnonzero(_moments(points, offsets)[0] < 0):
        start, end = offsets[i], offsets[i + 1]
        points[start + 1 : end] = points[start + 1 : end][::-1].copy()
    return points


def _centroids(
    points: NDArray[np.float64], offsets: NDArray[np.int64], outlines: Sequence[Outlined]
) -> NDArray[np.float64]:
    """The stored centroid where the outline still has its stored area, else the outline's own."""
    area, own = _moments(points, offsets)
    stored = np.array([o.centroid or (np.nan, np.nan) for o in outlines]).reshape(-1, 2)
    stored_area = np.array([np.nan if o.area_px is None else o.area_px for o in outlines])
    unchanged = np.abs(stored_area - area) <= SAME_AREA * area
    return np.where((unchanged & ~np.isnan(stored).any(1))[:, None], stored, own)


def _moments(
    points: NDArray[np.float64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Signed area (n,), positive when clockwise on the screen, and centroid (n, 2) of each ring."""
    if len(offsets) == 1:
        return np.zeros(0), np.zeros((0, 2))
    starts = offsets[:-1]
    following = np.arange(1, len(points) + 1)
    following[offsets[1:] - 1] = starts
    first = points[starts]
    local = points - np.repeat(first, np.diff(offsets), axis=0)
    after = local[following]
    cross = local[:, 0] * after[:, 1] - after[:, 0] * local[:, 1]
    area = np.add.reduceat(cross, starts) / 2
    weighted = np.add.reduceat((local + after) * cross[:, None], starts)
    flat = np.add.reduceat(local, starts) / np.diff(offsets)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        own = weighted / (6 * area[:, None])
    return area, first + np.where(area[:, None] != 0, own, flat)
