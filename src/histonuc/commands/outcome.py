"""What a command gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command did.

    Attributes:
        lines: for people.
        data: for programs; JSON-able.
        exit_code: 0 ok, 1 some items failed.
    """

    lines: list[str]
    data: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int = 0
