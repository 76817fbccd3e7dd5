"""Corrections over the wire: what is done shows everywhere, lasts, and is refused where it must be."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import shapely

from histonuc.corrections import CorrectionLog, corrected_source
from histonuc.viewing import correcting, proposing
from histonuc.viewing.correcting import Corrector
from histonuc.viewing.edits import Prediction
from histonuc.viewing.opened import open_result
from histonuc.viewing.serving import serve
from histonuc.viewing.table import NucleusTable
from histonuc.viewing.wire import unpack

from .conftest import Client

SLIDE = "/api/slides/0"
CELL = "Plasma cell"


@pytest.fixture
def folder(made, tmp_path):
    """A copy of the drawn result, to be corrected."""
    return shutil.copytree(made.folder, tmp_path / "result")


@pytest.fixture
def page(folder):
    """A viewer of it."""
    with serve([folder], by="ada") as viewer:
        yield Client(viewer)


def do(page, what, /, status=200, **wish):
    """Correct something."""
    code, reply = page.write(f"{SLIDE}/corrections", {"do": what, **wish})
    assert code == status, reply
    return reply


def define(page, name=CELL, digit=4):
    return do(page, "define_class", name=name, colour="#00ff88", digit=digit)


def counts(page, **body):
    return page.json(f"{SLIDE}/counts", body)["by_class"]


def nucleus(page, number):
    return page.json(f"{SLIDE}/nuclei/{number}")


def area(ring):
    return shapely.Polygon(ring).area


def test_a_class_shows_everywhere(page, made) -> None:
    before = counts(page)
    define(page)
    reply = do(page, "classify", nuclei=[1, 2, 3], **{"class": CELL})
    assert (reply["num_corrected"], reply["people"]) == (3, {"ada": 3})
    kinds = np.bincount(made.nuclei.class_index[:3], minlength=4)
    after = [*before, 0]
    assert counts(page) == [a - b for a, b in zip(after, [*kinds[:3], -3], strict=True)]
    facts, arrays = unpack(page.ask(f"{SLIDE}/density", {})[1])
    assert facts["totals"] == counts(page)
    assert arrays["counts"].sum() == len(made.nuclei)
    wish = {"filters": {"classes": [3]}, "columns": [f"p_{THREE[0]}"]}
    listed = page.json(f"{SLIDE}/list", wish)["rows"]
    assert [(row["id"], row["class"], row[f"p_{THREE[0]}"]) for row in listed] == [
        (number, 3, 0) for number in (1, 2, 3)
    ]
    one = nucleus(page, 2)
    assert (one["class_name"], one["probabilities"]) == (CELL, [0, 0, 0, 1])
    assert (one["row"]["class"], one["mark"]) == (CELL, 1)
    region = {"rings": [[[0, 0], [2500, 0], [2500, 1700], [0, 1700]]]}
    (found,) = page.json(f"{SLIDE}/regions/count", {"regions": [region]})["regions"]
    assert [row["num_nuclei"] for row in found["classes"]] == counts(page)
    by_class = page.json(f"{SLIDE}/histogram", {"column": "area_um2"})
    assert len(by_class["counts"]) == 4
    _, square = unpack(page.ask(f"{SLIDE}/squares/3/0/0")[1])
    assert square["id"][square["class"] == 3].tolist() == [1, 2, 3]
    assert square["id"][square["mark"] > 0].tolist() == [1, 2, 3]
    do(page, "classify", nuclei=[1, 2, 3], **{"class": None})
    assert counts(page) == [*before, 0]
    text = page.ask(f"{SLIDE}/regions/export?format=csv", {"regions": [region]})[1].decode()
    assert CELL in text


THREE = ("Epithelial or neoplastic", "Inflammatory", "Connective")


def test_what_is_deleted_is_nowhere(page, made) -> None:
    total = sum(counts(page))
    do(page, "delete", nuclei=[7])
    assert sum(counts(page)) == total - 1
    assert page.ask(f"{SLIDE}/nuclei/7")[0] == 404
    _, square = unpack(page.ask(f"{SLIDE}/squares/3/0/0")[1])
    assert 7 not in square["id"]
    first = page.json(f"{SLIDE}/list", {"limit": 500})
    assert first["total"] == total - 1
    assert 7 not in [row["id"] for row in first["rows"]]
    assert do(page, "delete", status=400, nuclei=[7])["error"] == "Nucleus 7 is not there any more."
    do(page, "undo")
    assert sum(counts(page)) == total
    points = made.nuclei.points[slice(*made.nuclei.offsets[6:8])]
    assert nucleus(page, 7)["outline"] == points.tolist()


def test_nuclei_are_made_and_numbered(page, made) -> None:
    num = len(made.nuclei)
    ring = [[1000, 1000], [1040, 1000], [1040, 1030], [1000, 1030]]
    wish = {"ring": ring, "clicked": False, "class": THREE[1]}
    assert do(page, "add", **wish)["made"] == [num + 1]
    one = nucleus(page, num + 1)
    assert (one["class_name"], one["score"], one["mark"] & 4) == (THREE[1], 1, 4)
    assert area(one["outline"]) == 1200
    assert one["row"]["area_um2"] == pytest.approx(1200 / 16)
    assert one["row"]["circularity"] == pytest.approx(4 * np.pi * 1200 / 140**2, rel=1e-6)
    assert (one["x"], one["y"]) == (1020, 1015)
    do(page, "undo")
    assert page.ask(f"{SLIDE}/nuclei/{num + 1}")[0] == 404
    # A number is never given twice.
    assert do(page, "add", **wish)["made"] == [num + 2]
    place = f"{SLIDE}/squares/0/{1020 // 1024}/{1015 // 1024}?detail=full&columns=circularity,trust"
    _, square = unpack(page.ask(place)[1])
    at = int(np.flatnonzero(square["id"] == num + 2)[0])
    first, last = square["offsets"][at : at + 2]
    assert last - first == 4
    assert square["circularity"][at] > 0.7
    assert np.isnan(square["trust"][at])


def test_split_and_join_add_up(page) -> None:
    x0, y0, x1, y1 = nucleus(page, 20)["box_xyxy"]
    whole = area(nucleus(page, 20)["outline"])
    middle = (y0 + y1) / 2
    line = [[x0 - 3, middle], [x1 + 3, middle]]
    made = do(page, "split", nuclei=[20], line=line)["made"]
    parts = [area(nucleus(page, number)["outline"]) for number in made]
    assert sum(parts) == pytest.approx(whole, rel=2e-3)
    assert page.ask(f"{SLIDE}/nuclei/20")[0] == 404
    (joined,) = do(page, "join", nuclei=made)["made"]
    assert area(nucleus(page, joined)["outline"]) == pytest.approx(sum(parts), rel=1e-3)
    error = do(page, "split", 400, nuclei=[joined], line=[[x0 - 3, y0], [x0 - 2, y1]])["error"]
    assert error.startswith("The line does not cross the nucleus")
    assert "too far apart" in do(page, "join", 400, nuclei=[30, 3000])["error"]
    assert "two nuclei or more" in do(page, "join", 400, nuclei=[30])["error"]


def test_a_redrawn_nucleus_moves_to_another_square(page) -> None:
    x, y = nucleus(page, 1)["x"], nucleus(page, 1)["y"]
    far = [[x + 1100, y + 600], [x + 1140, y + 600], [x + 1140, y + 640], [x + 1100, y + 640]]
    reply = do(page, "redraw", nuclei=[1], ring=far, clicked=False)
    boxes = np.array(reply["changed_boxes"])
    for place in ((x, y), (x + 1120, y + 620)):
        inside = (boxes[:, :2] <= place).all(1) & (boxes[:, 2:] > place).all(1)
        assert inside.any()
    at = {"box_xyxy": [x + 1119, y + 619, x + 1121, y + 621]}
    assert sum(counts(page, **at)) >= 1
    assert nucleus(page, 1)["mark"] == 2
    do(page, "undo")
    assert (nucleus(page, 1)["x"], nucleus(page, 1)["mark"]) == (x, 0)
    do(page, "redo")
    assert nucleus(page, 1)["x"] == x + 1120


def test_everything_lasts(page, folder) -> None:
    define(page)
    do(page, "classify", nuclei=[1], **{"class": CELL})
    do(page, "delete", nuclei=[2])
    do(page, "comment", text="odd", nuclei=[3])
    ring = [[0, 0], [500, 0], [500, 500], [0, 500]]
    key = do(page, "field", ring=ring, complete=False)["fields"][0]["key"]
    do(page, "field", field=key, complete=True)
    do(page, "undo")
    before = page.json(f"{SLIDE}/corrections")
    assert (before["can_undo"], before["can_redo"]) == ("field", "field")
    assert [one["complete"] for one in before["fields"]] == [False]
    with serve([folder], by="ada") as viewer:
        again = Client(viewer)
        after = again.json(f"{SLIDE}/corrections")
        assert {**after, "version": 0} == {**before, "version": 0}
        assert counts(again) == counts(page)
        assert after["classes"][3]["digit"] == 4
        assert again.json(SLIDE)["classes"][3]["name"] == CELL
        assert do(again, "redo")["fields"][0]["complete"] is True
        # The first viewer notices what the other one wrote.
        assert page.json(f"{SLIDE}/corrections")["fields"][0]["complete"] is True


def test_people_who_disagree_are_shown(page, folder) -> None:
    log, table = CorrectionLog(folder), open_result(folder)
    facts = do(page, "classify", nuclei=[5], **{"class": THREE[0]})
    assert facts["num_conflicts"] == 0
    (mine,) = log.read().operations
    theirs = replace(mine, key="f" * 16, by="bob", fields={"class": THREE[1]}, after="")
    log.append(theirs)
    reply = page.json(f"{SLIDE}/corrections")
    (conflict,) = reply["conflicts"]
    assert {one["by"] for one in conflict["choices"]} == {"ada", "bob"}
    predicted = table.nuclei().read_row(4)["class"][0].as_py()
    assert nucleus(page, 5)["class_name"] == predicted
    assert nucleus(page, 5)["mark"] & 16
    do(page, "choose", nuclei=[5], operation="f" * 16)
    assert nucleus(page, 5)["class_name"] == THREE[1]
    assert page.json(f"{SLIDE}/corrections")["num_conflicts"] == 0
    do(page, "choose", 400, nuclei=[5], operation="f" * 16)


def test_the_viewer_shows_what_is_exported(folder) -> None:
    """Whatever is done, in any order: the same nuclei as whoever reads the corrected result."""
    opened = open_result(folder)
    size, rng = opened.facts.size_px, np.random.default_rng(5)
    opened.corrector.apply(
        {"do": "define_class", "name": CELL, "colour": "#010203", "digit": 7}, size, 0.25
    )

    def ring():
        x, y = rng.integers(50, 1500, 2).tolist()
        return [[x, y], [x + 20, y], [x + 20, y + 20], [x, y + 20]]

    for _ in range(50):
        index = opened.nuclei().index()
        there = np.flatnonzero(index.kind != 255) + 1
        some = rng.choice(there, 3, replace=False).tolist()
        names = opened.nuclei().label_space.classes
        name = str(rng.choice(names))
        x, y = index.xy(some[0] - 1).tolist()
        wish = [
            {"do": "classify", "nuclei": some, "class": name},
            {"do": "classify", "nuclei": some, "class": None},
            {"do": "delete", "nuclei": some[:1]},
            {"do": "add", "ring": ring(), "class": name},
            {"do": "redraw", "nuclei": some[:1], "ring": ring()},
            {"do": "split", "nuclei": some[:1], "line": [[x - 60, y], [x + 60, y]]},
            {"do": "undo"},
            {"do": "redo"},
        ][rng.integers(8)]
        try:
            opened.corrector.apply(wish, size, 0.25)
        except ValueError:
            continue
    shown = _by_id(opened.nuclei())
    exported = {}
    for batch in corrected_source(folder).batches():
        classes = np.array(batch.nuclei.label_space.classes)[batch.nuclei.class_index]
        areas = batch.nuclei.area_px
        for i, number in enumerate(batch.ids.tolist()):
            exported[number] = (str(classes[i]), round(float(areas[i]), 1))
    assert {number: name for number, (name, _) in shown.items()} == {
        number: name for number, (name, _) in exported.items()
    }
    areas = [[one[number][1] for number in sorted(one)] for one in (shown, exported)]
    np.testing.assert_allclose(*areas, atol=0.3)  # positions of the index are rounded
    assert _by_id(open_result(folder).nuclei()) == shown


def _by_id(table):
    index = table.index()
    rows = np.flatnonzero(index.kind != 255)
    classes = table.label_space.classes
    return {
        int(row) + 1: (classes[index.kind[row]], round(area(table.outline(int(row))), 1))
        for row in rows
    }


def test_an_operation_takes_no_new_index(folder, monkeypatch) -> None:
    opened = open_result(folder)
    before = opened.nuclei().index()
    monkeypatch.setattr(NucleusTable, "_make_index", None)
    opened.corrector.apply({"do": "delete", "nuclei": [1]}, (2500, 1700), 0.25)
    after = opened.nuclei().index()
    assert np.shares_memory(before.x, after.x)
    assert (before.kind != 255).all()  # whoever counts at the moment goes on counting the old one


@pytest.mark.parametrize("wish", [
    {}, {"do": "conquer"}, {"do": "classify"}, {"do": "classify", "nuclei": [0], "class": None},
    {"do": "classify", "nuclei": [1], "class": "No such"}, {"do": "delete", "nuclei": []},
    {"do": "delete", "nuclei": [True]}, {"do": "delete", "nuclei": [99999]},
    {"do": "delete", "nuclei": list(range(1, 30000))}, {"do": "add", "ring": [[0, 0]], "class": THREE[0]},
    {"do": "add", "ring": [[0, 0], [9, 9], [9, 0], [0, 9]], "clicked": False, "class": THREE[0]},
    {"do": "add", "ring": [[0, 0], [1e9, 0], [5, 5]], "class": THREE[0]},
    {"do": "add", "ring": [[0, 0], [2000, 0], [2000, 900]], "class": THREE[0]},
    {"do": "add", "ring": "x", "class": THREE[0]}, {"do": "redraw", "nuclei": [1, 2], "ring": []},
    {"do": "split", "nuclei": [1], "line": [[0, 0]]}, {"do": "define_class", "name": "", "colour": "#000000"},
    {"do": "define_class", "name": "A", "colour": "red", "digit": 1},
    {"do": "define_class", "name": "A", "colour": "#000000", "digit": 10},
    {"do": "field", "ring": [[0, 0], [1, 0], [1, 1]], "complete": True},
    {"do": "field", "field": "none", "complete": True}, {"do": "field", "complete": 1},
    {"do": "comment", "text": "", "nuclei": [1]}, {"do": "comment", "text": "x", "place": [1]},
    {"do": "choose", "nuclei": [1], "operation": "x"}, {"do": "undo"}, {"do": "redo"},
])  # fmt: skip
def test_what_cannot_be_done_is_refused(client, made, wish) -> None:
    status, reply = client.write(f"{SLIDE}/corrections", wish)
    assert (status, set(reply)) == (400, {"error"})
    assert not (made.folder / "corrections.jsonl").exists()


def test_only_the_page_may_write(client, made) -> None:
    for route in ("corrections", "next", "teach", "tune"):
        assert client.ask(f"{SLIDE}/{route}", {"do": "undo"})[0] == 403
    status, _ = client.write(f"{SLIDE}/corrections", b"x" * ((1 << 20) + 1))
    assert status == 413
    assert not (made.folder / "corrections.jsonl").exists()


def test_where_nothing_can_be_written_it_says_so(folder, monkeypatch) -> None:
    with serve([folder], read_only=True) as viewer:
        page = Client(viewer)
        told = page.json(f"{SLIDE}/corrections")
        assert (told["can_write"], "--read-only" in told["why_not"]) == (False, True)
        reply = do(page, "delete", 409, nuclei=[1])
        assert reply == {"error": told["why_not"], "word": "read_only"}
        assert page.write(f"{SLIDE}/next", {})[0] == 409
    (folder / "summary.json").rename(folder / "gone.json")
    with serve([folder]) as viewer:
        page = Client(viewer)
        assert do(page, "delete", 409, nuclei=[1])["word"] == "unfinished"
    (folder / "gone.json").rename(folder / "summary.json")
    monkeypatch.setattr("histonuc.viewing.correcting.os.access", lambda *_: False)
    with serve([folder]) as viewer:
        page = Client(viewer)
        assert "cannot be written" in page.json(f"{SLIDE}/corrections")["why_not"]
        assert do(page, "delete", 409, nuclei=[1])["word"] == "read_only"
    assert not (folder / "corrections.jsonl").exists()


def test_a_file_that_cannot_be_read_is_left_alone(folder) -> None:
    file = folder / "corrections.jsonl"
    file.write_bytes(b"\x00\x01 nothing of ours\n")
    with serve([folder]) as viewer:
        page = Client(viewer)
        told = page.json(f"{SLIDE}/corrections")
        assert "cannot be read" in told["why_not"]
        assert str(folder) not in json.dumps(told)
        assert sum(counts(page)) == 4000
        do(page, "delete", 409, nuclei=[1])
    assert file.read_bytes() == b"\x00\x01 nothing of ours\n"


def test_next_holds_out_what_it_draws(page, folder, monkeypatch) -> None:
    seen, why = set(), []
    for _ in range(20):
        status, reply = page.write(f"{SLIDE}/next", {})
        assert status == 200
        why.append(reply["proposal"]["why"])
        seen.add(reply["proposal"]["id"])
    assert len(seen) == 20
    assert set(why) == {"random", "unsure"}
    assert reply["num_held_out"] == why.count("random")
    assert reply["num_corrected"] == 0
    held = [one for one in CorrectionLog(folder).read().operations if one.do == "hold_out"]
    assert len(held) == why.count("random")
    assert proposing.HELD_OUT_SHARE == 0.3


def test_probabilities_come_back_after_what_was_taught_is_hidden(folder) -> None:
    opened = open_result(folder)
    corrector, before = opened.correcting(), opened.nuclei().index().probability.copy()
    assert before[0] < 255
    wish = {"do": "classify", "nuclei": [1], "class": THREE[0]}
    corrector.apply(wish, opened.facts.size_px, 0.25)
    predicted = corrector.predicted
    corrector.show_prediction(Prediction(kind=predicted.kind.copy(), probability=before // 2))
    corrector.apply({"do": "undo"}, opened.facts.size_px, 0.25)
    assert corrector.table().index().probability[0] == before[0] // 2
    corrector.show_prediction(None)
    assert corrector.table().index().probability[0] == before[0]


def test_a_wish_that_is_no_word_is_refused(page) -> None:
    assert "Expected do to be one of" in do(page, [], 400)["error"]


def test_two_tabs_at_once_are_each_told_of_their_own(page, monkeypatch) -> None:
    apply = Corrector.apply

    def slowly(*args):
        scene = apply(*args)
        time.sleep(0.01)
        return scene

    monkeypatch.setattr(Corrector, "apply", slowly)

    def add(place: int) -> None:
        x, y = 60 + 100 * (place % 20), 60 + 100 * (place // 20)
        ring = [[x, y], [x + 20, y], [x + 20, y + 20], [x, y + 20]]
        reply = do(page, "add", ring=ring, clicked=False, **{"class": THREE[0]})
        (made,) = reply["made"]
        assert nucleus(page, made)["x"] == x + 10
        boxes = np.array(reply["changed_boxes"] or [[0, 0, 9999, 9999]])
        assert ((boxes[:, :2] <= (x + 10, y + 10)) & (boxes[:, 2:] > (x + 10, y + 10))).all(1).any()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(40)))


def test_nuclei_of_an_earlier_table_are_looked_for_once(folder, monkeypatch) -> None:
    size = open_result(folder).facts.size_px
    open_result(folder).corrector.apply({"do": "delete", "nuclei": [1]}, size, 0.25)
    (mine,) = CorrectionLog(folder).read().operations
    CorrectionLog(folder).append(replace(mine, key="", table="ab" * 32))
    calls = []
    find = correcting.find_targets
    monkeypatch.setattr(correcting, "find_targets", lambda *args: calls.append(args) or find(*args))
    corrector = open_result(folder).corrector
    for number in (2, 3, 4):
        corrector.apply({"do": "delete", "nuclei": [number]}, size, 0.25)
    assert len(calls) == 1  # it reads the table
    assert corrector.corrections.deleted == {1, 2, 3, 4}
