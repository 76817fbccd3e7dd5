"""`histonuc teach`: corrected results to a classifier, and figures of how good it is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from histonuc._version import __version__
from histonuc.data.store import Store
from histonuc.files import write_json
from histonuc.models.loading import load_model
from histonuc.taxonomy import LabelSpace
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
    gather_store,
    group_by_square,
)
from histonuc.teaching.labelled import describe_store
from histonuc.teaching.labels import (
    ResultLabels,
    find_results,
    join_spaces,
    number_labels,
    read_labels,
)
from histonuc.teaching.live import make_classifier
from histonuc.teaching.quality import SHARES, Quality, advise, judge, macro_f1
from histonuc.teaching.report import REPORT_FILE, TeachReport
from histonuc.teaching.usual import SAMPLE, learn_usual


@dataclass(frozen=True, kw_only=True, eq=False)
class _Material:
    """What a classifier is taught with.

    Attributes:
        names: of the slides, or of the store.
        features: of all nuclei of each slide, labelled or not.
        standard: of the features.
        labelled: the nuclei that teach.
        pairs: features and labels of each slide, for those held out; none of a store.
        notes: sentences about the labels.
    """

    names: tuple[str, ...]
    features: Sequence[NucleusFeatures]
    standard: Standard
    labelled: Labelled
    pairs: Sequence[tuple[NucleusFeatures, ResultLabels]]
    notes: Sequence[str]


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
    start = time.monotonic()
    corrected = _read_corrected(paths)
    features = {folder: complete_features(folder, embeddings=embeddings) for folder in corrected}
    check_one_model(features)
    space = join_spaces(found.label_space for found in corrected.values())
    pairs = [(features[folder], found) for folder, found in corrected.items()]
    every = list(features.values())
    standard = Standard.measure(sample_rows(every, SAMPLE, np.random.default_rng(seed)))
    labelled = gather(pairs, space, standard)
    material = _Material(
        names=tuple(map(str, corrected)),
        features=every,
        standard=standard,
        labelled=labelled,
        pairs=pairs,
        notes=_list_notes(corrected, labelled),
    )
    return _teach(material, out, seed, start)


def teach_store(
    path: Path,
    out: Path,
    *,
    model: str = "default",
    sources: Sequence[str] = (),
    folds: Sequence[int] = (),
    embeddings: bool = True,
    seed: int = 0,
) -> TeachReport:
    """The same with the labels of a store, whose nuclei are outlined as the labels say.

    Args:
        path: of the store.
        out: as of `teach`.
        model: whose features are learned from; results that are to be classified need the same.
        sources: data sets; all where none is given.
        folds: their numbers; all where none is given.
        embeddings: as of `teach`.
        seed: of all draws.

    Raises:
        ValueError: no store, no such model, a model without features, or fewer than two classes.
    """
    start = time.monotonic()
    store, loaded = Store.open(path), load_model(model)
    if embeddings and not loaded.spec.features:
        raise ValueError(
            f"--model {model}: {loaded.name} gives no features of nuclei: use a model that does, "
            "or teach without embeddings (--no-embeddings)"
        )
    tiles = store.select(list(folds) or None, list(sources) or None, labels=None)
    found = describe_store(store, tiles.tolist(), loaded)
    features = found.features if embeddings else found.features.without_embedding()
    standard = Standard.measure(sample_rows([features], len(features), np.random.default_rng(seed)))
    material = _Material(
        names=(str(path),),
        features=[features],
        standard=standard,
        labelled=gather_store(replace(found, features=features), store.label_space, standard),
        pairs=(),
        notes=(),
    )
    return _teach(material, out, seed, start)


def _teach(material: _Material, out: Path, seed: int, start: float) -> TeachReport:
    """Fit, judge and write the classifier; `start` is when the work began."""
    labelled, rng = material.labelled, np.random.default_rng(seed)
    classifier, crossed, curve = teach_labelled(
        labelled, material.standard, material.features[0], seed
    )
    counts = count_classes(labelled)
    record: dict[str, Any] = {
        "results": list(material.names),
        "model": classifier.model,
        "model_sha256": classifier.model_sha256,
        "classes": counts,
        "num_labels": len(labelled.classes),
        "by": labelled.by,
        "temperature": classifier.temperature,
        "cross_validation": crossed.to_dict(),
        "held_out": judge_held_out(classifier, material.pairs).to_dict(),
        "learning_curve": [{"labels": num, "macro_f1": score} for num, score in curve],
        "advice": advise(curve, min(counts.items(), key=lambda item: item[1])),
        "notes": list(material.notes),
        "version": __version__,
    }
    facts = {name: record[name] for name in ("classes", "num_labels", "by", "version")}
    facts["cross_validation"] = {"macro_f1": crossed.macro_f1, "interval": crossed.interval}
    facts["slides"] = [Path(name).name for name in material.names]
    trust = learn_usual(classifier, material.features, material.standard, rng)
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
