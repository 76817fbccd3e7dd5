"""What CONTRIBUTING says of the layers is what lint-imports checks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_contributing_and_the_contract_are_one_list() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    assert contract["exhaustive"]
    (text,) = re.findall(
        r"```text\n(  __main__.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S
    )
    assert [line[2:] for line in text.splitlines()] == contract["layers"]
