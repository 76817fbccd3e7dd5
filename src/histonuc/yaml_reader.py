"""The one reader of YAML files, which come from others: plain values only, and not too many."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from histonuc.files import reading

MAX_BYTES = 100_000
"""The longest file that is read; a training's settings take some 3,000 bytes."""
MAX_VALUES = 10_000
"""The most values in one file, with aliases written out."""


def read_yaml(path: Path, kind: str) -> dict[str, Any]:
    """The values by name that a YAML file holds; none of an empty file.

    The whole must be small when its aliases are written out: a few hundred bytes of aliases of
    aliases stand for billions of values.

    Args:
        path: the file.
        kind: what it should hold, after "no": "settings of `histonuc train`".

    Raises:
        ValueError: no such file, or anything else in it, with the line where that can be told.

    >>> from tempfile import mkdtemp
    >>> file = Path(mkdtemp(), "a.yaml")
    >>> _ = file.write_text("{epochs: 3, widths: [16, 24]}")
    >>> read_yaml(file, "settings")
    {'epochs': 3, 'widths': [16, 24]}
    """
    with reading(path, kind):
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise ValueError(f"expected a file of {MAX_BYTES // 1000} kB at most")
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        try:
            node = loader.get_single_node()
            if _count_values(node, {}) > MAX_VALUES:
                raise ValueError(f"expected {MAX_VALUES} values at most, with aliases written out")
            content = {} if node is None else loader.construct_document(node)
        except yaml.MarkedYAMLError as error:
            line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
            raise ValueError(f"{path}{line}: {error.problem}") from None
        finally:
            loader.dispose()
        if not isinstance(content, dict):
            raise ValueError(f"expected values by name, got {type(content).__name__}")
        return content


def _count_values(node: yaml.Node | None, counts: dict[int, int]) -> int:
    """Values in a node, an alias counted as what it stands for.

    Args:
        node: of the document; None for an empty one.
        counts: of the nodes seen so far, by id; filled.

    Raises:
        yaml.MarkedYAMLError: a name that comes twice in one mapping.
    """
    if node is None or id(node) in counts:
        return counts.get(id(node), 0)
    counts[id(node)] = MAX_VALUES + 1  # for an alias inside the very thing that it stands for
    children = node.value if isinstance(node, yaml.SequenceNode) else []
    if isinstance(node, yaml.MappingNode):
        _refuse_doubles([name for name, _ in node.value if isinstance(name, yaml.ScalarNode)])
        children = [child for pair in node.value for child in pair]
    counts[id(node)] = 1 + sum(_count_values(child, counts) for child in children)
    return counts[id(node)]


def _refuse_doubles(names: list[yaml.ScalarNode]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.value in seen:
            problem = f"{name.value!r} is given twice"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=name.start_mark)
        seen.add(name.value)


def flatten(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, keys joined by dots.

    >>> flatten({"a": 1, "b": {"c": 2}})
    {'a': 1, 'b.c': 2}
    """
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
