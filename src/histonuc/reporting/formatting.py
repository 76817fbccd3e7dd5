"""How values are written on the report's page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from histonuc.yaml_reader import flatten


def list_facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Key and value rows of a nested record; empty values are left out."""
    facts = []
    for key, value in flatten(record).items():
        if isinstance(value, list | tuple):
            value = ", ".join(str(part) for part in value)
        if value not in (None, ""):
            facts.append((key, str(value)))
    return facts


def format_score(value: float | None, digits: int = 3) -> str:
    """A score with so many decimals, a dash where it is not defined."""
    return "–" if value is None else f"{value:.{digits}f}"


def format_count(value: int | None) -> str:
    """Thousands apart by a thin space."""
    return "–" if value is None else f"{value:,}".replace(",", "\u2009")


def choose_heat(percent: float | None) -> str:
    """Background of a confusion cell: white at 0, blue at 100 %."""
    share = 0.0 if percent is None else percent / 100
    red, green, blue = (round(255 + share * (end - 255)) for end in (8, 81, 156))
    return f"rgb({red},{green},{blue})"


def choose_ink(percent: float | None) -> str:
    """Text colour that can be read on `choose_heat`."""
    return "#fff" if percent is not None and percent > 45 else "#111"
