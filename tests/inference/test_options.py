"""Which options make another result, and how they are given: from the command line and in Python."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image

import histonuc
from histonuc import cli
from histonuc.inference.options import PredictOptions

TRIANGLE = {"type": "Polygon", "coordinates": [[[9, 9], [290, 20], [140, 195], [9, 9]]]}


@pytest.fixture
def image(tmp_path, make_blobs) -> Path:
    Image.fromarray(make_blobs((300, 200), 60)).save(tmp_path / "blobs.png")
    for name in ("one.geojson", "moved.geojson"):
        (tmp_path / name).write_text(json.dumps(TRIANGLE))
    (tmp_path / "other.geojson").write_text(json.dumps(TRIANGLE).replace("290", "280"))
    return tmp_path / "blobs.png"


def predict(image: Path, options: str) -> int:
    """`histonuc predict` with so many words more: the exit code."""
    words = options.format(tmp=image.parent).split()
    fixed = ["--out", str(image.parent / "out"), "--mpp", "0.25", "--tile-px", "160"]
    return cli.run(["predict", str(image), *fixed, *words])


def record(image: Path) -> dict:
    return json.loads((image.parent / "out" / "blobs" / "summary.json").read_text())


@pytest.mark.parametrize(
    ("before", "after", "is_same"),
    [
        ("--batch-size 4", "--batch-size 1", True),
        ("--regions {tmp}/one.geojson", "--regions {tmp}/moved.geojson", True),
        ("--regions {tmp}/one.geojson", "--regions {tmp}/other.geojson", False),
        ("", "--margin-um 8", False),
    ],
)
def test_what_is_done_is_kept_unless_the_nuclei_would_be_others(
    image, capsys, before, after, is_same
):
    in_the_way = image.parent / "out" / "blobs" / "overview.jpg"
    in_the_way.mkdir(parents=True)
    assert predict(image, before) == 1  # all parts are done by then
    in_the_way.rmdir()
    assert predict(image, after) == 0
    result = record(image)
    assert result["tiles_resumed"] == (result["tiles_analysed"] if is_same else 0)
    assert any("begun anew" in note for note in result["warnings"]) != is_same
    capsys.readouterr()
    assert predict(image, before) == 0
    assert ("finished before" in capsys.readouterr().out) == is_same


def test_another_frame_writes_the_geojson_anew_and_nothing_else(image, capsys):
    folder = image.parent / "out" / "blobs"
    assert predict(image, "--frame slide") == 0
    table = (folder / "nuclei.parquet").stat().st_mtime_ns
    (folder / "nuclei.geojson").write_text("of another frame")
    assert predict(image, "--frame qupath") == 0
    assert "finished before" in capsys.readouterr().out
    assert (folder / "nuclei.parquet").stat().st_mtime_ns == table
    result = record(image)
    assert result["settings"]["frame"] == "qupath"
    assert result["geojson_bytes"] == (folder / "nuclei.geojson").stat().st_size > 1000
    written = (folder / "nuclei.geojson").stat().st_mtime_ns
    assert predict(image, "--frame qupath") == 0
    assert (folder / "nuclei.geojson").stat().st_mtime_ns == written


def test_the_summary_tells_all_options(image):
    assert predict(image, "--batch-size 2 --regions {tmp}/one.geojson") == 0
    settings = record(image)["settings"]
    assert set(settings) == {field.name for field in fields(PredictOptions)}
    assert settings["batch_size"] == 2
    assert settings["regions"] == str(image.parent / "one.geojson")


def test_the_help_is_the_docstrings(capsys):
    assert cli.run(["predict", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for field in fields(PredictOptions):
        assert f"--{field.name.replace('_', '-')}" in shown
    assert "Tiles a forward pass; raise it on a GPU." in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--mpp 50", "--mpp 50: expected microns per pixel"),
        ("--batch-size 0", "--batch-size 0: expected 1 or more"),
        ("--margin-um -1", "--margin-um -1: expected 0 or more"),
        ("--tile-px 100", "--tile-px 100: expected 144 or more"),
        ("--regions nowhere", "--regions nowhere: no such file or folder"),
    ],
)
def test_impossible_options_are_refused_in_the_words_of_the_user(
    image, monkeypatch, capsys, options, message
):
    monkeypatch.chdir(image.parent)
    words = ["predict", str(image), "--out", "out", *options.split()]
    assert cli.run(words) == 2
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


def test_the_python_function_takes_text_for_paths(image):
    out, regions = str(image.parent / "out"), str(image.parent / "one.geojson")
    options = histonuc.PredictOptions(mpp=0.25, regions=regions)
    outcome = histonuc.predict(str(image), out=out, options=options)
    assert outcome.exit_code == 0
    assert outcome.data["items"][0]["num_nuclei"] == record(image)["num_nuclei"] > 5
    again = histonuc.predict([str(image)], out=out, options=options)
    assert again.data["skipped"] == [str(image)]
