"""Tables of scores as files that other programs take: CSV for all, LaTeX for papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from histonuc.files import write_text

TABLES_FOLDER = "tables"
"""Where the tables lie, beside scores.json, crossval.json or compare.json."""

Value = str | int | float | None
"""Content of a cell; None where a score is not defined."""

_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "²": r"$^2$",
    "µ": r"$\mu$",
    "½": r"$\frac{1}{2}$",
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        key: name of the column in CSV.
        name: heading of the column in LaTeX.
        parts: what a cell consists of, as suffixes of `key` in CSV: one value ``("",)``, a mean
            with its spread ``("_mean", "_sd")``, or a value with its interval
            ``("", "_low", "_high")``.
        in_latex: whether LaTeX has it too; a page is narrow.
        digits: decimals in LaTeX.
    """

    key: str
    name: str
    parts: tuple[str, ...] = ("",)
    in_latex: bool = True
    digits: int = 3


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of scores.

    Attributes:
        name: name of the table's files, without suffix.
        columns: the first of them holds what a row is of.
        rows: for each row a cell a column; a cell is a tuple with one value a part of its column.
    """

    name: str
    columns: tuple[Column, ...]
    rows: Sequence[tuple[tuple[Value, ...], ...]]


def write_tables(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write each table as ``tables/NAME.csv`` and ``tables/NAME.tex``.

    Args:
        tables: to write; those without rows are left out.
        folder: where the folder ``tables`` goes.

    Returns:
        The files.
    """
    written = []
    for table in tables:
        for suffix, text in (("csv", to_csv(table)), ("tex", to_latex(table))):
            written.append(folder / TABLES_FOLDER / f"{table.name}.{suffix}")
            if table.rows:
                write_text(written[-1], text)
            else:
                written.pop().unlink(missing_ok=True)  # of an earlier evaluation
    return written


def to_csv(table: Table) -> str:
    """A table as CSV: all columns, full precision, empty where a score is not defined."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([f"{column.key}{part}" for column in table.columns for part in column.parts])
    for row in table.rows:
        writer.writerow([value for cell in row for value in cell])
    return text.getvalue()


def to_latex(table: Table) -> str:
    """A table as a LaTeX ``tabular`` for the package booktabs."""
    shown = [place for place, column in enumerate(table.columns) if column.in_latex]
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{l{'r' * (len(shown) - 1)}}}",
        "\\toprule",
        _join_latex([table.columns[place].name for place in shown]),
        "\\midrule",
        *(
            _join_latex([_format_cell(row[place], table.columns[place]) for place in shown])
            for row in table.rows
        ),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _join_latex(cells: Sequence[str]) -> str:
    escaped = ("".join(_LATEX.get(letter, letter) for letter in cell) for cell in cells)
    return " & ".join(escaped) + " \\\\"


def _format_cell(cell: tuple[Value, ...], column: Column) -> str:
    """A value, "mean ± sd", or "value (low to high)"."""
    first, *rest = (_format_value(value, column.digits) for value in cell)
    if not rest or cell[1] is None:
        return first
    return f"{first} ± {rest[0]}" if len(rest) == 1 else f"{first} ({rest[0]} to {rest[1]})"


def _format_value(value: Value, digits: int) -> str:
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
