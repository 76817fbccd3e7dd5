"""A training fits the temperature of its best checkpoint, and everything made of it has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from histonuc.data.store import Store
from histonuc.evaluation import Evaluation, TileSelection, score_lines, score_model, score_tables
from histonuc.models.export import export_model
from histonuc.models.loading import load_model
from histonuc.models.zoo import load_network
from histonuc.training.config import TrainConfig
from histonuc.training.crossval import crossval
from histonuc.training.loop import train


@pytest.fixture
def uncertain(settings, doubtful) -> Callable[..., TrainConfig]:
    """Settings for `offset` on labels that contradict each other in a quarter of the tiles."""
    long = {"epochs": 8, "first_cycle_epochs": 10.0, "samples_per_epoch": 64, "max_lr": 0.03}
    kind = {"data": doubtful, "representation": "offset", "trunk": "steady", "monitor": "bpq"}
    return lambda out="run", **changes: settings(out, **(long | kind | changes))


def temperature(run: Path, which: str = "best") -> float:
    return load_network(run / "checkpoints" / which).representation.temperature


def score(model: Path, data: Path, out: Path, fold: int) -> tuple[Evaluation, dict[str, Any]]:
    selection = TileSelection(folds=(fold,))
    return score_model(load_model(str(model)), Store.open(data), selection, out)


def scored(model: Path, data: Path, fold: int = 2) -> tuple[Evaluation, dict[str, Any]]:
    evaluation, scores = score(model, data, model / f"scores-{fold}", fold)
    return evaluation, scores["calibration"]["class"]


def epochs(run: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row for row in lines if row["event"] == "epoch"]


def test_the_best_checkpoint_holds_the_temperature_that_its_validation_asks_for(
    uncertain, doubtful, tmp_path
) -> None:
    run = train(uncertain())
    fitted = temperature(run)
    assert fitted != 1
    raw = tmp_path / "raw.safetensors"
    export_model(run, raw, to="safetensors", representation_options={"temperature": 1.0})
    _, scores = score(raw, doubtful, tmp_path / "raw", 2)
    assert scores["calibration"]["class"]["temperature"] == pytest.approx(fitted, rel=0.01)
    assert temperature(run, "last") == 1, "only of the best is it known"
    best = [row for row in epochs(run) if row["best"]][-1]
    assert best["temperature"] == fitted
    evaluation, after = scored(run, doubtful)
    assert after["temperature"] == pytest.approx(1, abs=0.02), "the file's was not used"
    assert after["nll"] == pytest.approx(after["nll_fitted"], abs=1e-3)
    line = next(
        line for line in score_lines(score_tables(evaluation)) if "ECE of the class" in line
    )
    assert f"ECE of the class {after['ece']:.4f}" in line
    assert f"at {after['temperature']:.3f} times the temperature" in line
    export_model(run, tmp_path / "model.onnx")
    assert load_model(str(tmp_path / "model.onnx")).representation.temperature == fitted


def test_a_temperature_of_the_user_s_own_stays(uncertain, doubtful) -> None:
    run = train(uncertain("given", representation_options={"temperature": 2.0}))
    assert temperature(run) == 2.0
    # What is fitted is a factor on it.
    free = temperature(train(uncertain("free")))
    assert 2.0 * scored(run, doubtful)[1]["temperature"] == pytest.approx(free, rel=0.03)


def test_semantic_has_one_too(uncertain, doubtful) -> None:
    run = train(uncertain("semantic", representation="semantic"))
    assert temperature(run) == [row for row in epochs(run) if row["best"]][-1]["temperature"] > 2
    _, after = scored(run, doubtful)
    # Not quite: classes that this store never has are less probable than the fit's floor.
    assert after["nll"] == pytest.approx(after["nll_fitted"], abs=0.01)


def test_certain_classes_give_none(uncertain, data) -> None:
    certain = train(uncertain("certain", data=data))
    assert epochs(certain)[-1]["class_ece"] < 0.01, "it was to learn all classes"
    assert temperature(certain) == 1


def test_each_rotation_has_its_own(uncertain) -> None:
    config = uncertain("rotations")
    crossval(config)
    runs = [config.out / f"rotation-{name}" for name in ("1-2-3", "2-1-3", "3-2-1")]
    assert len({temperature(run) for run in runs} | {1.0}) == 4


@pytest.mark.parametrize("representation", ["hover", "star", "offset"])
def test_every_instance_representation_trains_and_is_scored(settings, data, representation) -> None:
    run = train(settings(representation, representation=representation))
    evaluation, _ = scored(run, data)
    assert evaluation.total.num_tiles == 8
    assert load_network(run / "checkpoints" / "best").spec.representation == representation
