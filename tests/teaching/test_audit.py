"""Labels that look wrong are found among those that are wrong."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from histonuc import cli

from .conftest import write_colour_model
from .labelling import Labeller, is_red

CLASSES = """
name: mine
classes:
  - {number: 1, name: Red, colour: "#ff0000", candidates: any}
  - {number: 2, name: Blue, colour: "#0000ff", candidates: any}
"""
WRONG = 6


def write_labelled(folder: Path) -> dict[str, set[int]]:
    """Four images of red and blue discs, six of which are said to be the other; which, by image."""
    wrong: dict[str, set[int]] = {}
    for kind in ("images", "instances", "types"):
        (folder / "mine" / kind).mkdir(parents=True)
    for number in range(4):
        rng = np.random.default_rng(number)
        image = np.full((256, 256, 3), (230, 180, 210), np.uint8)
        instances = np.zeros((256, 256), np.uint16)
        types = np.zeros((256, 256), np.uint8)
        chosen = set(rng.permutation(np.arange(1, 101))[:WRONG].tolist())
        for i in range(100):
            centre = (i % 10 * 25 + 14, i // 10 * 25 + 14)
            disc = np.zeros((256, 256), np.uint8)
            cv2.circle(disc, centre, int(rng.integers(5, 10)), 1, -1)
            red = bool(i % 3)
            image[disc > 0] = (120, 40, 60 + number) if red else (60, 40 + number, 120)
            instances[disc > 0] = i + 1
            types[disc > 0] = 1 + ((not red) != (i + 1 in chosen))
        wrong[f"image{number}"] = chosen
        cv2.imwrite(str(folder / "mine" / "images" / f"image{number}.png"), image[..., ::-1])
        cv2.imwrite(str(folder / "mine" / "instances" / f"image{number}.png"), instances)
        cv2.imwrite(str(folder / "mine" / "types" / f"image{number}.png"), types)
    rows = [f"mine,{name},256,256,100,Colon,,0.25" for name in wrong]
    head = "dataset,name,height,width,nuclei,organ,patient,mpp"
    (folder / "index.csv").write_text("\n".join([head, *rows]) + "\n")
    (folder / "mine.yaml").write_text(CLASSES)
    return wrong


def test_wrong_labels_of_a_store_come_first(colour_model, tmp_path, capsys) -> None:
    wrong = write_labelled(tmp_path / "raw")
    store = tmp_path / "store"
    line = ["prepare", "folder", str(tmp_path / "raw"), "--label-space", "mine"]
    line += ["--classes", str(tmp_path / "raw" / "mine.yaml"), "--out", str(store)]
    assert cli.run(line) == 0
    capsys.readouterr()
    line = ["audit", str(store), "--model", str(colour_model), "--out", str(tmp_path / "audit")]
    assert cli.run(line) == 0
    assert "400 labels; for 24 of them (6.0%)" in capsys.readouterr().out
    with (tmp_path / "audit" / "audit.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4 * WRONG
    assert {(row["image"], int(row["nucleus"])) for row in rows} == {
        (image, nucleus) for image, nuclei in wrong.items() for nucleus in nuclei
    }
    assert all(row["label"] != row["instead"] for row in rows)
    shares = [float(row["p_label"]) for row in rows]
    assert shares == sorted(shares)
    page = (tmp_path / "audit" / "audit.html").read_text()
    assert page.count("<figure>") == 4 * WRONG
    assert page.count("data:image/jpeg;base64,") == 4 * WRONG
    assert "http" not in page
    line = ["teach", str(store), "--model", str(colour_model), "--out", str(tmp_path / "mine")]
    assert cli.run(line) == 0
    report = json.loads((tmp_path / "mine" / "report.json").read_text())
    assert report["by"] == "image"
    assert report["num_labels"] == 400
    assert report["held_out"]["num"] == 0
    right = 1 - WRONG / 100
    assert report["cross_validation"]["accuracy"] == pytest.approx(right, abs=0.005)
    plain = write_colour_model(tmp_path / "plain.onnx", has_features=False)
    line = ["teach", str(store), "--model", str(plain), "--out", str(tmp_path / "other")]
    assert cli.run(line) == 2
    assert "gives no features of nuclei" in capsys.readouterr().err


def test_wrong_labels_of_a_result(predicted, tmp_path, capsys) -> None:
    out, images = predicted
    shutil.copytree(out / "a", tmp_path / "a")
    red = is_red(tmp_path / "a", images[0])
    red[[3, 40, 77]] ^= True
    Labeller(tmp_path / "a").label(red, range(120))
    assert cli.run(["audit", str(tmp_path / "a"), "--out", str(tmp_path / "audit")]) == 0
    assert "120 labels; for 3 of them" in capsys.readouterr().out
    with (tmp_path / "audit" / "audit.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {int(row["nucleus"]) for row in rows} == {4, 41, 78}


def test_nothing_to_audit_is_refused(predicted, tmp_path, capsys) -> None:
    line = ["audit", str(predicted[0] / "a"), "--out", str(tmp_path / "audit")]
    assert cli.run(line) == 2
    assert "has no labels" in capsys.readouterr().err
    for place, message in (
        (predicted[0], "it holds results, give one of them: a, b"),
        (tmp_path, "neither a store nor a result at"),
    ):
        assert cli.run(["audit", str(place), "--out", str(tmp_path / "audit")]) == 2
        assert message in capsys.readouterr().err
