"""What a report shows about nuclei as objects: scores, errors, confusion, calibration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from histonuc.evaluation.glossary import REPORT_OVERALL, name_score
from histonuc.evaluation.records import Calibration, Errors, ScoreTables, find_score
from histonuc.reporting.figures import draw_figure
from histonuc.reporting.inputs import ScoreSet
from histonuc.taxonomy import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ERRORS = {
    "found": OKABE_ITO[2],
    "misclassified": OKABE_ITO[4],
    "merged": OKABE_ITO[3],
    "split": OKABE_ITO[5],
    "missed": OKABE_ITO[1],
    "spurious": OKABE_ITO[1],
}


def headlines(scores: ScoreTables) -> list[tuple[str, float, tuple[float, float] | None]]:
    """Name, value and bootstrap interval of each overall score that there is."""
    overall, intervals = scores["overall"], scores["intervals"]
    return [
        (name_score(key), value, tuple(intervals[key]) if intervals.get(key) else None)
        for key in REPORT_OVERALL
        if (value := find_score(overall, key)) is not None
    ]


@dataclass(frozen=True, kw_only=True)
class ConfusionView:
    """Nuclei by true (row) and predicted class (column), and their share of the row in percent."""

    rows: list[str]
    columns: list[str]
    counts: list[list[int]]
    row_percent: list[list[float]]


def confusions(scores: ScoreTables) -> Iterator[tuple[str, ConfusionView]]:
    """Caption and matrix of nuclei paired by overlap and by centroid.

    Rows of classes without a nucleus, and of nuclei of unknown class, are there only if they count.
    """
    found = scores["confusion_nuclei"]
    for matrix, caption in (
        (found["by_iou"], "Paired by IoU > 0.5."),
        (found["by_centroid"], "Paired by centroid."),
    ):
        counts = np.array(matrix)
        if not counts.any():  # nothing overlaps a point
            continue
        rows, columns = counts.any(1), counts.any(0)
        kept = counts[rows][:, columns]
        yield (
            caption,
            ConfusionView(
                rows=np.array(found["rows"])[rows].tolist(),
                columns=np.array(found["columns"])[columns].tolist(),
                counts=kept.tolist(),
                row_percent=(100 * kept / kept.sum(1, keepdims=True)).tolist(),
            ),
        )


def draw_nuclei(score_set: ScoreSet) -> str:
    """F1 over the IoU wanted, errors by kind, and reliability; of points reliability alone."""

    def draw_reliability(figure: Figure) -> None:
        _draw_calibration(figure.subplots(), score_set.scores["calibration"])

    if not score_set.scores["errors"]["truth"]:  # of points
        return draw_figure(draw_reliability, width=4.2, height=4.0)

    def draw(figure: Figure) -> None:
        thresholds, errors, calibration = figure.subplots(1, 3)
        _draw_thresholds(thresholds, score_set)
        _draw_errors(errors, score_set.scores["errors"])
        _draw_calibration(calibration, score_set.scores["calibration"])

    return draw_figure(draw, width=12.4, height=4.0)


def _draw_thresholds(axes: Axes, score_set: ScoreSet) -> None:
    found, space = score_set.scores["thresholds"], score_set.label_space
    levels = cast("list[float]", found["iou"])
    colours = dict(zip(space.classes, space.colours, strict=True))
    for name, rows in found.items():
        if isinstance(rows, list) or all(value is None for value in rows["f1"]):
            continue
        values = [np.nan if value is None else value for value in rows["f1"]]
        colour = "#000000" if name == "any" else tuple(c / 255 for c in colours[name])
        axes.plot(levels, values, "o-", markersize=3, color=colour, label=name)
    axes.set_title("F1 by the overlap wanted", loc="left")
    axes.set_xlabel("IoU")
    axes.set_ylim(0, 1)
    _put_legend_below(axes)


def _draw_errors(axes: Axes, errors: Errors) -> None:
    """Two bars, of the true and of the predicted nuclei, in shares of each."""
    labelled: set[str] = set()
    for row, counts in enumerate((errors["prediction"], errors["truth"])):
        total, left = max(sum(counts.values()), 1), 0.0
        for kind, count in counts.items():
            share = count / total
            name = "missed or spurious" if kind in ("missed", "spurious") else kind
            label = None if name in labelled else name
            axes.barh(row, share, 0.6, left=left, color=_ERRORS[kind], label=label)
            labelled.add(name)
            if share > 0.04:
                text = f"{share:.0%}"
                axes.text(left + share / 2, row, text, ha="center", va="center", fontsize=8)
            left += share
    axes.set_yticks([0, 1], ["predicted", "true"])
    axes.set_ylim(-0.6, 1.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the nuclei")
    axes.set_title("What became of the nuclei", loc="left")
    _put_legend_below(axes)


def _draw_calibration(axes: Axes, calibration: Calibration) -> None:
    axes.plot([0, 1], [0, 1], ":", color="#888888", linewidth=1)
    titled = (
        ("class probability", calibration["class"]),
        ("detection score", calibration["score"]),
    )
    for (label, found), colour in zip(titled, OKABE_ITO, strict=False):
        if found["ece"] is None:
            continue
        points = [
            (confidence, accuracy, count)
            for confidence, accuracy, count in zip(
                found["confidence"], found["accuracy"], found["count"], strict=True
            )
            if confidence is not None
        ]
        x, y, count = np.array(points, float).T
        # Bins at the very top are drawn whole, over the frame.
        axes.plot(x, y, "-", color=colour, clip_on=False, label=f"{label}, ECE {found['ece']:.3f}")
        axes.scatter(x, y, 4 + 60 * count / count.max(), color=colour, clip_on=False, zorder=3)
    axes.set_title("Calibration", loc="left")
    axes.set_xlabel("confidence")
    axes.set_ylabel("share that is right")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    if axes.get_legend_handles_labels()[0]:
        _put_legend_below(axes, num_columns=1)
    else:
        text = "the predictions state no probabilities"
        axes.text(0.5, 0.3, text, ha="center", color="#888888", transform=axes.transAxes)


def _put_legend_below(axes: Axes, num_columns: int = 2) -> None:
    """Curves may lie anywhere inside the axes, so their legend stands outside."""
    axes.legend(fontsize=8, ncols=num_columns, loc="upper left", bbox_to_anchor=(0, -0.18))


def error_rows(scores: ScoreTables) -> Sequence[tuple[str, int | None, int | None]]:
    """Kind of error with its true and its predicted nuclei, None where a side has no such kind."""
    errors = scores["errors"]
    return [(kind, errors["truth"].get(kind), errors["prediction"].get(kind)) for kind in _ERRORS]
