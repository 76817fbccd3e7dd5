"""Kinds of errors on drawn rows of pixels."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from histonuc.metrics.errors import PREDICTION_KINDS, TRUTH_KINDS, ErrorCounts, error_counts
from histonuc.metrics.matching import contingency, match

_labels = arrays(np.int32, (9, 10), elements=st.integers(0, 6))


def kinds(
    truth: np.ndarray, prediction: np.ndarray, truth_type: int = 1, predicted_type: int = 1
) -> tuple[dict[str, int], dict[str, int]]:
    table = contingency(truth, prediction)
    counts = error_counts(
        table,
        match(table),
        np.full(len(table.truth_ids), truth_type),
        np.full(len(table.prediction_ids), predicted_type),
        num_classes=2,
    )
    return (
        {k: n for k, n in zip(TRUTH_KINDS, counts.truth.sum(0).tolist(), strict=True) if n},
        {
            k: n
            for k, n in zip(PREDICTION_KINDS, counts.prediction.sum(0).tolist(), strict=True)
            if n
        },
    )


def row(text: str) -> np.ndarray:
    return np.array([[int(c) for c in text]], np.int32)


def test_each_kind() -> None:
    assert kinds(row("1110"), row("1110")) == ({"found": 1}, {"found": 1})
    assert kinds(row("1110"), row("1110"), 1, 2) == ({"misclassified": 1}, {"misclassified": 1})
    assert kinds(row("1110"), row("1110"), 0, 2) == ({"found": 1}, {"found": 1})  # unknown
    assert kinds(row("1100"), row("0000")) == ({"missed": 1}, {})
    assert kinds(row("0000"), row("0022")) == ({}, {"spurious": 1})
    assert kinds(row("111222"), row("333333")) == ({"merged": 2}, {"merged": 1})
    assert kinds(row("111111"), row("111222")) == ({"split": 1}, {"split": 2})


def test_a_nucleus_swallowed_by_its_neighbours_match_is_merged() -> None:
    assert kinds(row("11111122"), row("11111111")) == ({"found": 1, "merged": 1}, {"found": 1})


def test_a_chip_off_a_found_nucleus_is_split() -> None:
    assert kinds(row("11111111"), row("11111122")) == ({"found": 1}, {"found": 1, "split": 1})


@given(truth=_labels, prediction=_labels)
def test_every_nucleus_is_of_one_kind(truth: np.ndarray, prediction: np.ndarray) -> None:
    table = contingency(truth, prediction)
    types = np.arange(7) % 3
    counts = error_counts(
        table, match(table), types[table.truth_ids], types[table.prediction_ids], num_classes=2
    )
    assert counts.truth.sum() == len(table.truth_ids)
    assert counts.prediction.sum() == len(table.prediction_ids)
    assert counts.truth[:, :2].sum() == counts.prediction[:, :2].sum() == len(match(table))
    assert (ErrorCounts.zero(2) + counts).to_dict() == counts.to_dict()
