"""What a person changes in QuPath comes back as corrections, object by object."""

import json
import random
import uuid

import numpy as np
import pytest

from histonuc import cli
from histonuc.corrections import CorrectionLog, corrected_source, read_corrections
from histonuc.corrections.shown import read_shown

from ..fuzzing import mutate_bytes, mutate_json, no_hang
from .drawn import draw_row, maker, square, write_row


@pytest.fixture
def folder(tmp_path):
    return write_row(tmp_path / "slide")


def export(folder):
    """The features of our own export, by number, as QuPath gives them back: without our header."""
    assert cli.run(["export", str(folder), "--to", "geojson"]) == 0
    return json.loads((folder / "nuclei.geojson").read_text())["features"]


def read(folder, features, *more):
    path = folder / "corrected.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    line = ["prepare", "corrections", str(folder), "--geojson", str(path), "--by", "ann", *more]
    return cli.run(line)


def found(folder):
    return read_corrections(folder).corrections


def draw(ring, name, kind="annotation"):
    classification = {"name": name, "color": [1, 2, 3]} if name else None
    properties = {"objectType": kind} | ({"classification": classification} if name else {})
    return {
        "type": "Feature",
        "id": str(uuid.uuid4()),
        "geometry": {"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]},
        "properties": properties,
    }


def move(feature, x):
    (ring,) = feature["geometry"]["coordinates"]
    feature["geometry"]["coordinates"] = [[[px + x, py] for px, py in ring]]


def test_nothing_is_written_where_nothing_was_changed(folder, capsys):
    assert read(folder, export(folder)) == 0
    assert "6 objects read: nothing was changed" in capsys.readouterr().out
    assert not (folder / "corrections.jsonl").exists()


def test_each_kind_of_change(folder, capsys):
    features = export(folder)
    features[0]["properties"]["classification"] = {"name": "Plasma cell", "color": [10, 20, 30]}
    features[1]["properties"]["classification"] = {"name": "Fibro"}
    move(features[2], 3.0)
    del features[4]
    features.append(draw(square(200, 50), "Connective"))
    features.append(draw(square(220, 50), "Plasma cell", kind="detection"))
    features.append(draw(square(0, 0, 100), "Complete"))
    features.append(draw(square(0, 0, 90), "Tumor"))
    features.append(draw(square(0, 0, 90), "Ignore*"))
    assert read(folder, features, "--class-map.Fibro", "Connective") == 0
    told = capsys.readouterr().out
    assert "new classes: Plasma cell" in told
    assert "1 left out: much larger than a nucleus" in told
    corrections = found(folder)
    assert dict(corrections.classes) == {
        1: "Plasma cell",
        2: "Connective",
        7: "Connective",
        8: "Plasma cell",
    }
    assert corrections.label_space.colours[-1] == (10, 20, 30)
    assert corrections.deleted == {5}
    assert np.array_equal(corrections.rings[3], square(53, 10))
    assert [one.how for one in corrections.made] == ["added", "added"]
    assert [one.complete for one in corrections.fields] == [True]
    assert {one.by for one in CorrectionLog(folder).read().operations} == {"ann"}
    log = (folder / "corrections.jsonl").read_bytes()
    assert read(folder, features, "--class-map.Fibro", "Connective") == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert (folder / "corrections.jsonl").read_bytes() == log  # the same file once more


def test_the_corrected_export_comes_back_unchanged_and_can_be_corrected_again(folder):
    make = maker(folder)
    CorrectionLog(folder).append(
        make("split", 1, rings=[square(10, 10, 4), square(15, 10, 4)]),
        make("classify", 2, **{"class": "Plasma cell"}),
    )
    log = (folder / "corrections.jsonl").read_bytes()
    features = export(folder)
    assert read(folder, features) == 0
    assert (folder / "corrections.jsonl").read_bytes() == log
    features[-1]["properties"]["classification"] = {"name": "Connective"}
    assert read(folder, features[:-2] + features[-1:]) == 0
    assert [(one.id, one.class_name) for one in found(folder).made] == [(8, "Connective")]


def test_what_was_corrected_elsewhere_since_the_export_stays(folder, capsys):
    features = export(folder)
    make = maker(folder, "bob")
    CorrectionLog(folder).append(
        make("classify", 1, **{"class": "Plasma cell"}),
        make("redraw", 2, ring=square(30, 10, 7)),
        make("delete", 3),
        make("add", ring=square(200, 50), **{"class": "Connective"}),
    )
    before = found(folder)
    features[3]["properties"]["classification"] = {"name": "Plasma cell"}
    capsys.readouterr()
    assert read(folder, features) == 0
    assert "1 of nuclei that were deleted since" in capsys.readouterr().out
    after = found(folder)
    assert dict(after.classes) == {**before.classes, 4: "Plasma cell"}
    assert after.deleted == before.deleted
    assert np.array_equal(after.rings[2], square(30, 10, 7))
    assert len(after.made) == 1


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (lambda f: f[:2], (), "give --part"),
        (lambda f: [move(one, 50) or one for one in f], (), "is it of another slide"),
        (lambda f: [*f, draw(square(200, 50), "")], (), "1 new object has no class"),
        (lambda f: [*f, {"type": "Feature"}], (), "damaged or no GeoJSON"),
        (lambda f: [*f, 7], (), "damaged or no GeoJSON"),
    ],
)
def test_slips_are_refused_and_nothing_is_written(folder, capsys, change, more, message):
    features = change(export(folder))
    assert read(folder, features, *more) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "corrections.jsonl").exists()


