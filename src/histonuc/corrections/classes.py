"""The classes of a corrected table: its own, and those that people made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from histonuc.corrections.operations import Operation
from histonuc.taxonomy import LabelSpace, default_colour

CORRECTED_SPACE = "corrected"
"""Name of a label space that people added classes to."""
MAX_CLASSES = 31
"""A label space holds no more."""
_DIGITS = range(1, 10)


def define_classes(
    space: LabelSpace, operations: Iterable[Operation], used: Iterable[str] = ()
) -> tuple[LabelSpace, Mapping[str, int]]:
    """The label space with the classes that operations define or use, and the keys of classes.

    New classes come last, in the order in which they are first named. Classes without a key of
    their own get the free ones in order.

    Args:
        space: of the table.
        operations: those that count, in order.
        used: further classes that nuclei have.

    Raises:
        ValueError: more classes than a table can hold.
    """
    colours = dict(zip(space.classes, space.colours, strict=True))
    digits: dict[str, int | None] = {}
    for operation in operations:
        if operation.do == "define_class":
            name, digit = str(operation.fields["name"]), operation.fields["digit"]
            colours[name] = _parse_colour(operation.fields["colour"])
            digits = {one: None if had == digit else had for one, had in digits.items()}
            digits[name] = digit
        elif operation.do in ("classify", "add") and operation.class_name is not None:
            colours.setdefault(operation.class_name, default_colour(len(colours)))
    for name in used:
        colours.setdefault(name, default_colour(len(colours)))
    names = tuple(colours)
    if len(names) > MAX_CLASSES:
        raise ValueError(
            f"corrections name {len(names)} classes, and a table holds {MAX_CLASSES}: undo the "
            f"definition of {names[-1]!r} and what has this class"
        )
    if len(names) == len(space) and tuple(colours.values()) == space.colours:
        return space, _fill_digits(names, digits)
    meanings = space.meanings and (*space.meanings, *[()] * (len(names) - len(space)))
    widened = LabelSpace(
        name=space.name if len(names) == len(space) else CORRECTED_SPACE,
        classes=names,
        colours=tuple(colours.values()),
        meanings=meanings,
    )
    return widened, _fill_digits(names, digits)


def _fill_digits(names: Iterable[str], given: Mapping[str, int | None]) -> Mapping[str, int]:
    """The keys of the classes: those given, and of the others the free ones in order."""
    taken = {digit for digit in given.values() if digit is not None}
    free = iter([digit for digit in _DIGITS if digit not in taken])
    digits: dict[str, int] = {}
    for name in names:
        digit = given[name] if name in given else next(free, None)
        if digit is not None:
            digits[name] = digit
    return digits


def _parse_colour(text: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue
