"""Calibration: by hand, and the temperature against the likelihood it minimises."""

from __future__ import annotations

import math

import numpy as np
import pytest

from histonuc.metrics.calibration import CalibrationCounts, apply_temperature, calibration_counts


def overconfident(rng: np.random.Generator, num: int, temperature: float) -> tuple[np.ndarray, ...]:
    """Probabilities that are right at p^(1/T)."""
    honest = rng.dirichlet([0.7, 0.7, 0.7], num)
    truth = (rng.random((num, 1)) > honest.cumsum(1)).sum(1).clip(0, 2)
    return apply_temperature(honest, 1 / temperature), truth


def test_ece_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    counts = calibration_counts(
        probabilities,
        np.array([0, 1, 1, 0]),
        np.array([0.95, 0.5, 1.0]),
        np.array([True, False, True]),
    )
    expected = (abs(1 - 1.8) + abs(1 - 0.6) + abs(1 - 0.7)) / 4
    assert counts.class_ece == pytest.approx(expected, abs=1e-6)
    nll = -(math.log(0.9) + math.log(0.1) + math.log(0.6) + math.log(0.7)) / 4
    assert counts.nll == pytest.approx(nll, abs=1e-6)
    assert counts.score_ece == pytest.approx((abs(2 - 1.95) + 0.5) / 3, abs=1e-6)
    number, confidence, accuracy = counts.score_bins()
    assert (number[-1], confidence[-1], accuracy[-1]) == (2, pytest.approx(1.95 / 2), 1)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.5])
def test_the_fitted_temperature_undoes_overconfidence(temperature: float) -> None:
    probabilities, truth = overconfident(np.random.default_rng(0), 20_000, temperature)
    counts = calibration_counts(probabilities, truth, np.zeros(0), np.zeros(0, bool))
    assert counts.temperature == pytest.approx(temperature, rel=0.04)
    assert counts.class_ece_fitted < 0.02
    assert counts.nll_fitted <= counts.nll

    def nll(t: float) -> float:
        rows = apply_temperature(probabilities, t)[np.arange(len(truth)), truth]
        return float(-np.log(rows).mean())

    fitted = nll(counts.temperature)
    assert fitted <= min(nll(counts.temperature * factor) for factor in (0.97, 1.03))


def test_any_split_gives_the_same_bits_and_nothing_gives_nan() -> None:
    rng = np.random.default_rng(1)
    probabilities, truth = overconfident(rng, 60, 2.0)
    score, matched = rng.random(60), rng.random(60) < 0.5
    whole = calibration_counts(probabilities, truth, score, matched)
    parts = [
        calibration_counts(probabilities[own], truth[own], score[own], matched[own])
        for own in (slice(40, 60), slice(0, 7), slice(7, 40))
    ]
    assert sum(parts, CalibrationCounts.zero()).to_dict() == whole.to_dict()
    nothing = CalibrationCounts.zero()
    for value in (nothing.class_ece, nothing.score_ece, nothing.temperature, nothing.nll):
        assert math.isnan(value)
