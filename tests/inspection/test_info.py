"""`histonuc info`: ten lines for people, everything for programs, no false alarm."""

import json
import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image

from histonuc.cli import run
from histonuc.slides import open_slide

from ..data.pointed_store import write_pointed
from ..slides.conftest import levels_of, write_dicom, write_pyramid, write_scn

MAX_LINES = 10


def lines_of(capsys, *command):
    """What a command prints for people."""
    capsys.readouterr()
    assert run([*map(str, command)]) == 0
    return capsys.readouterr().out.splitlines()


def facts_of(capsys, path):
    """What `info --json` prints for programs."""
    return json.loads("\n".join(lines_of(capsys, "info", path, "--json")))


@pytest.fixture
def levels():
    return levels_of(300, 200, (1, 2, 4))


def test_a_slide_in_ten_lines(tmp_path, capsys, levels):
    text = "Aperio Image Library v1\r\n |AppMag = 40|MPP = 0.25"
    write_pyramid(tmp_path / "a.svs", levels, description=text)
    told = lines_of(capsys, "info", tmp_path / "a.svs")
    assert len(told) <= MAX_LINES
    assert told == [
        "slide           a.svs (aperio, read by OpenSlide)",
        "size            300 x 200 pixels, 0.07 x 0.05 mm",
        "scale           0.25 microns per pixel (OpenSlide: openslide.mpp-x and openslide.mpp-y)",
        "objective       40x",
        "levels          3: 300 x 200; 150 x 100; 75 x 50",
    ]
    facts = facts_of(capsys, tmp_path / "a.svs")
    assert facts["properties"]["aperio.AppMag"] == "40"
    assert facts["objective"] == 40


def test_a_slide_that_says_little_and_has_much_to_be_told(tmp_path, capsys, levels):
    pages = [np.ascontiguousarray(levels[0][::n, ::n]) for n in (1, 2, 4, 8, 16, 32)]
    tag = {"extratags": [(274, "H", 1, 3, True)]}
    write_pyramid(tmp_path / "a.tif", pages, tile=(16, 16), **tag)
    told = lines_of(capsys, "info", tmp_path / "a.tif")
    assert len(told) <= MAX_LINES
    assert "scale           not stated: give --mpp" in told
    assert "objective       not stated" in told
    assert "levels          6: 300 x 200; …; 10 x 7" in told
    assert told[-1].startswith("note            the picture is turned upright")


def test_the_place_that_was_scanned_is_told(tmp_path, capsys):
    write_scn(tmp_path / "a.scn", corner=(1024, 768))
    with open_slide(tmp_path / "a.scn") as slide:
        assert slide.size == (4096, 4096)
        assert slide.bounds_xyxy == (1024, 768, 1536, 1280)
        shown = slide.read(1024, 768, 512, 512, 512, 512).astype(int)
        assert shown.mean() < 200  # its tissue lies there, in level-0 pixels
        assert (slide.read(100, 100, 64, 64, 64, 64) == 255).all()
    assert "scanned         512 x 512 pixels at x 1,024, y 768" in lines_of(
        capsys, "info", tmp_path / "a.scn"
    )
    assert facts_of(capsys, tmp_path / "a.scn")["bounds_xyxy"] == [1024, 768, 1536, 1280]


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_where_nothing_is_said_the_whole_slide_was_scanned(tmp_path, levels, name):
    Image.fromarray(levels[0]).save(tmp_path / name)
    with open_slide(str(tmp_path / name)) as slide:
        assert slide.bounds_xyxy == (0, 0, 300, 200)


