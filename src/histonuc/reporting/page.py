"""Assemble the report: gather, draw, fill the template, write one file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from histonuc._version import __version__
from histonuc.evaluation import Panel
from histonuc.evaluation.glossary import CROSSVAL, name_score
from histonuc.evaluation.rotations import SHOWN_BY, list_sections, spread_text
from histonuc.extras import require
from histonuc.files import reading, write_text
from histonuc.reporting import figures, formatting
from histonuc.reporting.inputs import (
    RotationSet,
    Run,
    ScoreSet,
    load_rotations,
    load_runs,
    load_score_sets,
)
from histonuc.reporting.nuclei import confusions, draw_nuclei, error_rows, headlines
from histonuc.reporting.pictures import Picture, jpeg_uri, legend, outline_paths
from histonuc.reporting.preview import preview_data
from histonuc.reporting.summary import summarise_runs
from histonuc.reporting.views import (
    ComparisonView,
    PanelView,
    RotationsView,
    RotationTable,
    RunView,
    ScoresView,
)
from histonuc.schedules import CosineRestarts
from histonuc.taxonomy import LabelSpace

_TEMPLATE = "report.html.j2"


def report(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    scores: Sequence[str | Path] = (),
    data: str | Path | None = None,
) -> Path:
    """Write one self-contained HTML page about runs, their scores, and the data.

    Args:
        runs: folders of `histonuc train`, whose scores are found by themselves, and of `histonuc
            crossval`, each of whose rotations is a run.
        out: file to write.
        scores: further folders of `histonuc evaluate`.
        data: store, for the preview of the data.

    Returns:
        The file.

    Raises:
        ValueError: a folder is not what it should be, there is nothing to report, or the extra
            ``report`` is not installed.
    """
    require("report", "histonuc report")
    out = Path(out)
    rotations, folders = load_rotations([Path(run) for run in runs])
    loaded = load_runs(folders)
    score_sets = load_score_sets(loaded, [Path(folder) for folder in scores])
    if not loaded and not score_sets and data is None:
        raise ValueError("nothing to report: give run folders, --scores folders, or --data")
    page = _render(
        title=", ".join(run.name for run in loaded) or "scores",
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        summary=summarise_runs(loaded, score_sets),
        data=preview_data(Path(data)) if data is not None else None,
        runs=[_view_run(run) for run in loaded],
        score_sets=[_view_scores(index, item) for index, item in enumerate(score_sets)],
        comparison=_compare(score_sets),
        rotations=[_view_rotations(item) for item in rotations],
        conventions=score_sets[0].scores["conventions"] if score_sets else {},
    )
    write_text(out, page)
    return out


def _render(**context: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("histonuc.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": formatting.format_score,
        "score_name": name_score,
        "count": formatting.format_count,
        "ink": formatting.choose_ink,
        "heat": formatting.choose_heat,
    }
    return environment.get_template(_TEMPLATE).render(**context)


def _view_run(run: Run) -> RunView:
    return RunView(
        name=run.name,
        path=str(run.path),
        curves=_draw_curves(run),
        config=formatting.list_facts(run.config),
        environment=formatting.list_facts(run.environment),
    )


def _draw_curves(run: Run) -> str:
    if not (run.steps or run.epochs):
        return ""
    closed_form = _closed_form(run)
    with reading(run.path / "metrics.jsonl", "log of `histonuc train`"):
        return figures.draw_learning_curves(run, closed_form)


def _closed_form(run: Run) -> Callable[[int], float] | None:
    """The run's schedule by optimiser step, as training builds it; None when nothing was logged."""
    config = run.config
    names = ("first_cycle_epochs", "warmup_epochs", "cycle_mult", "max_lr", "min_lr", "gamma")
    if not all(name in config for name in names) or not (run.steps or run.epochs):
        return None
    an_epoch = figures.find_steps_an_epoch(run)
    with reading(run.path / "config.yaml", "settings of `histonuc train`"):
        first = max(round(config["first_cycle_epochs"] * an_epoch), 1)
        schedule = CosineRestarts(
            first_cycle_steps=first,
            warmup_steps=min(round(config["warmup_epochs"] * an_epoch), first - 1),
            cycle_mult=config["cycle_mult"],
            max_lr=config["max_lr"],
            min_lr=config["min_lr"],
            gamma=config["gamma"],
        )
        # Impossible settings fail here, where the file is named, and not in the figure.
        schedule.at(max(row.get("step", 0) for row in (*run.steps, *run.epochs)))
    return schedule.at


