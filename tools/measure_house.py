"""Measures of how the code is built, of one source tree or of several side by side.

    python tools/measure_house.py [TREE ...]

Each TREE is a checkout, or its ``src``; this one when none is given. Nothing is imported: the files
are read as text.
"""

from __future__ import annotations

import argparse
import ast
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

ROOT = Path(__file__).parents[1]
PREDICT_LINE = ("predict", "one_input", "slide", "run", "pipeline", "stitch", "seams")
"""Files of ``inference/`` that hold `histonuc predict`, by their names then and now."""
MOST_PARAMETERS, MOST_LINES = 8, 60
SHAPE = re.compile(r"\([A-Za-z0-9+* ]+,[A-Za-z0-9+*, .]*\)")
UNIT = re.compile(r"pixel|px|micron|µm|um\b|mm|mpp|second|minute|byte|MB|degree|share|0\.\.1")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class Module:
    """One file of the package.

    Attributes:
        name: as it is imported, ``histonuc.files``.
        path: the file.
        tree: its syntax.
        num_lines: of the file.
    """

    name: str
    path: Path
    tree: ast.Module
    num_lines: int


def read_modules(tree: Path) -> list[Module]:
    """The modules of the package below a checkout or its ``src``."""
    source = tree / "src" if (tree / "src").is_dir() else tree
    if not (source / "histonuc").is_dir():
        raise SystemExit(f"{tree}: expected a checkout or its src, with a folder histonuc inside")
    modules = []
    for path in sorted((source / "histonuc").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        lines = len(text.splitlines())
        modules.append(Module(name=name, path=path, tree=ast.parse(text), num_lines=lines))
    return modules


def functions(module: Module) -> Iterator[tuple[Function, bool]]:
    """Every function of a module, and whether users of the module can call it."""
    for node in module.tree.body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        hidden = isinstance(node, ast.ClassDef) and node.name.startswith("_")
        for item in inner:
            if isinstance(item, Function):
                yield item, not (hidden or item.name.startswith("_"))
                for nested in ast.walk(item):
                    if isinstance(nested, Function) and nested is not item:
                        yield nested, False


def num_parameters(function: Function) -> int:
    """Parameters of a function without `self` and `cls`."""
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def is_kernel(function: Function, module: Module) -> bool:
    """Whether Numba compiles it: such a function takes plain arrays and numbers."""
    decorated = any("compiled" in ast.unparse(item) for item in function.decorator_list)
    return decorated or ".kernels" in module.name


def imports(module: Module, known: set[str]) -> set[str]:
    """The package's modules that a module imports anywhere: lazily and for types only as well."""
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in known else node.module)
    return (found & known) - {module.name}


def find_cycles(modules: list[Module]) -> list[list[str]]:
    """The groups of modules that import each other, the largest first."""
    place = {module.name: number for number, module in enumerate(modules)}
    pairs = [(place[m.name], place[name]) for m in modules for name in imports(m, set(place))]
    rows, columns = np.array(pairs).reshape(-1, 2).T
    size = (len(modules), len(modules))
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=size)
    _, group = connected_components(graph, directed=True, connection="strong")
    found = [
        [m.name for m, own in zip(modules, group, strict=True) if own == n] for n in set(group)
    ]
    return sorted((names for names in found if len(names) > 1), key=len, reverse=True)


def takes_arrays(function: Function) -> bool:
    """Whether its annotations name arrays or tensors."""
    hints = [a.annotation for a in (*function.args.args, *function.args.kwonlyargs)]
    text = " ".join(ast.unparse(hint) for hint in (*hints, function.returns) if hint)
    return "NDArray" in text or "Tensor" in text


def measure(tree: Path) -> dict[str, str]:
    """The measures of a tree, in words."""
    modules = read_modules(tree)
    found = [(f, public, module) for module in modules for f, public in functions(module)]
    lengths = sorted(module.num_lines for module in modules)
    line = [m for m in modules if m.path.parent.name == "inference" and m.path.stem in PREDICT_LINE]
    many = [
        f
        for f, _, m in found
        if num_parameters(f) > MOST_PARAMETERS
        and not is_kernel(f, m)
        and not m.name.startswith("histonuc.commands")
    ]
    long = [f for f, _, _ in found if (f.end_lineno or 0) - f.lineno + 1 > MOST_LINES]
    dicts = [f for f, _, _ in found if f.returns and ast.unparse(f.returns) == "dict[str, Any]"]
    public = [f for f, is_public, _ in found if is_public]
    texts = [ast.get_docstring(f) or "" for f in public]
    arrays = [t for f, t in zip(public, texts, strict=True) if takes_arrays(f)]
    cycles = find_cycles(modules)
    return {
        "files, lines": f"{len(modules)}, {sum(lengths)}",
        "predict line: files": str(len(line)),
        "predict line: lines": str(sum(module.num_lines for module in line)),
        "functions": str(len(found)),
        f"over {MOST_PARAMETERS} parameters": _named(many),
        f"over {MOST_LINES} lines": _named(long),
        "returning dict[str, Any]": str(len(dicts)),
        "import cycles": "; ".join([str(len(cycles)), *map(_cycle, cycles)]),
        "file length: median": f"{statistics.median(lengths):.0f}",
        "file length: p90": str(lengths[int(0.9 * len(lengths))]),
        "file length: max": str(lengths[-1]),
        "public functions": str(len(public)),
        "with a docstring": _share(sum(map(bool, texts)), len(texts)),
        "with arrays, shapes told": _share(sum(bool(SHAPE.search(t)) for t in arrays), len(arrays)),
        "with arrays, units told": _share(sum(bool(UNIT.search(t)) for t in arrays), len(arrays)),
    }


def _named(group: list[Function]) -> str:
    names = ", ".join(sorted(function.name for function in group)[:4])
    return f"{len(group)} ({names}{', ...' if len(group) > 4 else ''})" if group else "0"


def _cycle(names: list[str]) -> str:
    short = ", ".join(name.removeprefix("histonuc.") for name in names[:3])
    return f"{short}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / max(whole, 1):.0%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trees", nargs="*", type=Path, default=[ROOT])
    args = parser.parse_args()
    columns = [measure(tree) for tree in args.trees]
    print(f"| measure | {' | '.join(map(str, args.trees))} |")
    print(f"|---|{'---|' * len(columns)}")
    for name in columns[0]:
        print(f"| {name} | {' | '.join(column[name] for column in columns)} |")


if __name__ == "__main__":
    main()
