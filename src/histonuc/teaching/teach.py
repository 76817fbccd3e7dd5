"""`histonuc teach`: corrected results to a classifier, and figures of how good it is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from histonuc._version import __version__
from histonuc.files import write_json
from histonuc.teaching.classifier import CLASSIFIER_FILE, Classifier, write_classifier
from histonuc.teaching.embedding import complete_features
from histonuc.teaching.features import NucleusFeatures, sample_rows
from histonuc.teaching.fitting import (
    MIN_LABELS,
    Standard,
    cross_validate,
    fit,
    fit_temperature,
)
from histonuc.teaching.gathering import (
    Labelled,
    check_one_model,
    count_classes,
    gather,
    group_by_square,
)
from histonuc.teaching.labels import (
    ResultLabels,
    find_results,
    join_spaces,
    number_labels,
    read_labels,
)
from histonuc.teaching.live import make_classifier
from histonuc.teaching.quality import SHARES, Quality, advise, judge, macro_f1
from histonuc.teaching.usual import SAMPLE, learn_usual

REPORT_FILE = "report.json"


@dataclass(frozen=True, kw_only=True)
class TeachReport:
    """What came of teaching.

    Attributes:
        out: folder of the classifier.
        sha256: of its file, in hex.
        record: JSON-able, the content of ``report.json``.
    """

    out: Path
    sha256: str
    record: Mapping[str, Any]

    def lines(self) -> list[str]:
        """The same for people."""
        record = self.record
        crossed, held = record["cross_validation"], record["held_out"]
        lines = [
            f"{record['num_labels']} labelled nuclei of {len(record['results'])} results -> "
            f"{self.out / CLASSIFIER_FILE} ({self.sha256[:12]}), in {record['seconds']:.1f} s"
        ]
        if crossed["num"]:
            lines.append(f"cross-validated by {record['by']}: {_told(crossed)}")
            lines += [_class_line(name, row) for name, row in crossed["classes"].items()]
        if held["num"]:
            lines.append(f"on {held['num']} nuclei that were drawn at random: {_told(held)}")
        return [*lines, *(f"  note: {note}" for note in record["notes"]), record["advice"]]


def teach(
    paths: Sequence[Path], out: Path, *, embeddings: bool = True, seed: int = 0
) -> TeachReport:
    """Teach a classifier with the corrections of results, and judge it.

    Args:
        paths: folders of results, or folders that hold some.
        out: folder for ``classifier.safetensors`` and ``report.json``.
        embeddings: whether to learn from the network's features; False for shape, stain and
            neighbourhood alone.
        seed: of all draws.

    Raises:
        ValueError: no result, no labels, fewer than two classes, results of several models, or no
            embeddings and no way to make them.
    """
    start, rng = time.monotonic(), np.random.default_rng(seed)
    corrected = _read_corrected(paths)
    features = {folder: complete_features(folder, embeddings=embeddings) for folder in corrected}
    check_one_model(features)
    space = join_spaces(found.label_space for found in corrected.values())
    pairs = [(features[folder], found) for folder, found in corrected.items()]
    standard = Standard.measure(sample_rows(list(features.values()), SAMPLE, rng))
    labelled = gather(pairs, space, standard)
    classifier, crossed, curve = teach_labelled(labelled, standard, pairs[0][0], seed)
    trust = learn_usual(classifier, list(features.values()), standard, rng)
    record: dict[str, Any] = {
        "results": [str(folder) for folder in corrected],
        "model": classifier.model,
        "model_sha256": classifier.model_sha256,
        "classes": count_classes(labelled),
        "num_labels": len(labelled.classes),
        "by": labelled.by,
        "temperature": classifier.temperature,
        "cross_validation": crossed.to_dict(),
        "held_out": judge_held_out(classifier, pairs).to_dict(),
        "learning_curve": [{"labels": num, "macro_f1": score} for num, score in curve],
        "advice": advise(curve, min(count_classes(labelled).items(), key=lambda item: item[1])),
        "notes": _list_notes(corrected, labelled),
        "version": __version__,
    }
    facts = {name: record[name] for name in ("classes", "num_labels", "by", "version")}
    facts["cross_validation"] = {"macro_f1": crossed.macro_f1, "interval": crossed.interval}
    facts["slides"] = [folder.name for folder in corrected]
    sha256 = write_classifier(replace(classifier, trust=trust, facts=facts), out / CLASSIFIER_FILE)
    record |= {"sha256": sha256, "seconds": round(time.monotonic() - start, 2)}
    write_json(record, out / REPORT_FILE)
    return TeachReport(out=out, sha256=sha256, record=record)


def _read_corrected(paths: Sequence[Path]) -> dict[Path, ResultLabels]:
    """The labels of all results that have some.

    Raises:
        ValueError: none has.
    """
    found = {folder: read_labels(folder) for folder in find_results(paths)}
    corrected = {folder: one for folder, one in found.items() if one is not None and one.taught}
    if not corrected:
        raise ValueError(
            f"no labels in {', '.join(map(str, found))}: give nuclei a class in `histonuc view`, "
            "or in QuPath and then `histonuc prepare corrections`"
        )
    return corrected


def teach_labelled(
    labelled: Labelled, standard: Standard, features: NucleusFeatures, seed: int = 0
) -> tuple[Classifier, Quality, list[tuple[int, float]]]:
    """A classifier of labelled nuclei, its figures on nuclei left out, and its learning curve.

    Args:
        labelled: standardised.
        standard: of the features.
        features: of one of the slides; says what the features are.
        seed: of the draws.
    """
    rows, classes, num = labelled.rows, labelled.classes, len(labelled.label_space)
    scores = cross_validate(rows, classes, labelled.groups, num, seed=seed)
    known = np.isfinite(scores).all(1)
    quality = judge(
        classes[known],
        scores[known].argmax(1),
        labelled.groups[known],
        labelled.label_space.classes,
    )
    weights, bias = fit(rows, classes, num)
    classifier = make_classifier(
        features,
        standard,
        weights,
        bias,
        labelled.label_space,
        fit_temperature(scores, classes),
    )
    return classifier, quality, draw_curve(labelled, quality, seed)


def draw_curve(labelled: Labelled, quality: Quality, seed: int) -> list[tuple[int, float]]:
    """Number of labels and macro F1 on nuclei left out, for each of `SHARES` of the labels."""
    num, curve = len(labelled.classes), []
    for share in SHARES[:-1]:
        if share * num < 10:
            continue
        scores = cross_validate(
            labelled.rows,
            labelled.classes,
            labelled.groups,
            len(labelled.label_space),
            share=share,
            seed=seed,
        )
        known = np.isfinite(scores).all(1)
        score = macro_f1(
            labelled.classes[known], scores[known].argmax(1), len(labelled.label_space)
        )
        if np.isfinite(score):
            curve.append((round(share * num), score))
    return [*curve, *([(num, quality.macro_f1)] if quality.macro_f1 is not None else [])]


def judge_held_out(
    classifier: Classifier, pairs: Sequence[tuple[NucleusFeatures, ResultLabels]]
) -> Quality:
    """Figures on the nuclei that were drawn at random and never taught."""
    space = classifier.label_space
    true, given, groups = [], [], []
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


def _list_notes(corrected: Mapping[Path, ResultLabels], labelled: Labelled) -> list[str]:
    """What the user should know of the labels."""
    notes = []
    made = sum(found.num_without_features for found in corrected.values())
    if made:
        notes.append(f"{made} labelled nuclei were drawn by hand: they teach no classes")
    names = {name for found in corrected.values() for name in found.taught.values()}
    few = sorted(names - set(labelled.label_space.classes))
    if few:
        notes.append(f"left out for want of labels ({MIN_LABELS} at least): {', '.join(few)}")
    if labelled.by == "square":
        notes.append(
            "labels of one or two slides: the figures say how good it is on these slides, not on "
            "others"
        )
    return notes


def _told(quality: Mapping[str, Any]) -> str:
    ends = quality["interval"]
    interval = "" if ends is None else f" ({ends[0]:.2f} to {ends[1]:.2f})"
    return f"macro F1 {quality['macro_f1']:.2f}{interval}, {quality['accuracy']:.0%} right"


def _class_line(name: str, row: Mapping[str, Any]) -> str:
    ends, f1 = row["interval"], row["f1"]
    interval = "" if ends is None else f"  {ends[0]:.2f} to {ends[1]:.2f}"
    told = "-" if f1 is None else f"{f1:.2f}"
    return f"  {name:<30}{row['labels']:>7} labels  F1 {told}{interval}"
