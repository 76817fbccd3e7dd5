"""Every command line and Python snippet in the README, the docs and the model cards is run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .blocks import PAGES, ROOT, command_lines, find_blocks, run_block, runnable, with_budget


def test_blocks_are_found_with_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "text\n```bash\nhistonuc info x  # why\nhistonuc a \\\n    b\n```\n"
        "<!-- test: skip, a SLURM script -->\n```bash\nsbatch\n```\n"
        "1.  item\n    ```python\n    x = 1\n    ```\n"
    )
    first, second, third = find_blocks(page)
    assert command_lines(first.text) == [["histonuc", "info", "x"], ["histonuc", "a", "b"]]
    assert (first.line, first.how) == (3, "run")
    assert (second.how, second.why) == ("skip", "a SLURM script")
    assert third.text == "x = 1\n"


def test_budgets_replace_what_a_page_says() -> None:
    line = with_budget(["train", "--epochs", "130", "--out", "RUN"])
    assert line[:3] == ["train", "--out", "RUN"]
    assert line[line.index("--epochs") + 1] == "1"
    assert "--trunk-options.width" not in line
    unet = with_budget(["train", "--trunk", "unet"])
    assert unet[unet.index("--trunk-options.width") + 1] == "8"
    assert with_budget(["info", "RUN"]) == ["info", "RUN"]


def test_what_is_not_run_says_why() -> None:
    for page in PAGES:
        for block in find_blocks(page):
            assert block.how == "run" or block.why, f"{page}:{block.line}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if runnable(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_what_the_page_shows_works(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: Path
) -> None:
    shutil.copytree(inputs, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here" / "work")
    for block in runnable(page):
        try:
            run_block(block)
        except Exception as error:
            error.add_note(f"{page.relative_to(ROOT)}, line {block.line}:\n{block.text}")
            raise
