"""The classifier of the page: fit, classify, and what to look at next."""

from __future__ import annotations

import numpy as np
import pytest

from histonuc.exports.embeddings import Embeddings
from histonuc.models.trust import Trust
from histonuc.taxonomy import LabelSpace
from histonuc.teaching import LiveClassifier, read_classifier, write_classifier
from histonuc.teaching.classifier import Classifier, softmax
from histonuc.teaching.features import BESIDE, MEASURED, make_features, measure_neighbourhood
from histonuc.teaching.fitting import split_groups
from histonuc.teaching.quality import advise, judge

SPACE = LabelSpace(name="mine", classes=("A", "B", "C", "D"))


def make_live(num: int = 4000, seed: int = 0) -> tuple[LiveClassifier, np.ndarray]:
    """Nuclei of three classes that embeddings tell apart, in a square of 1 mm."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, num)
    values = rng.normal(size=(num, 8)) + 3 * np.eye(8)[classes]
    embeddings = Embeddings(values=values.astype(np.float16), model="m", model_sha256="ab")
    measured = rng.normal(size=(num, len(MEASURED))).astype(np.float32)
    features = make_features(measured, rng.uniform(0, 1000, (num, 2)), embeddings)
    return LiveClassifier(features=features), classes


def label(classes: np.ndarray, rows) -> dict[int, str]:
    return {int(row) + 1: SPACE.classes[classes[row]] for row in rows}


def test_a_hundred_labels_colour_all() -> None:
    live, classes = make_live()
    classifier = live.fit(label(classes, range(100)), SPACE)
    found = live.classify(classifier)
    assert classifier.label_space.classes == ("A", "B", "C")
    assert (found.class_index == classes).mean() > 0.9
    probabilities = classifier.probabilities(live.features)
    np.testing.assert_array_equal(found.class_index, probabilities.argmax(1))
    np.testing.assert_allclose(found.probability, probabilities.max(1), rtol=1e-6)
    ordered = np.sort(probabilities, axis=1)
    np.testing.assert_allclose(found.margin, ordered[:, -1] - ordered[:, -2], atol=1e-6)


def test_two_classes_and_classes_of_one_nucleus() -> None:
    live, classes = make_live()
    rows = np.flatnonzero(classes < 2)[:40]
    single = int(np.flatnonzero(classes == 2)[0])
    labels = label(classes, [*rows, single])
    classifier = live.fit(labels, SPACE)
    assert classifier.label_space.classes == ("A", "B")
    known = classes < 2
    found = live.classify(classifier).class_index
    assert (found[known] == classes[known]).mean() > 0.9
    with pytest.raises(ValueError, match="two classes"):
        live.fit(label(classes, [single]), SPACE)


def test_blocks_and_threads_change_nothing(monkeypatch) -> None:
    from histonuc.teaching import classifier as module

    live, classes = make_live()
    classifier = live.fit(label(classes, range(60)), SPACE)
    whole = live.classify(classifier)
    monkeypatch.setattr(module, "_BLOCK", 333)
    pieces = live.classify(classifier)
    np.testing.assert_array_equal(whole.class_index, pieces.class_index)
    np.testing.assert_allclose(whole.probability, pieces.probability, rtol=1e-5)


def test_proposals_are_new_spread_and_partly_random() -> None:
    live, classes = make_live()
    labels = label(classes, range(30))
    found = live.classify(live.fit(labels, SPACE))
    seen = range(31, 500)
    proposal = live.propose(labels, seen, found, num=10, seed=3)
    numbers = [*proposal.teach, *proposal.hold_out]
    assert len(proposal.teach) == 7
    assert len(proposal.hold_out) == 3
    assert len(set(numbers)) == 10
    assert not set(numbers) & {*labels, *seen}
    place = live.features.centroid_um[np.array(proposal.teach) - 1]
    assert len(np.unique((place // 125).astype(int), axis=0)) == 7
    margin = found.margin[np.array(proposal.teach) - 1]
    assert np.median(margin) < np.quantile(found.margin, 0.2)
    assert live.propose(labels, seen, found, num=10, seed=3) == proposal
    assert live.propose(labels, seen, found, num=10, seed=4) != proposal
    assert len(live.propose((), (), None).teach) == 7
    every = live.propose(range(1, 3999), (), found, num=10)
    assert len({*every.teach, *every.hold_out}) == 2


def test_saved_and_read_back(tmp_path) -> None:
    live, classes = make_live()
    classifier = live.fit(label(classes, range(50)), SPACE)
    path = tmp_path / "classifier.safetensors"
    sha256 = write_classifier(classifier, path)
    again, read_sha256 = read_classifier(tmp_path)
    assert sha256 == read_sha256
    assert again.label_space == classifier.label_space
    assert again.model_sha256 == "ab"
    np.testing.assert_array_equal(
        again.probabilities(live.features), classifier.probabilities(live.features)
    )
    assert write_classifier(again, tmp_path / "again.safetensors") == sha256
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    with pytest.raises(ValueError, match="damaged or no classifier"):
        read_classifier(path)
    path.write_bytes(content.replace(b"area_um2", b"area_um3"))
    with pytest.raises(ValueError, match="other measurements"):
        read_classifier(path)


def test_impossible_classifiers_are_refused() -> None:
    size = len(MEASURED) + len(BESIDE)
    good = {"label_space": SPACE, "weights": np.zeros((size, 4), np.float32)}
    good |= {"bias": np.zeros(4, np.float32)}
    Classifier(**good)
    one = np.ones((1, 2), np.float32)
    trust = Trust(centres=one, whitening=one, distances=one[0])
    for bad in (
        {"embedding_size": 3},
        {"bias": np.full(4, np.nan, np.float32)},
        {"temperature": float("nan")},
        {"trust": trust},
    ):
        with pytest.raises(ValueError, match="classifier"):
            Classifier(**(good | bad))


def test_softmax_of_large_scores() -> None:
    given = softmax(np.array([[1000, 1000], [0, -1e4]], np.float32))
    np.testing.assert_allclose(given, [[0.5, 0.5], [1, 0]])


def test_neighbourhoods_of_few_nuclei() -> None:
    one = np.arange(15, dtype=np.float32)[None]
    alone = measure_neighbourhood(np.zeros((1, 2)), one)
    np.testing.assert_allclose(alone, np.column_stack([[np.log(200)], one]), rtol=1e-6)
    assert measure_neighbourhood(np.zeros((0, 2)), one[:0]).shape == (0, 16)
    three = np.array([[0.0, 0], [3, 4], [300, 400]])
    values = np.repeat([[1.0], [2], [6]], 15, axis=1).astype(np.float32)
    found = measure_neighbourhood(three, values)
    np.testing.assert_allclose(found[:, 1], [4, 3.5, 1.5])
    np.testing.assert_allclose(found[:, 0], np.log([200, 200, 200]))
    # Several in one place: none counts twice.
    same = measure_neighbourhood(np.zeros((3, 2)), values)
    np.testing.assert_allclose(same[:, 0], np.log(1))


def test_f1_is_counted_by_hand() -> None:
    true = np.array([0, 0, 0, 1, 1, 2])
    given = np.array([0, 0, 1, 1, 1, 0])
    quality = judge(true, given, np.arange(6) % 2, ("A", "B", "C", "D"))
    assert quality.classes["A"].f1 == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert quality.classes["B"].f1 == pytest.approx(2 * 2 / (2 * 2 + 1 + 0))
    assert quality.classes["C"].f1 == 0
    assert quality.classes["D"].f1 is None
    assert quality.macro_f1 == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)
    assert quality.accuracy == pytest.approx(4 / 6)
    nothing = judge(true[:0], given[:0], true[:0], ("A", "B"))
    assert nothing.macro_f1 is nothing.accuracy is nothing.interval is None


def test_advice() -> None:
    assert "would help" in advise([(50, 0.5), (100, 0.6)], ("A", 50))
    assert "would help little" in advise([(50, 0.6), (100, 0.601)], ("A", 50))
    assert "fewest is Rare (3)" in advise([(50, 0.6), (100, 0.601)], ("Rare", 3))
    assert "too few" in advise([(20, 0.6)], ("A", 9))


def test_few_labels_are_cross_validated_in_fewer_parts() -> None:
    classes, groups = np.array([0, 1] * 4), np.arange(8)
    parts = list(split_groups(classes, groups))
    assert len(parts) == 4  # of four nuclei a class there are no five parts
    assert sorted(np.concatenate([tested for _, tested in parts])) == list(range(8))
    assert list(split_groups(np.array([0, 1]), np.arange(2))) == []
