"""Parts of a model that are not in this package: of an installed one, or of a `--plugin` file.

An installed package offers a part as an entry point of the group ``histonuc.trunks``,
``histonuc.representations`` or ``histonuc.losses``. A plugin is a Python file with a dict of
builders by name, called ``TRUNKS``, ``REPRESENTATIONS`` or ``LOSSES``.

Code is loaded from these two only. A checkpoint or a configuration that names a part never brings
code along: it says where the part came from, so that an error can.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from histonuc.files import one_line

Kind = Literal["trunk", "representation", "loss"]
Builder = Callable[..., Any]

_DICTS: dict[Kind, str] = {
    "trunk": "TRUNKS",
    "representation": "REPRESENTATIONS",
    "loss": "LOSSES",
}
_GROUPS: dict[Kind, str] = {kind: f"histonuc.{name.lower()}" for kind, name in _DICTS.items()}
_plugins: dict[Kind, dict[str, tuple[Builder, str]]] = {kind: {} for kind in _DICTS}
"""Builders of the plugins of this process, and the name of the file each came from."""


def load_plugin(path: str | Path) -> None:
    """Run a Python file and take the parts that its dicts name.

    Its folder is appended to `sys.path`, so that processes that prepare crops find it as well.

    Raises:
        ValueError: no such file, a name that Python knows already, code that fails, no parts.
    """
    path = Path(path)
    if not path.is_file() or path.suffix != ".py":
        raise ValueError(f"--plugin: no Python file at {path}")
    folder, name = str(path.resolve().parent), path.stem
    if folder not in sys.path:
        sys.path.append(folder)
    importlib.invalidate_caches()
    spec = find_spec(name) if name.isidentifier() else None
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != path.resolve():
        raise ValueError(
            f"--plugin {path}: give the file another name; {name!r} is no name of a module, or "
            "that of another one"
        )
    try:
        known = sys.modules.get(name)
        module = importlib.reload(known) if known else importlib.import_module(name)
    except Exception as error:
        raise ValueError(
            f"--plugin {path} failed: {type(error).__name__}: {one_line(error)}"
        ) from error
    found = {kind: getattr(module, dictionary, {}) for kind, dictionary in _DICTS.items()}
    if not any(found.values()) or not all(isinstance(some, dict) for some in found.values()):
        raise ValueError(
            f"--plugin {path}: expected a dict of builders by name, called "
            f"{', '.join(_DICTS.values())}, and found none"
        )
    for kind, builders in found.items():
        _plugins[kind].update({str(key): (value, path.name) for key, value in builders.items()})


def find_part(kind: Kind, name: str, shipped: Mapping[str, Builder], origin: str = "") -> Builder:
    """The builder of a part: the package's, a plugin's, or that of an installed package.

    Args:
        kind: whether it is a trunk, a representation or a loss.
        name: its name, as the user or the model gives it.
        shipped: the package's builders by name; no other part takes their names.
        origin: where the part came from when the model was made, of `find_origin`; for the error.

    Raises:
        ValueError: no such part, with all there are; or its package cannot be loaded.
    """
    builder, file = _plugins[kind].get(name, (None, ""))
    if name in shipped and builder is not None:
        raise ValueError(f"--plugin {file}: {kind} {name!r} is the package's; choose another name")
    if name in shipped:
        return shipped[name]
    if builder is not None:
        return builder
    offered = _entry_point(kind, name)
    if offered is None:
        known = [*shipped, *part_names(kind, shipped)]
        came_from = f" (the model's came from {origin})" if origin else ""
        raise ValueError(
            f"unknown {kind} {name!r}{came_from}; choose from {known}, or give one of your own by "
            "--plugin FILE.py or an installed package"
        )
    try:
        return offered.load()  # type: ignore[no-any-return]
    except Exception as error:
        raise ValueError(
            f"{kind} {name!r}: {_package(offered)} failed: {type(error).__name__}: "
            f"{one_line(error)}"
        ) from error


def part_names(kind: Kind, shipped: Mapping[str, Builder]) -> list[str]:
    """Names of the parts of a kind that are not the package's; nothing is loaded."""
    installed = [point.name for point in entry_points(group=_GROUPS[kind])]
    return sorted({*_plugins[kind], *installed} - set(shipped))


def find_origin(kind: Kind, name: str, shipped: Mapping[str, Builder]) -> str:
    """Where a part that is there came from, in words; nothing for one of the package's own."""
    if name in shipped:
        return ""
    if name in _plugins[kind]:
        return f"--plugin {_plugins[kind][name][1]}"
    offered = _entry_point(kind, name)
    return "" if offered is None else _package(offered)


def _entry_point(kind: Kind, name: str) -> EntryPoint | None:
    return next(iter(entry_points(group=_GROUPS[kind], name=name)), None)


def _package(point: EntryPoint) -> str:
    if point.dist is None:
        return f"the module {point.module}"
    return f"the package {point.dist.name} {point.dist.version}"
