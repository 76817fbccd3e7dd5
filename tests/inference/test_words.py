"""What a prediction says at Ctrl-C, when it goes on, and of many inputs: each thing once."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from histonuc import cli
from histonuc.exports import export_folder

SMALL = ["--mpp", "0.25", "--tile-px", "160"]
INTERRUPTED = """
import signal
from histonuc.__main__ import main
from histonuc.inference.results import ResultFolder
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below a shell's background job
save_part = ResultFolder.save_part
def save_and_interrupt(*arguments):
    save_part(*arguments)
    signal.raise_signal(signal.SIGINT)
ResultFolder.save_part = save_and_interrupt
main()
"""
"""The program, with Ctrl-C at the moment when the first part of a slide is on disk."""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_says_how_to_go_on_and_the_next_run_how_much_was_done(tmp_path, make_blobs, capsys):
    image, out = tmp_path / "blobs.png", tmp_path / "out"
    Image.fromarray(np.tile(make_blobs((300, 200), 60), (5, 2, 1))).save(image)
    words = ["predict", str(image), "--out", str(out), *SMALL]
    command = [sys.executable, "-c", INTERRUPTED, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1] == (
        "interrupted; what is finished is kept: run the same command again to go on"
    )
    assert "Traceback" not in done.stderr
    capsys.readouterr()
    assert cli.run(words) == 0
    assert "blobs.png: goes on from an interrupted run, " in capsys.readouterr().err


@pytest.fixture
def inputs(tmp_path, make_blobs):
    """Three images without a scale, and a file that is damaged."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b", "c"):
        cv2.imwrite(str(folder / f"{name}.png"), make_blobs((90, 70), 4)[..., ::-1])
    (folder / "d.png").write_bytes(b"no image")
    return folder


def test_failures_and_notes_of_a_batch_are_said_once(inputs, tmp_path, capsys):
    assert cli.run(["predict", str(inputs), "--out", str(tmp_path / "out")]) == 1
    said = "".join(capsys.readouterr())
    assert said.count(str(inputs / "d.png")) == 1
    assert said.count("damaged") == 1
    assert said.count("does not state its microns per pixel") == 1
    assert "note on 3 inputs: the image does not state its microns per pixel" in said


def test_failures_of_an_export_are_said_once(inputs, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.run(["predict", str(inputs), "--out", str(out), *SMALL]) == 1
    (out / "b" / "nuclei.parquet").write_bytes(b"no table")
    capsys.readouterr()
    assert cli.run(["export", str(out), "--to", "csv"]) == 1
    said = "".join(capsys.readouterr())
    assert said.count(str(out / "b" / "nuclei.parquet")) == 1
    assert said.count("is damaged") == 1
    assert export_folder(out, "csv").failed[0]["error"] in said


@pytest.mark.parametrize("command", ["predict", "train", "report"])
def test_ctrl_c_tells_each_command_s_own_way_on(command, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "read_line", interrupt)
    assert cli.run([command]) == 130
    said = capsys.readouterr().err
    assert said.startswith("interrupted")
    assert ("--resume" in said) == (command == "train")
    assert ("run the same command again" in said) == (command == "predict")
