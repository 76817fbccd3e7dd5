"""Damaged score folders and runs: one clear error of one line that names the file."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from histonuc import cli
from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.store import Store
from histonuc.data.synthetic import write_synthetic
from histonuc.evaluation import evaluate_maps, merge_scores, write_scores
from histonuc.evaluation.comparison import compare
from histonuc.evaluation.folder import read_head, write_head
from histonuc.evaluation.rotations import OFFICIAL, summarise_rotations, write_summary
from histonuc.reporting import report
from histonuc.representations.semantic import Semantic

from ..fuzzing import (
    assert_clear,
    little_memory,
    mutate_bytes,
    mutate_end,
    mutate_json,
    no_hang,
    outcome,
)

NUM_MUTATIONS = 30
NUM_OF_RUNS = 12
"""Of files that no checksum protects."""
RUN = OFFICIAL[0].folder
SCORES = f"{RUN}/scores"


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `histonuc crossval`; its rotations are runs with scores."""
    root = tmp_path_factory.mktemp("fuzz")
    write_synthetic(root / "raw", tiles=6, folds=3, tile_px=64, seed=4)
    prepare_pannuke(root / "raw", root / "store")
    store, scores = Store.open(root / "store"), []

    def predict(images: np.ndarray) -> np.ndarray:
        dark = 1 - images.mean(3) / 255
        rest = [dark * share for share in (0.5, 0.2, 0.15, 0.1, 0.05)]
        return np.stack([1 - dark, *rest], axis=1).astype(np.float32)

    for fold, rotation in enumerate(OFFICIAL, 1):
        run = root / "cv" / rotation.folder
        evaluation = evaluate_maps(
            store,
            store.select([fold]),
            predict,
            representation=Semantic(num_classes=5),
            label_space=store.label_space,
            mpp=0.25,
        )
        scores.append(write_scores(evaluation, run / "scores", model={"name": "grey"}))
        rows = [
            {"event": event, "step": step, "epoch": step / 4, "lr": 0.1, key: value}
            for step in range(1, 9)
            for event, key, value in (("step", "loss", 1.0), ("epoch", "val", {"bpq": 0.5}))
        ]
        (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
        settings = {"first_cycle_epochs": 1, "warmup_epochs": 0, "cycle_mult": 1.5}
        settings |= {"max_lr": 0.1, "min_lr": 0.01, "gamma": 0.5}
        (run / "config.yaml").write_text(json.dumps({"trunk": "grey", **settings}))
        (run / "environment.json").write_text('{"python": "3.11", "gpu": {"count": 0}}')
    write_summary({"format": 1, **summarise_rotations(OFFICIAL, scores)}, root / "cv")
    return root / "cv"


def merge(folder: Path) -> None:
    merge_scores([folder / rotation.folder / "scores" for rotation in OFFICIAL], folder / "merged")


def mutate_line(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = mutate_json(lines[at], rng)
    return b"\n".join(lines)


def replace_all(content: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'"\\ud800"'))


Mutation = Callable[[bytes, random.Random], bytes]
JSON: list[Mutation] = [mutate_json, mutate_json, mutate_bytes, replace_all]
BINARY: list[Mutation] = [mutate_bytes, mutate_end, replace_all]
READERS: list[tuple[str, Callable[[Path], object], str, list[Mutation]]] = [
    ("merge-scores", merge, f"{SCORES}/scores.json", JSON),
    ("merge-scores", merge, f"{SCORES}/counts.npz", BINARY),
    ("merge-scores", merge, f"{SCORES}/panels.npz", BINARY),
    ("merge-scores", merge, f"{SCORES}/tiles.parquet", BINARY),
    ("compare", lambda cv: compare([cv, cv]), f"{SCORES}/tiles.parquet", BINARY),
    ("compare", lambda cv: compare([cv, cv]), f"{SCORES}/scores.json", JSON),
    ("compare", lambda cv: compare([cv, cv]), "crossval.json", JSON),
    ("report", lambda cv: report([cv], cv / "page.html"), f"{SCORES}/scores.json", JSON),
    ("report", lambda cv: report([cv], cv / "page.html"), f"{SCORES}/panels.npz", BINARY),
    ("report", lambda cv: report([cv], cv / "page.html"), "crossval.json", JSON),
    ("crossval --resume", lambda cv: read_head(cv / SCORES, ()), f"{SCORES}/scores.json", JSON),
]


@no_hang
@pytest.mark.parametrize(("command", "read", "name", "mutations"), READERS)
def test_damaged_scores_are_refused(intact: Path, command, read, name, mutations) -> None:
    rng, file = random.Random(f"{command} {name}"), intact / name
    content = file.read_bytes()
    try:
        for _ in range(NUM_MUTATIONS):
            damaged = rng.choice(mutations)(content, rng)
            same_json = mutations is JSON and _as_json(damaged) == _as_json(content)
            if damaged == content or same_json:
                continue
            file.write_bytes(damaged)
            with little_memory():
                found = outcome(read, intact)
            assert isinstance(found, ValueError)
            assert_clear(found, str(file))
    finally:
        file.write_bytes(content)


def _as_json(content: bytes) -> object:
    """Space between values counts for nothing."""
    try:
        return json.dumps(json.loads(content))
    except (ValueError, RecursionError):
        return content


@no_hang
@pytest.mark.parametrize(
    ("name", "mutations"),
    [
        ("metrics.jsonl", [mutate_line, mutate_line, mutate_bytes, replace_all]),
        ("config.yaml", JSON),
        ("environment.json", JSON),
    ],
)
def test_a_damaged_run_is_shown_or_refused(intact: Path, tmp_path, name, mutations) -> None:
    for file in (intact / RUN).glob("*.*"):
        shutil.copy(file, tmp_path)
    rng, file = random.Random(name), tmp_path / name
    content = file.read_bytes()
    for _ in range(NUM_OF_RUNS):
        file.write_bytes(rng.choice(mutations)(content, rng))
        found = outcome(report, [tmp_path], tmp_path / "page.html")
        if isinstance(found, ValueError):
            assert_clear(found, str(file))


BOMB = "a0: &a0 [1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
"""Anchors that stand for 9 ** 11 values."""


@no_hang
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", BOMB),
        ("config.yaml", "[" * 50_000),
        ("environment.json", '{"a":' * 50_000),
        ("metrics.jsonl", '{"event": "step", "loss":' + "[" * 50_000 + "\n{}"),
        ("metrics.jsonl", '{"event": "step", "step": 99999999999999, "epoch": 1}\n{}'),
    ],
)
def test_a_run_s_description_without_bounds_is_one_clear_error(
    intact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str
) -> None:
    for file in (intact / RUN).glob("*.*"):
        shutil.copy(file, tmp_path)
    (tmp_path / name).write_text(content)
    with little_memory():
        assert cli.run(["report", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert name in line
    assert len(line) < 600


@no_hang
@pytest.mark.parametrize("command", ["merge-scores", "compare", "report"])
@pytest.mark.parametrize(
    "change",
    [
        {"label_space": {"name": "none", "classes": []}},
        {"label_space": {"name": "none"}},
        {"label_space": None},
        {"label_space": {"name": "many", "classes": [str(j) for j in range(40)]}},
        {"created": [[[[[]]]]] * 5, "format": {"a": 1}},
    ],
)
def test_scores_that_state_impossible_things_are_one_clear_error(
    intact: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    change: dict[str, object],
) -> None:
    folders = [Path(shutil.copytree(intact / SCORES, tmp_path / name)) for name in ("a", "b")]
    for folder in folders:
        write_head({**json.loads((folder / "scores.json").read_text()), **change}, folder)
    paths = [str(folder) for folder in folders]
    arguments = ["--scores", *paths] if command == "report" else paths
    assert cli.run([command, *arguments, "--out", str(tmp_path / "out.html")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "scores.json" in line
