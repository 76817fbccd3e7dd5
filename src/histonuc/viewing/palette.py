"""Colours of classes, those of the result and those that colour-blind people can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from histonuc.taxonomy import OKABE_ITO, default_colour


def describe_classes(
    names: Sequence[str],
    colours: Sequence[tuple[int, int, int]] | None,
    counts: Sequence[int | None],
) -> list[dict[str, Any]]:
    """Classes for the page: name, colour, safe colour, and number of nuclei.

    Args:
        names: of the classes.
        colours: RGB of each, 0 to 255; None for those of the package.
        counts: number of nuclei of each, None where unknown.

    >>> describe_classes(["Dead"], None, [3])[0]["colour"]
    '#ff3333'
    """
    chosen = colours or [default_colour(j) for j in range(len(names))]
    return [
        {
            "name": name,
            "colour": "#{:02x}{:02x}{:02x}".format(*colour),
            "safe_colour": OKABE_ITO[j % len(OKABE_ITO)],
            "num_nuclei": count,
        }
        for j, (name, colour, count) in enumerate(zip(names, chosen, counts, strict=True))
    ]
