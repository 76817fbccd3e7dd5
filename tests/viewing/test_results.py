"""Results that are damaged, unfinished or of another version, and slides that are elsewhere."""

import json
import random
import shutil
from contextlib import suppress
from dataclasses import replace

import cv2
import numpy as np
import pytest
import shapely

from histonuc.exports import summary
from histonuc.exports.table import TABLE_FILE
from histonuc.files import seal
from histonuc.inference import results
from histonuc.inference.sources import content_sha256
from histonuc.viewing import entries
from histonuc.viewing.density import count_classes
from histonuc.viewing.entries import Entry, find_entries
from histonuc.viewing.errors import ShownError
from histonuc.viewing.library import Library
from histonuc.viewing.locating import Locator
from histonuc.viewing.opened import open_result
from histonuc.viewing.serving import serve
from histonuc.viewing.squares import read_square
from histonuc.viewing.wire import unpack

from ..fuzzing import mutate_bytes, mutate_end, mutate_json
from .conftest import Client
from .made_result import SIZE, draw_nuclei, write_result, write_rows


@pytest.fixture
def copied(made, tmp_path):
    """A result of its own, of the same slide."""
    return shutil.copytree(made.folder, tmp_path / "copied")


def listed(folder, slides=None):
    (entry,) = Library([Entry(number=0, folder=folder)], Locator(slides)).list_entries()["slides"]
    return entry


def test_names_are_those_of_the_rooms_below() -> None:
    assert entries.TABLE_FILE == TABLE_FILE
    assert entries.SUMMARY_FILE == summary.SUMMARY_FILE
    assert entries.PARTS_FOLDER == results.PARTS_FOLDER


def test_a_whole_result(made, client) -> None:
    (entry,) = client.json("/api/slides")["slides"]
    assert (entry["state"], entry["message"], entry["picture"]) == ("whole", "", "shown")
    assert (entry["name"], entry["folder"]) == ("slide.png", "result")
    slide = client.json("/api/slides/0")
    counts = np.bincount(made.nuclei.class_index).tolist()
    for found in (entry, slide):
        assert found["num_nuclei"] == len(made.nuclei)
        assert [one["num_nuclei"] for one in found["classes"]] == counts
        assert (found["size_px"], found["mpp_xy"]) == (list(SIZE), [0.25, 0.25])
    assert slide["warnings"] == ["One warning."]
    assert slide["class_note"] == "Classes are a guess here."
    assert slide["summary"]["analysed_mm2"] == pytest.approx(0.15)
    assert slide["command"] == f"histonuc view {made.folder}"
    assert slide["provenance"]["model"] == "drawn"
    names = [column["name"] for column in slide["columns"]]
    assert names[:3] == ["probability", "score", "area_um2"]
    assert {"circularity", "trust", "p_Connective"} <= set(names)
    assert not {"id", "x", "y_um", "class_index", "x_min"} & set(names)
    for column in slide["columns"]:
        if column["name"] == "circularity":
            values = made.nuclei.features["circularity"]
            assert column["low"] == np.nanmin(values)
            assert column["high"] == np.nanmax(values)


def test_parts_to_be_looked_at_with_care(client) -> None:
    skipped, flagged = client.json("/api/slides/0/areas")["areas"]
    assert (skipped["kind"], skipped["text"]) == ("skipped", "Not read: no tile")
    assert skipped["polygons"] == [[[[0, 0], [100, 0], [100, 100], [0, 100]]]]
    assert (flagged["kind"], flagged["text"][:12]) == ("flagged", "Out of focus")


def test_tissue_is_an_area_with_holes(tmp_path) -> None:
    image = np.full((1200, 1600, 3), 250, np.uint8)
    cv2.circle(image, (800, 600), 400, (190, 120, 210), -1)
    cv2.circle(image, (800, 600), 100, (250, 250, 250), -1)
    cv2.imwrite(str(tmp_path / "slide.png"), image)
    with serve([tmp_path / "slide.png"]) as viewer:
        client = Client(viewer)
        assert client.json("/api/slides/0/areas") == {"areas": []}
        (tissue,) = client.json("/api/slides/0/areas?kind=tissue")["areas"]
        assert client.ask("/api/slides/0/areas?kind=ink")[0] == 400
    assert tissue["kind"] == "tissue"
    ((outer, hole),) = tissue["polygons"]
    area = shapely.Polygon(outer, [hole]).area
    assert area == pytest.approx(np.pi * (400**2 - 100**2), rel=0.1)


