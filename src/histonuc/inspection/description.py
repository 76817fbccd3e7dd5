"""Facts and the lines that people read of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_LINES = 10
"""Lines for people; programs get everything."""
_MAX_WIDTH = 200
_NAME_WIDTH = 16


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a path is.

    Attributes:
        facts: all of it, JSON-able; ``kind`` says what it is.
        lines: the gist of it for people, at most `MAX_LINES`.
    """

    facts: dict[str, Any]
    lines: tuple[str, ...]


def plain_description(facts: Mapping[str, Any]) -> Description:
    """A description whose lines are its facts: "kind  store" and so on."""
    return Description(facts=dict(facts), lines=to_lines(facts.items()))


def to_lines(rows: Iterable[tuple[str, Any]]) -> tuple[str, ...]:
    """Names and what is told of each, as lines; rows of nothing are left out.

    >>> to_lines([("kind", "store"), ("folds", [1, 2]), ("note", "")])
    ('kind            store', 'folds           1, 2')
    """
    lines = [
        f"{name:<{_NAME_WIDTH}}{_text(value)}" for name, value in rows if value not in ("", None)
    ]
    lines = [line if len(line) <= _MAX_WIDTH else f"{line[: _MAX_WIDTH - 1]}…" for line in lines]
    if len(lines) > MAX_LINES:
        left = len(lines) - MAX_LINES + 1
        lines[MAX_LINES - 1 :] = [f"{'':<{_NAME_WIDTH}}… and {left} more lines: see --json"]
    return tuple(lines)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_text, value))
    return " ".join(str(value).split())
