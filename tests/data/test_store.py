"""The store: what is written comes back, nothing is left of a failure."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from histonuc.data.store import Store, StoreWriter
from histonuc.taxonomy import PANNUKE

from .small_store import EMPTY, record, write


def test_arrays_and_facts_come_back(tmp_path):
    store = write(
        tmp_path / "s",
        record(name="a", patient="p1"),
        EMPTY,
        record(name="b", fold=2, tissue="Skin", source="other", mpp=float("nan")),
    )
    assert len(store) == 3
    assert store.folds == [1, 2]
    assert store.label_space == PANNUKE
    for tile in (0, 2):
        assert np.array_equal(store.image(tile), record().image)
        assert np.array_equal(store.instances(tile), record().instances)
        assert store.types(tile).tolist() == [0, 1, 5]
    assert store.instances(1).max() == 0
    assert store.types(1).tolist() == [0]
    assert [store.name(i) for i in range(3)] == ["a", "empty", "b"]
    assert [store.tissue(i) for i in range(3)] == ["Colon", "Colon", "Skin"]
    assert [store.source(i) for i in range(3)] == ["test", "test", "other"]
    assert store.mpp(0) == 0.25
    assert np.isnan(store.mpp(2))
    assert store.tiles["num_nuclei"].to_pylist() == [2, 0, 2]
    assert store.tiles["patient"].to_pylist() == ["p1", "", ""]


def test_dtypes_are_those_of_the_contract(tmp_path):
    store = write(tmp_path / "s", record())
    labels = store.labels(0)
    assert store.image(0).dtype == np.uint8
    assert labels.instances.dtype == store.types(0).dtype == np.int32
    assert labels.candidates.dtype == np.uint32
    assert labels.candidates.tolist() == [0, 1, 16]
    assert labels.ignore.dtype == bool
    assert not labels.ignore.any()
    assert str(store.tiles.schema.field("fold").type) == "int16"
    assert str(store.nuclei.schema.field("candidates").type) == "uint32"


def test_geometry_of_nuclei_by_hand(tmp_path):
    rows = write(tmp_path / "s", EMPTY, record()).nuclei.to_pylist()
    # Nucleus 1 has the pixels (x, y) = (1, 1), (2, 1), (1, 2); their centres are half a pixel on.
    assert rows[0] == {
        "tile": 1,
        "instance": 1,
        "type": 1,
        "candidates": 1,
        "original_id": 7,
        "channel": -1,
        "area_px": 3,
        "x": (1 + 2 + 1) / 3 + 0.5,
        "y": (1 + 1 + 2) / 3 + 0.5,
        "x_min": 1,
        "y_min": 1,
        "x_max": 3,
        "y_max": 3,
    }
    assert (rows[1]["x"], rows[1]["y"], rows[1]["area_px"]) == (3.0, 2.5, 2)
    assert [rows[1][k] for k in ("x_min", "y_min", "x_max", "y_max")] == [2, 2, 4, 3]


def test_class_counts_by_tile(tmp_path):
    store = write(tmp_path / "s", record(types=(1, 1)), EMPTY, record(types=(0, 4)))
    counts = store.class_counts(np.array([2, 0, 1]))
    assert counts.tolist() == [[0, 0, 0, 1, 0], [2, 0, 0, 0, 0], [0, 0, 0, 0, 0]]


def test_tiles_of_several_sizes_share_a_store(tmp_path):
    small = record(np.ones((2, 2)), (2,))
    store = write(tmp_path / "s", record(), small, record(), small)
    assert store.tiles["shard"].to_pylist() == ["fold1/3x4", "fold1/2x2"] * 2
    assert store.tiles["row"].to_pylist() == [0, 0, 1, 1]
    assert [store.image(i).shape for i in range(4)] == [(3, 4, 3), (2, 2, 3)] * 2
    assert store.instances(3).tolist() == [[1, 1], [1, 1]]


def test_more_nuclei_than_16_bits_number(tmp_path):
    instances = np.arange(1, 257 * 257 + 1).reshape(257, 257)
    store = write(tmp_path / "s", record(instances, np.ones(257 * 257)))
    assert np.array_equal(store.instances(0), instances)
    assert np.load(tmp_path / "s/fold1/257x257-int32/instances.npy").dtype == np.int32


def test_shards_are_plain_compact_npy_files(tmp_path):
    write(tmp_path / "s", record(), EMPTY)
    images = np.load(tmp_path / "s/fold1/3x4/images.npy", allow_pickle=False)
    instances = np.load(tmp_path / "s/fold1/3x4/instances.npy", allow_pickle=False)
    assert images.shape == (2, 3, 4, 3)
    assert instances.dtype == np.uint16
    assert np.array_equal(instances[0], record().instances)


def test_images_are_mapped_and_read_only(tmp_path):
    image = write(tmp_path / "s", record()).image(0)
    assert not image.flags.owndata
    assert not image.flags.writeable


def test_select_by_fold_and_source(tmp_path):
    store = write(
        tmp_path / "s",
        record(fold=2),
        record(fold=1, source="other"),
        record(fold=3),
        record(fold=2, source="other"),
    )
    assert store.select().tolist() == [0, 1, 2, 3]
    assert store.select([2, 3]).tolist() == [0, 2, 3]
    assert store.select([2], ["other"]).tolist() == [3]
    assert store.select(None, ["test"]).tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"--folds: .* has no \[4\]; it has \[1, 2, 3\]"):
        store.select([1, 4])
    with pytest.raises(ValueError, match=r"--sources: .* has no \['x'\]; it has \['other', 'test'"):
        store.select(None, ["x"])
    with pytest.raises(ValueError, match="no tile"):
        store.select([3], ["other"])
    with pytest.raises(ValueError, match="no tile"):
        store.select([])


def test_a_tile_out_of_range_is_named(tmp_path):
    store = write(tmp_path / "s", record())
    with pytest.raises(ValueError, match=r"tile 1: .* has tiles 0\.\.0"):
        store.image(1)
    with pytest.raises(ValueError, match="tile -1"):
        store.instances(-1)


def test_folder_data_have_no_official_mask(tmp_path):
    with pytest.raises(ValueError, match="not made from official folds"):
        write(tmp_path / "s", record()).official_mask(0)


def test_travels_to_workers_as_a_path(tmp_path):
    store = write(tmp_path / "s", record())
    store.image(0)
    frozen = pickle.dumps(store)
    assert len(frozen) < 1000
    assert np.array_equal(pickle.loads(frozen).image(0), store.image(0))


# ---- writing: all or nothing


def write_and_fail(out: Path, *, overwrite: bool = False) -> None:
    with StoreWriter(out, PANNUKE, source="test", overwrite=overwrite) as writer:
        writer.add(record(name="new"))
        raise RuntimeError


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        write_and_fail(tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_store_it_was_to_replace(tmp_path):
    write(tmp_path / "s", record(name="old"))
    with pytest.raises(RuntimeError):
        write_and_fail(tmp_path / "s", overwrite=True)
    assert Store.open(tmp_path / "s").name(0) == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_nothing_is_seen_before_the_end(tmp_path):
    with StoreWriter(tmp_path / "s", PANNUKE, source="t") as writer:
        writer.add(record())
        assert not (tmp_path / "s").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_overwrite_replaces_a_store_only_when_asked(tmp_path):
    write(tmp_path / "s", record(name="old"), record())
    with pytest.raises(ValueError, match=r"exists already.*--overwrite"):
        write(tmp_path / "s", record())
    store = write(tmp_path / "s", record(name="new"), overwrite=True)
    assert (len(store), store.name(0)) == (1, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_store_is_never_replaced(tmp_path, overwrite):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("more work")
    for name in ("folder", "file"):
        with pytest.raises(ValueError, match="exists and is no store"):
            write(tmp_path / name, record(), overwrite=overwrite)
    assert (tmp_path / "folder" / "thesis.tex").read_text() == "years of work"
    assert (tmp_path / "file").read_text() == "more work"


def test_an_empty_folder_may_be_filled_and_parents_are_made(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    assert len(write(tmp_path / "empty", record())) == 1
    assert len(write(tmp_path / "a" / "b" / "c", record())) == 1
    monkeypatch.chdir(tmp_path)
    assert len(write(Path("relative"), record())) == 1


def test_leftovers_of_a_killed_run_are_told(tmp_path, caplog):
    (tmp_path / ".writing-7-0badcafe-s").mkdir()
    write(tmp_path / "s", record())
    assert ".writing-7-0badcafe-s is left of an interrupted prepare" in caplog.text


def test_many_overlap_pixels_are_streamed(tmp_path, monkeypatch):
    monkeypatch.setattr("histonuc.data.writer._OVERLAP_ROWS_IN_MEMORY", 3)
    overlaps = np.array([[0, 1, 5, 9], [2, 3, 0, 4]])
    with StoreWriter(tmp_path / "s", PANNUKE, source="t") as writer:
        for _ in range(5):
            writer.add(record(overlaps=overlaps, channels=np.array([0, 4]), background=1))
        writer.extra["mask_dtypes"] = {"1": "<f8"}
    store = Store.open(tmp_path / "s")
    masks = [store.official_mask(i) for i in range(5)]
    assert masks[0].dtype == np.float64
    assert (masks[0][0, 1, 5], masks[0][2, 3, 0]) == (9, 4)
    assert all(np.array_equal(mask, masks[0]) for mask in masks)


# ---- imports


def test_the_data_layer_is_light():
    code = (
        "import sys, histonuc.data.store, histonuc.data.pannuke, histonuc.data.folder\n"
        "print([m for m in ('torch', 'matplotlib', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
