"""Run folders: whole files, nothing of the user's deleted, resumed as they were."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
import yaml

from histonuc.files import replacing
from histonuc.training import starting
from histonuc.training.checkpoint import Progress, TrainState, load_state, save_state
from histonuc.training.config import TrainConfig
from histonuc.training.folder import can_resume, open_run
from histonuc.training.loop import train


def state_of(step: int) -> TrainState:
    weight = torch.nn.Parameter(torch.full((3, 2), float(step)))
    optimizer = torch.optim.Adam([weight])
    weight.grad = torch.ones(3, 2)
    optimizer.step()
    return TrainState(
        progress=Progress(step=step, best=0.5, window={"loss": 1.25, "count": 1.0}),
        model={"weight": weight.detach()},
        ema={},
        optimizer=optimizer.state_dict(),
        scaler={"scale": 65536.0},
    )


def config(out: Path, **changes: object) -> TrainConfig:
    return TrainConfig(data=Path("DATA"), out=out, **changes)  # type: ignore[arg-type]


def leave_draft(file: Path) -> None:
    """What `kill -9` in the middle of a write leaves behind."""
    with contextlib.suppress(FileNotFoundError), replacing(file) as draft:
        draft.write_bytes(b"half")
        draft = draft.rename(draft.with_name(draft.name.replace(".writing-", ".writing-9")))


def test_a_state_comes_back_as_it_was(tmp_path) -> None:
    before = state_of(7)
    save_state(before, tmp_path)
    after = load_state(tmp_path)
    assert after.progress == before.progress
    assert torch.equal(after.model["weight"], before.model["weight"])
    moments, expected = after.optimizer["state"][0], before.optimizer["state"][0]
    assert all(torch.equal(moments[name], expected[name]) for name in expected)
    assert after.scaler == {"scale": 65536.0}


def test_a_write_that_fails_leaves_the_state_before(tmp_path, monkeypatch) -> None:
    save_state(state_of(1), tmp_path)

    def half(record: object, stream: BinaryIO) -> None:
        stream.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="no space"):
        save_state(state_of(2), tmp_path)
    assert load_state(tmp_path).progress.step == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_damaged_or_missing_state_is_a_clear_error(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"no checkpoint at .*start without --resume"):
        load_state(tmp_path)
    save_state(state_of(1), tmp_path)
    whole = (tmp_path / "state.pt").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"text"):
        (tmp_path / "state.pt").write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged or of another version"):
            load_state(tmp_path)


def test_code_in_a_checkpoint_is_not_run(tmp_path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.mkdir, (tmp_path / "sprung",))

    torch.save({"progress": Trap()}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match="damaged or of another version"):
        load_state(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_a_killed_run_is_opened_without_later_lines_and_drafts(tmp_path) -> None:
    open_run(config(tmp_path), ["histonuc"])
    last = tmp_path / "checkpoints" / "last"
    state = state_of(2)
    save_state(replace(state, progress=Progress(step=2, num_log_lines=2)), last)
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    leave_draft(last / "model.safetensors")
    assert len(list(last.iterdir())) == 2, "the draft was to be left behind"
    opened = open_run(config(tmp_path, resume=True), ["histonuc"])
    assert opened is not None
    assert opened.progress.step == 2
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2]
    assert [path.name for path in last.iterdir()] == ["state.pt"]


def test_killed_before_its_first_checkpoint_a_run_starts_over(tmp_path) -> None:
    leave_draft(tmp_path / "config.yaml")  # the first thing that is written
    assert open_run(config(tmp_path, resume=True), ["histonuc"]) is None
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    leave_draft(tmp_path / "checkpoints" / "last" / "state.pt")
    assert not can_resume(config(tmp_path, resume=True))
    assert open_run(config(tmp_path, resume=True), ["histonuc"]) is None
    assert (tmp_path / "metrics.jsonl").read_text() == ""
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("settings_file", [None, "a: 1\n", "trunk: unet\n", "[]"])
def test_resume_deletes_nothing_that_no_training_wrote(tmp_path, settings_file) -> None:
    """It once emptied any folder that held a config.yaml."""
    if settings_file is not None:
        (tmp_path / "config.yaml").write_text(settings_file)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "mine.bin").write_text("precious")
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match=r"is no run folder \(it holds thesis.txt\)"):
        open_run(config(tmp_path, resume=True), ["histonuc"])
    (tmp_path / "thesis.txt").unlink()
    with pytest.raises(ValueError, match=r"no config.yaml|training settings"):
        open_run(config(tmp_path, resume=True), ["histonuc"])
    assert (tmp_path / "checkpoints" / "mine.bin").read_text() == "precious"


def test_resume_with_other_settings_names_them(tmp_path) -> None:
    open_run(config(tmp_path), ["histonuc"])
    save_state(state_of(1), tmp_path / "checkpoints" / "last")
    longer = config(tmp_path, resume=True, epochs=200, checkpoint_steps=7, workers=2)
    assert open_run(longer, ["histonuc"]) is not None
    with pytest.raises(ValueError, match=r"seed: was 0, now 3.*--config .*config.yaml --resume"):
        open_run(config(tmp_path, resume=True, seed=3), ["histonuc"])


def test_an_occupied_place_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match=r"--out: .* is a file"):
        open_run(config(tmp_path / "file"), ["histonuc"])
    with pytest.raises(ValueError, match="is not empty: give --resume"):
        open_run(config(tmp_path), ["histonuc"])


def test_a_restarted_run_has_its_pretrained_weights(settings, monkeypatch) -> None:
    """`--resume` of a run killed before its first checkpoint once started from random ones."""
    asked: list[bool] = []
    build = starting.build_network

    def spy(spec: object, *, pretrained: bool = False) -> object:
        asked.append(pretrained)
        return build(spec)  # type: ignore[arg-type]

    monkeypatch.setattr(starting, "build_network", spy)
    run = settings()
    run.out.mkdir()
    written = yaml.safe_dump(run.to_dict())
    (run.out / "config.yaml").write_text(written)
    train(replace(run, resume=True))
    assert asked == [True]
    train(replace(run, resume=True, epochs=2))
    assert asked == [True, False], "weights to be overwritten need no download"
