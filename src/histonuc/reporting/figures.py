"""Figures as SVG data URIs, drawn by matplotlib's object interface: nothing global is touched."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from histonuc.evaluation.glossary import CLASS_SCORES, name_score
from histonuc.evaluation.records import find_score
from histonuc.offline import load_matplotlib
from histonuc.reporting.inputs import Run, ScoreSet
from histonuc.taxonomy import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "histonuc",  # the same figure gives the same bytes
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.edgecolor": "#888888",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
"""matplotlib settings of every figure."""
_TISSUE_SCORES = {
    "outlines": ("bpq", "mpq"),
    "points": ("f1_centroid", "class_f1_centroid"),
    "sparse points": ("recall_centroid", "class_accuracy_centroid"),
}
"""The two scores of each tissue that are drawn, by kind of the labels."""
_VALIDATION = ("bpq", "mpq", "dice", "iou", "foreground_dice", "pixel_accuracy")
"""Scores whose course over the epochs is drawn."""


def draw_learning_curves(run: Run, closed_form: Callable[[int], float] | None) -> str:
    """Loss, validation scores and learning rate of one run over its epochs.

    Args:
        run: what was logged.
        closed_form: learning rate of an optimiser step, counted from 0, by the schedule.
    """

    def draw(figure: Figure) -> None:
        loss, scores, rate = figure.subplots(1, 3)
        _draw_loss(loss, run)
        _draw_validation(scores, run)
        _draw_rate(rate, run, closed_form)
        for axes in (loss, scores, rate):
            axes.set_xlabel("epoch")

    return draw_figure(draw, width=12.4, height=3.3)


def draw_class_bars(score_set: ScoreSet) -> str:
    """Nucleus and pixel scores of each class."""
    per_class = score_set.scores["per_class"]
    values = {
        name_score(key): [find_score(row, key) for row in per_class.values()]
        for key in CLASS_SCORES[score_set.scores["labels"]]
    }
    return _grouped_bars(list(per_class), values, width=12.4, height=3.0)


def draw_comparison_bars(score_sets: Sequence[ScoreSet]) -> str:
    """bPQ, mPQ and the PQ of each class, of several score sets side by side."""
    classes = list(score_sets[0].scores["per_class"])
    values = {
        item.name: [
            item.scores["overall"]["bpq"],
            item.scores["overall"]["mpq"],
            *(find_score(item.scores["per_class"].get(name, {}), "pq") for name in classes),
        ]
        for item in score_sets
    }
    return _grouped_bars(["bPQ", "mPQ", *classes], values, width=12.4, height=3.2)


def draw_tissue_bars(score_set: ScoreSet) -> str:
    """Binary and mean PQ of each tissue, or detection and class of points; the best on top."""
    tissues = score_set.scores["per_tissue"]
    keys = _TISSUE_SCORES[score_set.scores["labels"]]
    names = sorted(tissues, key=lambda name: find_score(tissues[name], keys[0]) or 0.0)
    overall = score_set.scores["overall"]

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        rows = np.arange(len(names))
        looks = zip((0.2, -0.2), keys, (OKABE_ITO[0], OKABE_ITO[4]), strict=True)
        for offset, key, colour in looks:
            values = [find_score(tissues[name], key) for name in names]
            bars = axes.barh(
                rows + offset,
                _drawable(values),
                0.38,
                color=colour,
                label=f"{name_score(key)}, mean {_text(find_score(overall, key))}",
            )
            axes.bar_label(bars, [_text(value) for value in values], padding=3, fontsize=8)
            if (mean := find_score(overall, key)) is not None:
                axes.axvline(mean, color=colour, linewidth=1, linestyle=":")
        sizes = [tissues[name]["num_tiles"] for name in names]
        axes.set_yticks(
            rows,
            [
                f"{name or 'unknown'}  ({size} tile{'s' if size != 1 else ''})"
                for name, size in zip(names, sizes, strict=True)
            ],
        )
        axes.set_xlim(0, 1)
        axes.margins(y=0.01)
        axes.grid(visible=False, axis="y")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))

    return draw_figure(draw, width=12.4, height=0.6 + 0.36 * max(len(names), 2))


def _draw_loss(axes: Axes, run: Run) -> None:
    axes.set_title("Loss", loc="left")
    rows = [row for row in run.steps if "loss" in row]
    if rows:
        epochs, losses = [row["epoch"] for row in rows], [row["loss"] for row in rows]
        axes.plot(epochs, losses, color=OKABE_ITO[5], alpha=0.6, linewidth=1, label="training")
        width = len(rows) // 20
        if width > 1:
            mean = np.convolve(losses, np.full(width, 1 / width), "valid")
            label = f"training, mean of {width}"
            axes.plot(epochs[width - 1 :], mean, color=OKABE_ITO[0], label=label)
    _plot_epochs(axes, run, "val.bce", "validation, cross entropy only", OKABE_ITO[1])
    axes.set_ylim(bottom=0)
    _legend(axes)


def _draw_validation(axes: Axes, run: Run) -> None:
    axes.set_title("Validation", loc="left")
    for key, colour in zip(_VALIDATION, OKABE_ITO, strict=False):
        _plot_epochs(axes, run, f"val.{key}", name_score(key), colour)
    axes.set_ylim(0, 1)
    _legend(axes)


def _draw_rate(axes: Axes, run: Run, closed_form: Callable[[int], float] | None) -> None:
    """A row of step n was written after n steps: its rate is that of step n - 1, counted from 0."""
    axes.set_title("Learning rate", loc="left")
    rows = [row for row in (*run.steps, *run.epochs) if "lr" in row]
    if rows and closed_form is not None:
        an_epoch = find_steps_an_epoch(run)
        last = max(row["step"] for row in rows)
        steps = range(1, last + 1, max(last // 1000, 1))
        axes.plot(
            [step / an_epoch for step in steps],
            [closed_form(step - 1) for step in steps],
            color=OKABE_ITO[4],
            linewidth=3,
            alpha=0.6,
            label="schedule, closed form",
        )
    if rows:
        axes.plot(
            [row["epoch"] for row in rows],
            [row["lr"] for row in rows],
            ".",
            color=OKABE_ITO[0],
            markersize=3,
            label="logged",
        )
    axes.yaxis.set_major_formatter(lambda rate, _: f"{rate:g}")
    axes.set_ylim(bottom=0)
    _legend(axes)


def find_steps_an_epoch(run: Run) -> float:
    """Optimiser steps an epoch, from the last row that was logged; 1 when none was."""
    for row in (*reversed(run.epochs), *reversed(run.steps)):
        if row.get("epoch") and row.get("step"):
            return float(row["step"]) / float(row["epoch"])
    return 1.0


def _plot_epochs(axes: Axes, run: Run, key: str, label: str, colour: str) -> None:
    rows = [row for row in run.epochs if isinstance(row.get(key), int | float)]
    if rows:
        axes.plot(
            [row["epoch"] for row in rows],
            [row[key] for row in rows],
            color=colour,
            marker="o" if len(rows) < 30 else None,
            markersize=3,
            label=label,
        )


def _grouped_bars(
    names: Sequence[str],
    values: Mapping[str, Sequence[float | None]],
    *,
    width: float,
    height: float,
) -> str:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        bar = 0.84 / max(len(values), 1)
        for index, (label, series) in enumerate(values.items()):
            bars = axes.bar(
                np.arange(len(names)) + (index - (len(values) - 1) / 2) * bar,
                _drawable(series),
                0.92 * bar,
                color=OKABE_ITO[index % len(OKABE_ITO)],
                label=label,
            )
            if len(values) * len(names) <= 40:
                texts = [_text(value)[1:] if value else _text(value) for value in series]
                axes.bar_label(bars, texts, padding=1, fontsize=7)
        axes.set_xticks(np.arange(len(names)), names)
        axes.set_ylim(0, 1.05)
        axes.grid(visible=False, axis="x")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))

    return draw_figure(draw, width=width, height=height)


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
    else:
        axes.text(0.5, 0.5, "not logged", ha="center", color="#888888", transform=axes.transAxes)


def _drawable(values: Sequence[float | None]) -> list[float]:
    return [0.0 if value is None else value for value in values]


def _text(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"


def draw_figure(draw: Callable[[Figure], Any], *, width: float, height: float) -> str:
    """What `draw` puts on a figure of so many inches, as an SVG data URI."""
    matplotlib = load_matplotlib()
    from matplotlib.figure import Figure

    buffer = BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
