"""The scripts of benchmarks/ and tools/ start, say what they take, and run on something tiny."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.synthetic import write_synthetic

pytest.importorskip("torch")

ROOT = Path(__file__).parents[1]
LIBRARIES = {"pooled", "reference_decoders", "reference_star", "viewer_peers"}
"""Files of benchmarks/ and tools/ that others import; they run nothing."""
SCRIPTS = sorted(
    path
    for folder in ("benchmarks", "tools")
    for path in (ROOT / folder).glob("*.py")
    if path.stem not in LIBRARIES
)
TINY = [
    "benchmarks/bench_contours.py --repeats 1",
    "benchmarks/bench_exports.py --nuclei 200 --to csv",
    "benchmarks/bench_metrics.py --tiles 4",
    "benchmarks/bench_prepare.py --tiles 6",
    "tools/average_models.py default default --out {tmp}/mean.safetensors",
    "tools/class_f1.py default --data {store} --sources pannuke --precision fp32",
    "tools/model_pictures.py default --data {store} --out {tmp}",
    "tools/tune_decoder.py default --data {store} --rounds 1",
    "tools/measure_house.py src",
    "tools/fit_score.py default --data {store}",
]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    """Run a script's command line in this process, as Python does from the project's root."""

    def script(line: str) -> int:
        name, *arguments = line.split()
        monkeypatch.chdir(ROOT)
        monkeypatch.syspath_prepend(str((ROOT / name).parent))
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return script


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five tiles in each fold, in the shipped model's classes."""
    folder = tmp_path_factory.mktemp("scripts")
    write_synthetic(folder / "raw", tiles=15, seed=0, tile_px=128)
    prepare_pannuke(folder / "raw", folder / "store", label_space="three")
    return folder / "store"


def test_none_is_forgotten() -> None:
    assert len(SCRIPTS) > 20
    assert {Path(line.split()[0]).name for line in TINY} <= {path.name for path in SCRIPTS}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_says_what_it_takes(path: Path, run, capsys) -> None:
    assert run(f"{path.relative_to(ROOT)} --help") == 0
    assert "usage: " in capsys.readouterr().out


@pytest.mark.parametrize("line", TINY, ids=lambda line: Path(line.split()[0]).stem)
def test_it_runs_on_something_tiny(line: str, run, store: Path, tmp_path: Path, capsys) -> None:
    assert run(line.format(store=store, tmp=tmp_path)) == 0
    assert capsys.readouterr().out.strip()
