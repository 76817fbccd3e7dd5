"""`histonuc audit`: the labels that are most likely wrong, by classifiers that never saw them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.data.store import Store
from histonuc.exports import TABLE_FILE, name_results_inside
from histonuc.files import write_text
from histonuc.models.loading import load_model
from histonuc.plain_text import counted
from histonuc.taxonomy import LabelSpace
from histonuc.teaching.classifier import softmax
from histonuc.teaching.crops import Crop, SlideCrops, crop_tile
from histonuc.teaching.embedding import complete_features
from histonuc.teaching.features import NucleusFeatures
from histonuc.teaching.fitting import Standard, cross_validate, fit_temperature
from histonuc.teaching.gathering import group_by_square
from histonuc.teaching.labelled import describe_store
from histonuc.teaching.labels import number_labels, read_labels

_COLUMNS = ("rank", "image", "nucleus", "x", "y", "label", "p_label", "instead", "p_instead")


@dataclass(frozen=True, kw_only=True, eq=False)
class Suspect:
    """A label that looks wrong.

    Attributes:
        image: name of the image or slide.
        nucleus: id in the image's instance map, or number in the result's table.
        label: the class that it is said to have.
        p_label: its probability, 0 to 1, by a classifier that saw no label near it.
        instead: the class that is most probable of the others.
        p_instead: its probability.
        crop: a picture of it.
    """

    image: str
    nucleus: int
    label: str
    p_label: float
    instead: str
    p_instead: float
    crop: Crop

    def to_row(self, rank: int) -> tuple[Any, ...]:
        """Its values under `_COLUMNS`."""
        x, y = (round(value, 1) for value in self.crop.centroid)
        shares = round(self.p_label, 4), round(self.p_instead, 4)
        return rank, self.image, self.nucleus, x, y, self.label, shares[0], self.instead, shares[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Audit:
    """What an audit found.

    Attributes:
        source: what was audited.
        model: whose features it looked at; empty for shape, stain and neighbourhood alone.
        by: what was left out by turns: "image" or "square".
        num_labels: labels looked at.
        num_disagreeing: those for which another class is more probable.
        label_space: the classes.
        pairs: how often each (label, class instead) occurs among those, most first.
        suspects: the labels of least probability, the least first.
    """

    source: Path
    model: str
    by: str
    num_labels: int
    num_disagreeing: int
    label_space: LabelSpace
    pairs: tuple[tuple[str, str, int], ...]
    suspects: tuple[Suspect, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON, without pictures."""
        return {
            "source": str(self.source),
            "model": self.model,
            "by": self.by,
            "num_labels": self.num_labels,
            "num_disagreeing": self.num_disagreeing,
            "pairs": [list(pair) for pair in self.pairs],
            "suspects": [dict(zip(_COLUMNS, row, strict=True)) for row in self._rows()],
        }

    def lines(self) -> list[str]:
        """The same for people."""
        share = self.num_disagreeing / max(self.num_labels, 1)
        lines = [
            f"{self.source}: {counted(self.num_labels, 'label')}; for {self.num_disagreeing:,} of "
            f"them ({share:.1%}) another class is more probable"
        ]
        return lines + [f"  {label} -> {other}: {num:,}" for label, other, num in self.pairs[:8]]

    def write_csv(self, path: Path) -> None:
        """Write the suspects as a table."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *self._rows()])
        write_text(path, text.getvalue())

    def _rows(self) -> list[tuple[Any, ...]]:
        return [one.to_row(rank) for rank, one in enumerate(self.suspects, 1)]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Labels:
    """Labels to audit.

    Attributes:
        source: where they come from.
        rows: float32 (k, F), features.
        model: name of the model of the features; empty for none.
        classes: int64 (k,), class of `label_space`.
        groups: int64 (k,), what is left out by turns.
        by: what that is.
        label_space: the classes.
        names: image and number of the nucleus, by place.
        crop: makes the picture of the nucleus, by place.
    """

    source: Path
    rows: NDArray[np.float32]
    model: str
    classes: NDArray[np.int64]
    groups: NDArray[np.int64]
    by: str
    label_space: LabelSpace
    names: Callable[[int], tuple[str, int]]
    crop: Callable[[int], Crop]


def audit(
    path: Path, *, model: str = "default", sources: Sequence[str] = (), num: int = 100
) -> Audit:
    """Find the labels that are most likely wrong, of a store or of a corrected result.

    Args:
        path: a store, or the folder of a result.
        model: whose features of a store's nuclei are taken; shape and stain alone where it gives
            none. Results have those of their own.
        sources: data sets of the store; all where none is given.
        num: how many suspects.

    Raises:
        ValueError: neither a store nor a corrected result, or fewer than two classes.
    """
    if (path / "store.json").is_file():
        return _find_suspects(_read_store(path, model, sources), num)
    if not (path / TABLE_FILE).is_file():
        raise ValueError(f"neither a store nor a result at {path}{name_results_inside(path)}")
    with SlideCrops.open(path) as crops:
        return _find_suspects(_read_result(path, crops), num)


def _read_store(path: Path, model: str, sources: Sequence[str]) -> _Labels:
    store, loaded = Store.open(path), load_model(model)
    tiles = store.select(sources=sources or None)
    found = describe_store(store, tiles.tolist(), loaded)

    def names(place: int) -> tuple[str, int]:
        return store.name(int(found.tile[place])), int(found.instance[place])

    return _Labels(
        source=path,
        rows=_all_rows(found.features),
        model=found.features.model,
        classes=found.classes,
        groups=found.tile,
        by="image",
        label_space=store.label_space,
        names=names,
        crop=lambda place: crop_tile(store, int(found.tile[place]), int(found.instance[place])),
    )


def _read_result(path: Path, crops: SlideCrops) -> _Labels:
    labels = read_labels(path)
    if labels is None or not labels.taught:
        raise ValueError(
            f"{path} has no labels: expected a store of `histonuc prepare`, or a result whose "
            "nuclei a person gave classes in `histonuc view`"
        )
    features = complete_features(path, embeddings=crops.gives_features)
    index, classes = number_labels({**labels.taught, **labels.held_out}, labels.label_space)
    place = features.centroid_um[index]
    return _Labels(
        source=path,
        rows=features.rows(index),
        model=features.model,
        classes=classes,
        groups=group_by_square(np.zeros(len(index), np.int64), place),
        by="square",
        label_space=labels.label_space,
        names=lambda at: (crops.name, int(index[at]) + 1),
        crop=lambda at: crops.crop(int(index[at])),
    )


def _all_rows(features: NucleusFeatures) -> NDArray[np.float32]:
    return features.rows(np.arange(len(features)))


def _find_suspects(labels: _Labels, num: int) -> Audit:
    """The audit of labels: a classifier of the other groups says how probable each is."""
    known, probabilities = _judge(labels)
    classes, space = labels.classes[known], labels.label_space
    places = np.arange(len(known))
    given, others = probabilities[places, classes], probabilities.copy()
    others[places, classes] = -1
    instead = others.argmax(1)
    disagrees = others[places, instead] > given
    pairs = Counter(zip(classes[disagrees].tolist(), instead[disagrees].tolist(), strict=True))
    worst = np.argsort(given, kind="stable")[: min(num, int(disagrees.sum()))].tolist()
    suspects = []
    for at in worst:
        image, nucleus = labels.names(int(known[at]))
        suspects.append(
            Suspect(
                image=image,
                nucleus=nucleus,
                label=space.classes[classes[at]],
                p_label=float(given[at]),
                instead=space.classes[instead[at]],
                p_instead=float(others[at, instead[at]]),
                crop=labels.crop(int(known[at])),
            )
        )
    return Audit(
        source=labels.source,
        model=labels.model,
        by=labels.by,
        num_labels=len(known),
        num_disagreeing=int(disagrees.sum()),
        label_space=space,
        pairs=tuple(
            (space.classes[one], space.classes[other], count)
            for (one, other), count in pairs.most_common()
        ),
        suspects=tuple(suspects),
    )


def _judge(labels: _Labels) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Places of the labels that could be judged, and the probability (k, C) of each class.

    Raises:
        ValueError: fewer than two classes, or all labels in one place.
    """
    if len(np.unique(labels.classes)) < 2:
        raise ValueError(f"{labels.source}: expected labels of two classes at least")
    rows = Standard.measure(labels.rows).apply(labels.rows)
    scores = cross_validate(
        rows, labels.classes, labels.groups, len(labels.label_space), balanced=False
    )
    known = np.flatnonzero(np.isfinite(scores).all(1))
    if not len(known):
        raise ValueError(
            f"{labels.source}: expected labels in two {labels.by}s at least, so that those of one "
            "can be judged by the others"
        )
    temperature = fit_temperature(scores, labels.classes)
    return known, softmax(scores[known] / np.float32(temperature))
