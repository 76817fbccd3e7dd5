"""The labelled nuclei of several slides, side by side, and how they are kept apart for judging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.taxonomy import LabelSpace
from histonuc.teaching.features import NucleusFeatures
from histonuc.teaching.fitting import FOLDS, MIN_LABELS, Standard
from histonuc.teaching.labelled import LabelledNuclei
from histonuc.teaching.labels import ResultLabels, number_labels
from histonuc.teaching.live import check_classes, pick_classes

_SQUARE_UM = 250.0
"""Side of the squares that the labels of one or two slides are cross-validated in."""
_MIN_SLIDES = 3
"""From so many slides on whole ones are left out by turns."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """Labelled nuclei of one or several slides.

    Attributes:
        rows: float32 (k, F), their features.
        classes: int64 (k,), class of `label_space`.
        groups: int64 (k,), what must not be torn apart when it is cross-validated.
        by: what the groups are: "slide", "square" or "image".
        label_space: the C classes, all of which occur.
    """

    rows: NDArray[np.float32]
    classes: NDArray[np.int64]
    groups: NDArray[np.int64]
    by: str
    label_space: LabelSpace


def check_one_model(features: Mapping[Path, NucleusFeatures]) -> None:
    """Refuse results of several models: the features of one say nothing to the other's.

    Raises:
        ValueError: with two of them.
    """
    by_model = {one.model_sha256: (folder, one.model) for folder, one in features.items()}
    if len(by_model) > 1:
        (first, model), (second, other) = list(by_model.values())[:2]
        raise ValueError(
            f"{first} was predicted with {model}, {second} with {other}: a classifier takes the "
            "features of one model; predict all of them with the same one"
        )


def gather(
    pairs: Sequence[tuple[NucleusFeatures, ResultLabels]], space: LabelSpace, standard: Standard
) -> Labelled:
    """The nuclei that teach, of all slides; classes of one nucleus alone are left out.

    Args:
        pairs: features and labels of each slide.
        space: all classes.
        standard: of the features.

    Raises:
        ValueError: fewer than two classes.
    """
    found = [number_labels(labels.taught, space) for _, labels in pairs]
    classes = np.concatenate([one[1] for one in found])
    slide = np.repeat(np.arange(len(found)), [len(one[0]) for one in found])
    rows = [one.rows(index) for (one, _), (index, _) in zip(pairs, found, strict=True)]
    present = np.flatnonzero(np.bincount(classes, minlength=len(space)) >= MIN_LABELS)
    check_classes(len(present))
    usable = np.isin(classes, present)
    groups, by = slide, "slide"
    if len(np.unique(slide)) < _MIN_SLIDES:
        place = [one.centroid_um[index] for (one, _), (index, _) in zip(pairs, found, strict=True)]
        groups, by = group_by_square(slide, np.concatenate(place)), "square"
    return Labelled(
        rows=standard.apply(np.concatenate(rows)[usable]),
        classes=np.searchsorted(present, classes[usable]),
        groups=groups[usable],
        by=by,
        label_space=pick_classes(space, present),
    )


def gather_store(found: LabelledNuclei, space: LabelSpace, standard: Standard) -> Labelled:
    """The same of a store's nuclei; its images are kept apart.

    Args:
        found: of known class.
        space: of the store.
        standard: of the features.

    Raises:
        ValueError: fewer than two classes.
    """
    present = np.flatnonzero(np.bincount(found.classes, minlength=len(space)) >= MIN_LABELS)
    check_classes(len(present))
    usable = np.flatnonzero(np.isin(found.classes, present))
    return Labelled(
        rows=standard.apply(found.features.rows(usable)),
        classes=np.searchsorted(present, found.classes[usable]),
        groups=found.tile[usable],
        by="image",
        label_space=pick_classes(space, present),
    )


def group_by_square(
    slide: NDArray[np.integer], centroid_um: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Which square of which slide each nucleus (k,) lies in: neighbours are alike.

    Squares have 250 µm, or half of that again and again where all labels would lie in few.
    """
    side = _SQUARE_UM
    for _ in range(4):
        cells = np.floor(centroid_um / side).astype(np.int64)
        keys = np.column_stack([slide, cells])
        groups = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
        if groups.max(initial=0) + 1 >= 2 * FOLDS:
            break
        side /= 2
    return np.asarray(groups, np.int64)


def count_classes(labelled: Labelled) -> dict[str, int]:
    """Labels by name of the class."""
    counts = np.bincount(labelled.classes, minlength=len(labelled.label_space)).tolist()
    return dict(zip(labelled.label_space.classes, counts, strict=True))
