"""Compare models on the same tiles: paired statistics of every score, as tables and lines."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc._version import __version__
from histonuc.evaluation.compare_records import AdjustedP, Comparison, Difference, PairComparison
from histonuc.evaluation.glossary import name_score
from histonuc.evaluation.model_scores import (
    ModelScores,
    check_same_tiles,
    load_model_scores,
)
from histonuc.evaluation.paired import (
    NUM_RESAMPLES,
    PairedStatistics,
    compare_paired,
    holm,
)
from histonuc.evaluation.table_files import Column, Table, Value
from histonuc.metrics.bootstrap import LEVEL
from histonuc.plain_text import counted

COMPARISON_FILE = "compare.json"
OVER_TISSUES = ("bpq", "mpq")
"""Scores that are averaged over the images of a tissue and then over tissues."""

CONVENTIONS = {
    "difference": "second minus first, paired by tile; a tile counts where both models have the "
    "score, num_one_sided tells how many were left out because only one has it",
    "scores": "those of the same name in scores.json, over the images where both models have them",
    "overall": "bpq and mpq: mean over the images of a tissue, then over tissues, as PanNuke's; "
    "all others: mean over images",
    "per_tissue": "mean over the images of the tissue",
    "per_class": "PQ of the class, or its F1 by centroid where the truth has points (class_score), "
    "mean over the images that hold it, as PanNuke's",
    "low, high": "95 % percentile bootstrap interval (Efron 1979), n - 1 of a tissue's n images "
    "drawn with replacement (Rao & Wu 1988); none for a single image",
    "p": "two-sided paired permutation test: signs of the images' differences flipped at random",
    "p_holm": "p adjusted for the number of tissues (of each score), or of classes (Holm 1979); "
    "overall scores are not adjusted",
    "independence": "images are taken as independent; tiles of one patient are not, which makes "
    "intervals and p too small. Neither covers the luck of training: train with several seeds",
    "crossval folders": "a tile that several rotations test has the mean of its scores",
}


_COLUMNS = (
    Column(key="name", name="score"),
    Column(key="second_model", name="", in_latex=False),
    Column(key="score", name="", in_latex=False),
    Column(key="group", name="", in_latex=False),
    Column(key="first", name="first"),
    Column(key="second", name="second"),
    Column(key="difference", name="difference", parts=("", "_low", "_high")),
    Column(key="p", name="p", digits=4),
    Column(key="p_holm", name="p (Holm)", digits=4),
    Column(key="num_images", name="images"),
)
"""Of the tables of a comparison."""


def compare(folders: Sequence[str | Path], *, seed: int = 0) -> Comparison:
    """Compare every later model with the first; JSON-able.

    Args:
        folders: two or more folders of `histonuc evaluate` or `histonuc crossval`.
        seed: seed of the bootstrap and of the test.

    Raises:
        ValueError: fewer than two folders, folders without scores, or scores of other tiles.
    """
    if len(folders) < 2:
        raise ValueError(f"expected two or more score folders to compare, got {len(folders)}")
    first, *others = (load_model_scores(folder) for folder in folders)
    return {
        "format": 1,
        "versions": {"histonuc": __version__, "numpy": np.__version__},
        "num_tiles": len(first.tiles),
        "num_tissues": len(set(first.tissues)),
        "num_tissues_of_one_tile": list(Counter(first.tissues).values()).count(1),
        "num_resamples": NUM_RESAMPLES,
        "confidence": LEVEL,
        "seed": seed,
        "comparisons": [_compare(first, other, seed) for other in others],
        "conventions": CONVENTIONS,
    }


def comparison_lines(result: Comparison) -> list[str]:
    """The tables of `compare` for people: overall scores, classes, tissues."""
    lines = [
        f"{counted(result['num_tiles'], 'tile')} of {counted(result['num_tissues'], 'tissue')}, "
        f"{result['num_resamples']} resamples, seed {result['seed']}"
    ]
    if result["num_tissues_of_one_tile"]:
        lines.append(
            f"{result['num_tissues_of_one_tile']} of the tissues have one tile and add no spread: "
            "intervals over all tissues are too narrow"
        )
    for comparison in result["comparisons"]:
        lines += ["", f"first   {comparison['first']}", f"second  {comparison['second']}"]
        if comparison["not_compared"]:
            lines.append(f"only one of them has: {', '.join(comparison['not_compared'])}")
        for title, rows in comparison_blocks(comparison):
            header = f"{title:<26}{'first':>8}{'second':>9}{'difference':>12}"
            lines.append(f"{header}{'95 % interval':>21}{'p':>9}{'p (Holm)':>10}{'images':>8}")
            lines += [_line(name, row) for name, row in rows.items()]
    return lines


def comparison_blocks(
    comparison: PairComparison,
) -> Iterator[tuple[str, Mapping[str, Difference]]]:
    """Title and rows of each table of one comparison: overall, classes, then tissues by score."""
    names = comparison["overall"]
    yield "all tiles", {name_score(name): row for name, row in names.items()}
    if comparison["per_class"]:
        yield f"{name_score(comparison['class_score'])} of class", comparison["per_class"]
    tissues = comparison["per_tissue"]
    if len(tissues) > 1:
        for name in names:
            rows = {tissue or "unknown": row[name] for tissue, row in tissues.items()}
            yield f"{name_score(name)} of tissue", rows


def comparison_tables(result: Comparison) -> list[Table]:
    """All differences as tables: over all tiles, by class and by tissue.

    Args:
        result: what `compare` made.
    """
    tables: dict[str, list[tuple[tuple[Value, ...], ...]]] = {"overall": [], "classes": []}
    tables["tissues"] = []
    for comparison in result["comparisons"]:
        second = comparison["second"]
        for key, row in comparison["overall"].items():
            tables["overall"].append(_list_cells(second, key, "", row))
        for name, row in comparison["per_class"].items():
            cells = _list_cells(second, comparison["class_score"], name, row)
            tables["classes"].append(cells)
        for tissue, rows in comparison["per_tissue"].items():
            for key, row in rows.items():
                tables["tissues"].append(_list_cells(second, key, tissue or "unknown", row))
    return [Table(name=name, columns=_COLUMNS, rows=rows) for name, rows in tables.items()]


def _list_cells(
    second: str, key: str, group: str, row: Difference
) -> tuple[tuple[Value, ...], ...]:
    """A row of a table, in the order of `_COLUMNS`."""
    return (
        (f"{name_score(key)} {group}".strip(),),
        (second,),
        (key,),
        (group,),
        (row["first"],),
        (row["second"],),
        (row["difference"], row["low"], row["high"]),
        (row["p"],),
        (row.get("p_holm"),),
        (row["num_images"],),
    )


def _compare(first: ModelScores, second: ModelScores, seed: int) -> PairComparison:
    check_same_tiles(first, second)
    shared = [name for name in first.columns if name in second.columns]
    columns = [name for name in shared if _is_scored(first, name) and _is_scored(second, name)]
    everything = [*first.columns, *(name for name in second.columns if name not in shared)]
    scored = [name for name in everything if _is_scored(first, name) or _is_scored(second, name)]
    if not columns:
        raise ValueError(
            f"{first.folder} and {second.folder} have no score in common; only one of them has: "
            f"{', '.join(scored) or 'none at all'}"
        )
    statistics = compare_paired(
        np.stack([first.columns[name] for name in columns], axis=1),
        np.stack([second.columns[name] for name in columns], axis=1),
        first.tissues,
        seed=seed,
    )
    num_tissues = len(statistics.strata)
    prefix = f"{first.class_score}/"
    classes = [k for k, name in enumerate(columns) if name.startswith(prefix)]
    scores = [k for k in range(len(columns)) if k not in classes]
    class_p = holm(statistics.p_value[num_tissues + 1, classes])
    tissue_p = {k: holm(statistics.p_value[:num_tissues, k]) for k in scores}
    return {
        "first": str(first.folder),
        "second": str(second.folder),
        "class_score": first.class_score,
        "not_compared": [name for name in scored if name not in columns],
        "overall": {
            columns[k]: _row(statistics, num_tissues + (columns[k] not in OVER_TISSUES), k)
            for k in scores
        },
        "per_class": {
            columns[k].removeprefix(prefix): _row(statistics, num_tissues + 1, k, adjusted)
            for k, adjusted in zip(classes, class_p, strict=True)
        },
        "per_tissue": {
            tissue: {columns[k]: _row(statistics, t, k, tissue_p[k][t]) for k in scores}
            for t, tissue in enumerate(statistics.strata)
        },
    }


def _is_scored(scores: ModelScores, name: str) -> bool:
    return name in scores.columns and not bool(np.isnan(scores.columns[name]).all())


def _row(
    statistics: PairedStatistics, group: int, column: int, p_holm: float | None = None
) -> Difference:
    """One score in one group; the adjusted p where there is a family to adjust for."""
    adjusted: AdjustedP = {} if p_holm is None else {"p_holm": _number(p_holm)}

    def number(values: NDArray[np.float64]) -> float | None:
        return _number(values[group, column])

    return {
        "first": number(statistics.first),
        "second": number(statistics.second),
        "difference": number(statistics.difference),
        "low": number(statistics.low),
        "high": number(statistics.high),
        "p": number(statistics.p_value),
        **adjusted,
        "num_images": int(statistics.num_images[group, column]),
        "num_one_sided": int(statistics.num_one_sided[group, column]),
    }


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else float(value)


def _line(name: str, row: Difference) -> str:
    if row["difference"] is None:
        return f"{name:<26}{'-':>8}{'-':>9}{'-':>12}{'-':>21}{'-':>9}{'-':>10}{0:>8}"
    interval = "-" if row["low"] is None else f"[{row['low']:+.4f}, {row['high']:+.4f}]"
    adjusted = f"{row['p_holm']:.4f}" if "p_holm" in row else ""
    return (
        f"{name:<26}{row['first']:>8.4f}{row['second']:>9.4f}{row['difference']:>+12.4f}"
        f"{interval:>21}{row['p']:>9.4f}{adjusted:>10}{row['num_images']:>8}"
    )
