"""The classes in which truth and predictions are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.taxonomy import LABEL_SPACES, LabelSpace, find_comprised

LEFT_OUT = "left out by --binary-only"
"""Why there are no class scores, where the user wanted none."""
NO_TYPES = "the predictions have none"
"""Why there are no class scores, where the predictions state no classes."""
ALL_OPEN = "the points leave them open"
"""Why there are no class scores, where points tell no two classes apart."""


@dataclass(frozen=True, kw_only=True)
class ScoredClasses:
    """Classes that are scored, and how those of the truth and of the predictions become them.

    Attributes:
        label_space: the classes of the scores.
        no_classes: why classes are left out; empty when they are scored.
        comprised: for each scored class, the bit mask of the store's classes that it comprises;
            empty where the store's classes are scored as they are.
        order: for each scored class, the numbers of its classes among those of the predictions.
    """

    label_space: LabelSpace
    no_classes: str = ""
    comprised: tuple[int, ...] = ()
    order: tuple[tuple[int, ...], ...] = ()

    def merge_types(self, candidates: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Scored class + 1 of nuclei, 0 where it is unknown.

        Args:
            candidates: bit masks (n,) of the store's classes that a nucleus may be.
        """
        types = np.zeros(len(candidates), np.int32)
        for j, mask in enumerate(self.comprised):
            types[(candidates > 0) & (candidates & ~np.uint32(mask) == 0)] = j + 1
        return types

    def reorder_types(self, types: NDArray[np.integer]) -> NDArray[np.int32]:
        """Scored class + 1 where there was the class + 1 of the predictions; 0 stays 0.

        Args:
            types: class + 1 of the predictions, an array of any shape.
        """
        place = np.zeros(1 + sum(map(len, self.order)), np.int32)
        for j, numbers in enumerate(self.order):
            place[1 + np.array(numbers)] = j + 1
        return np.asarray(place[types])

    def reorder_probabilities(
        self, probabilities: NDArray[np.float32], axis: int
    ) -> NDArray[np.float32]:
        """Probabilities of the scored classes from those of the predictions' classes.

        Args:
            probabilities: float32 of any shape, with one entry a class along `axis`.
            axis: the axis of the classes.
        """
        parts = [probabilities.take(numbers, axis).sum(axis) for numbers in self.order]
        return np.stack(parts, axis=axis)

    def describe_merging(self, store: LabelSpace) -> dict[str, str | None]:
        """The scored class of each class of the store; None for a class that has none.

        Args:
            store: classes of the store.

        Returns:
            Names by name; nothing where the store's classes are scored as they are.
        """
        if not self.comprised:
            return {}
        each = np.array([1 << j for j in range(len(store))], np.uint32)
        types = self.merge_types(each).tolist()
        names = (None, *self.label_space.classes)
        return {name: names[kind] for name, kind in zip(store.classes, types, strict=True)}


def choose_classes(
    store: LabelSpace, predicted: LabelSpace, *, binary_only: bool = False
) -> ScoredClasses:
    """The classes in which predictions can be scored on a store.

    The store's own where the predictions have the same, in any order. Where each class of the
    predictions comprises classes of the store, as the shipped model's "Epithelial or neoplastic"
    comprises two of PanNuke's, the predictions' classes are scored, and nuclei of a class that none
    comprises count as nuclei of unknown class.

    Args:
        store: classes of the truth.
        predicted: classes of the predictions.
        binary_only: leave classes out.

    Raises:
        ValueError: classes that cannot be compared, without `binary_only`.
    """
    same = set(store.classes) == set(predicted.classes)
    if binary_only:
        reason = LEFT_OUT if same else _describe_difference(store, predicted)
        return ScoredClasses(label_space=store, no_classes=reason)
    if same:
        order = tuple((predicted.classes.index(name),) for name in store.classes)
        return ScoredClasses(label_space=store, order=order)
    comprised = find_comprised(store, predicted)
    if comprised is None:
        known = predicted.name in LABEL_SPACES
        advice = (
            f"Prepare the data with --label-space {predicted.name}, or score" if known else "Score"
        )
        raise ValueError(
            f"{_describe_difference(store, predicted)}: these are not the same classes, nor can "
            f"the store's be merged into them. {advice} the nuclei without their classes with "
            "--binary-only"
        )
    return ScoredClasses(
        label_space=predicted,
        comprised=comprised,
        order=tuple((j,) for j in range(len(predicted))),
    )


def join_open_classes(
    classes: ScoredClasses, store: LabelSpace, candidates: NDArray[np.uint32]
) -> ScoredClasses:
    """The classes in which points are scored: those that they leave open are one.

    A point that may be Neoplastic or Epithelial says nothing about which of the two was missed, so
    both are scored as "Neoplastic or Epithelial", and a prediction of either is right.

    Args:
        classes: as chosen without a look at the points.
        store: classes of the store.
        candidates: bit masks (k,) of the store's classes that the points may be.
    """
    if classes.no_classes:
        return classes
    masks = classes.comprised or tuple(1 << j for j in range(len(store)))
    group = np.arange(len(masks))
    known = False
    for candidate in np.unique(candidates).tolist():
        possible = [j for j, mask in enumerate(masks) if candidate & mask]
        unknown = len(possible) in (0, len(masks)) or candidate & ~sum(masks)
        if not unknown:
            known = True
            group[np.isin(group, group[possible])] = group[possible].min()
    numbers = [tuple(np.flatnonzero(group == j).tolist()) for j in np.unique(group)]
    if not known or len(numbers) == 1:
        return ScoredClasses(label_space=classes.label_space, no_classes=ALL_OPEN)
    if len(numbers) == len(masks):
        return classes
    return ScoredClasses(
        label_space=_join_names(classes.label_space, numbers),
        comprised=tuple(sum(masks[j] for j in joined) for joined in numbers),
        order=tuple(sum((classes.order[j] for j in joined), ()) for joined in numbers),
    )


def _join_names(space: LabelSpace, numbers: Sequence[tuple[int, ...]]) -> LabelSpace:
    """A label space whose classes are several of another's."""
    meanings = space.meanings or tuple((name,) for name in space.classes)
    return LabelSpace(
        name=f"{space.name}, joined",
        classes=tuple(" or ".join(space.classes[j] for j in joined) for joined in numbers),
        colours=tuple(space.colours[joined[0]] for joined in numbers),
        meanings=tuple(sum((meanings[j] for j in joined), ()) for joined in numbers),
    )


def describe_merging(merged: Mapping[str, str | None]) -> str:
    """What became of the store's classes, in one line.

    >>> describe_merging({"Neoplastic": "Tumour", "Epithelial": "Tumour", "Dead": None})
    'Tumour: Neoplastic, Epithelial; of unknown class: Dead'
    """
    sources: dict[str, list[str]] = {}
    for name, target in merged.items():
        sources.setdefault(target or "of unknown class", []).append(name)
    return "; ".join(f"{target}: {', '.join(names)}" for target, names in sources.items())


def _describe_difference(store: LabelSpace, predicted: LabelSpace) -> str:
    return (
        f"the model knows {', '.join(predicted.classes)} ({predicted.name}), "
        f"the store {', '.join(store.classes)} ({store.name})"
    )
