import json
import os

import pytest

from histonuc.inference.results import ResultFolder
from histonuc.inference.sources import (
    check_unchanged,
    find_inputs,
    fingerprint,
    name_folders,
)


def touch(*paths, content=b"x"):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def finish(folder, source):
    """Leave behind what a finished prediction of `source` leaves behind."""
    touch(
        *(folder / name for name in ("nuclei.parquet", "overview.jpg", "detail.jpg", "density.jpg"))
    )
    (folder / "summary.json").write_text(json.dumps({"fingerprint": fingerprint(source)}))


def begin(folder, source):
    """Leave behind what an interrupted prediction of `source` leaves behind."""
    touch(folder / "parts" / "run.json", content=json.dumps(fingerprint(source)).encode())


def names(sources, out):
    return [folder.path.name for folder in name_folders(sources, out)]


def test_folders_are_searched_and_files_are_taken_once(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("x/a.png", "x/A.tif", "a.jpg")]
    touch(*paths, tmp_path / "notes.txt", tmp_path / ".hidden.png")
    found = find_inputs([tmp_path])[0]
    assert found == sorted(paths)
    assert find_inputs([tmp_path, tmp_path / "a.jpg", tmp_path / "x" / ".." / "a.jpg"])[0] == found
    monkeypatch.chdir(tmp_path)
    assert len(find_inputs([tmp_path, tmp_path.relative_to(tmp_path) / "a.jpg"])[0]) == 3


def test_links_to_one_file_are_inputs_of_their_own(tmp_path):
    touch(tmp_path / "store" / "f00d.png")
    for name in ("case-1.png", "case-2.png"):
        (tmp_path / name).symlink_to(tmp_path / "store" / "f00d.png")
    assert len(find_inputs([tmp_path / "case-1.png", tmp_path / "case-2.png"])[0]) == 2


def test_the_pictures_of_a_prediction_are_not_inputs(tmp_path):
    touch(tmp_path / "x.png", tmp_path / "albums" / "overview.jpg")
    finish(tmp_path / "out" / "x", tmp_path / "x.png")
    assert find_inputs([tmp_path])[0] == [tmp_path / "albums" / "overview.jpg", tmp_path / "x.png"]


def test_each_source_of_a_run_has_a_folder_of_its_own(tmp_path):
    sources = [tmp_path / name for name in ("a.jpg", "x/A.tif", "x/a.png", "summary.json.png")]
    touch(*sources)
    assert names(sources, tmp_path / "out") == ["a", "A-2", "a-3", "summary.json-2"]


def test_results_of_another_source_are_never_written_over(tmp_path):
    one, other, out = tmp_path / "1" / "x.png", tmp_path / "2" / "x.png", tmp_path / "out"
    touch(one, content=b"one")
    touch(other, content=b"other")
    finish(out / "x", one)
    assert names([other], out) == ["x-2"]
    finish(out / "x-2", other)
    assert names([other, one], out) == ["x-2", "x"]
    assert names([one, other], out) == ["x", "x-2"]


def test_a_source_that_changed_or_moved_keeps_its_folder(tmp_path):
    source, out = tmp_path / "1" / "x.png", tmp_path / "out"
    touch(source)
    finish(out / "x", source)
    touch(source, content=b"another version")
    assert names([source], out) == ["x"]
    finish(out / "x", source)
    os.renames(source, tmp_path / "2" / "x.png")
    assert names([tmp_path / "2" / "x.png"], out) == ["x"]


def test_parts_of_another_source_are_never_written_over(tmp_path):
    one, other, out = tmp_path / "1" / "x.png", tmp_path / "2" / "x.png", tmp_path / "out"
    touch(one, content=b"one")
    touch(other, content=b"other")
    begin(out / "x", one)
    assert names([other], out) == ["x-2"]
    assert names([other, one], out) == ["x-2", "x"]
    os.renames(one, tmp_path / "3" / "x.png")
    assert names([tmp_path / "3" / "x.png"], out) == ["x"]
    (out / "x" / "parts" / "run.json").write_text("[")  # of nobody: no run can go on from it
    assert names([other], out) == ["x"]


