"""Which fold each image of a folder goes to: by its split, or balanced by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from histonuc.data.classes_file import CHECK
from histonuc.data.folder_index import IndexRow

CHECK_FOLD = 0
"""Fold of the images that no training may take."""

_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    CHECK: CHECK,
}
"""What a split may be called; the other possibility is the number of a fold."""


def assign_folds(
    rows: Sequence[IndexRow], num_folds: int, seed: int, check_only: Sequence[str] = ()
) -> list[int]:
    """Fold of every row: 1 to `num_folds`, or `CHECK_FOLD`.

    Each data set is split by itself, so its folds do not depend on which others are read. One that
    states splits keeps them: ``test`` is the last fold, ``validation`` the last or the one before
    it, and ``train`` is spread over the others; numbers are the folds themselves. Otherwise, and
    within ``train``, groups (a patient, or an image where none is known) go whole to the fold with
    the fewest nuclei, the largest group first; `seed` decides between equals.

    Args:
        rows: images.
        num_folds: number of folds.
        seed: decides between equals.
        check_only: data sets that go to `CHECK_FOLD` whatever their index says.

    Raises:
        ValueError: a split that is neither a word nor a fold, states missing, or fewer folds than
            the splits need.
    """
    folds = [CHECK_FOLD] * len(rows)
    for dataset in {row.dataset: None for row in rows}:
        if dataset in check_only:
            continue
        places = [i for i, row in enumerate(rows) if row.dataset == dataset]
        chosen = [rows[i] for i in places]
        if any(row.split for row in chosen):
            assigned = _by_split(chosen, num_folds, seed)
        else:
            assigned = _balance(chosen, range(1, num_folds + 1), seed)
        for i, fold in zip(places, assigned, strict=True):
            folds[i] = fold
    return folds


def _balance(rows: Sequence[IndexRow], folds: Sequence[int], seed: int) -> list[int]:
    groups = [row.patient or f"image {row.name}" for row in rows]
    weight: dict[str, int] = {}
    for row, group in zip(rows, groups, strict=True):
        weight[group] = weight.get(group, 0) + max(row.nuclei or 0, 1)
    names = sorted(weight)  # so that the order of rows does not matter
    shuffled = [names[k] for k in np.random.default_rng(seed).permutation(len(names))]
    load = np.zeros(len(folds), np.int64)
    fold_of: dict[str, int] = {}
    for group in sorted(shuffled, key=lambda name: -weight[name]):
        lightest = int(load.argmin())
        load[lightest] += weight[group]
        fold_of[group] = folds[lightest]
    return [fold_of[group] for group in groups]


def _by_split(rows: Sequence[IndexRow], num_folds: int, seed: int) -> list[int]:
    words = [_read_split(row) for row in rows]
    if any(isinstance(word, int) for word in words):
        return [_read_number(row, word, num_folds) for row, word in zip(rows, words, strict=True)]
    last = [word for word in ("validation", "test") if word in words]
    first = num_folds - len(last)  # folds that are left for training
    needed = len(last) + ("train" in words)
    if num_folds < needed:
        raise ValueError(
            f"--num-folds {num_folds}: {rows[0].dataset} is split into "
            f"{', '.join(sorted(map(str, {*words})))} by its index.csv, which takes {needed} folds"
        )
    fold_of: Mapping[str | int, int] = {
        CHECK: CHECK_FOLD,
        **{word: first + k for k, word in enumerate(last, 1)},
    }
    taught = [row for row, word in zip(rows, words, strict=True) if word == "train"]
    spread = iter(_balance(taught, range(1, first + 1), seed) if taught else ())
    return [next(spread) if word == "train" else fold_of[word] for word in words]


def _read_split(row: IndexRow) -> str | int:
    if row.split.isdecimal() and int(row.split) > 0:
        return int(row.split)
    word = _WORDS.get(row.split.lower())
    if word is None:
        raise ValueError(
            f"{row.where}: expected train, validation, test, {CHECK} or the number of a fold as "
            f"split, got {row.split!r}: correct it (all images of a data set state one, or none "
            "does)"
        )
    return word


def _read_number(row: IndexRow, split: str | int, num_folds: int) -> int:
    if split == CHECK:
        return CHECK_FOLD
    if not isinstance(split, int):
        raise ValueError(
            f"{row.where}: the split is {row.split!r}, others of {row.dataset} are numbers of "
            "folds: use one or the other"
        )
    if split > num_folds:
        raise ValueError(
            f"{row.where}: fold {split} of {num_folds}: raise --num-folds, or correct the split"
        )
    return split
