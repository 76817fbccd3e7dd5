"""Parts of one's own: from a --plugin file or an installed package, and never from anywhere else."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from histonuc import cli, parts
from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.synthetic import write_synthetic
from histonuc.models.zoo import load_network

CODE = """
from torch import nn
from histonuc.trunks.base import Trunk, TrunkFeatures
from histonuc.representations.offset import Offset

class Plain(Trunk):
    def __init__(self, *, width=4):
        super().__init__(out_channels=width, size_multiple=1, min_size=32)
        self.body = nn.Conv2d(3, width, 3, padding=1)

    def forward(self, x):
        return TrunkFeatures(self.body(x))

class Mine(Offset):
    pass

def half(representation, logits, targets):
    total, terms = representation.loss(logits, targets)
    return total / 2, {"half": total.detach() / 2, **terms}
"""
DICTS = """
TRUNKS = {"plain": Plain}
REPRESENTATIONS = {"mine": Mine}
LOSSES = {"half": half}
"""


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(parts, "_plugins", {kind: {} for kind in parts._plugins})
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("parts_"):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    write_synthetic(folder / "raw", tiles=6, seed=0, tile_px=64)
    prepare_pannuke(folder / "raw", folder / "store")
    return folder / "store"


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "parts_mine.py"
    file.write_text(CODE + DICTS)
    return file


def forget() -> None:
    """As a new process begins."""
    for some in parts._plugins.values():
        some.clear()
    sys.modules.pop("parts_mine", None)


def words(data: Path, out: Path, *more: object, trunk: str = "plain") -> list[str]:
    tiny = (
        "--epochs 1 --first-cycle-epochs 1 --warmup-epochs 0.5 --samples-per-epoch 2 --log-every 1"
    )
    tiny += " --batch-size 2 --tile-px 64 --accelerator cpu --folds 1 --val-folds 2"
    own = f"--trunk {trunk} --representation mine --loss half --trunk-options.width 6"
    where = ["--data", data, "--out", out]
    return ["train", *map(str, where), *tiny.split(), *own.split(), *map(str, more)]


def said(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """What a command that is to fail says."""
    assert cli.run(arguments) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_a_plugin_s_parts_train_and_are_needed_again_by_everything_that_reads_them(
    data, plugin, tmp_path, capsys
) -> None:
    run, given = tmp_path / "run", ["--plugin", str(plugin)]
    assert cli.run(words(data, run, *given)) == 0
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (step,) = [row for row in map(json.loads, lines) if row["event"] == "step"]
    assert step["half"] == pytest.approx(step["loss"])
    spec = load_network(run / "checkpoints" / "best").spec
    origin = "--plugin parts_mine.py"
    assert spec.origins == {"trunk": origin, "representation": origin}
    evaluation = ["evaluate", str(run), "--data", str(data), "--folds", "3", "--out"]
    assert cli.run([*evaluation, str(tmp_path / "a"), *given]) == 0

    forget()
    error = said(capsys, [*evaluation, str(tmp_path / "b")])
    assert "unknown trunk 'plain' (the model's came from --plugin parts_mine.py)" in error
    again = ["train", "--config", str(run / "config.yaml"), "--resume", "--epochs", "2"]
    error = said(capsys, again)
    assert "unknown loss 'half' (the model's came from --plugin parts_mine.py)" in error
    assert cli.run([*again, *given]) == 0


def test_an_exported_model_needs_only_its_representation(data, plugin, tmp_path, capsys) -> None:
    run, given = tmp_path / "run", ["--plugin", str(plugin)]
    assert cli.run(words(data, run, *given)) == 0
    file = tmp_path / "model.onnx"
    assert cli.run(["export-model", str(run), "--out", str(file), *given]) == 0
    evaluation = ["evaluate", str(file), "--data", str(data), "--folds", "3", "--out"]
    forget()
    error = said(capsys, [*evaluation, str(tmp_path / "a")])
    assert "unknown representation 'mine' (the model's came from --plugin" in error
    plugin.write_text(CODE + 'REPRESENTATIONS = {"mine": Mine}\n')
    assert cli.run([*evaluation, str(tmp_path / "b"), *given]) == 0


def test_an_installed_package_offers_parts_by_entry_points(
    data, tmp_path, monkeypatch, capsys
) -> None:
    site = tmp_path / "site"
    info = site / "parts_package-1.2.dist-info"
    info.mkdir(parents=True)
    (site / "parts_package.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: parts-package\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[histonuc.trunks]\nplain = parts_package:Plain\nbroken = parts_nowhere:No\n"
        "[histonuc.representations]\nmine = parts_package:Mine\n"
        "[histonuc.losses]\nhalf = parts_package:half\n"
    )
    with monkeypatch.context() as patch:
        patch.syspath_prepend(site)
        assert cli.run(words(data, tmp_path / "run")) == 0
        error = said(capsys, words(data, tmp_path / "r", trunk="broken"))
        assert "trunk 'broken': the package parts-package 1.2 failed: ModuleNotFoundError" in error
        assert cli.run(["models"]) == 0
        shown = capsys.readouterr()
        assert "plain" in shown.out
        assert "mine" in shown.out
        assert "the trunk broken cannot be measured" in shown.err
    evaluation = ["evaluate", str(tmp_path / "run"), "--data", str(data), "--folds", "3", "--out"]
    error = said(capsys, [*evaluation, str(tmp_path / "a")])
    assert "(the model's came from the package parts-package 1.2)" in error


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("parts_a.py", "TRUNKS = 3\n", "expected a dict of builders by name"),
        ("parts_b.py", "x = 1\n", "called TRUNKS, REPRESENTATIONS, LOSSES, and found none"),
        ("parts_c.py", "1 / 0\n", "failed: ZeroDivisionError: division by zero"),
        ("parts_d.py", "def f(:\n", "failed: SyntaxError: invalid syntax"),
        ("json.py", DICTS, "give the file another name"),
        ("parts-e.py", DICTS, "give the file another name"),
        ("parts_f.txt", DICTS, "no Python file at"),
        (
            "parts_g.py",
            'TRUNKS = {"unet": dict}\n',
            "trunk 'unet' is the package's; choose another",
        ),
    ],
)
def test_a_plugin_that_is_none_is_one_clear_error(
    data, tmp_path, capsys, name, code, message
) -> None:
    file = tmp_path / name
    file.write_text(code)
    line = ["train", "--data", str(data), "--out", str(tmp_path / "run"), "--trunk", "unet"]
    assert message in said(capsys, [*line, "--plugin", str(file)])
    assert not (tmp_path / "run").exists()
    assert "--plugin needs a Python file" in said(capsys, [*line, "--plugin"])


def test_nothing_that_a_run_folder_holds_is_run(data, plugin, tmp_path, capsys) -> None:
    run = tmp_path / "run"
    assert cli.run(words(data, run, "--plugin", plugin)) == 0
    forget()
    (run / "parts_mine.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    config = run / "config.yaml"
    for line in ("plugin: parts_mine.py", "plugins: [parts_mine.py]"):
        config.write_text(config.read_text() + line + "\n")
        error = said(capsys, ["train", "--config", str(config), "--resume"])
        assert "unknown settings in" in error
    said(capsys, ["evaluate", str(run), "--data", str(data), "--out", str(tmp_path / "a")])
    assert not (tmp_path / "sprung").exists()