def test_one_path_with_nothing_does_not_cost_the_others(tmp_path):
    touch(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling.svs").symlink_to(tmp_path / "gone.svs")
    paths = [tmp_path / name for name in ("empty", "a.png", "dangling.svs")]
    found, missing = find_inputs(paths)
    assert found == [tmp_path / "a.png"]
    assert list(missing) == [paths[0], paths[2]]
    assert missing[paths[2]] == f"nothing at {paths[2]}"
    with pytest.raises(ValueError, match=r"no images or slides in .*; nothing at"):
        find_inputs([paths[0], paths[2]])


def series(uid):
    """As much of a DICOM file as its series is told by."""
    return bytes(128) + b"DICM\x20\x00\x0e\x00UI\x04\x00" + uid


@pytest.mark.parametrize(
    ("source", "file", "content"),
    [
        ("a.zarr", "a.zarr/0/c/0/1", b"a chunk"),
        ("a.mrxs", "a/Data0000.dat", b"a mirax slide"),
        (
            "a.vms",
            "tissue(1,0).jpg",
            b"[Virtual Microscope Specimen]\nImageFile(1,0)=tissue(1,0).jpg",
        ),
        ("a.vmu", "a.data", b"[Uncompressed Virtual Microscope Specimen]\nImageFile=a.data"),
        ("1.dcm", "2.DCM", series(b"1.22")),
        ("1.2.3", "1.2.4", series(b"1.22")),
    ],
)
def test_all_files_of_a_slide_are_in_its_fingerprint(tmp_path, source, file, content):
    folder = tmp_path / "here"
    touch(folder / file, content=content)
    if not (folder / source).is_dir():
        touch(folder / source, content=content)
    before = fingerprint(folder / source)
    stat = (folder / file).stat()
    # Written over in place, as chunks and levels are: the source itself stays what it was.
    os.utime(folder / file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert fingerprint(folder / source) != before
    os.utime(folder / file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    touch(folder / "b.dcm", folder / "stranger", content=series(b"1.33"))
    assert fingerprint(folder / source) == before
    folder.rename(tmp_path / "there")
    moved = fingerprint(tmp_path / "there" / source)
    assert moved | {"source": before["source"]} == before
    check_unchanged(tmp_path / "there" / source, moved | {"model": "m"})
    (tmp_path / "there" / file).unlink()
    with pytest.raises(OSError, match="was changed while it was analysed"):
        check_unchanged(tmp_path / "there" / source, moved | {"model": "m"})


def test_results_do_not_lie_among_a_slide_s_own_files(tmp_path):
    touch(tmp_path / "a.mrxs", tmp_path / "a" / "Data0000.dat")
    before = fingerprint(tmp_path / "a.mrxs")
    assert names([tmp_path / "a.mrxs"], tmp_path) == ["a-2"]
    assert names([tmp_path / "a.mrxs"], tmp_path / "out") == ["a"]
    touch(tmp_path / "a" / ".DS_Store")
    check_unchanged(tmp_path / "a.mrxs", before)


@pytest.mark.parametrize("name", ["a.png", "a.mrxs", "a.dcm", "a"])
def test_a_lone_file_has_the_fingerprint_it_always_had(tmp_path, name):
    touch(tmp_path / name, content=series(b"1.22"))
    touch(tmp_path / "b.dcm", content=series(b"1.33"))
    assert set(fingerprint(tmp_path / name)) == {"source", "bytes", "modified_ns"}


@pytest.mark.parametrize("summary", ['{"half": ', "[]", "{}"])
def test_an_unfinished_folder_is_free_or_at_least_no_crash(tmp_path, summary):
    source, folder = tmp_path / "x.png", tmp_path / "out" / "x"
    touch(source, folder / "nuclei.parquet")
    (folder / "summary.json").write_text(summary)
    if summary == "{}":  # finished, but nobody knows by whom: left alone
        assert names([source], tmp_path / "out") == ["x-2"]
    else:
        assert ResultFolder(folder).read_key() is None
        assert names([source], tmp_path / "out") == ["x"]
    (folder / "nuclei.parquet").unlink()
    assert names([source], tmp_path / "out") == ["x"]


def test_linked_folders_are_searched_once(tmp_path):
    (tmp_path / "arch").mkdir()
    (tmp_path / "in/sub").mkdir(parents=True)
    for name in ("arch/a.png", "in/b.png", "in/sub/c.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "in/more").symlink_to("../arch")
    (tmp_path / "in/again").symlink_to("../arch")
    (tmp_path / "in/up").symlink_to("..")  # leads back to all of them
    (tmp_path / "in/a-sub").symlink_to("sub")
    found, missing = find_inputs([tmp_path / "in"])
    names = [str(path.relative_to(tmp_path)) for path in found]
    assert sorted(names) == ["in/again/a.png", "in/b.png", "in/sub/c.png"]
    assert not missing
