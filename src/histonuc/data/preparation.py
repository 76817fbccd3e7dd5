"""What `histonuc prepare` tells of its work: tables and findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of numbers.

    Attributes:
        title: what is counted.
        columns: names of the columns behind the first.
        rows: name and values of every row.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Any]]]

    def lines(self) -> list[str]:
        """Aligned for a terminal.

        >>> Table(title="tiles", columns=["fold 1"], rows=[("Colon", [1234])]).lines()
        ['tiles  fold 1', 'Colon   1,234']
        """
        cells = [[self.title, *self.columns]]
        cells += [[name, *map(_cell, values)] for name, values in self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return [
            "  ".join(
                [row[0].ljust(widths[0])]
                + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            )
            for row in cells
        ]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Rows by name, values by column."""
        return {name: dict(zip(self.columns, values, strict=True)) for name, values in self.rows}


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """What was written, counted and found.

    Attributes:
        out: the store.
        tables: counts.
        official: how the counts compare with PanNuke's official ones; empty for other data.
        findings: what a reader should know.
    """

    out: str
    tables: Sequence[Table]
    official: Sequence[str] = ()
    findings: Sequence[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """What was counted and found, as lines for people."""
        lines: list[str] = []
        for table in self.tables:
            lines += [*table.lines(), ""]
        for text in (self.official, self.findings):
            lines += [*text, ""] if text else []
        return [*lines, f"wrote {self.out}"]

    def to_dict(self) -> dict[str, Any]:
        """The same as a JSON-able dict for programs."""
        return {
            "out": self.out,
            "tables": {table.title: table.to_dict() for table in self.tables},
            "official": list(self.official),
            "findings": list(self.findings),
        }


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