def test_trust_in_the_class_is_offered_by_name(tmp_path, made) -> None:
    nuclei = draw_nuclei(50)
    features = nuclei.features | {"class_trust": np.linspace(0, 1, 50, dtype=np.float32)}
    write_result(tmp_path / "result", made.slide, replace(nuclei, features=features))
    columns = open_result(tmp_path / "result").nuclei().columns
    assert [(one.name, one.title) for one in columns[2:4]] == [
        ("area_um2", "Area"),
        ("class_trust", "Trust in the class"),
    ]


def test_nothing_is_changed_by_looking(copied, made) -> None:
    before = {file: file.stat() for file in copied.iterdir()}
    with serve([copied]) as viewer:
        client = Client(viewer)
        client.json("/api/slides")
        client.json("/api/slides/0")
        for path in ("squares/0/0/0?detail=full", "tiles/0/0/0", "nuclei/1", "areas", "thumbnail"):
            assert client.ask(f"/api/slides/0/{path}")[0] == 200
        client.json("/api/slides/0/histogram", {"column": "trust"})
    assert sorted(before) == sorted(copied.iterdir())
    for file, status in before.items():
        now = file.stat()
        assert (now.st_mtime_ns, now.st_size) == (status.st_mtime_ns, status.st_size)


@pytest.mark.parametrize(
    ("damage", "state", "has_nuclei"),
    [
        (lambda f: (f / "summary.json").unlink(), "unfinished", True),
        (lambda f: (f / "summary.json").write_text("{"), "damaged", True),
        (lambda f: (f / "summary.json").write_text("[" * 100_000), "damaged", True),
        (lambda f: (f / "summary.json").write_bytes(b"\xff"), "damaged", True),
        (lambda f: edit(f, num_nuclei=7), "damaged", True),
        (lambda f: reseal(f, "regions"), "older", True),
        (lambda f: reseal(f, size_px=[10**9, 5]), "damaged", True),
        (lambda f: (f / TABLE_FILE).unlink(), "damaged", False),
        (lambda f: (f / TABLE_FILE).write_bytes(b""), "damaged", False),
        (lambda f: (f / TABLE_FILE).write_bytes(b"PAR1"), "damaged", False),
        (lambda f: cut(f / TABLE_FILE), "damaged", False),
        (lambda f: begin_again(f), "unfinished", False),
    ],
    ids=range(12),
)
def test_what_is_wrong_is_one_word(damage, state, has_nuclei, copied) -> None:
    damage(copied)
    with serve([copied]) as viewer:
        client = Client(viewer)
        (entry,) = client.json("/api/slides")["slides"]
        slide = client.json("/api/slides/0")
        assert (slide["state"], slide["has_nuclei"]) == (state, has_nuclei)
        assert slide["message"].endswith(".")
        assert (entry["state"], entry["has_nuclei"]) == (state, has_nuclei)
        assert client.ask("/api/slides/0/tiles/0/0/0")[0] in (200, 409)
        status, content, _ = client.ask("/api/slides/0/squares/0/0/0")
        if has_nuclei:
            assert status == 200
        else:
            assert (status, json.loads(content)["word"]) == (409, state)
        assert str(copied).encode() not in content


def edit(folder, **changes):
    file = folder / "summary.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def reseal(folder, without="", **changes):
    file = folder / "summary.json"
    record = json.loads(file.read_text()) | changes
    record.pop(without, None)
    file.write_text(json.dumps(seal(record)))


def cut(file):
    file.write_bytes(file.read_bytes()[:-9])


def begin_again(folder):
    record = json.loads((folder / "summary.json").read_text())
    (folder / "key.json").write_text(json.dumps(record["fingerprint"]))
    (folder / "summary.json").unlink()
    (folder / TABLE_FILE).unlink()
    (folder / "parts").mkdir()
    key = json.loads((folder / "key.json").read_text())
    (folder / "parts" / "run.json").write_text(json.dumps(key))


