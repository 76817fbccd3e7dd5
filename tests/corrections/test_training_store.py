"""Corrections become labels: what nobody looked at is neither nucleus nor background."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from histonuc import cli
from histonuc.corrections import CorrectionLog, Operation, truth
from histonuc.corrections.records import Field
from histonuc.data.store import Store
from histonuc.taxonomy import THREE

from ..viewing.made_result import write_result, write_slide
from .drawn import draw_row, maker, square, write_row

FIELD = [0, 0, 45, 0, 45, 45, 0, 45]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A result with its slide: six squares of 10 px, 20 px apart, from (10, 10) on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # remembers places of slides
    folder = tmp_path / "out/slide"
    folder.mkdir(parents=True)
    write_result(folder, write_slide(tmp_path / "slide.png"), draw_row())
    return folder


def prepare(folder, *more):
    data = folder.parents[1] / "data"
    line = ["prepare", "corrections", str(folder.parent), "--out", str(data), "--overwrite"]
    return cli.run([*line, *more]), data


def test_a_complete_field_teaches_what_is_in_it_and_nothing_around(folder):
    make = maker(folder)
    log = CorrectionLog(folder)
    log.append(
        make("field", ring=square(0, 0, 36), complete=True),  # nucleus 2 reaches over its border
        make("delete", 1),
        make("add", ring=square(12, 12, 6), **{"class": "Mitosis"}),
        make("field", ring=square(60, 0, 36), complete=False),
    )
    code, data = prepare(folder)
    assert code == 0
    store = Store.open(data)
    assert len(store) == 1
    assert store.label_space.classes[-1] == "Mitosis"
    labels, image = store.labels(0), store.image(0)
    assert image.shape == (36, 36, 3)
    assert image[20, 20].tolist() == [20 // 16, 20 // 16, 128]
    assert not labels.class_only
    (id_made,) = np.unique(labels.instances[12:18, 12:18])
    assert labels.candidates[id_made] == 1 << 3
    assert set(np.unique(labels.instances)) == {0, 1, 2}
    assert not labels.ignore.any()
    log.append(
        make("field", ring=square(0, 0, 36), complete=False),
        make("field", ring=square(0, 0, 33), complete=True),  # its centre lies outside
    )
    code, data = prepare(folder)
    store = Store.open(data)
    (tile,) = [t for t in range(len(store)) if store.size(t) == (33, 33)]
    labels = store.labels(tile)
    assert set(np.unique(labels.instances)) == {0, 1}
    assert labels.ignore[10:20, 28:].all()  # nucleus 2 and its rim: not background
    assert not labels.ignore[:8].any()


def test_single_classes_teach_classes_alone(folder):
    make = maker(folder)
    CorrectionLog(folder).append(
        make("classify", 2, 3, 4, **{"class": "Mitosis"}),
        make("hold_out", 3),
        make("field", ring=square(60, 0, 36), complete=True),  # holds nucleus 4
    )
    code, data = prepare(folder)
    assert code == 0
    store = Store.open(data)
    points = [tile for tile in range(len(store)) if not store.has_outlines(tile)]
    (tile,) = points
    labels = store.labels(tile)
    assert store.is_sparse(tile)
    assert labels.class_only
    assert labels.ignore.all()
    assert labels.candidates.tolist() == [0, 1 << 3]
    ys, xs = np.nonzero(labels.instances == 1)
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (30, 39, 10, 19)


def test_held_out_nuclei_of_a_field_are_not_known(folder):
    make = maker(folder)
    CorrectionLog(folder).append(
        make("field", ring=square(0, 0, 45), complete=True), make("hold_out", 1)
    )
    _, data = prepare(folder)
    labels = Store.open(data).labels(0)
    assert labels.ignore[10:20, 10:20].all()
    assert set(np.unique(labels.instances)) == {0, 1}


def test_the_ignore_mask_goes_through_the_crops_of_training(folder):
    pytest.importorskip("torch")
    from histonuc.data.augment_config import AugmentConfig
    from histonuc.data.dataset import Sampling, TileDataset

    make = maker(folder)
    CorrectionLog(folder).append(make("field", ring=square(0, 0, 33), complete=True))
    _, data = prepare(folder)
    store = Store.open(data)
    dataset = TileDataset(
        store,
        np.array([0]),
        lambda labels: {"instances": labels.instances, "ignore": labels.ignore},
        tile_px=33,
        mpp=0.25,
        augment=AugmentConfig(),
        sampling=Sampling(samples_per_epoch=8),
    )
    areas = []
    for key in range(8):
        targets = dataset[key]["targets"]
        assert not (targets["instances"].bool() & targets["ignore"].bool()).any()
        areas.append(int(targets["ignore"].sum()))
    assert max(areas) > 30


def test_nothing_to_teach_and_no_slide_are_told(folder, capsys):
    assert prepare(folder)[0] == 2
    assert "no result with corrections" in capsys.readouterr().err
    make = maker(folder)
    CorrectionLog(folder).append(make("delete", 1))
    assert prepare(folder)[0] == 2
    assert "teach nothing yet" in capsys.readouterr().err
    CorrectionLog(folder).append(make("classify", 2, **{"class": "Mitosis"}))
    moved = folder.parents[1] / "moved"
    moved.mkdir()
    (folder.parents[1] / "slide.png").rename(moved / "renamed.png")
    assert prepare(folder)[0] == 2
    assert "give --slides FOLDER" in capsys.readouterr().err
    assert prepare(folder, "--slides", str(moved))[0] == 0


def test_what_is_predicted_where_nothing_is_known_is_neither_right_nor_wrong(folder):
    from histonuc.evaluation.classes import choose_classes
    from histonuc.evaluation.counting import count_tile
    from histonuc.evaluation.evaluate import pair_with_truth
    from histonuc.evaluation.predictions import Prediction

    make = maker(folder)
    CorrectionLog(folder).append(make("field", ring=square(0, 0, 33), complete=True))
    _, data = prepare(folder)
    store = Store.open(data)
    found = store.instances(0)
    found[10:20, 29:] = 7  # nucleus 2, whose centre lies outside
    classes = choose_classes(store.label_space, store.label_space, binary_only=True)
    ((truth, prediction),) = pair_with_truth(store, [(0, Prediction(labels=found))], classes)
    counts = count_tile(truth, prediction, 3, with_classes=False)
    assert counts.found[0].tolist() == [1, 0, 0]
    found[25:30, 2:8] = 9  # where it is known that there is nothing
    ((truth, prediction),) = pair_with_truth(store, [(0, Prediction(labels=found))], classes)
    assert count_tile(truth, prediction, 3, with_classes=False).found[0].tolist() == [1, 1, 0]


def test_fields_take_turns_in_the_folds_and_keep_theirs(folder):
    make, log = maker(folder), CorrectionLog(folder)
    for number, x in enumerate((0, 45, 90, 0), 1):
        log.append(make("field", ring=square(x, 40 * (number == 4), 35), complete=True))
        _, data = prepare(folder)
        store = Store.open(data)
        assert [store.fold(tile) for tile in range(number)] == [1, 2, 3, 1][:number]


def test_uncertain_nuclei_of_a_field_may_be_of_any_class(folder):
    space = replace(
        THREE,
        classes=(*THREE.classes, "Uncertain"),
        colours=(*THREE.colours, (150, 150, 150)),
        meanings=(*THREE.meanings, ()),
    )
    nuclei = draw_row()
    probabilities = np.eye(4, dtype=np.float32)[[3, 0, 1, 2, 0, 1]]
    write_row(folder, replace(nuclei, class_probabilities=probabilities, label_space=space))
    CorrectionLog(folder).append(Operation(do="field", fields={"ring": FIELD, "complete": True}))
    code, data = prepare(folder)
    store = Store.open(data)
    assert code == 0
    assert store.label_space == THREE
    assert store.labels(0).candidates.tolist() == [0, 0b111, 0b001]


def test_fields_that_overlap_teach_each_place_once(folder):
    make = maker(folder)
    CorrectionLog(folder).append(
        make("field", ring=square(0, 0, 50), complete=True),  # nuclei 1 and 2
        make("field", ring=square(26, 0, 44), complete=True),  # 2 and 3
        make("field", ring=square(30, 0, 9), complete=True),  # nothing that is new
    )
    code, data = prepare(folder)
    assert code == 0
    store = Store.open(data)
    assert [store.fold(tile) for tile in range(len(store))] == [1, 2]
    first, second = store.labels(0), store.labels(1)
    assert (len(first.candidates) - 1, len(second.candidates) - 1) == (2, 1)
    assert not first.ignore.any()
    assert second.ignore[:, : 50 - 26].all()
    assert not second.ignore[:, 50 - 26 :].any()


@settings(max_examples=20, deadline=None)
@given(hnp.arrays(np.float64, (7, 2), elements=st.floats(-20, 400)), st.booleans())
def test_a_ring_is_drawn_as_the_centres_of_its_pixels_say(points, has_other):
    ring = points[np.argsort(np.arctan2(*(points - points.mean(0)).T))]
    other = Field(key="1", ring=square(100, 100, 90), complete=True, by="", time="")
    without, box = [other][: int(has_other)], (5, 3, 310, 300)
    assume(shapely.Polygon(ring).is_valid)
    x, y = np.meshgrid(np.arange(310) + 5.5, np.arange(300) + 3.5)
    area = shapely.Polygon(ring)
    for one in without:
        area = shapely.difference(area, shapely.Polygon(one.ring))
    np.testing.assert_array_equal(
        truth._draw_ring(ring, without, box), shapely.contains_xy(area, x, y)
    )


def test_a_large_field_takes_little_memory():
    box = (0, 0, 2048, 2048)
    tracemalloc.start()
    drawn = truth._draw_ring(square(10, 10, 2000), (), box)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert drawn.sum() == 2000**2
    assert most < 8 * drawn.nbytes  # all centres at once take 40 times as much
