"""Drafts: nobody shares one, and what a killed process left of them is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from histonuc.files import remove_drafts, replacing, replacing_folder, write_text

KILLED = """
import os, signal, sys
from pathlib import Path
from histonuc.files import replacing, replacing_folder
folder = Path(sys.argv[1])
with replacing(folder / "nuclei.parquet") as file, replacing_folder(folder / "labels.zarr") as zarr:
    file.write_bytes(b"half")
    (zarr / "zarr.json").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("writing", [replacing, replacing_folder])
def test_writers_with_the_same_process_id_have_drafts_of_their_own(tmp_path, writing) -> None:
    """Two containers on shared storage may both be process 7."""
    target = tmp_path / "labels.zarr"
    with writing(target) as first, writing(target) as second:
        assert first != second
        assert {first.parent, second.parent} == {tmp_path}
        assert {first.suffix, second.suffix} == {".zarr"}  # libraries choose the format by it
        for draft in (first, second):
            assert draft.name.startswith(f".writing-{os.getpid()}-")
            draft.mkdir(exist_ok=True) if writing is replacing_folder else draft.touch()
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob(".writing-*"))) == 2
    (tmp_path / ".writing-7-nuclei.geojson").write_text("half")  # named by an earlier version
    write_text(tmp_path / "summary.json", "{}")
    write_text(tmp_path / "parts" / ".writing-7-1234abcd-part.npz", "of a worker that may live")
    remove_drafts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts", "summary.json"]
    assert len(list((tmp_path / "parts").iterdir())) == 1


def test_a_folder_that_is_not_there_has_no_drafts(tmp_path) -> None:
    remove_drafts(tmp_path / "new")
    assert not (tmp_path / "new").exists()
