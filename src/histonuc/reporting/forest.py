"""Forest plot of a comparison: every difference with its interval, rows as in the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from histonuc.evaluation.compare_records import Comparison, Difference, PairComparison
from histonuc.evaluation.comparison import comparison_blocks
from histonuc.files import replacing
from histonuc.offline import load_matplotlib
from histonuc.reporting.figures import STYLE
from histonuc.taxonomy import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Mapping[str, Difference]
"""Rows of a table of compare.json by name."""

_ALPHA = 0.05
_DOTS_PER_INCH = 150


def write_forest_plot(result: Comparison, folder: Path) -> list[Path]:
    """Draw a comparison as ``compare.svg`` and ``compare.png``.

    A dot is the difference to the first model, a line its 95 % interval. Filled dots have p < 0.05,
    adjusted where the table has an adjusted p.

    Args:
        result: content of compare.json.
        folder: where to write.
    """
    matplotlib = load_matplotlib()
    from matplotlib.figure import Figure

    panels = _panels(result["comparisons"])
    num_rows = max(len(rows) for rows, _ in panels.values())
    written = []
    with matplotlib.rc_context(STYLE):
        size = (3.6 * len(panels), 1.7 + 0.3 * num_rows)
        figure = Figure(figsize=size, layout="constrained")
        for axes, (title, (rows, series)) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            axes.set_title(title, loc="left")
            _draw_panel(axes, rows, series)
        _legend(figure, result["comparisons"])
        for suffix, metadata in (("svg", {"Date": None}), ("png", None)):
            written.append(folder / f"compare.{suffix}")
            with replacing(written[-1]) as draft:
                figure.savefig(draft, dpi=_DOTS_PER_INCH, metadata=metadata)
    return written


def _panels(
    comparisons: Sequence[PairComparison],
) -> dict[str, tuple[list[str], list[dict[str, Difference]]]]:
    """Names of the rows, and the rows of each comparison, by title; short tables go together."""
    panels: dict[str, tuple[list[str], list[dict[str, Difference]]]] = {}
    for number, comparison in enumerate(comparisons):
        for title, rows in comparison_blocks(comparison):
            panel = title if title.endswith("of tissue") else "all tiles, PQ of class"
            names, series = panels.setdefault(panel, ([], [{} for _ in comparisons]))
            names += [name for name in rows if name not in names]
            series[number] |= rows
    return panels


def _draw_panel(axes: Axes, names: Sequence[str], series: Sequence[Rows]) -> None:
    step = 0.7 / len(series)
    for number, rows in enumerate(series):
        colour = OKABE_ITO[number % len(OKABE_ITO)]
        for place, name in enumerate(names):
            row = rows.get(name)
            if row is None or row["difference"] is None:
                continue
            y = place + (number - (len(series) - 1) / 2) * step
            p = row.get("p_holm", row["p"])
            sure = p is not None and p < _ALPHA
            if row["low"] is not None and row["high"] is not None:
                axes.hlines(y, row["low"], row["high"], color=colour, linewidth=1.4)
            axes.plot(
                row["difference"],
                y,
                "o",
                color=colour,
                markerfacecolor=colour if sure else "white",
                markersize=5,
            )
    axes.axvline(0, color="#555555", linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("difference to the first")


def _legend(figure: Figure, comparisons: Sequence[PairComparison]) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color=OKABE_ITO[number % len(OKABE_ITO)], marker="o", label=row["second"])
        for number, row in enumerate(comparisons)
    ]
    hollow = Line2D(
        [], [], color="#555555", marker="o", markerfacecolor="white", linestyle="", label="p ≥ 0.05"
    )
    figure.legend(
        handles=[*marks, hollow],
        title=f"95 % intervals; first: {comparisons[0]['first']}",
        loc="outside lower center",
        ncols=min(len(marks) + 1, 3),
    )
