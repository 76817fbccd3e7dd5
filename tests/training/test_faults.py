"""A disk that is full, a damaged checkpoint, no shared memory: one clear error, and nothing lost."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from histonuc import cli
from histonuc.training.checkpoint import load_state
from histonuc.training.loop import train

PROGRAM = Path(__file__).parent / "tiny.py"


@pytest.fixture
def line(data, tiny_trunk) -> Callable[..., list[str]]:
    def make(out: Path, *words: str, trunk: str = "steady") -> list[str]:
        given = f"train --data {data} --out {out} --trunk {trunk} --tile-px 32 --batch-size 4"
        given += " --log-every 1 --accelerator cpu --first-cycle-epochs 4 --warmup-epochs 1"
        return [*given.split(), *words]

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.name != "posix" or shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs Linux and root")
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_ends_with_one_line_and_the_checkpoint_before(
    line, small_disk, capsys
) -> None:
    run = small_disk / "run"
    assert cli.run(line(run, "--epochs", "1")) == 0
    before = (run / "checkpoints/last/state.pt").read_bytes()
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"0" * 4096)
    capsys.readouterr()
    assert cli.run(line(run, "--epochs", "2", "--resume")) == 2
    error = capsys.readouterr().err
    assert "error: No space left on device" in error
    assert "the checkpoint before it is whole: make room" in error
    assert "--resume" in error
    assert "Traceback" not in error
    assert (run / "checkpoints/last/state.pt").read_bytes() == before
    filler.unlink()
    assert cli.run(line(run, "--epochs", "2", "--resume")) == 0
    assert load_state(run / "checkpoints/last").progress.epoch == 2


def test_a_disk_that_is_full_from_the_start_leaves_no_folder(line, small_disk, capsys) -> None:
    wide = ["--trunk-options.width", "16", "--epochs", "1"]
    assert cli.run(line(small_disk / "run", *wide, trunk="unet")) == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "give the same command again" in error
    assert "Traceback" not in error
    assert not (small_disk / "run").exists()


def test_what_torch_hides_of_a_full_disk_is_told(settings, monkeypatch) -> None:
    """As the test above, where nothing can be mounted."""

    def full(record: object, stream: object) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("[enforce fail at inline_container.cc:672]")  # noqa: B904

    config = settings()
    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"No space left on device for .*state\.pt; make room"):
        train(config)
    assert not config.out.exists()


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_flipped_bytes_in_a_checkpoint_are_noticed(line, tmp_path, capsys, where) -> None:
    run = tmp_path / "run"
    assert cli.run(line(run, "--epochs", "1")) == 0
    state = run / "checkpoints/last/state.pt"
    optimizer = load_state(state.parent).optimizer["state"]
    moment = bytes(next(iter(optimizer.values()))["exp_avg"].untyped_storage())[:64]
    content = bytearray(state.read_bytes())
    start = content.find(moment) if where == 0.3 else int(where * len(content))
    assert start > 0
    for place in range(start, start + 64):
        content[place] ^= 0xFF
    state.write_bytes(content)
    capsys.readouterr()
    assert cli.run(line(run, "--epochs", "2", "--resume")) == 2
    error = capsys.readouterr().err
    assert "state.pt is damaged or of another version" in error
    assert "--init" in error
    assert "Traceback" not in error


def test_flipped_bytes_in_weights_are_noticed(line, data, tmp_path, capsys) -> None:
    run = tmp_path / "run"
    assert cli.run(line(run, "--epochs", "1")) == 0
    model = run / "checkpoints/best/model.safetensors"
    content = bytearray(model.read_bytes())
    content[-100] ^= 0x01
    model.write_bytes(content)
    words = ["evaluate", str(run), "--data", str(data), "--folds", "2", "--out"]
    assert cli.run([*words, str(tmp_path / "scores")]) == 2
    assert "model.safetensors" in capsys.readouterr().err


def test_no_shared_memory_names_the_way_out(line, tmp_path) -> None:
    command = [sys.executable, str(PROGRAM), *line(tmp_path / "run", "--workers", "2")]
    small = 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"'
    isolated = ["unshare", "--mount", "sh", "-c", small, "sh"]
    tried = subprocess.run([*isolated, "true"], capture_output=True, check=False)
    if tried.returncode != 0:
        pytest.skip("a /dev/shm of its own needs root")
    done = subprocess.run(
        [*isolated, *command], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 2, done.stderr
    (error,) = [row for row in done.stderr.splitlines() if row.startswith("error: ")]
    assert "--workers 2" in error
    assert "give --workers 0" in error
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_what_a_process_that_prepares_crops_says_is_one_line(settings, monkeypatch) -> None:
    config = settings(workers=1)

    def fail(self: object, key: int) -> object:
        raise ValueError("tile 7 is damaged")

    monkeypatch.setattr("histonuc.data.dataset.TileDataset.__getitem__", fail)
    with pytest.raises(ValueError, match=r"^tile 7 is damaged$"):
        train(config)
    assert not config.out.exists()
