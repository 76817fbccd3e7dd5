"""Teaching while somebody looks: one open slide, whose nuclei are all classified in a second."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.taxonomy import LabelSpace
from histonuc.teaching.classifier import Classified, Classifier
from histonuc.teaching.features import NucleusFeatures, read_features, sample_rows
from histonuc.teaching.fitting import MIN_LABELS, Standard, fit
from histonuc.teaching.usual import SAMPLE

HELD_OUT_SHARE = 0.3
"""Share of the proposed nuclei that is drawn at random, and never taught with."""
_CANDIDATES = 4_000
"""Nuclei, drawn at random, that proposals are chosen from."""
_SQUARES = 8
"""Proposals of one time lie in different ones of so many squares along each side of the slide."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Nuclei to look at next, by their number in the table, from 1.

    Attributes:
        teach: chosen: least certain, and unlike what is labelled.
        hold_out: drawn at random, never to be taught with, so that scores on them stay honest.
    """

    teach: tuple[int, ...]
    hold_out: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class LiveClassifier:
    """The features of all nuclei of one slide, in memory: about 400 bytes a nucleus.

    Attributes:
        features: of the n nuclei, in the order of the table.
    """

    features: NucleusFeatures

    @staticmethod
    def open(folder: Path) -> LiveClassifier:
        """Read the features of a result; some seconds for a million nuclei.

        Raises:
            ValueError: no result there, or a damaged one.
        """
        return LiveClassifier(features=read_features(folder))

    @property
    def has_embeddings(self) -> bool:
        """Whether the result holds what the network saw; else shape and stain have to do."""
        return bool(self.features.embedding.shape[1])

    @cached_property
    def standard(self) -> Standard:
        """Mean and spread of the features over the slide, as `histonuc teach` measures them."""
        return Standard.measure(sample_rows([self.features], SAMPLE, np.random.default_rng(0)))

    def fit(self, labels: Mapping[int, str], label_space: LabelSpace) -> Classifier:
        """A classifier of the classes that occur among the labels; takes tenths of a second.

        Args:
            labels: class by number of the nucleus in the table, from 1; others are left out, as are
                classes of fewer than two nuclei. Without those that are held out.
            label_space: gives the classes their order and colours.

        Raises:
            ValueError: fewer than two classes, with what is missing.
        """
        return fit_labels(self.features, self.standard, labels, label_space)

    def classify(self, classifier: Classifier) -> Classified:
        """Classes of all nuclei of the slide, in the order of the table."""
        return classifier.classify(self.features)

    def propose(
        self,
        labelled: Collection[int],
        seen: Collection[int] = (),
        classified: Classified | None = None,
        *,
        num: int = 10,
        seed: int = 0,
    ) -> Proposal:
        """What to look at next: least certain, unlike what is labelled, spread over the slide.

        Args:
            labelled: numbers of the nuclei that teach.
            seen: numbers of others that are not to be proposed, such as those held out.
            classified: of `classify`; None where there is no classifier yet.
            num: how many at most; three of ten are drawn at random.
            seed: of the draws; another one each time.
        """
        rng = np.random.default_rng(seed)
        taken = np.zeros(len(self.features), bool)
        for numbers in (labelled, seen):
            known = np.array([i for i in numbers if 1 <= i <= len(taken)], np.int64)
            taken[known - 1] = True
        free = rng.permutation(np.flatnonzero(~taken))
        num_random = round(HELD_OUT_SHARE * num)
        held_out, pool = free[:num_random], free[num_random:][:_CANDIDATES]
        known = np.array([i - 1 for i in labelled if 1 <= i <= len(taken)], np.int64)
        worth = self._distance(pool, known)
        if classified is not None and len(pool):
            # What is unlike everything is rarely a class: damage, slivers, ink.
            worth = np.minimum(worth, np.median(worth)) * (1 - classified.margin[pool])
        chosen = self._spread(pool[np.argsort(-worth, kind="stable")], num - num_random)
        return Proposal(
            teach=tuple(int(i) + 1 for i in chosen), hold_out=tuple(int(i) + 1 for i in held_out)
        )

    def _distance(
        self, pool: NDArray[np.integer], labelled: NDArray[np.integer]
    ) -> NDArray[np.float32]:
        """Distance of each nucleus (k,) to the most similar labelled one, in spreads; 1 if none."""
        if not len(labelled):
            return np.ones(len(pool), np.float32)
        here = self.standard.apply(self.features.rows(pool))
        there = self.standard.apply(self.features.rows(labelled))
        squares = (here**2).sum(1)[:, None] - 2 * here @ there.T + (there**2).sum(1)
        return np.asarray(np.sqrt(np.maximum(squares.min(1), 0)), np.float32)

    def _spread(self, ranked: NDArray[np.integer], num: int) -> list[int]:
        """The first `num` nuclei that lie in different squares, and then the next best."""
        place = self.features.centroid_um[ranked]
        low, high = self.features.centroid_um.min(0), self.features.centroid_um.max(0)
        square = ((place - low) / np.maximum(high - low, 1e-9) * _SQUARES * 0.999).astype(int)
        first = np.unique(square[:, 0] * _SQUARES + square[:, 1], return_index=True)[1]
        order = [*np.sort(first), *np.setdiff1d(np.arange(len(ranked)), first)]
        return [int(ranked[i]) for i in order[:num]]


def fit_labels(
    features: NucleusFeatures,
    standard: Standard,
    labels: Mapping[int, str],
    label_space: LabelSpace,
) -> Classifier:
    """As `LiveClassifier.fit`.

    Raises:
        ValueError: fewer than two classes.
    """
    number = {name: j for j, name in enumerate(label_space.classes)}
    found = [
        (i - 1, number[c]) for i, c in labels.items() if 1 <= i <= len(features) and c in number
    ]
    index, classes = np.array(found, np.int64).reshape(-1, 2).T
    present = np.flatnonzero(np.bincount(classes, minlength=len(number)) >= MIN_LABELS)
    check_classes(len(present))
    space = pick_classes(label_space, present)
    usable = np.isin(classes, present)
    rows = standard.apply(features.rows(index[usable]))
    weights, bias = fit(rows, np.searchsorted(present, classes[usable]), len(present))
    return make_classifier(features, standard, weights, bias, space)


def check_classes(num: int) -> None:
    """Refuse to teach fewer than two classes.

    Raises:
        ValueError: with what is missing.
    """
    if num < 2:
        raise ValueError(
            f"a classifier needs two classes of {MIN_LABELS} or more labelled nuclei each, got "
            f"{num}: label some more"
        )


def pick_classes(space: LabelSpace, present: NDArray[np.integer]) -> LabelSpace:
    """The classes (k,) of a label space that are there, by their index."""
    return LabelSpace(
        name="taught",
        classes=tuple(space.classes[j] for j in present),
        colours=tuple(space.colours[j] for j in present),
        meanings=tuple(space.meanings[j] for j in present) if space.meanings else (),
    )


def make_classifier(
    features: NucleusFeatures,
    standard: Standard,
    weights: NDArray[np.float32],
    bias: NDArray[np.float32],
    space: LabelSpace,
    temperature: float = 1.0,
) -> Classifier:
    """A classifier of features as they are, from weights (F, C) for standardised ones."""
    scaled = weights / standard.scale[:, None]
    return Classifier(
        label_space=space,
        weights=scaled.astype(np.float32),
        bias=(bias - standard.mean @ scaled).astype(np.float32),
        temperature=temperature,
        embedding_size=features.embedding.shape[1],
        model=features.model,
        model_sha256=features.model_sha256,
    )
