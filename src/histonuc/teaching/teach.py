"""`histonuc teach`: corrected results to a classifier, and figures of how good it is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from histonuc._version import __version__
from histonuc.data.store import Store
from histonuc.files import write_json
from histonuc.models.loading import load_model
from histonuc.teaching.classifier import CLASSIFIER_FILE, Classifier, write_classifier
from histonuc.teaching.embedding import complete_features
from histonuc.teaching.features import NucleusFeatures, sample_rows
from histonuc.teaching.filling import fill_up, read_predicted
from histonuc.teaching.fitting import (
    Standard,
    fit,
    fit_temperature,
)
from histonuc.teaching.gathering import (
    Labelled,
    check_one_model,
    count_classes,
    gather,
    gather_store,
)
from histonuc.teaching.judging import draw_curve, judge_held_out, score_left_out
from histonuc.teaching.labelled import describe_store
from histonuc.teaching.labels import (
    ResultLabels,
    find_results,
    join_spaces,
    read_labels,
)
from histonuc.teaching.live import make_classifier
from histonuc.teaching.notes import judge_numbers, list_notes
from histonuc.teaching.quality import Quality, advise, judge
from histonuc.teaching.report import REPORT_FILE, TeachReport
from histonuc.teaching.usual import SAMPLE, learn_usual

_FACTS = ("classes", "num_labels", "filled_up", "by", "version")
"""What the classifier's file says of how it was taught."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Material:
    """What a classifier is taught with.

    Attributes:
        names: of the slides, or of the store.
        features: of all nuclei of each slide, labelled or not.
        standard: of the features.
        labelled: the nuclei that teach.
        pairs: features and labels of each slide, for those held out; none of a store.
        filled: nuclei by class that the model is sure of and that make up the number of labels.
        notes: sentences about the labels.
    """

    names: tuple[str, ...]
    features: Sequence[NucleusFeatures]
    standard: Standard
    labelled: Labelled
    pairs: Sequence[tuple[NucleusFeatures, ResultLabels]]
    filled: Mapping[str, int]
    notes: Sequence[str]


def teach(
    paths: Sequence[Path],
    out: Path,
    *,
    embeddings: bool = True,
    labels_only: bool = False,
    overwrite: bool = False,
    seed: int = 0,
) -> TeachReport:
    """Teach a classifier with the corrections of results, and judge it.

    It is the one that the viewer shows while it is taught there with the same labels.

    Args:
        paths: folders of results, or folders that hold some.
        out: folder for ``classifier.safetensors`` and ``report.json``.
        embeddings: whether to learn from the network's features; False for shape, stain and
            neighbourhood alone.
        labels_only: learn from what people said alone; otherwise nuclei that the model is sure of
            make up the number in the model's classes of fewer than `filling.FILLED_UP` labels.
        overwrite: replace a classifier that is there.
        seed: of all draws.

    Raises:
        ValueError: no result, no labels, fewer than two classes, results of several models, no
            embeddings and no way to make them, or a classifier in `out`.
    """
    start = time.monotonic()
    _check_free(out, overwrite)
    corrected = _read_corrected(paths)
    features = {folder: complete_features(folder, embeddings=embeddings) for folder in corrected}
    check_one_model(features)
    space = join_spaces(found.label_space for found in corrected.values())
    pairs = [(features[folder], found) for folder, found in corrected.items()]
    every = list(features.values())
    standard = Standard.measure(sample_rows(every, SAMPLE, np.random.default_rng(seed)))
    filled = []
    if not labels_only:
        filled = fill_up([read_predicted(folder, found) for folder, found in corrected.items()])
    labelled = gather(pairs, space, standard, filled)
    material = _Material(
        names=tuple(map(str, corrected)),
        features=every,
        standard=standard,
        labelled=labelled,
        pairs=pairs,
        filled=Counter(name for labels in filled for name in labels.values()),
        notes=list_notes(corrected, labelled),
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
    overwrite: bool = False,
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
        overwrite: as of `teach`.
        seed: of all draws.

    Raises:
        ValueError: no store, no such model, a model without features, fewer than two classes, or a
            classifier in `out`.
    """
    start = time.monotonic()
    _check_free(out, overwrite)
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
        filled={},
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
    given = {name: num for name, num in counts.items() if num}
    record: dict[str, Any] = {
        "results": list(material.names),
        "model": classifier.model,
        "model_sha256": classifier.model_sha256,
        "classes": counts,
        "num_labels": labelled.num_given,
        "filled_up": dict(material.filled),
        "by": labelled.by,
        "temperature": classifier.temperature,
        "cross_validation": crossed.to_dict(),
        "held_out": judge_held_out(classifier, material.pairs).to_dict(),
        "learning_curve": [{"labels": num, "macro_f1": score} for num, score in curve],
        "advice": advise(curve, min(given.items(), key=lambda item: item[1])),
        "notes": [*material.notes, *judge_numbers(given, material.filled)],
        "version": __version__,
    }
    facts = {name: record[name] for name in _FACTS}
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
    num = len(labelled.label_space)
    classes, groups = (part[: labelled.num_given] for part in (labelled.classes, labelled.groups))
    scores = score_left_out(labelled, seed)
    known = np.isfinite(scores).all(1)
    quality = judge(
        classes[known], scores[known].argmax(1), groups[known], labelled.label_space.classes
    )
    weights, bias = fit(labelled.rows, labelled.classes, num)
    classifier = make_classifier(
        features,
        standard,
        weights,
        bias,
        labelled.label_space,
        fit_temperature(scores, classes),
    )
    return classifier, quality, draw_curve(labelled, quality, seed)


def _check_free(out: Path, overwrite: bool) -> None:
    """Refuse to replace a classifier that is there.

    Raises:
        ValueError: there is one.
    """
    if (out / CLASSIFIER_FILE).exists() and not overwrite:
        raise ValueError(
            f"--out {out} holds a classifier already: choose another place or give --overwrite"
        )
