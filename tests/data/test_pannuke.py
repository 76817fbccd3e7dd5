"""The official folds: every layout and number type, rebuilt exactly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from histonuc.data.flatten import flatten_mask, paint_official_mask
from histonuc.data.pannuke import find_folds, prepare_pannuke
from histonuc.data.store import Store

from .official_folds import FLAT, LAYOUT_OF_SYNTH, SIDE, assert_holds, draw_fold, write_fold

LAYOUTS = {
    "official": tuple(LAYOUT_OF_SYNTH.values()),
    "flat": FLAT,
    "nested": ("fold{k}/images/images.npy", "fold{k}/masks/masks.npy", "fold{k}/images/types.npy"),
    "fold_k": ("fold_{k}/images.npy", "fold_{k}/masks.npy", "fold_{k}/types.npy"),
    "kaggle": (
        "Fold {k}/Fold {k}/images/fold{k}/images.npy",
        "Fold {k}/Fold {k}/masks/fold{k}/masks.npy",
        "Fold {k}/Fold {k}/images/fold{k}/types.npy",
    ),
    "kaggle in a folder": (
        "raw/fold{k}/Fold {k}/images/fold{k}/images.npy",
        "raw/fold{k}/Fold {k}/masks/fold{k}/masks.npy",
        "raw/fold{k}/Fold {k}/images/fold{k}/types.npy",
    ),
    "kaggle by part": (
        "Part {k}/Images/images.npy",
        "Part {k}/Masks/masks.npy",
        "Part {k}/Images/types.npy",
    ),
    "by kind": (
        "images/fold{k}/images.npy",
        "masks/fold{k}/masks.npy",
        "images/fold{k}/types.npy",
    ),
}


# ---- layouts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found(tmp_path, layout):
    folds = {k: draw_fold(k) for k in (1, 2, 3)}
    for k, arrays in folds.items():
        write_fold(tmp_path / "raw", k, arrays, LAYOUTS[layout])
    prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    store = Store.open(tmp_path / "out")
    assert store.folds == [1, 2, 3]
    for k, arrays in folds.items():
        assert_holds(store, k, arrays)


def test_one_folder_with_the_three_files_is_fold_1(tmp_path):
    write_fold(tmp_path, 9, draw_fold(4))
    raw = (tmp_path / "fold9").rename(tmp_path / "mine")
    assert [fold.number for fold in find_folds(raw)] == [1]


def test_a_single_fold_may_be_given_itself(tmp_path):
    write_fold(tmp_path, 2, draw_fold(4))
    write_fold(tmp_path, 3, draw_fold(4), LAYOUTS["official"])
    assert [fold.number for fold in find_folds(tmp_path / "fold2")] == [2]
    assert [fold.number for fold in find_folds(tmp_path / "Fold 3")] == [3]


def test_zero_based_folders_become_folds_from_1(tmp_path):
    folds = {k: draw_fold(k + 1) for k in (0, 1, 2)}
    for k, arrays in folds.items():
        write_fold(tmp_path / "raw", k, arrays)
    report = prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    store = Store.open(tmp_path / "out")
    for k, arrays in folds.items():
        assert_holds(store, k + 1, arrays)
    assert f"fold 1: {tmp_path}/raw/fold0" in report.findings


@pytest.mark.parametrize("numbers", [[1], [2], [1, 2, 3, 4, 5], [7, 10]])
def test_any_number_of_folds(tmp_path, numbers):
    for k in numbers:
        write_fold(tmp_path / "raw", k, draw_fold(k, tiles=1))
    prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert Store.open(tmp_path / "out").folds == numbers


def test_some_folds_of_several(tmp_path):
    for k in (1, 2, 3):
        write_fold(tmp_path / "raw", k, draw_fold(k))
    prepare_pannuke(tmp_path / "raw", tmp_path / "out", folds=(3, 1))
    assert Store.open(tmp_path / "out").folds == [1, 3]
    with pytest.raises(ValueError, match=r"--folds: \[4\] not found; found \[1, 2, 3\]"):
        prepare_pannuke(tmp_path / "raw", tmp_path / "out2", folds=(1, 4))


def test_linked_folders_are_followed_once(tmp_path):
    write_fold(tmp_path / "disk", 1, draw_fold(1), LAYOUTS["official"])
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "Fold 1").symlink_to(tmp_path / "disk" / "Fold 1")
    (tmp_path / "raw" / "loop").symlink_to(tmp_path / "raw")
    assert [fold.number for fold in find_folds(tmp_path / "raw")] == [1]


# ---- dtypes and exactness


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "uint8", "uint16", "int16", "int32", "int64", "uint32", ">f8"]
)
def test_every_dtype_is_rebuilt_bit_for_bit(tmp_path, dtype):
    arrays = draw_fold(5, dtype=np.dtype(dtype))
    write_fold(tmp_path / "raw", 1, arrays)
    prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert_holds(Store.open(tmp_path / "out"), 1, arrays)


def test_folds_may_differ_in_dtype_and_tile_size(tmp_path):
    one, two = draw_fold(1), draw_fold(2, dtype=np.uint8)
    two |= {"images": two["images"][:, :8], "masks": two["masks"][:, :8]}
    write_fold(tmp_path / "raw", 1, one)
    write_fold(tmp_path / "raw", 2, two)
    prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    store = Store.open(tmp_path / "out")
    assert_holds(store, 1, one)
    assert_holds(store, 2, two)


def test_chunks_do_not_show(tmp_path, monkeypatch):
    monkeypatch.setattr("histonuc.data.official._CHUNK_BYTES", 2 * SIDE * SIDE * 6 * 8)
    arrays = draw_fold(6, tiles=5)
    write_fold(tmp_path / "raw", 1, arrays)
    prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert_holds(Store.open(tmp_path / "out"), 1, arrays)


CLASS_VALUES = st.sampled_from([0, 0, 0, 1, 1, 2, 3, 7, 255, 65536, 2**31, 2**60 - 1])
LAST_VALUES = st.sampled_from([0, 1, 1, 2, 255])


@st.composite
def official_masks(draw: st.DrawFn, largest: int = 2**60) -> np.ndarray:
    """Overlaps, ids repeated across channels, scattered parts, an arbitrary last channel."""
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    values = CLASS_VALUES.filter(lambda value: value < largest)
    classes = draw(hnp.arrays(np.int64, (*shape, 5), elements=values, fill=st.just(0)))
    kind = draw(st.sampled_from(["official", "inverted", "arbitrary"]))
    last = (classes == 0).all(-1).astype(np.int64)
    if kind == "inverted":
        last = 1 - last
    elif kind == "arbitrary":
        last = draw(hnp.arrays(np.int64, shape, elements=LAST_VALUES))
    return np.concatenate([classes, last[..., None]], axis=-1)


def rebuild(mask: np.ndarray) -> np.ndarray:
    flat = flatten_mask(mask)
    return paint_official_mask(
        flat.instances,
        np.concatenate([[0], flat.channels]),
        np.concatenate([[0], flat.original_ids]),
        flat.overlaps,
        background=flat.background,
        num_classes=5,
    )


@given(official_masks())
def test_flatten_then_paint_is_exact(mask):
    assert np.array_equal(rebuild(mask), mask)


@given(official_masks())
def test_flat_map_is_the_last_channel_of_every_pixel(mask):
    """Against a plain loop over pixels and channels."""
    flat = flatten_mask(mask)
    height, width = mask.shape[:2]
    expected = {}
    for y in range(height):
        for x in range(width):
            for channel in range(5):
                if mask[y, x, channel]:
                    expected[y, x] = (channel, mask[y, x, channel])
    assert set(zip(*np.nonzero(flat.instances), strict=True)) == set(expected)
    for (y, x), nucleus in expected.items():
        row = flat.instances[y, x] - 1
        assert (flat.channels[row], flat.original_ids[row]) == nucleus
    assert np.unique(flat.instances[flat.instances > 0]).tolist() == list(
        range(1, len(flat.channels) + 1)
    )
    pairs = {(c, int(i)) for c in range(5) for i in np.unique(mask[..., c]) if i}
    assert {(int(c), int(i)) for c, i in flat.official} == pairs
    assert len(flat.official) == len(pairs)


@settings(max_examples=15)
@given(
    masks=st.lists(official_masks(256), min_size=1, max_size=3),
    dtype=st.sampled_from(["float64", "float32", "uint8", "uint16", "int64"]),
)
def test_a_store_rebuilds_any_fold_bit_for_bit(tmp_path_factory, masks, dtype):
    height = min(mask.shape[0] for mask in masks)
    width = min(mask.shape[1] for mask in masks)
    stacked = np.stack([mask[:height, :width] for mask in masks]).astype(dtype)
    # A mask whose first channel could be the background is refused: see below.
    assume((stacked[..., 0] > 1).any() or 2 * np.count_nonzero(stacked[..., 0]) < height * width)
    assume((stacked[0, ..., 0] != 1).any())
    folder = tmp_path_factory.mktemp("any")
    arrays = {
        "images": np.full((len(masks), height, width, 3), 200, np.uint8),
        "masks": stacked,
        "types": np.array(["Colon"] * len(masks)),
    }
    write_fold(folder / "raw", 1, arrays)
    try:
        prepare_pannuke(folder / "raw", folder / "out")
    except ValueError as error:
        assume("background in channel 0" not in str(error))
        raise
    assert_holds(Store.open(folder / "out"), 1, arrays)


def test_labels_types_and_names(tmp_path):
    mask = np.zeros((1, 4, 4, 6))
    mask[0, 0, :, 0], mask[0, 2, :, 4], mask[..., 5] = 9, 9, 1
    mask[..., 5] = (mask[..., :5] == 0).all(-1)
    arrays = draw_fold(1, tiles=1) | {"masks": mask}
    arrays["images"] = arrays["images"][:, :4, :4]
    write_fold(tmp_path / "raw", 2, arrays)
    prepare_pannuke(tmp_path / "raw", tmp_path / "out", mpp=0.5)
    store = Store.open(tmp_path / "out")
    assert store.types(0).tolist() == [0, 1, 5]
    assert store.labels(0).candidates.tolist() == [0, 1, 16]
    assert store.instances(0)[[0, 1, 2]].tolist() == [[1] * 4, [0] * 4, [2] * 4]
    assert (store.name(0), store.source(0), store.mpp(0)) == ("fold2_0000", "pannuke", 0.5)
    assert store.nuclei["original_id"].to_pylist() == [9, 9]
    assert store.nuclei["channel"].to_pylist() == [0, 4]


# ---- memory


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_fold(tmp_path):
    """1.3 GB of masks and images (sparse on disk) within 400 MB of resident memory."""
    tiles, side = 280, 256
    raw = tmp_path / "raw" / "fold1"
    raw.mkdir(parents=True)
    for name, channels in (("images", 3), ("masks", 6)):
        array = np.lib.format.open_memmap(
            raw / f"{name}.npy", "w+", np.float64, (tiles, side, side, channels)
        )
        array[-1, 0, 0, 0] = 200
        del array
    np.save(raw / "types.npy", np.array(["Colon"] * tiles))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from histonuc.data.pannuke import prepare_pannuke\n"
        "prepare_pannuke(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "raw"), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert int(done.stdout) < 400_000  # kB
    assert len(Store.open(tmp_path / "out")) == tiles
