"""Cross-validation: whole, interrupted, gone on with, and refused."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from histonuc import cli
from histonuc.evaluation.comparison import compare
from histonuc.training import loop
from histonuc.training.config import TrainConfig
from histonuc.training.crossval import crossval

FOLDERS = ["rotation-1-2-3", "rotation-2-1-3", "rotation-3-2-1"]


@pytest.fixture
def rotated(settings, three_folds) -> Callable[..., TrainConfig]:
    """Settings for two epochs of two steps a rotation."""
    short = {"data": three_folds, "epochs": 2, "samples_per_epoch": 8}
    return lambda out="whole", **changes: settings(out, **(short | changes))


def content(file: Path) -> dict:
    record: dict = json.loads(file.read_text())
    return record


def stamps(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_every_rotation_is_trained_and_tested_on_its_folds(rotated, caplog) -> None:
    config = rotated(val_folds=(3,))
    summary = crossval(config)
    assert "val_folds: ignored, the rotations choose the folds" in caplog.text
    assert content(config.out / "crossval.json") == summary
    assert summary["scheme"] == "official"
    tests = []
    for folder, (train, validate, test) in zip(
        FOLDERS, [(1, 2, 3), (2, 1, 3), (3, 2, 1)], strict=True
    ):
        run = yaml.safe_load((config.out / folder / "config.yaml").read_text())
        assert (run["folds"], run["val_folds"]) == ([train], [validate])
        tests.append(content(config.out / folder / "scores" / "scores.json"))
        assert tests[-1]["data"]["folds"] == [test]
        assert tests[-1]["num_tiles"] == 8
    for name in ("dice", "bpq", "foreground_dice"):
        values = [scores["overall"][name] for scores in tests]
        assert summary["overall"][name]["mean"] == pytest.approx(statistics.mean(values))
        assert summary["overall"][name]["sd"] == pytest.approx(statistics.stdev(values))
    assert set(summary["per_tissue"]) == {"Breast", "Colon"}
    assert len(summary["per_class"]["Neoplastic"]["pq"]["values"]) == 3


def test_an_interrupted_one_goes_on_and_ends_the_same(rotated, monkeypatch) -> None:
    """Stopped in the second training after a checkpoint, as Ctrl-C or a closed laptop would."""
    whole = crossval(rotated())
    config, save = rotated("stopped", checkpoint_steps=1), loop.save_last

    def interrupt(run: loop.Run) -> None:
        save(run)
        if run.config.out.name == FOLDERS[1] and run.progress.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_last", interrupt)
        with pytest.raises(KeyboardInterrupt):
            crossval(config)
    assert not (config.out / "crossval.json").exists()
    assert not (config.out / FOLDERS[1] / "scores").exists()
    first, log = config.out / FOLDERS[0], config.out / FOLDERS[1] / "metrics.jsonl"
    before, lines = stamps(first), log.read_text().splitlines()

    with pytest.raises(ValueError, match=r"is not empty: give --resume to go on"):
        crossval(config)
    resumed = crossval(rotated("stopped", resume=True))
    assert resumed == whole
    assert stamps(first) == before
    assert log.read_text().splitlines()[: len(lines)] == lines


def test_a_training_without_scores_is_only_tested(rotated) -> None:
    config = rotated(epochs=1, samples_per_epoch=4)
    whole = crossval(config)
    run = config.out / FOLDERS[2]
    (run / "scores" / "scores.json").unlink()
    steps, weights = (run / "metrics.jsonl").read_text(), run / "checkpoints" / "best"
    before = stamps(weights)
    assert crossval(rotated(epochs=1, samples_per_epoch=4, resume=True)) == whole
    assert (run / "metrics.jsonl").read_text() == steps
    assert stamps(weights) == before


@pytest.fixture
def begun(rotated) -> TrainConfig:
    """A cross-validation that has done nothing but write its settings."""
    config = rotated("begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("histonuc.training.crossval.train", stop)
        with pytest.raises(KeyboardInterrupt):
            crossval(config)
    return config


def stop(config: TrainConfig) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_lr": 0.02}, r"other settings than the run's \(max_lr: was 0\.01, now 0\.02\)"),
        ({"minutes": 3.0}, r"\(minutes: was 0\.0, now 3\.0\)"),
        ({"early_stop_epochs": 3}, r"\(early_stop_epochs: was 0, now 3\)"),
        ({"devices": 2}, r"--devices 2 --num-nodes 1: `histonuc crossval` trains on one device"),
    ],
)
def test_other_settings_are_refused(begun, rotated, changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        crossval(rotated("begun", resume=True, **changes))


def test_another_scheme_is_refused_and_other_logging_is_not(begun, rotated, monkeypatch) -> None:
    with pytest.raises(ValueError, match=r"\(symmetric: was False, now True\)"):
        crossval(rotated("begun", resume=True), symmetric=True)
    monkeypatch.setattr("histonuc.training.crossval.train", stop)
    with pytest.raises(KeyboardInterrupt):
        crossval(rotated("begun", resume=True, log_every=3, folds=(3,)))


def test_folders_of_something_else_are_refused(rotated, tmp_path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"is not empty"):
        crossval(rotated("other"))
    with pytest.raises(ValueError, match=r"is no folder of `histonuc crossval`"):
        crossval(rotated("other", resume=True))
    with pytest.raises(ValueError, match=r"notes\.txt is a file; give a folder"):
        crossval(rotated("other/notes.txt"))


def test_a_store_without_the_three_folds_is_refused_at_once(settings) -> None:
    config = settings("two folds")
    with pytest.raises(ValueError, match=r"has no \[3\]; it has \[1, 2\]"):
        crossval(config)
    assert not config.out.exists()


def test_symmetric_rotations_by_command_and_compared(rotated, capsys, monkeypatch) -> None:
    config = rotated("symmetric", epochs=1, samples_per_epoch=4)
    crossval(config, symmetric=True)
    summary = content(config.out / "crossval.json")
    assert summary["scheme"] == "symmetric"
    assert [row["test"] for row in summary["rotations"]] == [3, 1, 2]

    # The settings it wrote are a --config, and nothing is left to do.
    monkeypatch.setattr("histonuc.training.crossval.train", stop)
    arguments = ["crossval", "--config", str(config.out / "config.yaml"), "--resume", "--json"]
    assert cli.run(arguments) == 0
    assert json.loads(capsys.readouterr().out) == summary

    # Its tiles are the whole data set; a rotation's folder is scores of its own.
    result = compare([config.out, config.out])
    assert result["num_tiles"] == 24
    scores = config.out / "rotation-1-2-3" / "scores"
    row = compare([scores, scores])["comparisons"][0]["overall"]["bpq"]
    assert row["p"] == 1
    assert row["first"] == pytest.approx(content(scores / "scores.json")["overall"]["bpq"])
