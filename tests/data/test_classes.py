"""Classes files: candidate sets of known data sets, label spaces of one's own, clear errors."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from histonuc import cli
from histonuc.data.classes import open_classes
from histonuc.data.classes_file import read_classes
from histonuc.data.store import Store
from histonuc.taxonomy import LABEL_SPACES, NUCLEUS, PANNUKE, THREE, LabelSpace

from ..fuzzing import assert_clear, mutate_bytes, no_hang, outcome
from .labelled_folder import write_set

LAB = """\
name: lab
classes:
  - {number: 3, name: Tumour, colour: "#102030", candidates: [Neoplastic]}
  - {number: 4, name: Gland, candidates: [Neoplastic, Epithelial]}
  - {number: 2, name: Unsure, candidates: any}
"""


def run(folder: Path, *options: str) -> Store:
    line = ["prepare", "folder", str(folder), "--out", str(folder / "out"), "--overwrite", *options]
    assert cli.run(line) == 0
    return Store.open(folder / "out")


def refuse(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert cli.run(["prepare", "folder", str(folder), "--out", str(folder / "out"), *options]) == 2
    assert not (folder / "out").exists()
    return capsys.readouterr().err.strip().splitlines()[-1]


# ---- files that ship with the package


def sets(name: str, number: int, space: LabelSpace, organ: str = "") -> list[str]:
    mask = open_classes(name).candidate_set(number, space, organ)
    return [kind for j, kind in enumerate(space.classes) if mask >> j & 1]


def test_known_data_sets_say_what_they_know() -> None:
    every, no_tumour = list(PANNUKE.classes), list(PANNUKE.classes[1:])
    own = open_classes("consep").label_space
    assert sets("consep", 2, PANNUKE) == ["Inflammatory"]
    assert sets("consep", 3, PANNUKE) == ["Neoplastic", "Epithelial"]
    assert sets("consep", 1, PANNUKE) == sets("consep", 0, PANNUKE) == every
    assert sets("consep", 3, own) == ["Epithelial"]
    assert sets("consep", 3, THREE) == ["Epithelial or neoplastic"]
    assert sets("consep", 4, THREE) == ["Connective"]
    assert sets("nuinsseg", 0, PANNUKE, "liver") == no_tumour
    assert sets("nuinsseg", 0, PANNUKE, "human Melanoma") == every
    assert sets("nuinsseg", 0, THREE, "liver") == list(THREE.classes)
    assert sets("pannuke", 4, PANNUKE) == ["Dead"]
    assert sets("pannuke", 4, THREE) == list(THREE.classes)
    assert sets("pannuke", 5, THREE) == ["Epithelial or neoplastic"]
    assert sets("pannuke", 5, NUCLEUS) == ["Nucleus"]
    assert sets("pannuke", 5, own) == list(own.classes)  # of another data set: nothing is known
    seven = [sets("consep7", number, PANNUKE) for number in range(1, 8)]
    assert seven[0] == every
    assert seven[1:4] == [["Inflammatory"], ["Epithelial"], ["Neoplastic"]]
    assert seven[4:] == [["Connective"]] * 3
    points = {
        name: sets("crchisto", n, PANNUKE) for n, name in open_classes("crchisto").names.items()
    }
    assert points == {
        "unlabelled": every,
        "epithelial": ["Neoplastic", "Epithelial"],
        "fibroblast": ["Connective"],
        "inflammatory": ["Inflammatory"],
        "others": every,
    }
    assert open_classes("monusac3").split == "check"


def test_the_files_are_where_people_look() -> None:
    folder = Path(__file__).parents[2] / "configs" / "classes"
    names = {path.stem for path in folder.glob("*.yaml")}
    assert names == {"consep", "consep7", "crchisto", "monusac3", "nuinsseg", "pannuke"}
    assert all(open_classes(name).name == name for name in names)


# ---- files of one's own


def test_classes_beside_the_index_become_candidate_sets(tmp_path, capsys) -> None:
    write_set(tmp_path, "mylab")
    (tmp_path / "classes.yaml").write_text(LAB)
    store = run(tmp_path)
    # ids 7, 9 and 300 have the numbers 4, none and 3 (by majority)
    assert store.candidates(0).tolist() == [0, 0b10001, PANNUKE.any_class, 0b00001]
    assert f"mylab: classes as {tmp_path / 'classes.yaml'} says" in capsys.readouterr().out


def test_own_class_names_make_an_own_label_space(tmp_path) -> None:
    write_set(tmp_path, "mylab")
    (tmp_path / "mylab" / "classes.yaml").write_text(LAB)
    store = run(tmp_path, "--label-space", "lab")
    assert store.label_space == LabelSpace(
        name="lab",
        classes=("Tumour", "Gland", "Unsure"),
        colours=((0x10, 0x20, 0x30), (51, 160, 255), (38, 180, 75)),
    )
    assert store.label_space.meanings == (("Neoplastic",), ("Neoplastic", "Epithelial"), ())
    assert store.types(0).tolist() == [0, 2, 0, 1]
    assert store.candidates(0)[2] == store.label_space.any_class


def test_a_file_given_goes_before_all_others(tmp_path) -> None:
    write_set(tmp_path, "consep")
    (tmp_path / "classes.yaml").write_text(LAB.replace("[Neoplastic]", "[Dead]"))
    (tmp_path / "mine.yaml").write_text(LAB)
    assert run(tmp_path).types(0).tolist() == [0, 0, 0, 4]
    assert run(tmp_path, "--classes", str(tmp_path / "mine.yaml")).types(0).tolist() == [0, 0, 0, 1]
    named = run(tmp_path, "--classes", "consep")
    assert named.candidates(0)[3] == 0b10001


def test_one_file_for_some_of_the_data_sets(tmp_path) -> None:
    write_set(tmp_path, "site_a")
    write_set(tmp_path, "consep")
    (tmp_path / "classes.yaml").write_text(LAB + "datasets: [site_a]\n")
    store = run(tmp_path)
    of = {store.source(tile): store.candidates(tile).tolist()[3] for tile in range(2)}
    assert of == {"site_a": 0b00001, "consep": 0b10001}


def test_classes_without_candidates_are_their_own_label_space(tmp_path, capsys) -> None:
    write_set(tmp_path, "mylab")
    rows = "[{number: 3, name: A}, {number: 4, name: B}]"
    (tmp_path / "classes.yaml").write_text(f"name: lab\nclasses: {rows}\n")
    message = refuse(tmp_path, capsys)
    assert "does not say what 'A' is among Neoplastic, Inflammatory" in message
    assert "--label-space lab" in message
    assert run(tmp_path, "--label-space", "lab").types(0).tolist() == [0, 2, 0, 1]
    assert run(tmp_path, "--label-space", "nucleus").types(0).tolist() == [0, 1, 1, 1]


# ---- neither a guess nor silence


def test_classes_that_nothing_explains_are_refused(tmp_path, capsys) -> None:
    write_set(tmp_path, "mylab")
    message = refuse(tmp_path, capsys)
    assert "mylab/a: its nuclei have classes, and nothing says what they mean" in message
    assert str(tmp_path / "classes.yaml") in message
    assert run(tmp_path, "--label-space", "nucleus").types(0).tolist() == [0, 1, 1, 1]


def test_a_number_that_is_not_listed_is_refused(tmp_path, capsys) -> None:
    write_set(tmp_path, "mylab")
    (tmp_path / "classes.yaml").write_text(LAB.replace("number: 4", "number: 5"))
    assert "mylab/a: class number 4 is not in" in refuse(tmp_path, capsys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name: lab", "name: pannuke"), "the name 'pannuke' is taken"),
        (("name: lab", "nom: lab"), "['nom'] is not known; there are name, datasets"),
        (("candidates: [Neoplastic]", "candidate: [Neoplastic]"), "['candidate'] is not known"),
        (("[Neoplastic]", "[Tumour]"), "class 1: expected `candidates` from Neoplastic, "),
        (("[Neoplastic]", "[]"), "class 1: expected `candidates` from Neoplastic, "),
        (("number: 4", "number: four"), "class 2: expected a whole number from 0 as `number`"),
        (("number: 4", "number: 3"), "lists a number twice"),
        (("name: Gland", "name: Tumour"), "the name 'Tumour' stands for two classes"),
        (("name: Gland", "name: "), "class 2: expected a text as `name`"),
        (("#102030", "red"), 'class 1: expected `colour` as "#rrggbb", in quotes'),
        (("name: lab", "name: lab\nmpp: -1"), "expected microns per pixel above 0 as `mpp`"),
        (("name: lab", "name: lab\nsplit: train"), "expected `split: check` or none"),
        (("classes:", "classes: none\nx:"), "is not known"),
        (("{number: 3", "{number: 3: 4"), "classes.yaml, line 3: "),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, capsys, change, message) -> None:
    write_set(tmp_path, "mylab")
    (tmp_path / "classes.yaml").write_text(LAB.replace(*change))
    text = refuse(tmp_path, capsys)
    assert message in text
    assert str(tmp_path / "classes.yaml") in text


def test_names_that_are_not_there_list_the_choices(tmp_path, capsys) -> None:
    write_set(tmp_path, "consep")
    text = refuse(tmp_path, capsys, "--label-space", "lab")
    assert "choose from ['pannuke', 'four', 'three', 'nucleus', 'consep']" in text
    text = refuse(tmp_path, capsys, "--classes", "lab")
    assert "no file at lab, and none of that name ships with histonuc (consep, consep7" in text
    (tmp_path / "other.yaml").write_text(LAB + "datasets: [elsewhere]\n")
    text = refuse(tmp_path, capsys, "--classes", str(tmp_path / "other.yaml"))
    assert "speaks of none of the data sets ['consep']" in text
    (tmp_path / "b.yaml").write_text(LAB)
    text = refuse(tmp_path, capsys, "--classes", "consep", str(tmp_path / "b.yaml"))
    assert "both speak of consep" in text


@no_hang
def test_mutated_files_are_read_or_refused(tmp_path) -> None:
    file = tmp_path / "classes.yaml"
    rng, errors = random.Random(0), 0
    for _ in range(200):
        file.write_bytes(mutate_bytes(LAB.encode(), rng))
        result = outcome(read_classes, file)
        if isinstance(result, ValueError):
            errors += 1
            assert_clear(result, file.name)
        else:
            assert len(result.label_space) >= 1
            assert all(np.isfinite(number) for number in result.names)
    assert 0 < errors < 200
    assert set(LABEL_SPACES) == {"pannuke", "four", "three", "nucleus"}
