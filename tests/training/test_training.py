"""Training as users run it: whole runs, killed runs, two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from histonuc import cli
from histonuc.data.augment_config import AugmentConfig
from histonuc.data.store import Store
from histonuc.representations import REPRESENTATIONS
from histonuc.schedules import CosineRestarts
from histonuc.training.loop import train

PROGRAM = Path(__file__).parent / "tiny.py"


COMMON = {
    "trunk": "tiny",
    "tile-px": 32,
    "batch-size": 4,
    "max-lr": 0.01,
    "accelerator": "cpu",
    "first-cycle-epochs": 4,
    "warmup-epochs": 1,
    "log-every": 1,
    "augment.jpeg": 0.5,
}


def flags(store: Path, out: Path, **changes: object) -> list[str]:
    """A command line; True stands for a flag without a value, underscores for dashes."""
    settings: dict[str, object] = COMMON | {"data": store, "out": out}
    settings |= {name.replace("_", "-"): value for name, value in changes.items()}
    words = ["train"]
    for name, value in settings.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words


def command(store: Path, out: Path, **changes: object) -> list[str]:
    return [sys.executable, str(PROGRAM), *flags(store, out, **changes)]


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done


def weights(run_folder: Path, which: str = "last") -> dict[str, torch.Tensor]:
    return load_file(run_folder / "checkpoints" / which / "model.safetensors")


def rows(run_folder: Path, event: str) -> list[dict]:
    lines = (run_folder / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["event"] == event]


def without_time(row: dict) -> dict:
    return {k: v for k, v in row.items() if k not in ("seconds", "images_per_s")}


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    """An undisturbed run of 6 epochs of 4 steps."""
    out: Path = tmp_path_factory.mktemp("runs") / "whole"
    run(command(data, out, epochs=6, ema_decay=0.9, tensorboard=True))
    return out


def test_a_run_learns_and_leaves_everything_behind(finished, data) -> None:
    steps, epochs = rows(finished, "step"), rows(finished, "epoch")
    assert [row["step"] for row in steps] == list(range(1, 25))
    assert len(epochs) == 6
    losses = [row["loss"] for row in steps]
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
    best = [row for row in epochs if row["best"]][-1]
    assert best["val"]["bpq"] == max(row["val"]["bpq"] for row in epochs), "nuclei, not pixels"
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__.split("+")[0]
    assert environment["seed"] == 0
    config = yaml.safe_load((finished / "config.yaml").read_text())
    assert config["ema_decay"] == 0.9
    assert len(list((finished / "samples").glob("*.png"))) > 0
    assert len(list((finished / "tensorboard").iterdir())) == 1


def test_the_logged_rate_is_the_closed_form(finished) -> None:
    schedule = CosineRestarts(
        first_cycle_steps=16, cycle_mult=2, max_lr=0.01, min_lr=1e-6, warmup_steps=4, gamma=0.5
    )
    for row in rows(finished, "step"):
        assert row["lr"] == pytest.approx(schedule.at(row["step"] - 1))


def test_the_same_seed_trains_the_same_weights(settings) -> None:
    """In one process; that another process gives the same is seen where one was killed."""
    changes = {"epochs": 2, "ema_decay": 0.9, "augment": AugmentConfig(jpeg=0.5)}
    one, again = (train(settings(name, **changes)) for name in ("one", "again"))
    for name, value in weights(one).items():
        assert torch.equal(value, weights(again)[name]), name


@pytest.mark.parametrize("after_lines", [3, 10])
def test_killed_and_resumed_it_ends_bit_for_bit_the_same(
    finished, data, tmp_path, after_lines
) -> None:
    out = tmp_path / "killed"
    settings = {"epochs": 6, "ema_decay": 0.9, "checkpoint_minutes": 0}
    killed = subprocess.run(
        command(data, out, **settings),
        env={**os.environ, "KILLED_AFTER": f"{after_lines} {out / 'metrics.jsonl'}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(rows(out, "step")) < 24, "it finished before it could be killed"
    run(command(data, out, **settings, resume=True))
    for which in ("last", "best"):
        resumed = weights(out, which)
        for name, value in weights(finished, which).items():
            assert torch.equal(value, resumed[name]), (which, name)
    for event in ("step", "epoch"):
        assert [without_time(r) for r in rows(out, event)] == [
            without_time(r) for r in rows(finished, event)
        ]


def test_two_processes_equal_one_with_the_doubled_batch(data, tmp_path) -> None:
    """And go on together: the second epoch of the two is another session."""
    changes = {"trunk": "steady", "representation": "offset", "clip_norm": 0.5}
    two = {"devices": 2, "strategy": "ddp", "epochs": 2}
    run(command(data, tmp_path / "two", **changes | two | {"epochs": 1}))
    told = run(command(data, tmp_path / "two", **changes | two, resume=True))
    assert told.stdout.count("run folder: ") == 1
    assert told.stderr.count("(best)") <= 1, "each process told its epoch"
    assert "GLOBAL_RANK" not in told.stderr
    run(command(data, tmp_path / "one", **changes, epochs=2, batch_size=8))
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], value, rtol=1e-4, atol=1e-6)
    for event, name in (("step", "loss"), ("step", "class"), ("epoch", "val")):
        for a, b in zip(rows(tmp_path / "one", event), rows(tmp_path / "two", event), strict=True):
            assert a[name] == pytest.approx(b[name], abs=1e-3), name
    again = command(data, tmp_path / "two", **changes | two)
    done = subprocess.run(again, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr.count("is not empty: give --resume")) == (2, 1)


def test_half_a_batch_in_each_of_two_processes_has_the_gradient_of_the_whole(tmp_path) -> None:
    program = Path(__file__).parent / "halves.py"
    differences = json.loads(run([sys.executable, str(program), str(tmp_path)]).stdout)
    assert differences == {name: pytest.approx(0, abs=1e-5) for name in REPRESENTATIONS}


def test_accumulated_batches_equal_one_large_batch(settings) -> None:
    one = train(settings("one", trunk="steady", epochs=2, batch_size=8))
    two = train(settings("two", trunk="steady", epochs=2, accumulate=2))
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(two)[name], value, rtol=1e-4, atol=1e-6)


def test_a_time_budget_stops_cleanly(settings) -> None:
    out = train(settings(epochs=5000, minutes=0.04))
    done = rows(out, "step")[-1]["step"]
    assert 0 < done < 20000
    assert rows(out, "epoch")[-1]["step"] == done, "it was not validated where it stopped"
    assert (out / "checkpoints" / "best" / "model.safetensors").is_file()


def test_early_stopping(settings) -> None:
    # A rate of nearly nothing: no validation after the first is better.
    out = train(settings(epochs=50, early_stop_epochs=2, max_lr=1e-12, min_lr=0.0))
    assert len(rows(out, "epoch")) < 10


def test_crops_prepared_in_other_processes_are_the_same(settings) -> None:
    one = train(settings("one", augment=AugmentConfig(), epochs=1))
    two = train(settings("two", augment=AugmentConfig(), epochs=1, workers=2))
    for name, value in weights(one).items():
        assert torch.equal(value, weights(two)[name]), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": 1, "val_folds": 1}, "share [1]"),
        ({"folds": 9}, "--folds"),
        ({"trunk": "vnet"}, "unknown trunk 'vnet'"),
        ({"batch_size": 500}, "lower --batch-size"),
        ({"tile_px": -3}, "--tile-px: expected above 0"),
        ({"precision": 16}, "--precision 16 needs a GPU"),
        ({"trunk": "unet", "freeze": True}, "no pretrained encoder"),
        ({"data": Path("/nowhere")}, "/nowhere is no store"),
    ],
)
@pytest.mark.usefixtures("tiny_trunk")
def test_bad_settings_end_with_one_line_and_code_2(
    data, tmp_path, capsys, changes, message
) -> None:
    assert cli.run(flags(data, tmp_path / "run", **changes)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("tiny_trunk")
def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(
    finished, data, capsys
) -> None:
    assert cli.run(flags(data, finished)) == 2
    assert "is not empty: give --resume" in capsys.readouterr().err
    assert cli.run(flags(data, finished, epochs=6, ema_decay=0.9, resume=True, seed=7)) == 2
    assert "seed: was 0, now 7" in capsys.readouterr().err
    assert cli.run(flags(data, data, resume=True)) == 2
    assert "is no run folder" in capsys.readouterr().err


def test_the_store_opens_in_another_process_without_its_pixels(data) -> None:
    import pickle

    store = Store.open(data)
    store.image(0)
    assert len(pickle.dumps(store)) < 1000


@pytest.mark.usefixtures("tiny_trunk")
def test_weights_of_data_sets_that_are_not_there_are_refused(data, tmp_path, capsys) -> None:
    for flag, weight, message in (
        ("nowhere", 2, "the training folds have no data set nowhere; they have test"),
        ("test", 0, "every data set of the training folds has weight 0"),
    ):
        words = [*flags(data, tmp_path / "run"), f"--source-weights.{flag}", str(weight)]
        assert cli.run(words) == 2
        assert message in capsys.readouterr().err