def test_part_of_the_objects_and_objects_without_a_class(folder):
    features = export(folder)[:1]
    features[0]["properties"]["classification"] = {"name": "Connective"}
    features.append(draw(square(200, 50), ""))
    assert read(folder, features, "--part", "--unclassified", "Connective") == 0
    corrections = found(folder)
    assert dict(corrections.classes) == {1: "Connective", 7: "Connective"}
    assert corrections.deleted == frozenset()


def test_a_class_map_that_fits_nothing_is_told(folder, capsys):
    features = export(folder)
    features[0]["properties"]["classification"] = {"name": "Tumour"}
    assert read(folder, features, "--class-map.Tumor", "Connective") == 0
    told = capsys.readouterr().out
    assert "new classes: Tumour" in told
    assert "note: --class-map.Tumor: no object of the file has this class" in told


def test_options_that_do_not_go_together(folder, capsys):
    assert cli.run(["prepare", "corrections", str(folder)]) == 2
    assert "either --geojson FILE to read, or --out DATA" in capsys.readouterr().err


def test_a_folder_of_results_is_told_with_those_inside(folder, tmp_path, capsys):
    path = tmp_path / "some.geojson"
    path.write_text("{}")
    line = ["prepare", "corrections", str(folder.parent), "--geojson", str(path)]
    assert cli.run(line) == 2
    said = capsys.readouterr().err
    assert f"it holds results, give one of them: {folder.name}" in said


def test_a_nucleus_that_is_not_there_is_told_in_words(folder):
    shown = read_shown(folder)
    assert shown.target(3).id == 3
    with pytest.raises(ValueError, match="nucleus 99999 is not in this result: it never was"):
        shown.target(99999)


@no_hang
def test_damaged_files_are_one_message_or_corrections_that_can_be_read(folder, capsys):
    assert cli.run(["export", str(folder), "--to", "geojson"]) == 0
    document = json.loads((folder / "nuclei.geojson").read_text())
    document["features"].append(draw(square(200, 50), "Connective"))
    content, rng = json.dumps(document).encode(), random.Random(0)
    path, codes = folder / "corrected.geojson", []
    for number in range(60):
        path.write_bytes((mutate_bytes, mutate_json)[number % 2](content, rng))
        capsys.readouterr()
        codes.append(cli.run(["prepare", "corrections", str(folder), "--geojson", str(path)]))
        if codes[-1] == 2:
            assert "corrected.geojson" in (told := capsys.readouterr().err)
            assert told.count("\n") == 1
            assert not (folder / "corrections.jsonl").exists()
        for batch in corrected_source(folder).batches():
            assert np.isfinite(batch.nuclei.points).all()
        (folder / "corrections.jsonl").unlink(missing_ok=True)
    assert {0, 2} == set(codes)


def test_a_result_without_nuclei_can_be_corrected(tmp_path):
    folder = write_row(tmp_path / "empty", draw_row(0))
    assert read(folder, export(folder)) == 0
    assert cli.run(["corrections", "show", str(folder)]) == 0
    assert read(folder, [draw(square(200, 50), "Connective")]) == 0
    assert [one.class_name for one in found(folder).made] == ["Connective"]
    assert len(export(folder)) == 1


def test_more_classes_than_a_table_holds_are_refused(folder, capsys):
    drawn = [draw(square(20 * i, 60), f"Class {i}") for i in range(30)]
    assert read(folder, [*export(folder), *drawn]) == 2
    assert "a table holds 31: say with --class-map" in capsys.readouterr().err
    assert not (folder / "corrections.jsonl").exists()


def test_a_file_of_nothing_deletes_nothing(folder, capsys):
    assert read(folder, []) == 2
    assert "lacks 6 of 6 nuclei" in capsys.readouterr().err
    assert not (folder / "corrections.jsonl").exists()
