"""Count errors by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from histonuc.metrics.composition import CompositionCounts, composition_counts


def test_mae_and_r2_by_hand() -> None:
    true = [[1, 1, 2], [2], [1, 2, 2, 2]]
    found = [[1, 2], [2], [1, 2, 2, 2, 2]]
    total = CompositionCounts.zero(2)
    for t, p in zip(true, found, strict=True):
        total += composition_counts(np.array(t), np.array(p), len(t), len(p), num_classes=2)
    assert total.mae.tolist() == [(1 + 0 + 1) / 3, (1 + 0 + 0) / 3, (0 + 0 + 1) / 3]
    numbers, guessed = np.array([3, 1, 4]), np.array([2, 1, 5])
    r2 = 1 - ((numbers - guessed) ** 2).sum() / ((numbers - numbers.mean()) ** 2).sum()
    assert total.r2[0] == pytest.approx(r2)


def test_images_with_unknown_classes_count_in_all_only() -> None:
    counts = composition_counts(np.array([1, 0]), np.array([1]), 2, 1, num_classes=2)
    assert counts.images.tolist() == [1, 0, 0]
    assert math.isnan(counts.r2[0])  # one image has no spread
    assert composition_counts(None, None, 2, 1, num_classes=2).images.tolist() == [1, 0, 0]
