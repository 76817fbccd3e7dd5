"""The folder of one result as it lies there: whole, unfinished, damaged, or of another version."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from histonuc.exports.facts import Facts, check_facts, to_facts
from histonuc.exports.summary import SUMMARY_FILE, SlideResult
from histonuc.exports.table import TABLE_FILE
from histonuc.files import is_sealed
from histonuc.inference.results import ResultFolder
from histonuc.taxonomy import NUCLEUS

State = Literal["whole", "unfinished", "damaged", "older", "slide"]
"""One word for people; ``slide`` is a bare slide without a result."""
_PARQUET = b"PAR1"
_MESSAGES: dict[State, str] = {
    "whole": "",
    "slide": "",
    "unfinished": "This result is unfinished: run the same `histonuc predict` again to go on.",
    "damaged": "This result is damaged: run the same `histonuc predict` again.",
    "older": "This result was made by another version of histonuc; what can be shown is shown.",
}


@dataclass(frozen=True, kw_only=True)
class ResultRecord:
    """What the small files in a result's folder say.

    Attributes:
        state: one word.
        has_table: whether there is a table of nuclei.
        raw: what the summary holds, also where it is another version's; empty where it is damaged.
    """

    state: State
    has_table: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """The state in one sentence; empty where nothing is to be said."""
        return _MESSAGES[self.state]

    def fact(self, name: str, kind: type | tuple[type, ...]) -> Any:
        """A value of the summary; None where there is none of this kind."""
        value = self.raw.get(name)
        return value if isinstance(value, kind) else None


def read_record(folder: Path) -> ResultRecord:
    """What a result's folder holds; nothing in it raises.

    Args:
        folder: of one result.
    """
    has_table, path = (folder / TABLE_FILE).is_file(), folder / SUMMARY_FILE
    if has_table and not _is_whole(folder / TABLE_FILE):
        return ResultRecord(state="damaged", raw=_read_raw(path))
    if not path.exists():
        key = ResultFolder(folder).read_run() or {}
        return ResultRecord(state="unfinished", has_table=has_table, raw={"fingerprint": key})
    raw = _read_raw(path)
    if not raw:
        return ResultRecord(state="damaged", has_table=has_table)
    try:
        SlideResult.from_record(raw)
    except (LookupError, TypeError, ValueError):
        return ResultRecord(state="older", has_table=has_table, raw=raw)
    state: State = "whole" if has_table else "damaged"
    return ResultRecord(state=state, has_table=has_table, raw=raw)


def _read_raw(path: Path) -> dict[str, Any]:
    """What a summary holds; nothing where it is not there, damaged or edited."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(raw, dict) and is_sealed(raw):
            _check_sizes(raw)
            return raw
    except (OSError, ValueError, RecursionError):
        pass
    return {}


def _is_whole(table: Path) -> bool:
    """Whether a Parquet file was not cut: it ends as it begins."""
    try:
        with table.open("rb") as stream:
            head = stream.read(len(_PARQUET))
            end = stream.seek(-len(_PARQUET), os.SEEK_END)
            return end > len(_PARQUET) and head == stream.read() == _PARQUET
    except OSError:
        return False


def _check_sizes(raw: Mapping[str, Any]) -> None:
    """Refuse sizes and scales that no slide has.

    Raises:
        ValueError: one of them.
    """
    names = {"size_px": "image_size", "mpp_xy": "mpp_xy", "bounds_xyxy": "bounds_xyxy"}
    given = {fact: raw[name] for name, fact in names.items() if name in raw}
    check_facts({**to_facts(NUCLEUS, float("nan")), **given})


def slide_facts(record: ResultRecord, facts: Facts | None) -> dict[str, Any]:
    """Size and scale of a result's slide, by its summary or else its table.

    Args:
        record: of the result.
        facts: what the table of nuclei says; None where there is none.
    """
    size: Any = record.fact("size_px", list)
    mpp_xy: Any = record.fact("mpp_xy", list)
    if facts is not None:
        size = size or facts.get("image_size")
        mpp_xy = mpp_xy or facts.get("mpp_xy") or (facts["mpp"] and [facts["mpp"]] * 2)
    return {"size_px": size, "mpp_xy": mpp_xy}
