"""The log keeps what was written, whatever happens to the program that writes."""

from dataclasses import replace

import numpy as np
import pytest

from histonuc.corrections import CorrectionLog, corrected_source, read_corrections

from .drawn import draw_row, made_target, maker, square, write_row


@pytest.fixture
def folder(tmp_path):
    return write_row(tmp_path / "slide")


@pytest.fixture
def make(folder):
    return maker(folder)


def test_nothing_is_written_by_opening(folder):
    before = sorted(folder.iterdir())
    assert CorrectionLog(folder).read().operations == ()
    assert read_corrections(folder) is None
    assert sorted(folder.iterdir()) == before


def test_lines_come_back_and_know_the_line_before(folder, make):
    log = CorrectionLog(folder)
    (first,) = log.append(make("classify", 1, 2, **{"class": "Plasma cell"}))
    second, third = log.append(make("delete", 3), make("comment", 4, text="mitosis?\n"))
    read = CorrectionLog(folder).read()
    assert read.notes == ()
    assert [one.to_record() for one in read.operations] == [
        one.to_record() for one in (first, second, third)
    ]
    assert [one.after for one in read.operations] == ["", first.key, second.key]
    assert all(len(one.key) == 16 and one.time.endswith("Z") for one in read.operations)


def test_what_a_crash_cut_off_is_told_and_mended(folder, make):
    log = CorrectionLog(folder)
    log.append(make("delete", 1), make("delete", 2))
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-40])
    read = log.read()
    assert len(read.operations) == 1
    assert "line 2 was cut off by a crash" in read.notes[0]
    log.append(make("delete", 3))
    read = log.read()
    assert [one.nuclei[0].id for one in read.operations] == [1, 3]
    assert read.notes == ()


def test_lines_of_a_later_version_are_kept_told_and_not_applied(folder, make):
    log = CorrectionLog(folder)
    log.append(make("delete", 1))
    line = log.path.read_text().replace('"do":"delete"', '"do":"rotate"')
    key = log.read().operations[0].key
    line = line.replace(f'"{key}","after":""', f'"0123456789abcdef","after":"{key}"')
    line = line[: line.index(',"crc"')] + "}\n"
    with log.path.open("a") as stream:
        stream.write(line)
    log.append(make("delete", 2))
    read = log.read()
    assert [one.do for one in read.operations] == ["delete", "rotate", "delete"]
    assert "'rotate'" in read.notes[0]
    assert line in log.path.read_text()
    found = read_corrections(folder)
    assert found.corrections.deleted == {1, 2}


def test_a_corrected_table(folder, make):
    log = CorrectionLog(folder)
    (split,) = log.append(make("split", 5, rings=[square(90, 10, 4), square(95, 10, 4)]))
    log.append(
        make("classify", 1, **{"class": "Plasma cell"}),
        make("delete", 2),
        make("redraw", 3, ring=square(50, 10, 8)),
        make("add", ring=square(200, 50), **{"class": "Connective"}),
        make("classify", made_target(f"{split.key}:1", square(95, 10, 4)), **{"class": "Mitosis"}),
    )
    source = corrected_source(folder)
    batches = list(source.batches(4))
    ids = [number for batch in batches for number in batch.ids.tolist()]
    assert ids == [1, 3, 4, 6, 7, 8, 9]
    assert source.num_nuclei == 7
    assert source.label_space.classes[3:] == ("Plasma cell", "Mitosis")
    names = [source.label_space.classes[j] for b in batches for j in b.nuclei.class_index.tolist()]
    assert names[0] == "Plasma cell"
    assert names[4:] == ["Inflammatory", "Mitosis", "Connective"]
    how = [text for batch in batches for text in batch.nuclei.texts["corrected"].tolist()]
    assert how == ["class", "outline", "", "", "split", "split", "added"]
    by = [text for batch in batches for text in batch.nuclei.texts["corrected_by"].tolist()]
    assert by == ["ann", "ann", "", "", "ann", "ann", "ann"]
    areas = [area for batch in batches for area in batch.nuclei.area_px.tolist()]
    assert areas == [100, 64, 100, 100, 16, 16, 100]
    assert batches[0].extra[1, 0] == pytest.approx(1)  # the solidity of a square
    assert batches[0].extra[1, 1] != batches[0].extra[1, 1]  # its eosin is not known
    uncorrected = corrected_source(folder, corrected=False)
    assert uncorrected.num_nuclei == 6
    assert uncorrected.text_names == ()


def test_undo_and_redo_across_restarts(folder, make):
    def read():
        return read_corrections(folder, by="ann").corrections

    (first,) = CorrectionLog(folder).append(make("delete", 1))
    (second,) = CorrectionLog(folder).append(make("delete", 2))
    assert (read().can_undo, read().can_redo) == (second.key, "")
    CorrectionLog(folder).append(make("undo", operation=second.key))
    assert read().deleted == {1}
    assert (read().can_undo, read().can_redo) == (first.key, second.key)
    CorrectionLog(folder).append(make("redo", operation=second.key))
    assert read().deleted == {1, 2}
    CorrectionLog(folder).append(make("undo", operation=second.key), make("delete", 3))
    assert read().can_redo == ""
    assert read().deleted == {1, 3}


def test_outlines_are_made_tidy_and_impossible_ones_refused(folder, make):
    log = CorrectionLog(folder)
    ring = square(200, 50)[::-1]  # against the clock, and closed
    (written,) = log.append(make("add", ring=[*ring, ring[0]], **{"class": "Connective"}))
    *_, made = corrected_source(folder).batches()
    assert made.nuclei.area_px.tolist() == [100]
    assert len(made.nuclei.contour(0)) == 4
    assert CorrectionLog(folder).read().operations[0].to_record() == written.to_record()
    before = log.path.read_bytes()
    for ring in ([0, 0, 1, 1, 2, 2], [0, 0, 1, 1], [0, 0, 1e12, 0, 5, 5], ["a"] * 6):
        with pytest.raises(ValueError, match="expected"):
            log.append(make("delete", 1), make("redraw", 2, ring=ring))
    with pytest.raises(ValueError, match="expected a name"):
        log.append(make("classify", 1, **{"class": "  "}))
    with pytest.raises(ValueError, match="expected one of"):
        log.append(make("rotate", 1))
    assert log.path.read_bytes() == before


def test_what_is_split_keeps_the_region_of_the_nucleus(tmp_path):
    nuclei = draw_row()
    regions = np.array(["core", "rim", "rim", "core", "core", "rim"], np.str_)
    folder = write_row(tmp_path / "slide", replace(nuclei, texts={"region": regions}))
    make, log = maker(folder), CorrectionLog(folder)
    log.append(make("add", ring=square(200, 50), **{"class": "Connective"}))
    (split,) = log.append(make("split", 4, rings=[square(70, 10, 5), square(75, 10, 5)]))
    half = made_target(f"{split.key}:0", square(70, 10, 5))
    log.append(make("split", half, rings=[square(70, 10, 2), square(72, 10, 2)]))
    found = [text for b in corrected_source(folder).batches() for text in b.nuclei.texts["region"]]
    assert found == ["core", "rim", "rim", "core", "rim", "", "core", "core", "core"]
