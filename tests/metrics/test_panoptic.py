"""Panoptic quality: by hand, by properties, and against the published definition written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from histonuc.metrics.counts import nanmean
from histonuc.metrics.panoptic import PanopticCounts, panoptic_counts

NUM_CLASSES = 3
_labels = arrays(np.int32, (12, 12), elements=st.integers(0, 6))
_types = arrays(np.int32, 7, elements=st.integers(1, NUM_CLASSES))


def published_pq(truth: np.ndarray, prediction: np.ndarray) -> float:
    """PQ of one image as the PanNuke paper and script define it, one nucleus after the other."""
    true_ids = [i for i in np.unique(truth) if i]
    predicted_ids = [i for i in np.unique(prediction) if i]
    if not true_ids:
        return math.nan
    ious = []
    for g in true_ids:
        for p in predicted_ids:
            intersection = np.sum((truth == g) & (prediction == p))
            union = np.sum((truth == g) | (prediction == p))
            if intersection / union > 0.5:
                ious.append(intersection / union)
    tp = len(ious)
    fp, fn = len(predicted_ids) - tp, len(true_ids) - tp
    detection = tp / (tp + 0.5 * fp + 0.5 * fn)
    return detection * (sum(ious) / (tp + 1e-6))


def random_labels(rng: np.random.Generator, num: int) -> np.ndarray:
    """Discs that partly cover each other."""
    y, x = np.mgrid[:48, :48]
    labels = np.zeros((48, 48), np.int32)
    for i in range(1, num + 1):
        cy, cx, r = *rng.integers(0, 48, 2), rng.integers(2, 8)
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= r * r] = i
    return labels


def jitter(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """The same discs, moved, some lost, some invented."""
    moved = np.roll(labels, rng.integers(-2, 3, 2), (0, 1))
    moved[np.isin(moved, rng.integers(1, 9, 2))] = 0
    extra = random_labels(rng, 2)
    return np.where((moved == 0) & (extra > 0), extra + 20, moved).astype(np.int32)


def test_one_match_one_miss_one_false_by_hand() -> None:
    truth, prediction = np.zeros((2, 10, 10), np.int32)
    truth[0:4, 0:4] = 1
    truth[8:10, 8:10] = 2  # missed
    prediction[0:4, 1:5] = 1  # IoU 12 / 20
    prediction[6, 0] = 5  # spurious
    counts = panoptic_counts(truth, prediction)
    assert (counts.tp[0], counts.fp[0], counts.fn[0]) == (1, 1, 1)
    assert counts.dq[0] == 1 / (1 + 0.5 + 0.5)
    assert counts.sq[0] == pytest.approx(12 / 20, abs=1e-9)
    assert counts.pq[0] == pytest.approx(0.5 * 12 / 20, abs=1e-9)
    assert counts.image_pq[0] == pytest.approx(0.5 * (12 / 20) / (1 + 1e-6), abs=1e-9)


def test_right_outline_of_the_wrong_class_counts_for_binary_only() -> None:
    truth = np.zeros((6, 6), np.int32)
    truth[:3, :3] = 1
    counts = panoptic_counts(truth, truth, np.array([0, 2]), np.array([0, 3]), num_classes=3)
    assert counts.tp.tolist() == [1, 0, 0, 0]
    assert counts.fn.tolist() == [0, 0, 1, 0]
    assert counts.fp.tolist() == [0, 0, 0, 1]
    assert counts.image_count.tolist() == [1, 0, 1, 0]  # class 3 is absent: its error is free here
    assert counts.image_mpq == 0.0


def test_unknown_truth_counts_for_binary_only_and_takes_its_prediction_along() -> None:
    truth, prediction = np.zeros((2, 8, 8), np.int32)
    truth[:3, :3], truth[5:, 5:] = 1, 2
    prediction[:3, :3], prediction[5:, :3] = 1, 2  # the second is spurious
    types = np.array([0, 0, 1])
    counts = panoptic_counts(truth, prediction, types, np.array([0, 1, 1]), num_classes=1)
    assert (counts.tp[0], counts.fp[0], counts.fn[0]) == (1, 1, 1)
    assert (counts.tp[1], counts.fp[1], counts.fn[1]) == (0, 1, 1)


def test_false_positives_in_an_empty_image_are_pooled_but_not_averaged() -> None:
    empty, prediction = np.zeros((2, 5, 5), np.int32)
    prediction[0, 0] = 1
    counts = panoptic_counts(empty, prediction)
    assert counts.image_count[0] == 0
    assert math.isnan(counts.image_pq[0])
    assert counts.pq[0] == 0.0
    nothing = panoptic_counts(empty, empty)
    assert math.isnan(nothing.pq[0])
    assert math.isnan(nothing.dq[0])


@given(labels=_labels, types=_types)
def test_pq_of_truth_with_itself_is_one(labels: np.ndarray, types: np.ndarray) -> None:
    counts = panoptic_counts(labels, labels, types, types, num_classes=NUM_CLASSES)
    there = counts.tp > 0
    assert there[0] == bool(labels.any())
    np.testing.assert_allclose(counts.pq[there], 1, atol=1e-9)
    assert not counts.fp.any()
    assert not counts.fn.any()


@given(truth=_labels, prediction=_labels, types=_types, order=st.permutations(range(1, 7)))
def test_relabelling_changes_nothing(
    truth: np.ndarray, prediction: np.ndarray, types: np.ndarray, order: list[int]
) -> None:
    new_id = np.array([0, *(10 * i for i in order)])  # permuted, with gaps
    new_types = np.zeros(70, np.int32)
    new_types[new_id[1:]] = types[1:]
    before = panoptic_counts(truth, prediction, types, types, num_classes=NUM_CLASSES)
    after = panoptic_counts(truth, new_id[prediction], types, new_types, num_classes=NUM_CLASSES)
    assert before.to_dict() == after.to_dict()


@given(st.integers(0, 2**32 - 1))
def test_any_split_of_the_images_gives_the_same_bits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(5):
        truth = random_labels(rng, 8)
        types = rng.integers(0, NUM_CLASSES + 1, 60)
        parts.append(
            panoptic_counts(truth, jitter(rng, truth), types, types, num_classes=NUM_CLASSES)
        )
    zero = PanopticCounts.zero(NUM_CLASSES)
    whole = sum(parts, zero)
    split = sum(parts[3:][::-1], zero) + sum(parts[:3], zero)
    assert whole.to_dict() == split.to_dict()
    assert PanopticCounts.from_dict(whole.to_dict()).to_dict() == whole.to_dict()


def test_counts_of_other_label_spaces_are_not_added() -> None:
    with pytest.raises(ValueError, match="different label spaces"):
        _ = PanopticCounts.zero(3) + PanopticCounts.zero(5)


def test_averages_equal_the_published_definition() -> None:
    rng = np.random.default_rng(0)
    tissues = ["Breast"] * 5 + ["Colon"] * 3 + ["Skin"] * 2
    by_tissue: dict[str, PanopticCounts] = {}
    binary: list[float] = []
    classes: list[list[float]] = []
    for number, tissue in enumerate(tissues):
        truth = random_labels(rng, 0 if number == 6 else 9)
        prediction = jitter(rng, truth)
        types, guessed = (rng.integers(1, NUM_CLASSES + 1, 60) for _ in range(2))
        guessed = np.where(rng.random(60) < 0.8, types, guessed)
        types[0] = guessed[0] = 0
        if number % 2:  # this image lacks the last class
            types[types == NUM_CLASSES] = 1
        counts = panoptic_counts(truth, prediction, types, guessed, num_classes=NUM_CLASSES)
        by_tissue[tissue] = by_tissue.get(tissue, PanopticCounts.zero(NUM_CLASSES)) + counts
        binary.append(published_pq(truth, prediction))
        classes.append(
            [
                published_pq(
                    np.where(types[truth] == j, truth, 0),
                    np.where(guessed[prediction] == j, prediction, 0),
                )
                for j in range(1, NUM_CLASSES + 1)
            ]
        )
    mean_of_images = [nanmean(row) for row in classes]
    for tissue, counts in by_tissue.items():
        own = [number for number, name in enumerate(tissues) if name == tissue]
        assert counts.image_pq[0] == pytest.approx(nanmean([binary[i] for i in own]), abs=1e-6)
        assert counts.image_mpq == pytest.approx(
            nanmean([mean_of_images[i] for i in own]), abs=1e-6
        )
    total = sum(by_tissue.values(), PanopticCounts.zero(NUM_CLASSES))
    for j in range(NUM_CLASSES):
        expected = nanmean([row[j] for row in classes])
        assert total.image_pq[1 + j] == pytest.approx(expected, abs=1e-6)
    assert math.isnan(binary[6])  # the empty image was among them
    assert any(math.isnan(row[2]) for row in classes)  # so were images without the last class
