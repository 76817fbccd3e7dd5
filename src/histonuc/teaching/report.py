"""What `histonuc teach` says of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histonuc.plain_text import counted
from histonuc.teaching.classifier import CLASSIFIER_FILE

REPORT_FILE = "report.json"


@dataclass(frozen=True, kw_only=True)
class TeachReport:
    """What came of teaching.

    Attributes:
        out: folder of the classifier.
        sha256: of its file, in hex.
        record: JSON-able, the content of ``report.json``.
    """

    out: Path
    sha256: str
    record: Mapping[str, Any]

    def lines(self) -> list[str]:
        """The same for people."""
        record = self.record
        crossed, held = record["cross_validation"], record["held_out"]
        lines = [
            f"{counted(record['num_labels'], 'labelled nucleus')} of "
            f"{counted(len(record['results']), 'result')} -> "
            f"{self.out / CLASSIFIER_FILE} ({self.sha256[:12]}), in {record['seconds']:.1f} s"
        ]
        if crossed["num"]:
            lines.append(f"cross-validated by {record['by']}: {_told(crossed)}")
            lines += [_class_line(name, row) for name, row in crossed["classes"].items()]
        if held["num"]:
            drawn = counted(held["num"], "nucleus")
            lines.append(f"on {drawn} drawn at random: {_told(held)}")
        return [*lines, *(f"  note: {note}" for note in record["notes"]), record["advice"]]


def _told(quality: Mapping[str, Any]) -> str:
    ends = quality["interval"]
    interval = "" if ends is None else f" ({ends[0]:.2f} to {ends[1]:.2f})"
    return f"macro F1 {quality['macro_f1']:.2f}{interval}, {quality['accuracy']:.0%} right"


def _class_line(name: str, row: Mapping[str, Any]) -> str:
    ends, f1 = row["interval"], row["f1"]
    interval = "" if ends is None else f"  {ends[0]:.2f} to {ends[1]:.2f}"
    told = "-" if f1 is None else f"{f1:.2f}"
    return f"  {name:<30}{row['labels']:>7} labels  F1 {told}{interval}"
