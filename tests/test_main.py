"""The program ends at Ctrl-C with 130 and one line, also while Python imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

IN_EXEC = 'exec("raise KeyboardInterrupt")\n'
"""As where a dataclass is made: Python itself would then end by the signal."""


@pytest.mark.parametrize("module", ["cyclopts", "histonuc_plugin"])
def test_ctrl_c_while_something_is_imported(module: str, tmp_path: Path) -> None:
    plugin = tmp_path / f"{module}.py"
    plugin.write_text(IN_EXEC)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "histonuc", "predict", "--plugin", str(plugin)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("interrupted")
    assert len(done.stderr.splitlines()) == 1
