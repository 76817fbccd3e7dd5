"""Corrections of an earlier prediction, on another table of the same slide."""

from dataclasses import replace

import numpy as np
import pytest

from histonuc.corrections import CorrectionLog, corrected_source, read_corrections

from .drawn import draw_row, maker, square, write_row


@pytest.fixture
def folder(tmp_path):
    return write_row(tmp_path / "slide")


def predict_anew(folder, rows, shift=1.0):
    """The same nuclei a pixel beside, in another order and with other numbers."""
    nuclei = draw_row(12).select(rows)
    moved = replace(nuclei, points=nuclei.points + shift, centroid=nuclei.centroid + shift)
    write_row(folder, moved)


def test_each_kind_of_correction_finds_its_nucleus(folder):
    make = maker(folder)
    log = CorrectionLog(folder)
    log.append(
        make("classify", 1, **{"class": "Mitosis"}),
        make("delete", 2),
        make("redraw", 3, ring=square(50, 10, 8)),
        make("split", 4, rings=[square(70, 10, 5), square(75, 10, 5)]),
        make("join", 5, 6, ring=square(90, 10, 30)),
        make("comment", 1, text="here"),
        make("hold_out", 3),
    )
    predict_anew(folder, [11, 5, 4, 3, 2, 1, 0])  # number 1 is another one now, 7 is 1 of before
    found = read_corrections(folder).corrections
    assert found.unmatched == ()
    assert dict(found.classes) == {7: "Mitosis"}
    assert found.deleted == {6, 4, 3, 2}
    assert list(found.rings) == [5]
    assert found.held_out == {5}
    assert [one.id for one in found.comments] == [7]
    assert [one.how for one in found.made] == ["split", "split", "joined"]
    log.append(maker(folder)("undo", operation=log.read().operations[1].key))
    assert read_corrections(folder).corrections.deleted == {4, 3, 2}


def test_what_is_not_there_any_more_is_listed_and_not_applied(folder):
    make = maker(folder)
    CorrectionLog(folder).append(
        make("classify", 1, 2, **{"class": "Mitosis"}), make("join", 2, 3, ring=square(30, 10, 30))
    )
    predict_anew(folder, [0, 2])
    found = read_corrections(folder)
    corrections = found.corrections
    assert dict(corrections.classes) == {1: "Mitosis"}
    assert corrections.made == ()  # a join counts for all of its nuclei or for none
    assert corrections.deleted == frozenset()
    assert [one.target.id for one in corrections.unmatched] == [2, 2]
    assert "2 corrections of nuclei that are not in this table" in " ".join(found.lines())


def test_an_added_nucleus_that_is_predicted_now_is_not_counted_twice(folder):
    CorrectionLog(folder).append(
        maker(folder)("add", ring=square(10 + 6 * 20, 10), **{"class": "Mitosis"})
    )
    assert corrected_source(folder).num_nuclei == 7
    predict_anew(folder, range(7))
    source = corrected_source(folder)
    assert source.num_nuclei == 7
    places = [x for batch in source.batches() for x in batch.nuclei.centroid[:, 0].tolist()]
    assert np.diff(sorted(places)).min() > 15


def test_a_nucleus_is_found_by_its_centre_where_outlines_differ_much(folder):
    CorrectionLog(folder).append(maker(folder)("delete", 1))
    nuclei = draw_row(1)
    thin = nuclei.points.copy()
    thin[:, 0] = np.where(thin[:, 0] > 15, 24, 14)  # an IoU of 0.43
    write_row(folder, replace(nuclei, points=thin, centroid=np.array([[19.0, 15.0]])))
    assert read_corrections(folder).corrections.deleted == {1}
    far = thin + np.array([8.0, 0.0])
    write_row(folder, replace(nuclei, points=far, centroid=np.array([[27.0, 15.0]])))
    found = read_corrections(folder).corrections
    assert found.deleted == frozenset()
    assert len(found.unmatched) == 1
