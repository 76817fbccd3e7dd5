"""Types and names of settings, read and checked in the words that the user typed."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Hashable, Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def flag(name: str) -> str:
    """A field's name on the command line.

    >>> flag("tile_px")
    '--tile-px'
    """
    return "--" + name.replace("_", "-")


def read_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a part of the model, whose names carry dashes and whose values are text.

    A command line has nothing else, and what it takes from a YAML file has become text as well,
    in lists too. Text that JSON reads is what JSON says; any other stays text.

    >>> read_options({"min-area-px": "24", "widths": ["128", "96"], "up": "linear", "iou": "1e-5"})
    {'min_area_px': 24, 'widths': [128, 96], 'up': 'linear', 'iou': 1e-05}
    """
    return {str(name).replace("-", "_"): _read(value) for name, value in given.items()}


_PYTHON_WORDS = {"True": True, "False": False, "None": None}


def _read(value: Any) -> Any:
    if isinstance(value, Mapping):
        return read_options(value)
    if isinstance(value, list | tuple):
        return [_read(item) for item in value]
    if not isinstance(value, str):
        return value
    if value in _PYTHON_WORDS:
        return _PYTHON_WORDS[value]
    is_short = value.startswith((".", "-."))  # .5 is no JSON
    try:
        return json.loads(value.replace(".", "0.", 1) if is_short else value)
    except (ValueError, RecursionError):
        return value


def check_types(settings: Any, prefix: str = "") -> None:
    """Refuse fields of a dataclass that are not what their annotation says.

    Python does not, and a YAML file may hold anything. Numbers must be finite.

    Raises:
        ValueError: the first such field.
    """
    for name, hint in _hints(settings.__class__).items():
        value = getattr(settings, name)
        if get_origin(hint) is Literal and value not in get_args(hint):
            raise ValueError(
                f"{flag(prefix + name)}: choose from {list(get_args(hint))}, got {value!r}"
            )
        if hint in _WORDS:
            _check(prefix + name, hint, [value])
        elif get_origin(hint) is tuple:
            _check(prefix + name, get_args(hint)[0], value)
        elif get_origin(hint) is dict and get_args(hint)[1] in _WORDS:
            if not isinstance(value, dict):
                raise ValueError(f"{flag(prefix + name)}: expected numbers by name, got {value!r}")
            for key, item in value.items():
                _check(f"{prefix}{name}.{key}", get_args(hint)[1], [item])


def _check(name: str, kind: type, values: Iterable[Any]) -> None:
    accepted = (int, float) if kind is float else kind
    for value in values:
        wrong = not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool)
        if wrong or (isinstance(value, float) and not math.isfinite(value)):
            text = kind is float and isinstance(value, str)
            hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if text else ""
            raise ValueError(f"{flag(name)}: expected {_WORDS[kind]}, got {value!r}{hint}")


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return get_type_hints(kind)  # resolved once a class: the annotations are strings


def refuse_unknown(given: Iterable[str], known: Collection[str], what: str) -> None:
    """Refuse names that there are not, with the nearest that there are, and all of them.

    Args:
        given: names that the user gave.
        known: names that there are.
        what: what they name: "training settings".

    Raises:
        ValueError: unknown names.

    >>> refuse_unknown(["max_lrr"], ["max_lr", "epochs"], "training settings")
    Traceback (most recent call last):
    ValueError: unknown training settings: max_lrr (did you mean max_lr?); known are epochs, max_lr
    """
    unknown = sorted(str(name) for name in given if name not in known)
    if not unknown:
        return
    near = {name: get_close_matches(name, known, 1) for name in unknown}
    meant = [
        f"{name} (did you mean {match[0]}?)" if match else name for name, match in near.items()
    ]
    raise ValueError(f"unknown {what}: {', '.join(meant)}; known are {', '.join(sorted(known))}")