def test_a_run_that_just_began_shows_nothing_yet(tmp_path) -> None:
    (tmp_path / "result" / "parts").mkdir(parents=True)
    (tmp_path / "result" / "parts" / "run.json").write_text('{"source": "a\\u0000b"}')
    with serve([tmp_path / "result"]) as viewer:
        client = Client(viewer)
        assert client.json("/api/slides")["slides"][0]["state"] == "unfinished"
        status, content, _ = client.ask("/api/slides/0")
        assert (status, json.loads(content)["word"]) == (409, "unfinished")


@pytest.mark.parametrize("seed", range(40))
def test_no_damage_leaves_a_trace(seed, copied) -> None:
    rng = random.Random(seed)
    file = copied / ("summary.json" if seed % 4 == 0 else TABLE_FILE)
    mutate = (mutate_json, mutate_bytes, mutate_end, mutate_bytes)[seed % 4]
    changed = mutate(file.read_bytes(), rng)
    file.write_bytes(changed if seed % 8 else json.dumps(seal(json.loads(changed))).encode())
    listed(copied)
    with suppress(ShownError):
        result = open_result(copied)
        for column in range(result.grids[0].columns):
            unpack(read_square(result.nuclei(), result.grids[0], (column, 0), "full"))


def test_another_table_may_take_its_place_while_it_is_looked_at(copied, made) -> None:
    result = open_result(copied)
    before = read_square(result.nuclei(), result.grids[0], (0, 0), "full")
    (copied / "new").mkdir()
    write_rows(draw_nuclei(50, seed=9), copied / "new" / TABLE_FILE)
    (copied / "new" / TABLE_FILE).replace(copied / TABLE_FILE)
    result.nuclei()._rings.clear()
    assert read_square(result.nuclei(), result.grids[0], (0, 0), "full") == before


def test_a_result_without_nuclei(tmp_path, made) -> None:
    write_result(tmp_path / "none", made.slide, made.nuclei.select([]))
    with serve([tmp_path / "none"]) as viewer:
        client = Client(viewer)
        assert client.json("/api/slides/0")["num_nuclei"] == 0
        facts, arrays = unpack(client.ask("/api/slides/0/squares/0/0/0?detail=full")[1])
        assert (facts["count"], arrays["offsets"].tolist()) == (0, [0])
        assert unpack(client.ask("/api/slides/0/density", {})[1])[0]["totals"] == [0, 0, 0]
        assert client.json("/api/slides/0/list", {})["total"] == 0


def test_a_slide_that_is_gone_leaves_nuclei_on_blank(tmp_path, made) -> None:
    slide = shutil.copy(made.slide, tmp_path / "gone.png")
    write_result(tmp_path / "result", slide)
    (tmp_path / "gone.png").unlink()
    with serve([tmp_path / "result"]) as viewer:
        client = Client(viewer)
        assert client.json("/api/slides")["slides"][0]["picture"] == "missing"
        found = client.json("/api/slides/0")
        assert (found["picture"], found["picture_levels"], found["state"]) == (
            "missing",
            None,
            "whole",
        )
        status, content, _ = client.ask("/api/slides/0/tiles/0/0/0")
        assert (status, json.loads(content)["word"]) == (409, "missing")
        assert client.ask("/api/slides/0/squares/0/0/0")[0] == 200
        assert client.ask("/api/slides/0/thumbnail")[0] == 200


def test_a_slide_that_moved_is_known_by_its_content(tmp_path, made) -> None:
    here, there = tmp_path / "here", tmp_path / "there" / "deep"
    here.mkdir()
    there.mkdir(parents=True)
    slide = shutil.copy(made.slide, here / "a.png")
    write_result(tmp_path / "result", slide)
    (here / "a.png").rename(there / "renamed.png")
    (there / "a.png").write_bytes(made.slide.read_bytes()[:-1] + b"x")  # its name is another's
    assert open_result(tmp_path / "result").picture_word == "missing"
    assert listed(tmp_path / "result", there.parent)["picture"] == "shown"
    found = open_result(tmp_path / "result", there.parent)
    assert found.picture_word == "shown"
    assert open_result(tmp_path / "result").picture_word == "shown"  # it was remembered
    (there / "renamed.png").unlink()
    assert open_result(tmp_path / "result").picture_word == "missing"


