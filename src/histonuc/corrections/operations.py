"""One line of `corrections.jsonl`: what a person said of a result, and of which nuclei."""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Callable, Mapping
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
_CHECKSUM = "crc"
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
        text = _dump(self.to_record())
        return f'{text[:-1]},"{_CHECKSUM}":"{_checksum(text)}"}}\n'

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


def parse_line(line: str) -> Operation:
    """Read one line; one of an unknown operation or a higher format is not looked into.

    Raises:
        ValueError: it is no operation, was changed since it was written, or cannot be right.
    """
    try:
        record = json.loads(line, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("brackets nested without end") from None
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, got {_shown(record)}")
    checksum = record.pop(_CHECKSUM, None)
    if checksum is not None and checksum != _checksum(_dump(record)):
        raise ValueError("its checksum is wrong: it was changed or damaged since it was written")
    return from_record(record)


def from_record(record: Mapping[str, Any]) -> Operation:
    """An operation from the fields of its line, without the checksum.

    Raises:
        ValueError: a field is missing or cannot be right.
    """
    values = dict(record)
    number = values.pop("format", None)
    if type(number) is not int or number < 1:
        raise ValueError(f"expected format to be a whole number from 1 on, got {_shown(number)}")
    texts = {}
    for name in ("key", "after", "time", "by", "table", "model", "do"):
        texts[name] = values.pop(name, None)
        if not isinstance(texts[name], str):
            raise ValueError(f"expected text as {name}, got {_shown(texts[name])}")
    do = texts["do"]
    if number > FORMAT or do not in _CHECKS:
        return Operation(**texts, fields=values, format=number, is_known=False)
    targets = values.pop("nuclei", [])
    if not isinstance(targets, list):
        raise ValueError(f"expected a list as nuclei, got {_shown(targets)}")
    nuclei = tuple(_read_target(target) for target in targets)
    operation = Operation(**texts, nuclei=nuclei, fields=values, format=number)
    check_operation(operation)
    return operation


def check_operation(operation: Operation) -> None:
    """Refuse an operation that cannot be right, before it is in the log.

    Raises:
        ValueError: what is wrong, in the words of the log.
    """
    do, fields = operation.do, operation.fields
    if do not in _CHECKS:
        raise ValueError(f"do {do!r}: expected one of {', '.join(_CHECKS)}")
    (least, most), checks = _CHECKS[do]
    if not least <= len(operation.nuclei) <= most:
        wanted = f"{least}" if least == most else f"at least {least}"
        raise ValueError(f"{do} takes {wanted} nuclei, got {len(operation.nuclei)}")
    for name, check in checks.items():
        if name not in fields:
            raise ValueError(f"{do} needs {name}")
        try:
            check(fields[name])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{do}: {name}: {error}") from None
    if do == "comment" and len(operation.nuclei) != 1 and "place" not in fields:
        raise ValueError("comment needs one nucleus or a place")


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


def _read_target(target: Any) -> Target:
    if not isinstance(target, dict):
        raise ValueError(f"expected a nucleus to be an object, got {_shown(target)}")
    reference: Any = target.get("id")
    is_row = type(reference) is int and 1 <= reference < 2**32
    if not is_row and not (isinstance(reference, str) and _is_made(reference)):
        raise ValueError(
            f"expected the number of a nucleus or KEY:0 as id, got {_shown(reference)}"
        )
    check_class_name(target.get("class"))
    for name in ("x", "y"):
        _check_number(target.get(name))
    _check_ring(target.get("ring"))
    return Target(
        id=reference,
        class_name=target["class"],
        x=target["x"],
        y=target["y"],
        ring=unflatten_ring(target["ring"]),
    )


def _is_made(reference: str) -> bool:
    key, _, number = reference.rpartition(":")
    return bool(key) and number.isascii() and number.isdigit() and len(number) < 6


def _check_number(value: Any) -> None:
    if type(value) not in (int, float) or not abs(value) < FARTHEST_PX:
        raise ValueError(f"expected a position in pixels, got {_shown(value)}")


def _check_ring(value: Any) -> None:
    if not isinstance(value, list) or len(value) < 6 or len(value) % 2:
        raise ValueError(f"expected x0, y0, x1, y1, … of three or more points, got {_shown(value)}")
    for number in value:
        _check_number(number)


def _check_new_ring(value: Any) -> None:
    _check_ring(value)
    tidy_ring(unflatten_ring(value))


def _check_rings(value: Any) -> None:
    if not isinstance(value, list) or len(value) < 2:
        raise ValueError(f"expected two or more outlines, got {_shown(value)}")
    for ring in value:
        _check_new_ring(ring)


def _check_place(value: Any) -> None:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"expected [x, y], got {_shown(value)}")
    for number in value:
        _check_number(number)


def check_class_name(value: Any) -> None:
    """Refuse what is no name of a class.

    Raises:
        ValueError: it is empty, too long, or has control characters.
    """
    if (
        not isinstance(value, str)
        or not value.strip()
        or len(value) > 80
        or not value.isprintable()
    ):
        raise ValueError(f"expected a name of 1 to 80 letters, got {_shown(value)}")


def _check_optional_class(value: Any) -> None:
    if value is not None:
        check_class_name(value)


def _check_colour(value: Any) -> None:
    digits = value[1:] if isinstance(value, str) and value[:1] == "#" else ""
    if len(digits) != 6 or not all(letter in "0123456789abcdefABCDEF" for letter in digits):
        raise ValueError(f"expected #rrggbb, got {_shown(value)}")


def _check_digit(value: Any) -> None:
    if value is not None and (type(value) is not int or not 1 <= value <= 9):
        raise ValueError(f"expected 1 to 9 or null, got {_shown(value)}")


def _check_flag(value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {_shown(value)}")


def _check_text(value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {_shown(value)}")


def _check_keys(value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"expected a list of keys, got {_shown(value)}")


_MANY = 2**31
_CHECKS: Mapping[str, tuple[tuple[int, int], Mapping[str, Callable[[Any], None]]]] = {
    "classify": ((1, _MANY), {"class": _check_optional_class}),
    "delete": ((1, _MANY), {}),
    "add": ((0, 0), {"ring": _check_new_ring, "class": check_class_name}),
    "redraw": ((1, 1), {"ring": _check_new_ring}),
    "split": ((1, 1), {"rings": _check_rings}),
    "join": ((2, _MANY), {"ring": _check_new_ring}),
    "define_class": (
        (0, 0),
        {"name": check_class_name, "colour": _check_colour, "digit": _check_digit},
    ),
    "field": ((0, 0), {"ring": _check_new_ring, "complete": _check_flag}),
    "comment": ((0, 1), {"text": _check_text}),
    "hold_out": ((1, _MANY), {}),
    "choose": ((1, 1), {"operation": _check_text}),
    "undo": ((0, 0), {"operation": _check_text}),
    "redo": ((0, 0), {"operation": _check_text}),
    "merge": ((0, 0), {"heads": _check_keys}),
}
"""For each operation the least and largest number of nuclei, and a check of each further field."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"expected numbers, got {name}")


def _dump(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode(errors='surrogatepass')):08x}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