def _view_scores(index: int, item: ScoreSet) -> ScoresView:
    scores, space = item.scores, item.label_space
    has_classes = scores["no_classes"] is None
    panels = sorted(item.panels, key=lambda panel: _panel_order(panel))
    unknown = any((panel.truth_types[1:] == 0).any() for panel in panels)
    return ScoresView(
        name=item.name,
        anchor=f"scores-{index}",
        scores=scores,
        model=formatting.list_facts(scores["model"]),
        data=formatting.list_facts(scores["data"]),
        classes=[(name, f"rgb{space.colours[j]}") for j, name in enumerate(space.classes)],
        class_bars=figures.draw_class_bars(item) if has_classes else "",
        tissue_bars=figures.draw_tissue_bars(item),
        headlines=headlines(scores),
        nuclei_figure=draw_nuclei(item),
        confusions=list(confusions(scores)) if has_classes else [],
        errors=error_rows(scores),
        panels=[_view_panel(f"p{index}-{row}", p, space) for row, p in enumerate(panels)],
        legend=list(legend(space, unknown=unknown or not has_classes)),
    )


def _panel_order(panel: Panel) -> tuple[int, float, str]:
    """Best first, then worst, then the tissues by name."""
    rank = ("best", "worst", "tissue").index(panel.reason)
    sign = -1 if panel.reason == "best" else 1
    by_score = sign * panel.record.quality if panel.reason != "tissue" else 0.0
    return rank, by_score, panel.record.tissue


def _view_panel(identity: str, panel: Panel, space: LabelSpace) -> PanelView:
    height, width = panel.truth.shape

    def picture(title: str, uri: str, paths: tuple[tuple[str, str], ...]) -> Picture:
        return Picture(
            identity=identity,
            layer=title.split()[0],
            width=width,
            height=height,
            data_uri=uri,
            paths=paths,
            title=f"{panel.record.name}: {title}",
        )

    truth = outline_paths(panel.truth, panel.truth_types, space)
    predicted = outline_paths(panel.prediction, panel.prediction_types, space)
    return PanelView(
        panel=panel,
        pictures=(
            picture("image", jpeg_uri(panel.image), ()),
            picture("true nuclei", "", truth),
            picture("predicted nuclei", "", predicted),
        ),
    )


def _compare(score_sets: Sequence[ScoreSet]) -> ComparisonView | None:
    """PQ of every class for all score sets of the same classes; points have none."""
    outlined = [item for item in score_sets if item.scores["labels"] == "outlines"]
    classed = [item for item in outlined if item.scores["no_classes"] is None]
    if len(classed) < 2:
        return None
    classes = classed[0].label_space.classes
    classed = [item for item in classed if item.label_space.classes == classes]
    if len(classed) < 2:
        return None
    return ComparisonView(bars=figures.draw_comparison_bars(classed))


def _view_rotations(item: RotationSet) -> RotationsView:
    """Mean ± standard deviation of the scores that `histonuc crossval` prints."""
    summary = item.summary
    overall = [spread_text(summary["overall"][name]) for name in CROSSVAL]
    names = [name_score(name) for name in CROSSVAL]
    tables = [RotationTable(title="", names=names, rows=[("all tiles", overall)])]
    tables += [
        RotationTable(
            title=title,
            names=[name_score(name) for name in names],
            rows=[
                (key or "unknown", [spread_text(row[name]) for name in names])
                for key, row in list_sections(summary)[section].items()
            ],
        )
        for title, section, names in SHOWN_BY
        if not (section == "per_class" and summary["no_classes"])
    ]
    return RotationsView(
        name=item.name,
        rotations=[
            f"{row['train']}/{row['validate']}/{row['test']}" for row in summary["rotations"]
        ],
        tables=tables,
    )