def test_a_slide_that_is_a_folder_is_found_too(tmp_path, made) -> None:
    store = tmp_path / "archive" / "a.zarr"
    store.mkdir(parents=True)
    (store / ".zgroup").write_text('{"zarr_format": 2}')
    raw = {"source": "/gone/a.zarr", "content_sha256": content_sha256(store)}
    raw["fingerprint"] = {"source": "/gone/a.zarr", "bytes": 1, "modified_ns": 1}
    assert Locator(tmp_path / "archive").find(raw, made.folder) == store


def test_a_slide_beside_its_result_needs_no_folder(tmp_path, made) -> None:
    (tmp_path / "before").mkdir()
    slide = shutil.copy(made.slide, tmp_path / "before" / "a.png")
    write_result(tmp_path / "before" / "result", slide)
    (tmp_path / "before").rename(tmp_path / "after")
    assert open_result(tmp_path / "after" / "result").picture_word == "shown"


def test_another_picture_at_the_old_place_is_not_taken(tmp_path, made) -> None:
    slide = tmp_path / "a.png"
    shutil.copy(made.slide, slide)
    write_result(tmp_path / "result", slide)
    slide.write_bytes(made.slide.read_bytes() + b"more")
    assert open_result(tmp_path / "result").picture_word == "missing"


def test_a_damaged_memory_of_places_is_made_anew(tmp_path, made) -> None:
    memory = tmp_path / "slides.json"
    memory.write_text("{")
    raw = json.loads((made.folder / "summary.json").read_text())
    raw = raw | {"fingerprint": raw["fingerprint"] | {"source": "/nowhere"}, "source": "/nowhere"}
    assert Locator(made.slide.parent, memory).find(raw, tmp_path) == made.slide
    assert json.loads(memory.read_text()) == {raw["content_sha256"]: str(made.slide)}


def test_many_results_and_slides_are_one_list(tmp_path, made) -> None:
    for name in ("b", "a"):
        shutil.copytree(made.folder, tmp_path / "out" / name)
    (tmp_path / "out" / "else").mkdir()
    found = find_entries([tmp_path / "out", made.slide, tmp_path / "out" / "a"])
    places = [entry.path for entry in found]
    assert places == [tmp_path / "out" / "a", tmp_path / "out" / "b", made.slide]
    assert [entry.number for entry in found] == [0, 1, 2]


def test_a_bare_slide(made) -> None:
    with serve([made.slide]) as viewer:
        client = Client(viewer)
        (entry,) = client.json("/api/slides")["slides"]
        assert (entry["state"], entry["folder"], entry["has_nuclei"]) == ("slide", "", False)
        slide = client.json("/api/slides/0")
        assert (slide["size_px"], slide["mpp"], slide["columns"]) == (list(SIZE), None, [])
        status, content, _ = client.ask("/api/slides/0/density", {})
        assert (status, json.loads(content)["word"]) == (409, "missing")
        assert client.ask("/api/slides/0/tiles/0/0/0")[0] == 200


def test_a_slide_that_cannot_be_read(tmp_path) -> None:
    (tmp_path / "broken.svs").write_bytes(b"nothing")
    with serve([tmp_path / "broken.svs"]) as viewer:
        status, content, _ = Client(viewer).ask("/api/slides/0")
        assert (status, json.loads(content)["word"]) == (409, "unreadable")
        assert str(tmp_path).encode() not in content


def test_a_place_without_results_is_said_before_anything_listens(tmp_path) -> None:
    with pytest.raises(ValueError, match="no result in"):
        find_entries([tmp_path])
    with pytest.raises(ValueError, match="nothing at"):
        find_entries([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="got nothing"):
        find_entries([])


def test_python_opens_one_result(tmp_path, made) -> None:
    for name in "ab":
        shutil.copytree(made.folder, tmp_path / name)
    assert count_classes(open_result(str(tmp_path / "a")).nuclei()) == [
        int((made.nuclei.class_index == kind).sum()) for kind in range(3)
    ]
    with pytest.raises(ValueError, match="holds 2 results"):
        open_result(tmp_path)


def test_few_results_stay_open(made) -> None:
    library = Library([Entry(number=i, folder=made.folder) for i in range(9)], Locator())
    for number in range(9):
        library.open(number)
    assert len(library._open) == 4