def test_a_dicom_slide_with_faults_is_read_and_they_are_told(tmp_path, capsys, levels):
    pydicom = pytest.importorskip("pydicom")
    write_dicom(tmp_path / "a.dcm", levels[0])
    facts = pydicom.dcmread(tmp_path / "a.dcm")
    del facts.SharedFunctionalGroupsSequence
    facts.ImagedVolumeWidth = facts.ImagedVolumeHeight = 15.0
    with pydicom.config.disable_value_validation():
        facts.StudyDate = facts.ContentDate = "2021-01-07"
        facts.SeriesDate = "20210107"
        facts.save_as(tmp_path / "a.dcm")
    told = lines_of(capsys, "info", tmp_path / "a.dcm")
    assert len(told) <= MAX_LINES
    assert "scale           not stated: give --mpp" in told
    spacing, dates = (line for line in told if line.startswith("note"))
    assert "states no PixelSpacing; its imaged volume would mean pixels of 50 x 75" in spacing
    assert "'2021-01-07' (StudyDate, ContentDate) is no date" in dates
    assert (
        run(["predict", str(tmp_path / "a.dcm"), "--out", str(tmp_path / "o"), "--mpp", "0.25"])
        == 0
    )
    (item,) = json.loads((tmp_path / "o" / "summary.json").read_text())["items"]
    assert [note for note in item["warnings"] if "is no date" in note]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder of results of two inputs, one of which has nuclei."""
    folder = tmp_path_factory.mktemp("results")
    rng = np.random.default_rng(0)
    tissue = rng.normal((205, 150, 190), 12, (128, 128, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(tissue).save(folder / "tissue.png")
    Image.new("RGB", (64, 64), (240, 240, 240)).save(folder / "glass.png")
    inputs = [str(folder / name) for name in ("tissue.png", "glass.png")]
    assert run(["predict", *inputs, "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_untouched_results_raise_no_alarm(results, capsys):
    for folder in (results, results / "tissue", results / "glass"):
        assert "note" not in facts_of(capsys, folder)
        assert not any("changed since" in line for line in lines_of(capsys, "info", folder))


@pytest.mark.parametrize("place", [".", "tissue"])
def test_results_that_were_changed_raise_one(results, tmp_path, capsys, place):
    shutil.copytree(results, tmp_path / "out")
    file = tmp_path / "out" / place / "summary.json"
    content = file.read_text()
    changed = content.replace('"tiles_analysed": 1', '"tiles_analysed": 2')
    assert changed != content
    file.write_text(changed)
    assert facts_of(capsys, file.parent)["note"] == "summary.json was changed since it was written"
    assert "changed since it was written" in lines_of(capsys, "info", file.parent)[-1]


def test_results_in_ten_lines(results, capsys):
    told = lines_of(capsys, "info", results / "tissue")
    assert len(told) <= MAX_LINES
    assert told[0].startswith("prediction      tissue.png (by ")
    assert told[1].startswith("size            128 x 128 pixels, 0.25 microns per pixel (assumed)")
    assert told[2].startswith("nuclei          ")
    assert " mm² of tissue" in told[2]
    assert any(line.startswith("note            the image does not state") for line in told)
    told = lines_of(capsys, "info", results)
    assert len(told) <= MAX_LINES
    assert told[0] == "predictions     2 inputs, 0 failed"
    assert facts_of(capsys, results)["kind"] == "predictions"


def test_more_than_ten_lines_are_cut_and_counted(results, tmp_path, capsys):
    shutil.copytree(results, tmp_path / "out")
    record = json.loads((results / "tissue" / "summary.json").read_text())
    record["warnings"] = [f"warning {number}" for number in range(20)]
    (tmp_path / "out/tissue/summary.json").write_text(json.dumps(record))
    told = lines_of(capsys, "info", tmp_path / "out/tissue")
    assert len(told) == MAX_LINES
    assert told[-1].strip().startswith("… and ")
    assert told[-1].endswith("more lines: see --json")


def test_a_scene_is_chosen_in_info(tmp_path, capsys, levels):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for level in (levels[0], levels[0][:150]):
            tiff.write(level, photometric="rgb", metadata=None)
    assert run(["info", str(tmp_path / "a.tif")]) == 2
    assert "choose one with --scene" in capsys.readouterr().err
    told = lines_of(capsys, "info", tmp_path / "a.tif", "--scene", "1")
    assert told[1] == "size            300 x 150 pixels"


def test_a_store_with_points_tells_who_outlined_them(tmp_path, capsys) -> None:
    for name, marked, model in (("a", False, "nothing"), ("b", True, "truth")):
        store = write_pointed(tmp_path / name, marked=marked)
        capsys.readouterr()
        assert run(["info", str(store.path), "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (facts["points"], facts["outlined_by"], facts["nuclei"]) == (16, model, 16)
