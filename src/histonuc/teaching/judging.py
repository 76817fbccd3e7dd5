"""How good what was taught is, on nuclei that did not teach it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from histonuc.taxonomy import LabelSpace
from histonuc.teaching.classifier import Classifier
from histonuc.teaching.features import NucleusFeatures
from histonuc.teaching.fitting import cross_validate
from histonuc.teaching.gathering import Labelled, group_by_square
from histonuc.teaching.labels import ResultLabels, join_spaces, number_labels
from histonuc.teaching.quality import SHARES, Quality, judge, macro_f1


def score_left_out(labelled: Labelled, seed: int, share: float = 1.0) -> NDArray[np.float32]:
    """Scores (num_given, C) of the nuclei that people labelled: see `cross_validate`."""
    return cross_validate(
        labelled.rows,
        labelled.classes,
        labelled.groups,
        len(labelled.label_space),
        num_tested=labelled.num_given,
        share=share,
        seed=seed,
    )


def draw_curve(labelled: Labelled, quality: Quality, seed: int) -> list[tuple[int, float]]:
    """Number of labels and macro F1 on nuclei left out, for each of `SHARES` of the labels."""
    num, curve = labelled.num_given, []
    classes = labelled.classes[:num]
    for share in SHARES[:-1]:
        if share * num < 10:
            continue
        scores = score_left_out(labelled, seed, share)
        known = np.isfinite(scores).all(1)
        score = macro_f1(classes[known], scores[known].argmax(1), len(labelled.label_space))
        if np.isfinite(score):
            curve.append((round(share * num), score))
    return [*curve, *([(num, quality.macro_f1)] if quality.macro_f1 is not None else [])]


def judge_held_out(
    classifier: Classifier, pairs: Sequence[tuple[NucleusFeatures, ResultLabels]]
) -> Quality:
    """Figures on the nuclei that were drawn at random and never taught.

    Those of classes that were left out for want of labels count: none of them can be right.
    """
    none = np.zeros(0, np.int64)
    spaces = [
        LabelSpace(name="held out", classes=names)
        for _, labels in pairs
        if (names := tuple(dict.fromkeys(labels.held_out.values())))
    ]
    space = join_spaces([classifier.label_space, *spaces])  # the classifier's classes come first
    true, given, groups = [none], [none], [none]
    for slide, (features, labels) in enumerate(pairs):
        index, classes = number_labels(labels.held_out, space)
        rows = features.rows(index)
        true.append(classes)
        given.append((rows @ classifier.weights + classifier.bias).argmax(1))
        groups.append(group_by_square(np.full(len(index), slide), features.centroid_um[index]))
    # Squares are numbered on each slide from 0.
    starts = np.cumsum([0, *(part.max(initial=-1) + 1 for part in groups[:-1])])
    together = [part + start for part, start in zip(groups, starts, strict=True)]
    true_class, given_class = np.concatenate(true), np.concatenate(given)
    return judge(true_class, given_class, np.concatenate(together), space.classes)
