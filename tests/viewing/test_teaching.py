"""A classifier that is taught while one looks: what is taught, what is shown, and what is held out."""

import shutil
import time

import numpy as np
import pytest

from histonuc.viewing import taught
from histonuc.viewing.opened import open_result
from histonuc.viewing.serving import serve
from histonuc.viewing.taught import fill_up, find_labels

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
    filled, names = fill_up(opened.nuclei(), found, corrector.predicted)
    assert not {1, 2, 3, held} & set(filled)
    assert name in names
    assert sum(one == name for one in filled.values()) <= taught.FILLED_UP - 3
    assert max(np.unique(list(filled.values()), return_counts=True)[1]) <= taught.FILLED_UP


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
