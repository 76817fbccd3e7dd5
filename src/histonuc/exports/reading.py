"""Outlines with class names, as other programs keep them, into `Nuclei`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.facts import Facts, from_facts
from histonuc.exports.rings import make_clockwise, make_simple, open_ring, ring_moments
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
        score: detection score in 0..1; None for what a person drew, which gets 1.
        centroid: (x, y), each None where the file has none: the outline's centroid is taken.
        area_px: what the file says, to notice outlines that were changed since.
        features: further measurements by name, as far as the file has them.
    """

    ring: NDArray[np.float64]
    class_name: str
    probabilities: Mapping[str, float | None] = field(default_factory=dict)
    score: float | None = None
    centroid: tuple[float | None, float | None] = (None, None)
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

    An outline that touches or crosses itself is cut there, and its largest part is kept.

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
            than three different points, without an area, or with a point that is nowhere, or a
            measurement that is no number.
    """
    classes = class_indices(
        [outline.class_name for outline in outlines], label_space, class_map, origin
    )
    points, offsets = _join_rings([open_ring(outline.ring) for outline in outlines], origin)
    probabilities = np.array(
        [
            [to_number(o.probabilities.get(name), "probability") for name in label_space.classes]
            for o in outlines
        ]
    ).reshape(-1, len(label_space))
    score = np.array([to_number(outline.score, "score") for outline in outlines], np.float32)
    return Nuclei(
        points=points,
        offsets=offsets,
        centroid=_centroids(points, offsets, outlines),
        class_probabilities=_agreeing(probabilities.astype(np.float32), classes),
        score=np.where(np.isnan(score), np.float32(1), score),
        label_space=label_space,
        mpp=mpp,
        features=_features(outlines, feature_names),
    )


def _join_rings(
    rings: Sequence[NDArray[np.float64]], origin: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points (P, 2) and offsets (n + 1,) of open rings, made simple and clockwise."""
    if short := sum(len(ring) < 3 for ring in rings):
        raise ValueError(
            f"{origin}: {short} objects have no outline (points or lines): "
            "expected polygons; was it exported with --centroids?"
        )
    points = np.concatenate([np.zeros((0, 2)), *rings])
    if not (np.abs(points) < FARTHEST_PX).all():
        raise ValueError(f"{origin}: an outline with a point that is no position in a slide")
    points, offsets = make_simple(points, np.cumsum([0, *map(len, rings)]).astype(np.int64))
    if flat := int((np.diff(offsets) == 0).sum()):
        raise ValueError(f"{origin}: {flat} outlines have no area")
    return make_clockwise(points, offsets), offsets


def to_number(value: Any, name: str) -> float:
    """A number of a file; NaN where it has none.

    Raises:
        TypeError: it is none.
    """
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"expected a number as {name}, got {value!r}")
    return float(value)


def to_class_name(value: Any) -> str:
    """The name of a class as files have it; empty for none.

    QuPath writes an object with a name, or with the names of a derived class ("Tumor: Positive").
    Other programs write the name alone, and GDAL the object as text.

    >>> to_class_name("Dead"), to_class_name({"names": ["Tumor", "Positive"]}), to_class_name(None)
    ('Dead', 'Tumor: Positive', '')

    Raises:
        TypeError: something else.
    """
    if isinstance(value, str):
        if not value.lstrip().startswith("{"):
            return value
        value = json.loads(value)
    if value is None or value == {}:
        return ""
    if isinstance(value, Mapping):
        name = value.get("name") or ": ".join(value.get("names") or ())
        if isinstance(name, str):
            return name
    raise TypeError(f"expected the name of a class, or an object that holds it, got {value!r}")


def known_classes(
    space: LabelSpace, facts: Facts | None, class_map: Mapping[str, str] | None
) -> set[str]:
    """Classes whose probabilities a file may hold: those wanted, the file's own and those mapped.

    Args:
        space: classes wanted.
        facts: what histonuc wrote into the file, if it did.
        class_map: name in the file -> name in `space`.
    """
    written = () if facts is None else from_facts(facts)[0].classes
    return {*space.classes, *written, *(class_map or ())}


def choose_space(given: LabelSpace | None, facts: Facts | None, path: Path) -> LabelSpace:
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


def choose_mpp(given: float | None, facts: Facts | None) -> float:
    """The mpp given, else the file's own, else NaN."""
    if given is not None:
        return given
    return float("nan") if facts is None else from_facts(facts)[1]


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
        name: np.array([to_number(o.features.get(name), name) for o in outlines], np.float32)
        for name in names
    }


def _centroids(
    points: NDArray[np.float64], offsets: NDArray[np.int64], outlines: Sequence[Outlined]
) -> NDArray[np.float64]:
    """The stored centroid where the outline still has its stored area, else the outline's own."""
    area, centroid = ring_moments(points, offsets)
    stored = np.array(
        [[to_number(value, "centroid") for value in o.centroid] for o in outlines]
    ).reshape(-1, 2)
    stored_area = np.array([to_number(o.area_px, "area") for o in outlines])
    unchanged = np.abs(stored_area - area) <= SAME_AREA * area
    return np.where((unchanged & ~np.isnan(stored).any(1))[:, None], stored, centroid)
