"""One line of `corrections.jsonl`: what a person said of a result, and of which nuclei."""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.reading import FARTHEST_PX
from histonuc.exports.rings import make_clockwise, make_simple, open_ring

FORMAT = 1
"""Format of the lines that this version writes, and the highest that it applies."""
Reference = int | str
"""A nucleus of a log: its row + 1 in the table, or "KEY:0", "KEY:1", ... for the nuclei that the
operation KEY made."""
CHECKSUM = "crc"
"""Last field of a line: CRC-32, in hex, of the line without it."""
_DECIMALS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """A nucleus that an operation is about, as it was before.

    Attributes:
        id: which one.
        class_name: its class.
        x: of its centroid, in level-0 pixels.
        y: of its centroid, in level-0 pixels.
        ring: float64 (k, 2), its outline (x, y) in level-0 pixels, open.
    """

    id: Reference
    class_name: str
    x: float
    y: float
    ring: NDArray[np.float64]

    def to_record(self) -> dict[str, Any]:
        """Plain dict for JSON, with positions to 0.01 px."""
        return {
            "id": self.id,
            "class": self.class_name,
            "x": round(float(self.x), _DECIMALS),
            "y": round(float(self.y), _DECIMALS),
            "ring": flatten_ring(self.ring),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """One line of the log.

    Attributes:
        do: what is done: see ``docs/reference/corrections.md``.
        nuclei: the nuclei that it is done to.
        fields: the further fields of the line as they are in JSON, by name.
        by: name of the person.
        table: SHA-256 of the footer of the table that it is about, in hex.
        model: SHA-256 of the model that made the table, in hex.
        key: 16 hex digits that no other operation has; empty before it is in a log.
        after: key of the line before it in the file when it was written; empty for the first.
        time: UTC, ISO 8601, whole seconds; empty before it is in a log.
        format: of the line.
        is_known: whether this version knows what it means.
    """

    do: str
    nuclei: tuple[Target, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""
    table: str = ""
    model: str = ""
    key: str = ""
    after: str = ""
    time: str = ""
    format: int = FORMAT
    is_known: bool = True

    def to_record(self) -> dict[str, Any]:
        """Plain dict for JSON, without the checksum."""
        head = ("format", "key", "after", "time", "by", "table", "model", "do")
        record = {name: getattr(self, name) for name in head}
        if self.nuclei:
            record["nuclei"] = [target.to_record() for target in self.nuclei]
        return record | dict(self.fields)

    def to_line(self) -> str:
        """The line with its checksum and its end."""
        text = dump_record(self.to_record())
        return f'{text[:-1]},"{CHECKSUM}":"{checksum_of(text)}"}}\n'

    @property
    def class_name(self) -> str | None:
        """The class that is given; None for the predicted one."""
        name: str | None = self.fields.get("class")
        return name

    @property
    def ring(self) -> NDArray[np.float64]:
        """The outline that is given, float64 (k, 2)."""
        return unflatten_ring(self.fields["ring"])

    @property
    def rings(self) -> list[NDArray[np.float64]]:
        """The outlines of the nuclei that it makes, each float64 (k, 2)."""
        if self.do == "split":
            return [unflatten_ring(ring) for ring in self.fields["rings"]]
        return [self.ring] if self.do in ("add", "join") else []

    @property
    def operation(self) -> str:
        """Key of the operation that this one is about."""
        return str(self.fields["operation"])


def new_key() -> str:
    """16 random hex digits."""
    return secrets.token_hex(8)


def now() -> str:
    """The time as lines have it.

    >>> len(now())
    20
    """
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def flatten_ring(ring: NDArray[np.float64]) -> list[float]:
    """x0, y0, x1, y1, ... to 0.01 px, as lines have an outline."""
    values: list[float] = np.round(np.asarray(ring, np.float64), _DECIMALS).ravel().tolist()
    return values


def unflatten_ring(values: Any) -> NDArray[np.float64]:
    """Inverse of `flatten_ring`: float64 (k, 2)."""
    return np.array(values, np.float64).reshape(-1, 2)


def tidy_ring(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """An outline as the log takes it: open, clockwise on the screen, simple, to 0.01 px.

    Raises:
        ValueError: fewer than three different points, no area, or a point that is nowhere.
    """
    points = open_ring(np.asarray(ring, np.float64).reshape(-1, 2))
    if len(points) < 3:
        raise ValueError(f"expected an outline of three or more points, got {len(points)}")
    if not (np.abs(points) < FARTHEST_PX).all():
        raise ValueError("expected positions in the slide, got an outline that reaches far beyond")
    points, offsets = make_simple(np.round(points, _DECIMALS), np.array([0, len(points)]))
    if not len(points):
        raise ValueError("expected an outline that encloses an area, got a line")
    return np.round(make_clockwise(points, offsets), _DECIMALS)


def dump_record(record: Mapping[str, Any]) -> str:
    """The JSON text of a line, without its checksum."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def checksum_of(text: str) -> str:
    """CRC-32, in hex, of the text of a line."""
    return f"{zlib.crc32(text.encode(errors='surrogatepass')):08x}"
