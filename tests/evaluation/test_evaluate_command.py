"""`histonuc evaluate` as users meet it: progress, paths, and classes that a model merges."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import histonuc
from histonuc import cli
from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.store import Store
from histonuc.data.synthetic import write_synthetic


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("command")
    write_synthetic(root / "raw", tiles=6, folds=2, tile_px=64, seed=8)
    prepare_pannuke(root / "raw", root / "store")
    return Store.open(root / "store")


@pytest.fixture
def masks(store: Store, tmp_path: Path) -> Path:
    """The truth, moved by a pixel, in PanNuke's shape."""
    truth = np.stack([store.official_mask(tile) for tile in store.select([1])])
    np.save(tmp_path / "masks.npy", np.roll(truth, 1, 1))
    return tmp_path / "masks.npy"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal(
    store: Store, masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--predictions", str(masks), "--data", str(store.path), "--folds", "1"]
    arguments += ["--out", str(tmp_path / "s")]
    assert cli.run(["evaluate", *arguments]) == 0  # what it imports sees the usual streams
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert cli.run(["evaluate", *arguments]) == 0
    assert "scoring" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()
    assert "nuclei" in terminal.getvalue()


def test_paths_may_be_text(store: Store, masks: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        histonuc.evaluate(
            data=str(store.path), predictions=str(masks), folds=(1,), out=str(tmp_path / name)
        )
    folders = (str(tmp_path / "a"), str(tmp_path / "b"))
    histonuc.compare(folders, out=str(tmp_path / "c"))
    assert (tmp_path / "c" / "compare.json").is_file()
    histonuc.report(scores=folders, data=str(store.path), out=str(tmp_path / "r.html"))
    assert (tmp_path / "r.html").is_file()
    histonuc.merge_scores(folders[:1], out=str(tmp_path / "m"))
    assert (tmp_path / "m" / "scores.json").is_file()
    assert json.loads((tmp_path / "a" / "scores.json").read_text())["num_tiles"] == 3


def test_a_model_of_merged_classes_is_scored_in_them_on_a_store_of_five(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = store.path.parent / "raw"
    merged = tmp_path / "store of three"
    arguments = ["prepare", "pannuke", str(raw), "--label-space", "three", "--out", str(merged)]
    assert cli.run(arguments) == 0
    scores = {}
    for name, data in (("five", store.path), ("three", merged)):
        arguments = ["evaluate", "default", "--data", str(data), "--out", str(tmp_path / name)]
        capsys.readouterr()
        assert cli.run(arguments) == 0
        told = "of unknown class: Dead" in capsys.readouterr().out
        assert told is (name == "five")
        scores[name] = json.loads((tmp_path / name / "scores.json").read_text())
    assert scores["five"]["per_class"] == scores["three"]["per_class"]
    assert scores["five"]["overall"] == scores["three"]["overall"]
    assert scores["five"]["data"]["merged_classes"] == {
        "Neoplastic": "Epithelial or neoplastic",
        "Inflammatory": "Inflammatory",
        "Connective": "Connective",
        "Dead": None,
        "Epithelial": "Epithelial or neoplastic",
    }
