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
        num_given: the first so many were labelled by people and judge; those behind them are of the
            model, which is sure of them, and only teach.
    """

    rows: NDArray[np.float32]
    classes: NDArray[np.int64]
    groups: NDArray[np.int64]
    by: str
    label_space: LabelSpace
    num_given: int


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
    pairs: Sequence[tuple[NucleusFeatures, ResultLabels]],
    space: LabelSpace,
    standard: Standard,
    filled: Sequence[Mapping[int, str]] = (),
) -> Labelled:
    """The nuclei that teach, of all slides; classes of one nucleus alone are left out.

    Args:
        pairs: features and labels of each slide.
        space: all classes.
        standard: of the features.
        filled: of each slide the class by number of the nuclei that make up the number of labels;
            nothing for none.

    Raises:
        ValueError: fewer than two classes, or none of which people labelled enough nuclei.
    """
    features = [one for one, _ in pairs]
    given = [number_labels(labels.taught, space) for _, labels in pairs]
    found = [*given, *(number_labels(labels, space) for labels in filled)]
    slides = [*range(len(pairs)), *range(len(filled))]
    classes = np.concatenate([one[1] for one in found])
    slide = np.repeat(slides, [len(index) for index, _ in found])
    rows = [features[j].rows(index) for j, (index, _) in zip(slides, found, strict=True)]
    present = np.flatnonzero(np.bincount(classes, minlength=len(space)) >= MIN_LABELS)
    check_classes(len(present))
    usable = np.isin(classes, present)
    is_given = np.arange(len(classes)) < sum(len(index) for index, _ in given)
    if not (usable & is_given).any():
        raise ValueError(
            f"no class has {MIN_LABELS} labelled nuclei or more: label some more of one at least"
        )
    groups, by = slide, "slide"
    if len(np.unique(slide[is_given])) < _MIN_SLIDES:
        place = [
            features[j].centroid_um[index] for j, (index, _) in zip(slides, found, strict=True)
        ]
        groups, by = group_by_square(slide, np.concatenate(place), is_given), "square"
    return Labelled(
        rows=standard.apply(np.concatenate(rows)[usable]),
        classes=np.searchsorted(present, classes[usable]),
        groups=groups[usable],
        by=by,
        label_space=pick_classes(space, present),
        num_given=int((usable & is_given).sum()),
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
        num_given=len(usable),
    )


def group_by_square(
    slide: NDArray[np.integer],
    centroid_um: NDArray[np.float64],
    is_given: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Which square of which slide each nucleus (k,) lies in: neighbours are alike.

    Squares have 250 µm, or half of that again and again where all labels would lie in few.

    Args:
        slide: (k,), number of the slide.
        centroid_um: (k, 2).
        is_given: (k,), which of the nuclei are labels in this sense; None for all.
    """
    side = _SQUARE_UM
    for _ in range(4):
        cells = np.floor(centroid_um / side).astype(np.int64)
        keys = np.column_stack([slide, cells])
        groups = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
        if len(np.unique(groups if is_given is None else groups[is_given])) >= 2 * FOLDS:
            break
        side /= 2
    return np.asarray(groups, np.int64)


def count_classes(labelled: Labelled) -> dict[str, int]:
    """Labels that people gave, by name of the class."""
    given = labelled.classes[: labelled.num_given]
    counts = np.bincount(given, minlength=len(labelled.label_space)).tolist()
    return dict(zip(labelled.label_space.classes, counts, strict=True))
