"""The benchmark of the viewer asks a real server and judges what it answers."""

import importlib
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it reads memory from /proc")
def test_it_measures_every_target(made, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"), prepend=os.pathsep)
    benchmark = importlib.import_module("bench_viewer")
    found = benchmark.measure(made.folder, 2)
    assert set(benchmark.TARGETS) <= set(found)
    assert found["regions that Shapely counts alike, of 3"] == 3
    assert all(value >= 0 for name, value in found.items() if "added" not in name)
