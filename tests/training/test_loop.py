"""Parts of the loop that whole runs do not show: overflow, divergence, averages, trackers."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision

from histonuc import cli, extras
from histonuc.models.zoo import load_network
from histonuc.training import bar as bar_module
from histonuc.training import loop, validation
from histonuc.training.averaging import update_average
from histonuc.training.checkpoint import load_state
from histonuc.training.loop import _step_seed, train


def rows(run: Path, event: str) -> list[dict]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["event"] == event]


def test_checkpoints_are_models_and_hold_the_average(settings) -> None:
    run = train(settings(epochs=2, ema_decay=0.9))
    model = load_network(run / "checkpoints" / "best")
    assert (model.spec.trunk, model.spec.representation, model.spec.mpp) == (
        *("tiny", "semantic"),
        0.25,
    )
    last, state = (
        load_network(run / "checkpoints" / "last"),
        load_state(run / "checkpoints" / "last"),
    )
    for name, value in last.state_dict().items():
        assert torch.equal(value, state.ema[name])
    assert not torch.equal(state.ema["head.weight"], state.model["head.weight"])


def test_the_average_forgets_its_start() -> None:
    average, model = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(average.weight, 0.0)
    torch.nn.init.constant_(model.weight, 1.0)
    update_average(average, model, 0.99, step=0)
    assert average.weight.item() == pytest.approx(1 - 1 / 10)  # decay (1 + 0) / (10 + 0)
    update_average(average, model, 0.5, step=1000)
    assert average.weight.item() == pytest.approx(0.5 * 0.9 + 0.5 * 1)


def test_a_share_of_the_start_is_in_what_is_saved(settings) -> None:
    start = train(settings("start", epochs=1))
    run = train(
        settings("run", epochs=2, seed=1, validate_every=2, init=str(start), init_share=0.25)
    )
    begun = load_network(start / "checkpoints" / "best").state_dict()
    trained = load_state(run / "checkpoints" / "last").model
    for folder in ("last", "best"):
        saved = load_network(run / "checkpoints" / folder).state_dict()
        for name, value in saved.items():
            wanted = 0.25 * begun[name] + 0.75 * trained[name]
            torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-6)
    assert not torch.equal(begun["head.weight"], trained["head.weight"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"init_share": 1.0, "init": "a"}, "below 1"), ({"init_share": 0.5}, "give the model")],
)
def test_shares_that_make_no_sense_are_refused(settings, changes, message) -> None:
    with pytest.raises(ValueError, match=f"--init-share.*{message}"):
        settings(**changes)


def test_dropout_differs_between_steps_processes_and_seeds() -> None:
    seeds = {_step_seed(*key) for key in [(0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0), (0, 1, 1)]}
    assert len(seeds) == 5
    assert _step_seed(0, 5, 1) == _step_seed(0, 5, 1)


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_divergence_is_one_line_and_poisons_no_checkpoint(
    settings, clip_norm, monkeypatch, capsys
) -> None:
    from histonuc.commands import training

    diverging = settings(epochs=9, clip_norm=clip_norm, max_lr=1e30, min_lr=1e29)
    diverging = replace(diverging, checkpoint_steps=1)
    with pytest.raises(ValueError, match=r"the training diverged in step \d+ .*--max-lr"):
        train(diverging)
    state = load_state(diverging.out / "checkpoints" / "last")
    assert all(torch.isfinite(value).all() for value in state.model.values())
    monkeypatch.setattr(training, "require", lambda *_: None)
    words = ["train", "--data", str(diverging.data), "--out", str(diverging.out) + "2"]
    words += ["--trunk", "tiny", "--tile-px", "32", "--max-lr", "1e30", "--accelerator", "cpu"]
    assert cli.run([*words, "--batch-size", "4", "--clip-norm", str(clip_norm)]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_gradients_length_is_logged_without_clipping_too(settings) -> None:
    whole = rows(train(settings("a", clip_norm=0.0)), "step")
    clipped = rows(train(settings("b", clip_norm=1e9)), "step")
    assert all(row["grad_norm"] > 0 for row in whole)
    assert [row["grad_norm"] for row in whole] == [row["grad_norm"] for row in clipped]
    assert [row["loss"] for row in whole] == [row["loss"] for row in clipped]


def test_fp16_survives_overflow_and_resumes_with_its_scale(settings, monkeypatch) -> None:
    """Autocast and loss scaling of fp16 on the processor, with a scale that overflows at first."""

    def half_precision(_: object) -> Fabric:
        scaler = torch.amp.GradScaler(
            "cpu", init_scale=2.0**40, backoff_factor=2.0**-8, growth_interval=3
        )
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        return Fabric(accelerator="cpu", devices=1, plugins=[plugin])

    monkeypatch.setattr(loop, "_fabric", half_precision)
    whole = train(settings("whole", epochs=4, precision="16", accelerator="auto"))
    overflowed = [row["grad_norm"] is None for row in rows(whole, "step")]
    assert overflowed[0]
    assert not overflowed[-1], "the scale never came down"
    split = settings("split", epochs=3, precision="16", accelerator="auto")
    train(split)
    train(replace(split, epochs=4, resume=True))
    one, two = (load_state(run / "checkpoints" / "last") for run in (whole, split.out))
    assert one.scaler == two.scaler
    assert 0 < one.scaler["scale"] < 2.0**40
    for name, value in one.model.items():
        assert torch.equal(value, two.model[name]), name


def test_checkpoints_every_so_many_steps(settings, monkeypatch) -> None:
    saved: list[int] = []
    save = loop.save_last
    monkeypatch.setattr(loop, "save_last", lambda run: (saved.append(run.progress.step), save(run)))
    train(settings("a", epochs=2, checkpoint_steps=3))
    assert saved == [3, 4, 6, 8]  # and at the end of each epoch of four
    saved.clear()
    train(settings("b", epochs=2, checkpoint_minutes=1e-9))
    assert sorted(set(saved)) == list(range(1, 9))


def test_there_is_a_best_checkpoint_where_no_score_is_defined(settings, monkeypatch) -> None:
    monkeypatch.setattr(validation, "summarise", lambda _: {"bpq": None, "bce": 0.5})
    run = train(settings(epochs=2))
    assert (run / "checkpoints" / "best" / "model.safetensors").is_file()
    assert [row["best"] for row in rows(run, "epoch")] == [False, False]


def test_what_the_machine_lacks_is_said_before_anything_is_written(settings, monkeypatch) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"--accelerator cuda --devices 1 .*cannot be had"):
            train(settings(accelerator="cuda"))
        with pytest.raises(ValueError, match="--precision 16 needs a GPU and there is none"):
            train(settings(accelerator="auto", precision="16"))
    with pytest.raises(ValueError, match="--strategy banana cannot be had"):
        train(settings(strategy="banana"))
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"--mlflow needs .*pip install 'histonuc\[mlflow\]'"):
        train(settings(mlflow="file:///nowhere"))
    assert not settings().out.exists()


def test_without_a_terminal_progress_is_a_line_now_and_then(monkeypatch, caplog) -> None:
    caplog.set_level(logging.INFO, "histonuc")
    bar = bar_module.Bar(100, 0, active=True)
    bar.update(1, loss=0.5, lr=1e-3, images_per_s=7.0)
    assert caplog.messages == []  # too early
    monkeypatch.setattr(bar_module.Bar, "_QUIET_SECONDS", -math.inf)
    bar.update(2, loss=0.5, lr=1e-3, images_per_s=7.0)
    bar_module.Bar(100, 0, active=False).update(3, loss=0.5, lr=1e-3, images_per_s=7.0)
    bar.close()
    assert caplog.messages == ["step 2 of 100  loss 0.5000  lr 1.00e-03  7.0 images/s"]
