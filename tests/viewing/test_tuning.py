"""Fine-tuning from the page: what it needs, how it is followed and stopped, and what it leaves."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from histonuc import cli
from histonuc.data.store import StoreWriter
from histonuc.taxonomy import THREE
from histonuc.viewing import tune_run, tuning
from histonuc.viewing.opened import open_result
from histonuc.viewing.serving import serve

from .conftest import Client

TUNE = "/api/slides/0/tune"
SCORES = {
    "overall": {"bpq": 0.5, "f1_images": None, "class_accuracy_centroid": 0.75},
    "intervals": {"class_accuracy_centroid": [0.5, 0.9]},
}
PAIR = {
    "overall": {"bpq": {"first": 0.5, "second": 0.5, "low": -0.1, "high": 0.2}},
    "class_score": "pq",
    "per_class": {"Connective": {"first": 0.4, "second": 0.6, "low": None, "high": None}},
}
STUB = f"""
import json, os, sys, time
from pathlib import Path
if sys.argv[1] == "prepare":
    print("{{}}")
    sys.exit()
out = Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir()
(out.parent / "pid").write_text(str(os.getpid()))
(out.parent / "words").write_text(" ".join(sys.argv))
(out / "metrics.jsonl").write_text(
    '{{"event": "step", "step": 4, "epoch": 0.5, "seconds": 6.0}}\\n{{"event": "st'
)
while not (out.parents[2] / "go").exists():
    time.sleep(0.02)
if "go wrong" in (out.parents[2] / "go").read_text():
    sys.stderr.write(f"error: no good label in {{out}}\\n")
    sys.exit(2)
for name in ("before", "after"):
    (out / "scores" / name).mkdir(parents=True)
    (out / "scores" / name / "scores.json").write_text({json.dumps(json.dumps(SCORES))})
