"""Points as labels, several folders in one store, splits, and what is for checking only."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histonuc import cli
from histonuc.data.store import Store
from histonuc.taxonomy import PANNUKE

SIDE = 40
CLASSES = """\
name: clicks
mpp: 0.5
organ: Colon
classes:
  - {number: 0, name: unknown, candidates: any}
  - {number: 1, name: gland, candidates: [Neoplastic, Epithelial]}
  - {number: 2, name: lymph, candidates: [Inflammatory]}
"""


def write_points(
    folder: Path,
    names: dict[str, str],
    *,
    points: str = "3,4.5,gland\n20.25,7,lymph\n",
    **more: str,
) -> None:
    """A folder of one data set with points; `names` gives the split of each image."""
    for kind in ("images", "points"):
        (folder / "clicks" / kind).mkdir(parents=True, exist_ok=True)
    (folder / "classes.yaml").write_text(CLASSES)
    with (folder / "index.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["name", "split", "width", "height", *more])
        writer.writeheader()
        for k, (name, split) in enumerate(names.items()):
            pixels = np.random.default_rng(k).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "clicks" / "images" / f"{name}.png")
            (folder / "clicks" / "points" / f"{name}.csv").write_text("x,y,class\n" + points)
            writer.writerow({"name": name, "split": split, "width": SIDE, "height": SIDE} | more)


def run(out: Path, *arguments: object) -> int:
    return cli.run(["prepare", "folder", *map(str, arguments), "--out", str(out), "--overwrite"])


def refuse(out: Path, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run(out, *arguments) == 2
    assert not out.exists()
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_points_of_a_table_count_from_the_centre_of_the_first_pixel(tmp_path, capsys) -> None:
    write_points(tmp_path / "raw", {"a": ""})
    assert run(tmp_path / "out", tmp_path / "raw") == 0
    assert "clicks: scale not stated, 0.5 mpp stated" in capsys.readouterr().out
    store = Store.open(tmp_path / "out")
    points = store.points(0)
    assert points.position.tolist() == [[3.5, 5.0], [20.75, 7.5]]
    assert points.candidates.tolist() == [0b10001, 0b00010]
    assert (store.mpp(0), store.tissue(0), store.source(0)) == (0.5, "Colon", "clicks")


def test_points_that_qupath_exports_count_from_the_corner(tmp_path) -> None:
    write_points(tmp_path / "raw", {"a": ""})
    (tmp_path / "raw/clicks/points/a.csv").unlink()
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "MultiPoint", "coordinates": [[3.5, 5.0], [1, 2]]},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": "gland", "color": [255, 0, 0]},
            },
        },
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [9, 9]}},
    ]
    document = {"type": "FeatureCollection", "features": features}
    (tmp_path / "raw/clicks/points/a.geojson").write_text(json.dumps(document))
    assert run(tmp_path / "out", tmp_path / "raw") == 0
    points = Store.open(tmp_path / "out").points(0)
    assert points.position.tolist() == [[3.5, 5.0], [1, 2], [9, 9]]
    assert points.candidates.tolist() == [0b10001, 0b10001, PANNUKE.any_class]


def test_a_tile_with_points_says_nothing_about_pixels(tmp_path, caplog) -> None:
    write_points(tmp_path / "raw", {"a": "", "b": ""})
    assert run(tmp_path / "out", tmp_path / "raw") == 0
    store = Store.open(tmp_path / "out")
    assert not store.has_outlines(0)
    for read in (store.instances, store.labels):
        with pytest.raises(ValueError, match=r"clicks a\) has points and no outlines"):
            read(0)
    with pytest.raises(ValueError, match="2 tiles of clicks have points and no outlines: choose"):
        store.select()
    assert store.select(labels="points").tolist() == [0, 1]
    assert store.class_counts(np.array([0])).sum() == 0
    assert not list((tmp_path / "out").rglob("instances.npy"))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("3,4,glnd\n", "has the classes ['glnd'], which"),
        ("3,x,gland\n", "a.csv, line 2: expected pixels as x and y, got '3', 'x'"),
        ("3,nan,gland\n", "a.csv, line 2: expected pixels as x and y"),
        ("3,41,gland\n", "1 points lie outside the 40 x 40 pixels"),
        ("-3,4,gland\n", "1 points lie outside the 40 x 40 pixels"),
    ],
)
def test_points_that_cannot_be_are_refused(tmp_path, capsys, points, message) -> None:
    write_points(tmp_path / "raw", {"a": ""}, points=points)
    assert message in refuse(tmp_path / "out", capsys, tmp_path / "raw")


def test_a_click_at_the_rim_may_lie_just_outside(tmp_path) -> None:
    write_points(tmp_path / "raw", {"a": ""}, points="-0.85,39.9,gland\n")
    assert run(tmp_path / "out", tmp_path / "raw") == 0


def test_numbers_of_points_that_the_index_states_are_compared(tmp_path, capsys) -> None:
    write_points(tmp_path / "raw", {"a": ""}, gland="1", lymph="1")
    assert run(tmp_path / "out", tmp_path / "raw") == 0
    write_points(tmp_path / "other", {"a": ""}, gland="2")
    message = refuse(tmp_path / "none", capsys, tmp_path / "other")
    assert "clicks/a has 1 gland where the index states 2" in message


def test_labels_of_two_kinds_are_refused(tmp_path, capsys) -> None:
    write_points(tmp_path / "raw", {"a": ""})
    (tmp_path / "raw/clicks/instances").mkdir()
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(tmp_path / "raw/clicks/instances/a.png")
    assert "both label a: remove one of them" in refuse(tmp_path / "out", capsys, tmp_path / "raw")


# ---- splits


def folds_of(out: Path) -> dict[str, int]:
    store = Store.open(out)
    return {store.name(tile): store.fold(tile) for tile in range(len(store))}


def test_a_data_set_keeps_its_split(tmp_path, capsys) -> None:
    splits = {"a": "train", "b": "train", "c": "Val", "d": "check"}
    write_points(tmp_path / "raw", splits)
    assert run(tmp_path / "out", tmp_path / "raw") == 0
    folds = folds_of(tmp_path / "out")
    assert {folds["a"], folds["b"]} == {1, 2}
    assert (folds["c"], folds["d"]) == (3, 0)
    assert Store.open(tmp_path / "out").folds == [1, 2, 3]
    assert "clicks: 1 images are for checking only and are in fold 0" in capsys.readouterr().out
    write_points(tmp_path / "raw", {"a": "train", "b": "validation", "c": "test"})
    assert run(tmp_path / "out", tmp_path / "raw") == 0
    assert folds_of(tmp_path / "out") == {"a": 1, "b": 2, "c": 3}
    write_points(tmp_path / "raw", {"a": "2", "b": "4", "c": "1"})
    assert run(tmp_path / "out", tmp_path / "raw", "--num-folds", 4) == 0
    assert folds_of(tmp_path / "out") == {"a": 2, "b": 4, "c": 1}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (
            ["train", "dev"],
            "line 3: expected train, validation, test, check or the number of a fold",
        ),
        (["train", ""], "got ''"),
        (["1", "train"], "others of clicks are numbers of folds"),
        (["1", "4"], "fold 4 of 3: raise --num-folds"),
    ],
)
def test_splits_that_cannot_be_are_refused(tmp_path, capsys, splits, message) -> None:
    write_points(tmp_path / "raw", dict(zip("ab", splits, strict=True)))
    assert message in refuse(tmp_path / "out", capsys, tmp_path / "raw")


def test_fewer_folds_than_the_split_needs(tmp_path, capsys) -> None:
    write_points(tmp_path / "raw", {"a": "train", "b": "val"})
    message = refuse(tmp_path / "out", capsys, tmp_path / "raw", "--num-folds", 1)
    assert "--num-folds 1: clicks is split into train, validation" in message


# ---- the shared data


@pytest.fixture(scope="module")
def several(shared_data, tmp_path_factory) -> Store:
    """CoNSeP with seven classes, what is for checking, and points, in one store."""
    shared = shared_data.parent
    out = tmp_path_factory.mktemp("several") / "out"
    assert run(out, shared / "classes", shared / "points") == 0
    return Store.open(out)


def test_several_folders_become_one_store(several) -> None:
    sources = [several.source(tile) for tile in range(len(several))]
    counts = {name: sources.count(name) for name in sorted(set(sources))}
    assert counts == {"consep7": 27, "crchisto": 80, "monusac3": 3}
    folds = {(several.source(t), several.fold(t)) for t in range(len(several))}
    assert {fold for name, fold in folds if name == "monusac3"} == {0}
    tiles = several.select(labels="points")
    assert sum(len(several.points(int(tile))) for tile in tiles) == 23_283
    marks = np.concatenate([several.points(int(tile)).candidates for tile in tiles])
    known = {0b10001: 6_229, 0b00100: 4_536, 0b00010: 5_199, PANNUKE.any_class: 1_837 + 5_482}
    assert {mask: int((marks == mask).sum()) for mask in known} == known
    validation = [t for t in tiles if several.fold(int(t)) == 3]
    assert (len(validation), len(tiles)) == (10, 80)
    assert several.class_counts(several.select()).sum(0).tolist() == [4420, 3941, 5706, 0, 1117]


def test_consep7_has_the_folds_of_consep(shared_data, several, tmp_path) -> None:
    assert run(tmp_path / "out", shared_data, "--only", "consep") == 0
    seven = {several.name(int(t)): several.fold(int(t)) for t in several.select(None, ["consep7"])}
    assert folds_of(tmp_path / "out") == seven


def test_the_same_images_twice_are_refused(shared_data, tmp_path, capsys) -> None:
    both = (shared_data, shared_data.parent / "classes", "--only", "consep", "consep7")
    message = refuse(tmp_path / "out", capsys, *both)
    assert "consep and consep7 have the outlines of 27 tiles in common" in message


def test_what_is_for_checking_never_enters_a_training(several, tmp_path, capsys) -> None:
    line = ["train", "--data", str(several.path), "--out", str(tmp_path / "run"), "--trunk", "unet"]
    small = ["--trunk-options.width", "4", "--workers", "0", "--accelerator", "cpu"]
    assert cli.run([*line, *small, "--folds", "0", "1", "--val-folds", "3"]) == 2
    message = capsys.readouterr().err
    assert "fold 0 of" in message
    assert "is for checking a finished model (monusac3), not for training" in message


def test_an_image_of_which_some_nuclei_are_marked_says_so(tmp_path, capsys) -> None:
    write_points(tmp_path / "raw", {"a": "", "b": ""}, marked="some")
    assert run(tmp_path / "out", tmp_path / "raw") == 0
    store = Store.open(tmp_path / "out")
    assert [store.is_sparse(tile) for tile in range(len(store))] == [True, True]
    assert not store.has_outlines(0)
    write_points(tmp_path / "other", {"a": ""}, marked="few")
    said = refuse(tmp_path / "no", capsys, tmp_path / "other")
    assert "expected all or some as marked, got 'few'" in said
