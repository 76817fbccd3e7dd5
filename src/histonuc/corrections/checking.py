"""Whether an operation can be right: what is written, and what is read with distrust."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from histonuc.corrections.operations import (
    CHECKSUM,
    FORMAT,
    Operation,
    Target,
    checksum_of,
    dump_record,
    flatten_ring,
    tidy_ring,
    unflatten_ring,
)
from histonuc.exports.reading import FARTHEST_PX


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
    checksum = record.pop(CHECKSUM, None)
    if checksum is not None and checksum != checksum_of(dump_record(record)):
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
    return check_operation(Operation(**texts, nuclei=nuclei, fields=values, format=number))


def check_operation(operation: Operation) -> Operation:
    """Refuse an operation that cannot be right, before it is in the log.

    Returns:
        The operation, with outlines as `tidy_ring` makes them.

    Raises:
        ValueError: what is wrong, in the words of the log.
    """
    do, fields = operation.do, operation.fields
    if do not in _CHECKS:
        raise ValueError(f"do {do!r}: expected one of {', '.join(_CHECKS)}")
    _check_text(operation.by)
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
    if do == "comment" and not operation.nuclei:
        _check_place(fields.get("place"))
    return _tidy(operation)


def _tidy(operation: Operation) -> Operation:
    """The operation with tidy outlines; itself where they are."""
    fields = dict(operation.fields)
    try:
        if "ring" in _CHECKS[operation.do][1]:
            fields["ring"] = flatten_ring(tidy_ring(operation.ring))
        if "rings" in _CHECKS[operation.do][1]:
            fields["rings"] = [flatten_ring(tidy_ring(ring)) for ring in operation.rings]
    except ValueError as error:
        raise ValueError(f"{operation.do}: {error}") from None
    return operation if fields == operation.fields else replace(operation, fields=fields)


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


def _check_rings(value: Any) -> None:
    if not isinstance(value, list) or len(value) < 2:
        raise ValueError(f"expected two or more outlines, got {_shown(value)}")
    for ring in value:
        _check_ring(ring)


def _check_place(value: Any) -> None:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"comment needs one nucleus or a place [x, y], got {_shown(value)}")
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
    value.encode()  # half characters are none


def _check_keys(value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"expected a list of keys, got {_shown(value)}")


_MANY = 2**31
_CHECKS: Mapping[str, tuple[tuple[int, int], Mapping[str, Callable[[Any], None]]]] = {
    "classify": ((1, _MANY), {"class": _check_optional_class}),
    "delete": ((1, _MANY), {}),
    "add": ((0, 0), {"ring": _check_ring, "class": check_class_name}),
    "redraw": ((1, 1), {"ring": _check_ring}),
    "split": ((1, 1), {"rings": _check_rings}),
    "join": ((2, _MANY), {"ring": _check_ring}),
    "define_class": (
        (0, 0),
        {"name": check_class_name, "colour": _check_colour, "digit": _check_digit},
    ),
    "field": ((0, 0), {"ring": _check_ring, "complete": _check_flag}),
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


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