print(json.dumps({{"comparison": {{"num_tiles": 1, "comparisons": [{PAIR!r}]}}}}))
"""
"""Stands for `histonuc` and takes no time: it goes on when a file says so."""


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """A copy of the drawn result with three complete fields, and the stub in place of the program."""
    stub = tmp_path / "stub.py"
    stub.write_text(STUB)
    monkeypatch.setattr(tune_run, "PROGRAM", (sys.executable, str(stub)))
    monkeypatch.setattr(tuning, "is_installed", lambda extra: True)
    folder = shutil.copytree(made.folder, tmp_path / "result")
    for number in range(3):
        mark_field(folder, 300 + 400 * number)
    return folder


def mark_field(folder, x, y=400):
    opened = open_result(folder)
    ring = [[x, y], [x + 256, y], [x + 256, y + 256], [x, y + 256]]
    wish = {"do": "field", "ring": ring, "complete": True}
    opened.correcting().apply(wish, opened.facts.size_px, 0.25)


def wait(page, *phases):
    """Until it is in one of the phases."""
    end = time.monotonic() + 200
    while time.monotonic() < end:
        told = page.json(TUNE)
        if told["phase"] in phases and (told["phase"] != "training" or told["step"]):
            return told
        time.sleep(0.02)
    raise TimeoutError(told)


def is_alive(pid):
    return Path(f"/proc/{pid}").exists()


def test_it_is_followed_and_compared_and_replaces_nothing(folder, tmp_path) -> None:
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    with serve([folder]) as viewer:
        page = Client(viewer)
        told = page.json(TUNE)
        assert (told["phase"], told["can_start"], told["num_fields"]) == ("off", True, 3)
        assert page.write(TUNE, {"do": "start", "minutes": 2})[0] == 200
        told = wait(page, "training")
        assert (told["step"], told["num_steps"], told["can_start"]) == (4, 80, False)
        assert told["minutes_left"] == pytest.approx(1.9)  # its rate would take as long
        assert told["share"] == pytest.approx(0.05)
        status, reply = page.write(TUNE, {"do": "start"})
        assert (status, "at a time" in reply["error"]) == (400, True)
        (tmp_path / "go").write_text("")
        told = wait(page, "done", "failed")
        assert (told["phase"], told["num_held_out"]) == ("done", 1)
        bpq, accuracy, pq = told["scores"]
        assert (bpq["name"], bpq["before"], bpq["interval"]) == ("bPQ", 0.5, [-0.1, 0.2])
        assert (accuracy["name"], accuracy["interval_after"]) == ("class accuracy", [0.5, 0.9])
        assert (pq["name"], pq["after"], pq["interval"]) == ("PQ, Connective", 0.6, None)
        place = tmp_path / "result-tuned" / "1"
        assert f"histonuc export-model {place}/model" in told["commands"][0]
        assert f"--model {place}/tuned.onnx" in told["commands"][1]
    (tmp_path / "go").unlink()
    with serve([folder]) as viewer:  # another day
        page = Client(viewer)
        again = page.json(TUNE)
        assert {key: again[key] for key in ("phase", "num_held_out", "scores", "commands")} == {
            key: told[key] for key in ("phase", "num_held_out", "scores", "commands")
        }
        assert again["can_start"]
        assert page.write(TUNE, {"do": "start"})[0] == 200
        wait(page, "training")
        (tmp_path / "go").write_text("")
        wait(page, "done")
    assert sorted(one.name for one in place.parent.iterdir()) == ["1", "2"]
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == files


def test_a_folder_that_is_no_finished_fine_tuning_is_passed_over(tmp_path) -> None:
    for number, text in enumerate(["", "[]", '{"comparison": []}', '{"comparison": {}}'], 1):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / tune_run.COMPARISON).write_text(text)
    (tmp_path / "5").mkdir()
    (tmp_path / "notes").mkdir()
    assert tune_run.find_done(tmp_path) is None


def test_stop_ends_it_and_keeps_nothing(folder, tmp_path) -> None:
    with serve([folder], tuned=tmp_path / "elsewhere") as viewer:
        page = Client(viewer)
        page.write(TUNE, {"do": "start"})
        wait(page, "training")
        place = tmp_path / "elsewhere" / "result-tuned" / "1"
        pid = (place / "pid").read_text()
        status, told = page.write(TUNE, {"do": "stop"})
        assert (status, told["phase"], told["can_start"]) == (200, "stopped", True)
        assert not is_alive(pid)
        assert not place.exists()


def test_a_second_store_is_learned_from_where_it_was_named_and_fits(folder, tmp_path) -> None:
    store = tmp_path / "colon"
    with StoreWriter(store, THREE, source="test"):
        pass
    with serve([folder], replay=store) as viewer:
        page = Client(viewer)
        assert page.json(TUNE)["replay"] == "colon"
        assert page.write(TUNE, {"do": "start", "replay": True})[0] == 200
        wait(page, "training")
        words = (tmp_path / "result-tuned" / "1" / "words").read_text()
        assert f" --replay {store} " in words
        page.write(TUNE, {"do": "stop"})
        assert page.write(TUNE, {"do": "start"})[0] == 200
        wait(page, "training")
        assert "--replay" not in (tmp_path / "result-tuned" / "1" / "words").read_text()
        page.write(TUNE, {"do": "stop"})
        opened = open_result(folder)
        wish = {"do": "define_class", "name": "Mitosis", "colour": "#010203", "digit": 7}
        opened.correcting().apply(wish, opened.facts.size_px, 0.25)
        page.json("/api/slides/0/corrections")
        assert page.json(TUNE)["replay"] == ""  # its classes are others now
        assert page.write(TUNE, {"do": "start", "replay": True})[0] == 400
    assert cli.run(["view", str(folder), "--no-browser", "--replay", str(folder)]) == 2


def test_it_ends_with_the_viewer(folder, tmp_path) -> None:
    with serve([folder]) as viewer:
        page = Client(viewer)
        page.write(TUNE, {"do": "start"})
        wait(page, "training")
        pid = (tmp_path / "result-tuned" / "1" / "pid").read_text()
        assert is_alive(pid)
    assert not is_alive(pid)


def test_the_program_ends_with_a_viewer_that_was_killed(made) -> None:
    words = ["view", str(made.folder), "--no-browser"]
    command = [sys.executable, "-m", "histonuc.viewing.child", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline().startswith(b"http://")  # it would go on for ever
        child.stdin.close()
        assert child.wait(200) == 1


def test_why_it_failed_is_said_without_paths(folder, tmp_path) -> None:
    (tmp_path / "go").write_text("go wrong")
    with serve([folder]) as viewer:
        page = Client(viewer)
        page.write(TUNE, {"do": "start"})
        told = wait(page, "done", "failed")
    assert (told["phase"], told["message"]) == ("failed", "No good label in the run/model.")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"do": "start", "minutes": 0}, "minutes above 0"),
        ({"do": "start", "minutes": 1e9}, "at most 600"),
        ({"do": "start", "minutes": float("nan")}, "minutes above 0"),
        ({"do": "start", "minutes": True}, "to be a number"),
        ({"do": "begin"}, "start or stop"),
        ({"do": "start", "replay": "/etc"}, "replay to be true or false"),
        ({"do": "start", "replay": True}, "no store with this result's classes"),
    ],
)
def test_what_is_no_wish_is_refused(body, reason, folder, tmp_path) -> None:
    with serve([folder]) as viewer:
        status, reply = Client(viewer).write(TUNE, body)
    assert (status, reason in reply["error"]) == (400, True)
    assert not (tmp_path / "result-tuned").exists()


def test_what_it_needs_is_said(folder, made, tmp_path, monkeypatch) -> None:
    with serve([folder], read_only=True) as viewer:
        page = Client(viewer)
        assert "--read-only" in page.json(TUNE)["why_not"]
        status, reply = page.write(TUNE, {"do": "start"})
        assert (status, reply["word"]) == (409, "read_only")
    with serve([folder], tuned=folder / "summary.json") as viewer:
        assert "with --tuned FOLDER" in Client(viewer).json(TUNE)["why_not"]
    bare = shutil.copytree(made.folder, tmp_path / "bare")
    with serve([bare]) as viewer:
        page = Client(viewer)
        assert page.json(TUNE)["why_not"].startswith("Mark two fields complete")
        mark_field(bare, 300)
        page.json("/api/slides/0/corrections")
        assert page.json(TUNE)["why_not"].startswith("Mark one more field complete")
        assert page.write(TUNE, {"do": "start"})[0] == 400
    monkeypatch.setattr(tuning, "is_installed", lambda extra: False)
    with serve([folder]) as viewer:
        told = Client(viewer).json(TUNE)
    assert (told["can_start"], "pip install" in told["why_not"]) == (False, True)
    assert [one.name for one in tmp_path.iterdir() if "tuned" in one.name] == []


def test_the_commands_are_those_of_the_command_line(folder, tmp_path, capsys) -> None:
    pytest.importorskip("torch")
    (place := tmp_path / "result-tuned" / "1").mkdir(parents=True)
    plan = tune_run.TunePlan(
        result=folder, place=place, num_folds=3, model="default", minutes=2, slides=tmp_path
    )
    prepare, tune = plan.commands.values()
    assert cli.run(prepare) == 0
    assert json.loads(capsys.readouterr().out)["out"] == str(place / tune_run.LABELS)
    command, given, _ = cli.build_app().parse_args(tune[:-1])  # without --json
    options = given.arguments["options"]
    assert command.__name__ == "fine_tune"
    assert (options.data, options.out) == (place / tune_run.LABELS, place / tune_run.MODEL)
    assert (options.init, options.epochs, options.minutes) == ("default", tune_run.EPOCHS, 2.0)
