"""Finds the commands and snippets that the documentation shows, and runs them.

Pages are run block by block, in order, in a folder that holds what the page's commands name. Shell
lines that call histonuc run in this process, with the budget of every training cut to two crops;
lines that call pip, make or a script are checked against what they name. A block that cannot run
here says why in a comment before it, which readers of the page do not see::

    <!-- test: parse only, needs a cluster -->   the command line is parsed, not run
    <!-- test: skip, a SLURM script -->          nothing is done with the block

A block with the title of a file (``title="my_loss.py"`` behind the fence) is written to that file.
"""

from __future__ import annotations

import glob
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from histonuc import cli

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "src").rglob("*.md")),
]
SHELL, PYTHON = ("bash", "sh", "console"), ("python", "py")
_BLOCK = re.compile(
    r"(?:^ *<!-- test: (?P<how>parse only|skip),? (?P<why>[^>]*?) *-->\s*\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n"
    r"(?P<text>.*?)^(?P=indent)```",
    re.M | re.S,
)
_TRAINING = {
    "--epochs": "1",
    "--first-cycle-epochs": "1",
    "--warmup-epochs": "0.5",
    "--samples-per-epoch": "2",
    "--batch-size": "2",
    "--tile-px": "64",
    "--validate-every": "1",
    "--workers": "0",
    "--precision": "32",
}
_NARROW = {"--trunk-options.width": "8"}
"""Of a `unet`, whose 31 M parameters would take longer than all else."""
_BUDGETS = {"train": _TRAINING, "crossval": _TRAINING, "synth": {"--tiles": "6"}}
"""What commands are cut to."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: the page's path.
        line: the line of the page that the block's text starts on, from 1.
        language: the word behind the fence.
        title: the file that the block is to be written to; empty where it has none.
        text: the block's content, without the indentation of the fence.
        how: "run", "parse only" or "skip".
        why: why it is not run; empty where it is.
    """

    page: Path
    line: int
    language: str
    title: str
    text: str
    how: str
    why: str


def find_blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    content = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=content.count("\n", 0, match.start("text")) + 1,
            language=match["language"],
            title=match["title"] or "",
            text=re.sub(rf"^{match['indent']}", "", match["text"], flags=re.M),
            how=match["how"] or "run",
            why=match["why"] or "",
        )
        for match in _BLOCK.finditer(content)
    ]


def runnable(page: Path) -> list[Block]:
    """The blocks of a page that hold commands or Python."""
    return [block for block in find_blocks(page) if block.language in SHELL + PYTHON]


def run_block(block: Block) -> None:
    """Run a block in the current folder; a command that fails, or Python that raises, is an error."""
    if block.how == "skip":
        return
    if block.title:
        Path(block.title).write_text(block.text)
        return
    if block.language in PYTHON:
        code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
        if block.how == "run":
            exec(code, {"__name__": "snippet"})
        return
    for tokens in command_lines(block.text):
        run_command(tokens, parse_only=block.how == "parse only")


def command_lines(text: str) -> list[list[str]]:
    """The commands of a shell block as tokens, without comments, continued lines joined."""
    joined = text.replace("\\\n", " ")
    lines = (shlex.split(line, comments=True) for line in joined.splitlines())
    return [tokens for tokens in lines if tokens]


def run_command(tokens: list[str], *, parse_only: bool = False) -> None:
    """Run one command line, or check what it names."""
    name, *arguments = tokens
    name = name.removeprefix(".venv/bin/")
    if name == "histonuc":
        _run_histonuc(arguments, parse_only=parse_only)
    elif name in ("pip", "uv") or arguments[:2] == ["-m", "pip"]:
        _check_extras(arguments)
    elif name == "make":
        makefile = (ROOT / "Makefile").read_text()
        for target in (word for word in arguments if "=" not in word):
            assert re.search(rf"^{target}:", makefile, re.M), f"make {target}: no such target"
    elif name in ("python", "python3") and arguments[0].endswith(".py"):
        _check_script(arguments)
    elif name == ".ci/run":
        assert (ROOT / ".ci/run").is_file()
    elif name not in ("cd", "git", "ls", "source", "python", "python3", "py"):
        raise AssertionError(f"no rule for {shlex.join(tokens)}: run it here, or say why not")


def _run_histonuc(arguments: list[str], *, parse_only: bool) -> None:
    expanded: list[str] = []
    for token in arguments:  # as a shell does
        matches = sorted(glob.glob(token)) if set("*?[") & set(token) else []
        expanded += matches or [token]
    if parse_only:
        words = cli.read_line(expanded).words
        cli.build_app().parse_args(words, print_error=False, exit_on_error=False)
        return
    if (
        expanded[0] in ("prepare", "synth") and "--out" in expanded
    ):  # what the tests made by that name makes room
        shutil.rmtree(expanded[expanded.index("--out") + 1], ignore_errors=True)
    code = cli.run(with_budget(expanded))
    assert code == 0, f"exit code {code} of histonuc {shlex.join(expanded)}"


def with_budget(arguments: list[str]) -> list[str]:
    """The same command with every budget cut."""
    budget = _BUDGETS.get(arguments[0], {})
    if budget is _TRAINING and {"unet", "configs/unet_pannuke.yaml"} & set(arguments):
        budget = _TRAINING | _NARROW
    kept: list[str] = []
    values = iter(arguments)
    for token in values:
        if token in budget:
            next(values)
        else:
            kept.append(token)
    return kept + [word for pair in budget.items() for word in pair]


def _check_extras(arguments: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in arguments:
        if found := re.fullmatch(r"(?:histonuc|\.)\[([\w,]+)\].*", word):
            extras = set(found[1].split(","))
            unknown = extras - set(project["optional-dependencies"])
            assert not unknown, f"{word}: the project has no extra {sorted(unknown)}"


def _check_script(arguments: list[str]) -> None:
    script, *options = arguments
    path = ROOT / script
    assert path.is_file(), f"python {script}: no such file"
    shown = subprocess.run(
        [sys.executable, str(path), "--help"], capture_output=True, text=True, check=True
    ).stdout
    for option in (word for word in options if word.startswith("--")):
        assert option in shown, f"{script} has no option {option}"
