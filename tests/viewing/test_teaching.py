"""A classifier that is taught while one looks: what is taught, what is shown, and what is held out."""

import shutil
import threading
import time

import numpy as np
import pytest

from histonuc import cli
from histonuc.files import read_json
from histonuc.teaching import LiveClassifier, live, read_classifier
from histonuc.teaching.filling import FILLED_UP, fill_up
from histonuc.teaching.live import fit_labels
from histonuc.viewing.opened import open_result
from histonuc.viewing.serving import serve
from histonuc.viewing.taught import Teacher, find_labels, join_classes

from .conftest import Client

SLIDE = "/api/slides/0"


@pytest.fixture
def folder(made, tmp_path):
    """A copy of the drawn result, to be corrected."""
    return shutil.copytree(made.folder, tmp_path / "result")


def ask(page, path, **body):
    status, reply = page.write(f"{SLIDE}/{path}", body)
    assert status == 200, reply
    return reply


def wait(page):
    """Until teaching is done."""
    end = time.monotonic() + 200
    while time.monotonic() < end:
        lesson = page.json(f"{SLIDE}/teach")
        if lesson["phase"] not in ("opening", "teaching"):
            return lesson
        time.sleep(0.05)
    raise TimeoutError


def test_what_was_labelled_colours_the_slide(folder, made) -> None:
    small = np.flatnonzero(made.nuclei.area_px < np.quantile(made.nuclei.area_px, 0.2)) + 1
    with serve([folder], by="ada") as viewer:
        page = Client(viewer)
        before = page.json(f"{SLIDE}/counts", {})["by_class"]
        assert page.json(f"{SLIDE}/teach")["phase"] == "off"
        ask(page, "teach", do="teach")
        lesson = wait(page)
        assert (lesson["phase"], "some nuclei a class" in lesson["message"]) == ("failed", True)
        ask(page, "corrections", do="define_class", name="Small", colour="#ffffff", digit=5)
        ask(page, "corrections", do="classify", nuclei=small[:40].tolist(), **{"class": "Small"})
        version = page.json(f"{SLIDE}/corrections")["version"]
        ask(page, "teach", do="teach")
        lesson = wait(page)
        assert (lesson["phase"], lesson["by_class"]) == ("shown", {"Small": 40})
        assert len(lesson["filled_up"]) == 3
        assert lesson["has_embeddings"] is False
        assert page.json(f"{SLIDE}/corrections")["version"] > version
        total = page.json(f"{SLIDE}/list", {"filters": {"classes": [3]}, "limit": 500})
        found = {row["id"] for row in total["rows"]}
        # Small nuclei that nobody labelled have become that class, large ones have not.
        assert len(found & set(small[40:].tolist())) > 100
        assert len(found - set(small.tolist())) < len(found) / 2
        after = page.json(f"{SLIDE}/counts", {})["by_class"]
        assert sum(after) == sum(before)
        ask(page, "teach", do="hide")
        kinds = np.bincount(made.nuclei.class_index[small[:40] - 1], minlength=3)
        expected = [n - int(k) for n, k in zip(before, kinds, strict=True)]
        assert page.json(f"{SLIDE}/counts", {})["by_class"] == [*expected, 40]
    assert [file.name for file in folder.iterdir() if "classifier" in file.name] == []


def test_what_is_held_out_never_teaches(folder) -> None:
    opened = open_result(folder)
    corrector, size = opened.corrector, opened.facts.size_px
    name = opened.table.label_space.classes[0]
    corrector.apply({"do": "classify", "nuclei": [1, 2, 3], "class": name}, size, 0.25)
    found = find_labels(opened.nuclei(), corrector.corrections, corrector.predicted)
    assert set(found) == {1, 2, 3}
    while corrector.corrections.held_out == frozenset():
        proposal = opened.proposer.propose(opened.scene(), opened.teaching().choose)
        if proposal.why == "random":
            wish = {"do": "hold_out", "nuclei": [proposal.id]}
            corrector.write(_operation(wish, opened))
    (held,) = corrector.corrections.held_out
    corrector.apply({"do": "classify", "nuclei": [held], "class": name}, size, 0.25)
    found = find_labels(opened.nuclei(), corrector.corrections, corrector.predicted)
    assert set(found) == {1, 2, 3}
    table = join_classes(found, corrector.corrections, corrector.predicted)
    (filled,) = fill_up([table])
    assert not {1, 2, 3, held} & set(filled)
    assert 0 < sum(one == name for one in filled.values()) <= FILLED_UP - 3
    assert max(np.unique(list(filled.values()), return_counts=True)[1]) <= FILLED_UP
    first, second = fill_up([table, table])  # two slides give by turns
    together = [*first.values(), *second.values()]
    assert together.count(name) <= FILLED_UP - 6
    assert abs(len(first) - len(second)) <= 3


