"""Every command works without a network, asks for none, and writes only where it was told to.

A hook on Python's audit events sees each attempt, that of a library or a child process too. Where
the kernel lets it, the commands run in a network namespace without any interface as well.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import histonuc

pytest.importorskip("torch")

GUARD = """
import os, sys

log = os.open(os.environ["GUARD_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND
LOOPBACK = ("127.0.0.1", "::1", "localhost")
ASKING = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")


def guard(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.bind") and isinstance(args[1], tuple):
        refuse(event, args[1][0])
    elif event in ASKING:
        refuse(event, args[0])
    elif event == "open" and args[2] & WRITING and not isinstance(args[0], int):
        note("write", os.path.abspath(os.fsdecode(args[0])))
    elif event == "os.mkdir":
        note("write", os.path.abspath(os.fsdecode(args[0])))


def refuse(event, host):
    if os.environ.get("GUARD_LOOPBACK") and host in LOOPBACK:
        return
    note(event, host)
    raise PermissionError(f"{event} {host}: refused by the test")


def note(*words):
    os.write(log, (repr(words) + "\\n").encode())


sys.addaudithook(guard)
"""
"""The ``sitecustomize`` of the process and all of its children."""

RUN = """
import sys
from histonuc import cli

if __name__ == "__main__":  # workers of a cluster import this file
    import sitecustomize
    for line in sys.stdin.read().splitlines():
        sitecustomize.note("command", line)
        sitecustomize.note("code", line, cli.run(line.split()))
"""

TRAINING = (
    "train --data store --out run --trunk compact --trunk-options.widths [8,8,8,8,8] --epochs 1 "
    "--first-cycle-epochs 1 --warmup-epochs 0.5 --samples-per-epoch 2 --batch-size 2 --tile-px 64 "
    "--accelerator cpu --tensorboard"
)
CACHE = Path(".cache", "histonuc")
COMMANDS = [
    "synth --out raw --tiles 3 --tile-px 64",
    "prepare pannuke raw --out store",
    "info store",
    "models",
    TRAINING,
    "evaluate run --data store --folds 3 --out run/scores --device cpu",
    "evaluate run --data store --folds 3 --out two --device cpu",
    "compare run/scores two --out compared",
    "predict tile.png --out results --mpp 0.25",
    "info results",
    "export results --to geojson",
    "export results --to coco",
    "prepare corrections results/tile --geojson results/tile/nuclei.geojson --by ann",
    "corrections show results/tile",
    "summarise results",
    "report run --out report.html",
]


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A function that runs command lines under the guard and gives what it noted."""
    folder = tmp_path_factory.mktemp("offline")
    for name in ("guard", "home", "temp", "work"):
        (folder / name).mkdir()
    (folder / "guard" / "sitecustomize.py").write_text(GUARD)
    (folder / "run.py").write_text(RUN)
    pixels = np.random.default_rng(0).integers(120, 256, (96, 96, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "work" / "tile.png")

    def run(lines: list[str], *, loopback: bool = False) -> list[tuple[str, ...]]:
        log = folder / f"{len(list(folder.glob('*.log')))}.log"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "temp"),
            "PYTHONPATH": f"{folder / 'guard'}:{Path(histonuc.__file__).parents[1]}",
            "GUARD_LOG": str(log),
            "OMP_NUM_THREADS": "1",
            **({"GUARD_LOOPBACK": "1"} if loopback else {}),
        }
        command = [sys.executable, str(folder / "run.py")]
        done = subprocess.run(
            command if loopback else [*own_network(), *command],
            cwd=folder / "work",
            env=environment,
            input="\n".join(lines),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [ast.literal_eval(line) for line in log.read_text().splitlines()]

    run.folder = folder  # type: ignore[attr-defined]
    return run


def own_network() -> list[str]:
    """The command that gives a process a network of its own, with nothing in it."""
    words = ["unshare", "--map-root-user", "--net"]
    try:
        works = subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    except OSError:  # no Linux
        works = False
    return words if works else []


@pytest.fixture(scope="session")
def events(guarded: Any) -> list[tuple[str, ...]]:
    """What all commands did, in one process."""
    return guarded(COMMANDS)


def test_every_command_works_without_a_network(events: list[tuple[str, ...]]) -> None:
    assert {line: code for kind, line, *code in events if kind == "code"} == {
        line: [0] for line in COMMANDS
    }


def test_no_command_asks_for_a_network(events: list[tuple[str, ...]]) -> None:
    assert [event for event in events if event[0].startswith("socket.")] == []


def test_nothing_is_written_but_results_cache_and_temporary_files(
    events: list[tuple[str, ...]], guarded: Any
) -> None:
    assert outside(events, guarded.folder) == []
    home = guarded.folder / "home"
    found = {path for path in home.rglob("*") if not path.is_relative_to(home / CACHE)}
    assert found <= {home / ".cache"}


def outside(events: list[tuple[str, ...]], folder: Path) -> list[str]:
    """Paths written that are neither results, temporary nor compiled code beside its module."""
    allowed = [folder / "work", folder / "temp", folder / "home" / CACHE, Path("/dev/null")]
    return [
        path
        for kind, path, *_ in events
        if kind == "write"
        and not any(Path(path).is_relative_to(place) for place in allowed)
        and "__pycache__" not in path
        and path != str(folder / "home" / CACHE.parent)
    ]


def test_a_cluster_of_this_machine_listens_to_this_machine_only(guarded: Any) -> None:
    pytest.importorskip("distributed")
    line = "predict tile.png --out clustered --mpp 0.25 --cluster local:1"
    events = guarded([line], loopback=True)
    assert ("code", line, 0) in events
    assert [event for event in events if event[0].startswith("socket.")] == []
    assert outside(events, guarded.folder) == []


def test_the_viewer_listens_to_this_machine_only(guarded: Any, events: Any) -> None:
    results = guarded.folder / "work" / "results"
    before = sorted(results.rglob("*"))
    line = "view results --no-browser --idle-stop 0.01"
    events = guarded([line], loopback=True)
    assert ("code", line, 0) in events
    assert [event for event in events if event[0].startswith("socket.")] == []
    assert [path for kind, path, *_ in events if kind == "write" and str(results) in path] == []
    assert outside(events, guarded.folder) == []
    assert sorted(results.rglob("*")) == before


def test_the_guard_sees_what_it_is_to_see(guarded: Any, tmp_path: Path) -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
    log = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n"],
        env={"PYTHONPATH": str(guarded.folder / "guard"), "GUARD_LOG": str(log)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "refused by the test" in done.stderr
    assert ast.literal_eval(log.read_text().splitlines()[0])[0].startswith("socket.")
