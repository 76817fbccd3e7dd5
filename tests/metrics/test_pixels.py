"""Pixel scores, mostly as arithmetic by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.metrics.pixels import PixelCounts, pixel_counts


def one_hot(winner: np.ndarray, channels: int, sure: float) -> np.ndarray:
    """Probabilities that give `sure` to the winner and share the rest evenly."""
    rest = (1 - sure) / (channels - 1)
    return np.where(np.arange(channels)[:, None, None] == winner, sure, rest).astype(np.float32)


def test_confusion_dice_iou_by_hand() -> None:
    instances = np.array([[0, 0, 1, 1], [0, 2, 2, 2]], np.int32)
    types = np.array([0, 1, 2], np.int32)
    winner = np.array([[0, 1, 1, 0], [0, 2, 1, 2]])
    counts = pixel_counts(instances, types, one_hot(winner, 3, 0.8), num_classes=2)
    assert counts.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 1, 2]]
    assert counts.accuracy == 5 / 8
    assert counts.nuclear_accuracy == 3 / 4  # the missed and the background pixels left out
    assert counts.dice.tolist() == [2 * 2 / (3 + 3), 2 * 1 / (2 + 3), 2 * 2 / (3 + 2)]
    assert counts.iou.tolist() == [2 / 4, 1 / 4, 2 / 3]
    assert counts.recall.tolist() == [2 / 3, 1 / 2, 2 / 3]
    assert counts.precision.tolist() == [2 / 3, 1 / 3, 1.0]
    assert counts.class_accuracy.tolist() == [6 / 8, 5 / 8, 7 / 8]
    assert counts.foreground.tolist() == [[2, 1], [1, 4]]
    assert counts.foreground_dice == 2 * 4 / (5 + 5)
    assert counts.foreground_iou == 4 / 6


def test_cross_entropy_and_soft_overlap_by_hand() -> None:
    instances = np.array([[0, 1]], np.int32)
    probabilities = np.array([[[0.7, 0.4]], [[0.3, 0.6]]], np.float32)
    counts = pixel_counts(instances, np.array([0, 1]), probabilities, num_classes=1)
    background = -(math.log(0.7) + math.log(1 - 0.4)) / 2
    nucleus = -(math.log(1 - 0.3) + math.log(0.6)) / 2
    assert counts.bce == pytest.approx([background, nucleus], abs=1e-5)
    assert counts.soft_dice == pytest.approx(
        [2 * 0.7 / (0.7 + 0.4 + 1), 2 * 0.6 / (0.3 + 0.6 + 1)], abs=1e-5
    )
    assert counts.soft_iou == pytest.approx(
        [0.7 / (0.7 + 0.4 + 1 - 0.7), 0.6 / (0.3 + 0.6 + 1 - 0.6)], abs=1e-5
    )


def test_certain_and_wrong_is_bad_but_finite() -> None:
    wrong = np.array([[[1.0]], [[0.0]]], np.float32)
    counts = pixel_counts(np.ones((1, 1), np.int32), np.array([0, 1]), wrong, num_classes=1)
    assert (counts.bce > 15).all()
    assert np.isfinite(counts.bce).all()


def test_pixels_of_unknown_class_are_left_out_of_class_scores() -> None:
    instances = np.array([[0, 1, 2, 2]], np.int32)
    types = np.array([0, 1, 0])
    counts = pixel_counts(
        instances, types, one_hot(np.array([[0, 1, 1, 0]]), 2, 0.9), num_classes=1
    )
    assert counts.confusion.tolist() == [[1, 0], [0, 1]]
    assert counts.foreground.tolist() == [[1, 0], [1, 2]]
    assert counts.soft_overlap.sum() < counts.soft_total.sum()


def test_a_class_that_never_occurs_has_no_score() -> None:
    counts = pixel_counts(
        np.zeros((2, 2), np.int32),
        np.zeros(1, int),
        one_hot(np.zeros((2, 2)), 3, 0.9),
        num_classes=2,
    )
    assert counts.dice[0] == 1
    assert np.isnan(counts.dice[1:]).all()
    assert math.isnan(counts.nuclear_accuracy)


def test_without_types_any_model_is_scored_on_foreground_only() -> None:
    winner = np.array([[0, 6]])
    counts = pixel_counts(
        np.array([[0, 1]], np.int32), None, one_hot(winner, 7, 0.9), num_classes=2
    )
    assert counts.foreground_dice == 1
    assert not counts.confusion.any()
    assert math.isnan(counts.accuracy)


def test_maps_of_another_label_space_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected probabilities \(3, 2, 2\)"):
        pixel_counts(
            np.zeros((2, 2), np.int32),
            np.zeros(1, int),
            np.zeros((6, 2, 2), np.float32),
            num_classes=2,
        )


@given(st.integers(0, 2**32 - 1))
def test_an_image_counts_like_its_halves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    instances = rng.integers(0, 5, (8, 6)).astype(np.int32)
    types = np.array([0, 1, 2, 0, 2])
    maps = rng.dirichlet(np.ones(3), (8, 6)).transpose(2, 0, 1).astype(np.float32)
    whole = pixel_counts(instances, types, maps, num_classes=2)
    halves = sum(
        (
            pixel_counts(instances[s], types, maps[:, s], num_classes=2)
            for s in (np.s_[:3], np.s_[3:])
        ),
        PixelCounts.zero(2),
    )
    np.testing.assert_array_equal(whole.confusion, halves.confusion)
    np.testing.assert_array_equal(whole.foreground, halves.foreground)
    np.testing.assert_allclose(whole.bce, halves.bce, atol=1e-5)
    np.testing.assert_allclose(whole.soft_dice, halves.soft_dice, atol=1e-5)


def test_hard_scores_of_perfect_probabilities_are_one() -> None:
    rng = np.random.default_rng(0)
    instances = rng.integers(0, 4, (16, 16)).astype(np.int32)
    types = np.array([0, 1, 2, 1])
    counts = pixel_counts(instances, types, one_hot(types[instances], 3, 1.0), num_classes=2)
    for scores in (counts.dice, counts.iou, counts.soft_dice, counts.soft_iou):
        np.testing.assert_allclose(scores, 1, atol=1e-6)
    assert counts.bce.max() < 1e-6
