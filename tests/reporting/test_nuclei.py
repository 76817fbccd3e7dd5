"""The figure of the report's section on nuclei shows the numbers of scores.json."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from histonuc.reporting import nuclei
from histonuc.taxonomy import LABEL_SPACES

matplotlib = pytest.importorskip("matplotlib")

SCORES = {
    "thresholds": {
        "iou": [0.5, 0.7, 0.9],
        "any": {"f1": [0.9, 0.6, 0.1]},
        "Inflammatory": {"f1": [0.7, None, 0.0]},
        "Connective": {"f1": [None, None, None]},
    },
    "errors": {
        "truth": {"found": 60, "missed": 30, "merged": 10},
        "prediction": {"found": 60, "spurious": 20},
    },
    "calibration": {
        "class": {
            "ece": 0.125,
            "confidence": [0.45, None, 0.85],
            "accuracy": [0.4, None, 0.7],
            "count": [10, 0, 40],
        },
        "score": {"ece": None, "confidence": [], "accuracy": [], "count": []},
    },
}


@pytest.fixture
def draw(monkeypatch):
    """Axes of what `draw_nuclei` draws of these scores."""
    from matplotlib.figure import Figure

    def axes_of(scores):
        figure = Figure()
        monkeypatch.setattr(nuclei, "draw_figure", lambda draw, **_: draw(figure) or "drawn")
        score_set = SimpleNamespace(scores=scores, label_space=LABEL_SPACES["three"])
        nuclei.draw_nuclei(score_set)
        return figure.axes

    return axes_of


def test_every_curve_has_the_scores_numbers(draw):
    thresholds, errors, calibration = draw(SCORES)
    lines = {line.get_label(): line.get_xydata() for line in thresholds.get_lines()}
    assert set(lines) == {"any", "Inflammatory"}
    np.testing.assert_array_equal(lines["any"], [[0.5, 0.9], [0.7, 0.6], [0.9, 0.1]])
    np.testing.assert_array_equal(lines["Inflammatory"][:, 1], [0.7, np.nan, 0.0])
    widths = {(round(bar.get_y() + 0.3), round(bar.get_width(), 3)) for bar in errors.patches}
    assert widths == {(1, 0.6), (1, 0.3), (1, 0.1), (0, 0.75), (0, 0.25)}
    diagonal, curve = calibration.get_lines()
    np.testing.assert_array_equal(diagonal.get_xydata(), [[0, 0], [1, 1]])
    np.testing.assert_array_equal(curve.get_xydata(), [[0.45, 0.4], [0.85, 0.7]])
    assert curve.get_label() == "class probability, ECE 0.125"


def test_no_legend_covers_what_is_drawn(draw):
    for axes in draw(SCORES):
        figure = axes.figure
        figure.canvas.draw()
        legend = axes.get_legend().get_window_extent()
        assert legend.y1 < axes.get_window_extent().y0, axes.get_title("left")


def test_predictions_without_probabilities_have_no_curve_and_that_is_said(draw):
    nothing = {"ece": None, "confidence": [], "accuracy": [], "count": []}
    *_, calibration = draw({**SCORES, "calibration": {"class": nothing, "score": nothing}})
    assert calibration.get_legend() is None
    assert "no probabilities" in calibration.texts[0].get_text()
