"""Scores that points which mark some of the nuclei only do not define."""

from __future__ import annotations

from typing import Any, cast

from histonuc.evaluation.records import ScoreTables

_UNDEFINED = frozenset(
    {
        "precision_centroid",
        "f1_centroid",
        "class_f1_centroid",
        "f1_centroid_images",
    }
)
"""What counts predictions beside the points as wrong."""


def leave_out_undefined(tables: ScoreTables) -> ScoreTables:
    """The same tables, None in place of what sparse points do not define, intervals included."""
    return cast(
        ScoreTables, _clear({**tables, "conventions": {}}) | {"conventions": tables["conventions"]}
    )


def _clear(table: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if key in _UNDEFINED else _clear(value) if isinstance(value, dict) else value
        for key, value in table.items()
    }
