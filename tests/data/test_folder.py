"""Folders of labelled images: what is read, which scale, what is told."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from histonuc.cli import run
from histonuc.data.folder import FolderOptions, prepare_folder
from histonuc.data.store import Store
from histonuc.taxonomy import PANNUKE, THREE

from .labelled_folder import INSTANCES, SIDE, assert_refused, prepare, write_set

ALL_OF_CONSEP = ["Other", "Inflammatory", "Epithelial", "Spindle-shaped"]


# ---- what is read


def test_images_and_instances_come_in_exactly(tmp_path):
    write_set(tmp_path)
    store = prepare(tmp_path)
    with Image.open(tmp_path / "consep/images/a.png") as image:
        assert np.array_equal(store.image(0), np.asarray(image))
    instances = store.instances(0)
    assert np.array_equal(instances > 0, INSTANCES > 0)
    assert store.nuclei["original_id"].to_pylist() == [7, 9, 300]
    for new, old in ((1, 7), (2, 9), (3, 300)):
        assert np.array_equal(instances == new, old == INSTANCES)  # 9: two parts, one nucleus
    assert store.nuclei["channel"].to_pylist() == [-1, -1, -1]
    assert (store.name(0), store.source(0), store.tissue(0), store.mpp(0)) == (
        *("a", "consep", "Colon"),
        0.25,
    )


def test_files_have_their_names_however_they_are_coded_and_written(tmp_path):
    """macOS stores an accent as a letter of its own, and some programs suffixes in capitals."""
    write_set(tmp_path, names=("caf\u00e9",))
    for kind in ("images", "instances", "types"):
        folder = tmp_path / "consep" / kind
        (folder / "caf\u00e9.png").rename(folder / "cafe\u0301.PNG")
    out = tmp_path / "out"
    assert run(["prepare", "folder", str(tmp_path), "--out", str(out), "--num-folds", "1"]) == 0
    store = Store.open(out)
    assert store.tiles.num_rows == 1
    assert store.name(0) == "caf\u00e9"


@pytest.mark.parametrize(
    ("space", "candidates", "types"),
    [
        # ids 7, 9, 300 have CoNSeP's types 4 (spindle-shaped), none, 3 (epithelial, by majority)
        ("pannuke", [["Connective"], PANNUKE.classes, ["Neoplastic", "Epithelial"]], [3, 0, 0]),
        ("consep", [["Spindle-shaped"], ALL_OF_CONSEP, ["Epithelial"]], [4, 0, 3]),
        ("three", [["Connective"], THREE.classes, ["Epithelial or neoplastic"]], [3, 0, 1]),
    ],
)
def test_types_become_candidate_sets(tmp_path, space, candidates, types):
    write_set(tmp_path)
    store = prepare(tmp_path, label_space=space)
    assert store.label_space.name == space
    sets = [store.label_space.candidates(names) for names in candidates]
    assert store.labels(0).candidates.tolist() == [0, *sets]
    assert store.types(0).tolist() == [0, *types]


def test_one_class_space_and_data_without_types(tmp_path):
    write_set(tmp_path, "monuseg", types=None)
    assert prepare(tmp_path, label_space="nucleus").types(0).tolist() == [0, 1, 1, 1]
    store = prepare(tmp_path, overwrite=True)
    assert store.labels(0).candidates.tolist() == [0, 31, 31, 31]
    assert store.types(0).tolist() == [0, 0, 0, 0]


def test_normal_organs_are_not_neoplastic_but_melanoma_may_be(tmp_path):
    write_set(tmp_path, "nuinsseg", ("k",), types=None, organ="kidney", mpp="")
    write_set(tmp_path, "nuinsseg", ("m",), types=None, organ="melanoma", mpp="")
    store = prepare(tmp_path)
    assert store.labels(0).candidates[1] == PANNUKE.any_class & ~1
    assert store.labels(1).candidates[1] == PANNUKE.any_class
    assert [store.tissue(0), store.tissue(1)] == ["Kidney", "Melanoma"]


def test_every_nucleus_a_pixel_and_no_background(tmp_path):
    write_set(tmp_path, types=None, nuclei=SIDE * SIDE)
    full = np.arange(5, 5 + SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)
    Image.fromarray(full).save(tmp_path / "consep/instances/a.png")
    store = prepare(tmp_path)
    assert np.array_equal(store.instances(0), full - 4)


def test_an_image_without_nuclei(tmp_path):
    write_set(tmp_path, nuclei=0)
    Image.fromarray(INSTANCES * 0).save(tmp_path / "consep/instances/a.png")
    store = prepare(tmp_path)
    assert store.labels(0).candidates.tolist() == [0]
    assert store.nuclei.num_rows == 0


def test_grey_and_transparent_images_become_rgb(tmp_path):
    write_set(tmp_path, names=("grey", "rgba"))
    for name, mode in (("grey", "L"), ("rgba", "RGBA")):
        file = tmp_path / "consep/images" / f"{name}.png"
        with Image.open(file) as image:
            converted = image.convert(mode)
        converted.save(file)
    store = prepare(tmp_path)
    assert {store.image(i).shape for i in (0, 1)} == {(SIDE, SIDE, 3)}


def test_only_some_data_sets(tmp_path):
    for name in ("consep", "tnbc", "glioma"):
        write_set(tmp_path, name, types=None)
    store = prepare(tmp_path, only=["tnbc", "consep"])
    assert sorted(store.tiles["source"].to_pylist()) == ["consep", "tnbc"]


# ---- scale


def test_scale_is_given_stated_or_estimated(tmp_path):
    write_set(tmp_path, "consep")
    write_set(tmp_path, "nuinsseg", types=None, mpp="")
    write_set(tmp_path, "tnbc", types=None, mpp="")
    report = prepare_folder(tmp_path, tmp_path / "out", FolderOptions(mpp={"tnbc": 0.5}))
    store = Store.open(tmp_path / "out")
    assert {store.source(i): store.mpp(i) for i in range(3)} == {
        "consep": 0.25,
        "nuinsseg": 0.17,
        "tnbc": 0.5,
    }
    assert any("nuinsseg: scale not stated, 0.17 mpp estimated" in text for text in report.findings)
    assert "tnbc: 0.5 mpp, as given" in report.findings
    assert prepare(tmp_path, overwrite=True, mpp={"tnbc": 1, "nuinsseg": 0.2}).mpp(1) == 0.2


def test_no_scale_is_an_error_that_says_what_to_give(tmp_path):
    write_set(tmp_path, "mine", mpp="")
    assert_refused(tmp_path, r"mine/a: index\.csv states no mpp: .*--mpp\.mine VALUE")
    assert_refused(tmp_path, r"--mpp: no data set \['minee'\]", mpp={"minee": 0.25})
    assert_refused(tmp_path, r"--mpp: expected microns", mpp={"mine": 0.0})


# ---- the report


def test_report_counts_what_is_known_of_the_classes(tmp_path):
    write_set(tmp_path, names=("a", "b"))
    write_set(tmp_path, "mine")
    unknown = "{number: %d, name: c%d, candidates: any}"
    rows = ", ".join(unknown % (number, number) for number in (3, 4))
    (tmp_path / "mine" / "classes.yaml").write_text(f"name: lab\nclasses: [{rows}]\n")
    report = prepare_folder(tmp_path, tmp_path / "out", FolderOptions(num_folds=1))
    rows = report.to_dict()["tables"]["data set"]
    assert rows["consep"] == {
        **{"images": 2, "fold 1": 2, "nuclei": 6},
        **{"one class": 2, "several": 2, "any class": 2},
    }
    assert rows["all"]["nuclei"] == 9
    assert any(text.startswith("mine: 2 nuclei have a class") for text in report.findings)
    assert report.lines()[-1] == f"wrote {tmp_path / 'out'}"


def test_tissues_outside_the_nineteen_are_told(tmp_path):
    write_set(tmp_path, organ="Brain")
    write_set(tmp_path, "tnbc", types=None, organ="")
    report = prepare_folder(tmp_path, tmp_path / "out")
    assert any(text.endswith("kept: Brain, unknown") for text in report.findings)


# ---- the real tiles


def test_real_tiles(shared_data, tmp_path):
    names = ["pannuke3", "nucls15", "tnbc"]
    report = prepare_folder(shared_data, tmp_path / "out", FolderOptions(only=names))
    with (shared_data / "index.csv").open(newline="") as stream:
        index = {(row["dataset"], row["name"]): row for row in csv.DictReader(stream)}
    store = Store.open(tmp_path / "out")
    assert len(store) == 3 + 15 + 37
    for tile in range(len(store)):
        row = index[store.source(tile), store.name(tile)]
        labels = store.labels(tile)
        assert int(labels.instances.max()) == len(labels.candidates) - 1 == int(row["nuclei"])
        assert labels.instances.shape == (int(row["height"]), int(row["width"]))
    table = report.to_dict()["tables"]["data set"]
    assert table["pannuke3"]["one class"] == 125
    assert (table["nucls15"]["any class"], table["tnbc"]["any class"]) == (640, 3157)
    patients = {}
    for row in store.tiles.to_pylist():
        if row["source"] == "tnbc":
            patients.setdefault(row["patient"], set()).add(row["fold"])
    assert len(patients) == 8
    assert all(len(folds) == 1 for folds in patients.values())
