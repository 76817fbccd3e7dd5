"""Where the numbers of a training go, as their own programs read them."""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from histonuc import cli
from histonuc.offline import load_mlflow
from histonuc.training import tracking
from histonuc.training.config import TrainConfig
from histonuc.training.loop import train

SCORES = {"val/bpq", "val/mpq", "val/dice"}


@pytest.fixture
def line(data, tiny_trunk, tmp_path) -> Callable[..., list[str]]:
    """A command line of a training of two epochs of one step."""

    def make(*words: str, out: str = "run") -> list[str]:
        given = f"train --data {data} --out {tmp_path / out} --trunk steady --tile-px 32"
        given += " --batch-size 4 --samples-per-epoch 4 --epochs 2 --log-every 1 --accelerator cpu"
        given += " --first-cycle-epochs 4 --warmup-epochs 1 --representation-options.min-area-px 9"
        return [*given.split(), *words]

    return make


def installed(*names: str) -> pytest.MarkDecorator:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def test_tensorboard_shows_losses_and_validation_scores(line, tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert cli.run(line("--tensorboard")) == 0
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert tags >= SCORES | {"step/loss", "step/class", "epoch/lr"}
    rows = [json.loads(row) for row in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    logged = [row["val"]["bpq"] for row in rows if row["event"] == "epoch"]
    assert [event.value for event in events.Scalars("val/bpq")] == pytest.approx(logged)
    assert [event.step for event in events.Scalars("val/bpq")] == [1, 2]


def test_tensorboard_forgets_what_a_killed_session_wrote_after_its_checkpoint(settings) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = settings(tensorboard=True)
    config.out.mkdir()
    first = tracking.Tracker(config, active=True, num_lines=0)
    for step in (1, 2, 3):
        first.write("step", step, {"loss": float(step)})
    first.close()
    again = tracking.Tracker(config, active=True, num_lines=1, step=1)
    again.write("step", 2, {"loss": 20.0})
    again.close()
    events = EventAccumulator(str(config.out / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("step/loss")] == [(1, 1.0), (2, 20.0)]


@installed("mlflow", "sqlalchemy", "alembic")
@pytest.mark.filterwarnings("ignore")  # MLflow's and SQLAlchemy's of each other
def test_mlflow_keeps_scores_and_nested_settings_in_a_database(line, tmp_path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert cli.run(line("--mlflow", uri, "--augment.blur", "0.25")) == 0
    client = load_mlflow().MlflowClient(uri)
    experiment = client.get_experiment_by_name("histonuc")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "run"
    assert set(run.data.metrics) >= SCORES | {"step/loss", "epoch/lr"}
    given = {"augment.blur": "0.25", "representation_options.min_area_px": "9", "folds": "[1]"}
    assert given.items() <= run.data.params.items()


@installed("mlflow")
def test_a_store_that_mlflow_refuses_leaves_no_folder_in_the_way(line, tmp_path, capsys) -> None:
    uri = (tmp_path / "mlruns").as_uri()
    assert cli.run(line("--mlflow", uri)) == 2
    error = capsys.readouterr().err
    assert f"--mlflow {uri}: " in error
    assert "sqlite:///FILE.db" in error
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()
    assert cli.run(line()) == 0


@installed("wandb")
@pytest.mark.filterwarnings("ignore")  # of its own of pydantic
def test_weights_and_biases_stays_in_the_run_folder(line, tmp_path, monkeypatch) -> None:
    for name in ("MODE", "ERROR_REPORTING", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody answers there
    (tmp_path / "home").mkdir()
    assert cli.run(line("--wandb", "nuclei")) == 0
    assert list((tmp_path / "home").rglob("*")) == []
    (log,) = (tmp_path / "run" / "wandb").rglob("run-*.wandb")
    content = log.read_bytes()
    for word in (b"val/bpq", b"step/loss", b"representation_options", b"min_area_px"):
        assert word in content
    assert tracking.os.environ["WANDB_ERROR_REPORTING"] == "false"


def test_a_failure_before_the_first_checkpoint_leaves_nothing(settings, monkeypatch) -> None:
    def fail(config: TrainConfig, step: int) -> None:
        raise ValueError("no board")

    monkeypatch.setattr(tracking, "_TensorBoard", fail)
    config = settings(tensorboard=True)
    with pytest.raises(ValueError, match="no board"):
        train(config)
    assert not config.out.exists()


def test_a_board_that_fails_later_ends_no_training(settings, monkeypatch, caplog) -> None:
    caplog.set_level(logging.WARNING, "histonuc")

    def fail(self: object, numbers: object, step: int) -> None:
        raise ConnectionError("the server is gone")

    monkeypatch.setattr(tracking._TensorBoard, "log", fail)
    run: Path = train(settings(tensorboard=True))
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 5
    assert (
        caplog.messages.count("--tensorboard: the server is gone; this run logs there no more") == 1
    )