def test_what_is_hidden_while_it_is_taught_stays_hidden(folder, monkeypatch) -> None:
    opened = open_result(folder)
    corrector, size = opened.corrector, opened.facts.size_px
    name = opened.table.label_space.classes[0]
    corrector.apply({"do": "classify", "nuclei": [1, 2, 3], "class": name}, size, 0.25)
    teacher = Teacher(folder, corrector)
    fits, may_end = threading.Event(), threading.Event()

    def fit(*arguments):
        fits.set()
        assert may_end.wait(60)
        return fit_labels(*arguments)

    monkeypatch.setattr(live, "fit_labels", fit)
    before = corrector.table().index().kind.copy()
    teacher.teach()
    assert fits.wait(60)
    teacher.hide()
    may_end.set()
    for thread in threading.enumerate():
        if thread.name == "histonuc-teach":
            thread.join(60)
    assert teacher.lesson.phase == "off"
    np.testing.assert_array_equal(corrector.table().index().kind, before)


def test_what_is_kept_is_what_is_shown(folder, made) -> None:
    opened = open_result(folder)
    corrector, size = opened.corrector, opened.facts.size_px
    corrector.apply(
        {"do": "define_class", "name": "Small", "colour": "#ffffff", "digit": 5}, size, 0.25
    )
    small = np.flatnonzero(made.nuclei.area_px < np.quantile(made.nuclei.area_px, 0.2)) + 1
    wish = {"do": "classify", "nuclei": small[:6].tolist(), "class": "Small"}
    corrector.apply(wish, size, 0.25)
    teacher = Teacher(folder, corrector)
    teacher.teach()
    end = time.monotonic() + 60
    while teacher.lesson.phase in ("opening", "teaching") and time.monotonic() < end:
        time.sleep(0.05)
    assert (teacher.lesson.phase, teacher.lesson.few) == ("shown", ("Small",))
    line = ["teach", str(folder), "--no-embeddings", "--out", str(folder.parent / "mine")]
    assert cli.run(line) == 0
    report = read_json(folder.parent / "mine" / "report.json", "report")
    assert report["classes"]["Small"] == report["num_labels"] == 6
    assert set(report["filled_up"]) == set(teacher.lesson.filled_up)
    assert sum(row["labels"] for row in report["cross_validation"]["classes"].values()) <= 6
    (note,) = [note for note in report["notes"] if "--labels-only" in note]
    assert "no figure is about them" in note
    classifier, _ = read_classifier(folder.parent / "mine")
    kept = LiveClassifier.open(folder).classify(classifier).class_index
    shown = teacher._classified
    assert shown is not None
    assert (kept == shown.class_index).mean() > 0.999  # but for what lies between two classes
    # Nobody labelled another class, so labels alone do not teach.
    assert cli.run([*line[:-1], str(folder.parent / "other"), "--labels-only"]) == 2


def _operation(wish, opened):
    from histonuc.corrections import Operation
    from histonuc.viewing.wishes import list_targets

    return Operation(do=wish["do"], nuclei=list_targets(wish["nuclei"], opened.scene()))


def test_a_complete_field_teaches_all_its_nuclei(folder, made) -> None:
    opened = open_result(folder)
    corrector, size = opened.corrector, opened.facts.size_px
    ring = [[400, 400], [900, 400], [900, 900], [400, 900]]
    corrector.apply({"do": "field", "ring": ring, "complete": False}, size, 0.25)
    assert find_labels(opened.nuclei(), corrector.corrections, corrector.predicted) == {}
    (field,) = corrector.corrections.fields
    corrector.apply({"do": "field", "field": field.key, "complete": True}, size, 0.25)
    found = find_labels(opened.nuclei(), corrector.corrections, corrector.predicted)
    x, y = made.nuclei.centroid.T
    inside = np.flatnonzero((x > 400) & (x < 900) & (y > 400) & (y < 900)) + 1
    assert len(set(inside.tolist()) ^ set(found)) <= 4  # those on the border
    classes = opened.table.label_space.classes
    assert all(classes[made.nuclei.class_index[n - 1]] == found[n] for n in found)
