"""The official folds: every layout, exact rebuild, every check, one clear error a kind of damage."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from histonuc.data import findings
from histonuc.data.checks import FoldTally, count_scattered
from histonuc.data.findings import OFFICIAL_COUNTS, OFFICIAL_TISSUE_IMAGES, compare_with_official
from histonuc.data.flatten import flatten_mask, paint_official_mask
from histonuc.data.pannuke import find_folds, prepare_pannuke
from histonuc.data.store import Store
from histonuc.taxonomy import TISSUES

from ..fuzzing import assert_clear, frugal_outcome, little_memory, mutate_bytes, no_hang

SIDE = 16


def draw_mask(seed: int, dtype: Any = np.float64) -> np.ndarray:
    """Overlapping blocks with ids that repeat across channels and reach above 255."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((SIDE, SIDE, 6), dtype)
    for _ in range(rng.integers(1, 8)):
        y, x = rng.integers(0, SIDE - 3, 2)
        mask[y : y + 4, x : x + 3, rng.integers(5)] = rng.choice([1, 2, 3, 90, 120])
    mask[..., 5] = (mask[..., :5] == 0).all(-1)
    return mask


def draw_fold(seed: int, tiles: int = 3, dtype: Any = np.float64) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "images": rng.integers(0, 256, (tiles, SIDE, SIDE, 3)).astype(dtype),
        "masks": np.stack([draw_mask(seed * 100 + i, dtype) for i in range(tiles)]),
        "types": np.array([TISSUES[(seed + i) % 19] for i in range(tiles)], "<U13"),
    }


LAYOUTS = {
    "official": (
        "Fold {k}/images/fold{k}/images.npy",
        "Fold {k}/masks/fold{k}/masks.npy",
        "Fold {k}/images/fold{k}/types.npy",
    ),
    "flat": ("fold{k}/images.npy", "fold{k}/masks.npy", "fold{k}/types.npy"),
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
    "by kind": (
        "images/fold{k}/images.npy",
        "masks/fold{k}/masks.npy",
        "images/fold{k}/types.npy",
    ),
}


def write_fold(raw: Path, number: int, arrays: dict[str, np.ndarray], layout: str = "flat") -> None:
    names = zip(("images", "masks", "types"), LAYOUTS[layout], strict=True)
    for name, pattern in names:
        path = raw / pattern.format(k=number)
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in arrays:
            np.save(path, arrays[name])


def assert_holds(store: Store, fold: int, arrays: dict[str, np.ndarray]) -> None:
    """The store gives back the fold bit for bit."""
    tiles = store.select([fold])
    assert len(tiles) == len(arrays["masks"])
    for i, tile in enumerate(tiles):
        mask = store.official_mask(int(tile))
        assert mask.dtype == arrays["masks"].dtype
        assert mask.tobytes() == arrays["masks"][i].tobytes()
        assert np.array_equal(store.image(int(tile)), arrays["images"][i])


# ---- layouts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found(tmp_path, layout):
    folds = {k: draw_fold(k) for k in (1, 2, 3)}
    for k, arrays in folds.items():
        write_fold(tmp_path / "raw", k, arrays, layout)
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
    write_fold(tmp_path, 3, draw_fold(4), "official")
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
    write_fold(tmp_path / "disk", 1, draw_fold(1), "official")
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


# ---- what the report tells


def test_tables_and_checks_by_hand(tmp_path):
    masks = np.zeros((4, 8, 8, 6))
    masks[0, 0:2, 0:2, 0] = 5  # Neoplastic 5, hidden wholly by ...
    masks[0, 0:3, 0:3, 3] = 5  # ... Dead 5, same id: 4 overlapping pixels
    masks[1, 0, 0, 1] = masks[1, 7, 7, 1] = 4  # Inflammatory 4 in two parts
    masks[1, 4, 4, 1] = 6
    masks[3, 0, :, 2] = 1
    masks[..., 5] = (masks[..., :5] == 0).all(-1)
    masks[3, 5, 5, 5] = 0  # the background map disagrees here
    arrays = {
        "images": np.full((4, 8, 8, 3), 99.0),
        "masks": masks,
        "types": np.array(["Colon", "Colon", "Head & Neck", "Brain"]),
    }
    write_fold(tmp_path / "raw", 1, arrays)
    write_fold(tmp_path / "raw", 2, draw_fold(2))
    report = prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    tables = report.to_dict()["tables"]
    by_class = {name: row["fold 1"] for name, row in tables["nuclei"].items()}
    assert by_class == {
        "Neoplastic": 1,  # hidden, and counted
        "Inflammatory": 2,
        "Connective": 1,
        "Dead": 1,
        "Epithelial": 0,
        "all": 5,
    }
    by_tissue = {name: row["fold 1"] for name, row in tables["images"].items() if row["fold 1"]}
    assert by_tissue == {"Colon": 2, "HeadNeck": 1, "Brain": 1, "all": 4}
    assert all(row["all"] == row["fold 1"] + row["fold 2"] for row in tables["nuclei"].values())
    assert {name: row["fold 1"] for name, row in tables["checks"].items()} == {
        "empty images": 1,
        "ids reused across channels": 1,
        "overlapping pixels": 4,
        "images with overlaps": 1,
        "nuclei hidden wholly": 1,
        "nuclei in several parts": 1,
        "images with channel 5 inverted": 0,
        "pixels where channel 5 disagrees": 1,
        "images with fractions, rounded": 0,
    }
    assert "tissues read: 'Head & Neck' as 'HeadNeck'" in report.findings
    assert "tissues that are none of PanNuke's nineteen, kept: Brain" in report.findings
    assert "not compared with the official counts" in report.official[0]
    lines = "\n".join(report.lines())
    assert "Inflammatory" in lines
    assert lines.endswith(f"wrote {tmp_path / 'out'}")
    store = Store.open(tmp_path / "out")
    assert store.tiles["num_nuclei"].to_pylist()[:4] == [1, 2, 0, 1]
    assert [store.tissue(i) for i in range(4)] == ["Colon", "Colon", "HeadNeck", "Brain"]
    assert_holds(store, 1, arrays)


@pytest.mark.parametrize(
    ("spelled", "official"),
    [
        ("HeadNeck", "HeadNeck"),
        ("Head & Neck", "HeadNeck"),
        ("head_and_neck", "HeadNeck"),
        ("Adrenal Gland", "Adrenal_gland"),
        ("Adrenal_gland", "Adrenal_gland"),
        ("Bile-duct", "Bile-duct"),
        ("bile_duct", "Bile-duct"),
        ("Colorectal", "Colon"),
        ("breast", "Breast"),
    ],
)
def test_tissue_spellings(tmp_path, spelled, official):
    write_fold(tmp_path / "raw", 1, draw_fold(1, tiles=1) | {"types": np.array([spelled])})
    prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert Store.open(tmp_path / "out").tissue(0) == official


def test_tissues_may_be_bytes(tmp_path):
    arrays = draw_fold(1, tiles=2)
    write_fold(tmp_path / "raw", 1, arrays | {"types": np.array([b"Colon", b"Skin"])})
    prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert Store.open(tmp_path / "out").tissue(1) == "Skin"


def test_inverted_background_is_told_and_kept(tmp_path):
    arrays = draw_fold(3, tiles=4)
    arrays["masks"][..., 5] = 1 - arrays["masks"][..., 5]
    write_fold(tmp_path / "raw", 1, arrays)
    report = prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert any("channel 5 is 1 on nuclei" in text and "4 of 4" in text for text in report.findings)
    store = Store.open(tmp_path / "out")
    assert_holds(store, 1, arrays)
    assert len(np.load(tmp_path / "raw/fold1/masks.npy")) == 4
    # Not stored pixel by pixel: the rule is turned round instead.
    assert (tmp_path / "out" / "overlaps.parquet").stat().st_size < 10_000
    assert set(store.tiles["background"].to_pylist()) == {0}


def test_class_masks_without_ids_are_told(tmp_path):
    arrays = draw_fold(3, tiles=4)
    arrays["masks"] = np.minimum(arrays["masks"], 1)
    arrays["masks"][0, 0, 0, 1] = arrays["masks"][0, -1, -1, 1] = 1
    write_fold(tmp_path / "raw", 1, arrays)
    report = prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert any("instance ids were lost" in text for text in report.findings)


def test_fractions_in_images_are_rounded_and_told(tmp_path):
    arrays = draw_fold(3, tiles=2)
    arrays["images"][1, 0, 0, 0] = 99.6
    write_fold(tmp_path / "raw", 1, arrays)
    report = prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    checks = report.to_dict()["tables"]["checks"]
    assert checks["images with fractions, rounded"]["fold 1"] == 1
    assert Store.open(tmp_path / "out").image(1)[0, 0, 0] == 100


def official_tally(number: int, spellings: dict[str, int]) -> FoldTally:
    counts = OFFICIAL_COUNTS[number]
    tally = FoldTally(number=number, images=counts.images)
    tally.nuclei = np.array(counts.nuclei)
    tally.visible = np.array(counts.nuclei)
    tally.images_with = np.array(counts.images_with)
    tally.facts["empty images"] = counts.empty
    tally.spellings.update(spellings)
    return tally


def test_official_counts_add_up():
    totals = [sum(counts.nuclei) for counts in OFFICIAL_COUNTS.values()]
    assert totals == [63218, 59872, 66654]
    assert sum(totals) == 189_744
    assert sum(counts.images for counts in OFFICIAL_COUNTS.values()) == 7901
    assert sum(OFFICIAL_TISSUE_IMAGES.values()) == 7901
    assert set(OFFICIAL_TISSUE_IMAGES) == set(TISSUES)


def test_comparison_with_the_official_counts():
    tallies = [official_tally(k, {}) for k in (1, 2, 3)]
    tallies[0].spellings.update(OFFICIAL_TISSUE_IMAGES)
    assert compare_with_official(tallies) == [
        *[f"fold {k} agrees with the official counts" for k in (1, 2, 3)],
        "images of each tissue agree with the official counts",
    ]
    tallies[0].facts["empty images"] = 115
    tallies[1].nuclei[3] = tallies[1].visible[3] = 880
    tallies[2].spellings["Colon"] += 1
    lines = compare_with_official(tallies)
    assert lines[0] == "fold 1 differs from the official counts: empty images 115 (official 116)"
    assert lines[1] == "fold 2 differs from the official counts: Dead nuclei 880 (official 884)"
    assert lines[3].endswith("differ from the official counts: Colon 1,441 (official 1,440)")


def test_hidden_nuclei_do_not_count_as_a_difference():
    tally = official_tally(1, {})
    tally.nuclei[0] += 2  # two more, which later channels hide
    assert compare_with_official([tally]) == ["fold 1 agrees with the official counts"]


def test_only_folds_of_official_size_are_compared(tmp_path, monkeypatch):
    small = findings.OfficialCounts(
        images=3, empty=0, nuclei=(0, 0, 0, 0, 0), images_with=(0, 0, 0, 0, 0)
    )
    monkeypatch.setitem(findings.OFFICIAL_COUNTS, 2, small)
    for k in (1, 2):
        write_fold(tmp_path / "raw", k, draw_fold(k))
    report = prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert len(report.official) == 1
    assert report.official[0].startswith("fold 2 differs from the official counts: ")


@given(
    hnp.arrays(
        np.int32, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 4)
    )
)
def test_scattered_nuclei_against_a_loop(instances):
    _, dense = np.unique(np.append(instances, 0), return_inverse=True)  # consecutive, 0 kept
    instances = dense[:-1].reshape(instances.shape).astype(np.int32)
    parts = [
        cv2.connectedComponents((instances == i).astype(np.uint8), connectivity=4)[0] - 1
        for i in range(1, int(instances.max()) + 1)
    ]
    assert count_scattered(instances) == sum(count > 1 for count in parts)


# ---- bad input: one clear error, nothing left behind


def with_value(name: str, value: float, tile: int = 1) -> dict[str, np.ndarray]:
    arrays = draw_fold(1)
    arrays[name][tile, 3, 4, 1] = value
    return arrays


def background_first() -> dict[str, np.ndarray]:
    arrays = draw_fold(1)
    arrays["masks"][1, 0, 0] = (0, 0, 0, 0, 90, 0)  # an epithelial id shows that it is no map
    return arrays | {"masks": np.roll(arrays["masks"], 1, axis=-1)}


FOLD = draw_fold(1)
BAD_FOLDS: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "NaN in a mask": (with_value("masks", np.nan), r"masks\.npy, tile 1: .*not finite"),
    "infinity in a mask": (with_value("masks", np.inf), r"masks\.npy, tile 1: .*not finite"),
    "negative id": (with_value("masks", -3), r"masks\.npy, tile 1: .*negative id -3"),
    "negative integer id": (
        {k: v if k == "types" else v.astype(np.int32) for k, v in with_value("masks", -3).items()},
        r"masks\.npy, tile 1: .*negative id -3",
    ),
    "id with a fraction": (with_value("masks", 1.5), r"masks\.npy, tile 1: .*the id 1\.5"),
    "id too large": (with_value("masks", 2.0**61), r"masks\.npy, tile 1: .*2\^60"),
    "NaN in an image": (
        with_value("images", np.nan, 2),
        r"images\.npy, tile 2: .*0\.\.255, got nan",
    ),
    "image above 255": (with_value("images", 256), r"images\.npy, tile 1: .*to 256"),
    "image below 0": (with_value("images", -1), r"images\.npy, tile 1: .*got -1"),
    "16-bit image": (
        FOLD | {"images": FOLD["images"].astype(np.uint16) * 257},
        r"images\.npy, tile 0: expected finite image values in 0\.\.255",
    ),
    "images scaled to 0..1": (
        FOLD | {"images": FOLD["images"] / 255},
        r"images\.npy: .*Multiply them by 255",
    ),
    "five channels": (FOLD | {"masks": FOLD["masks"][..., :5]}, r"masks\.npy: .*height, width, 6"),
    "channels first": (
        FOLD | {"masks": np.moveaxis(FOLD["masks"], -1, 1)},
        r"masks\.npy: .*numpy\.moveaxis",
    ),
    "flat masks": (FOLD | {"masks": FOLD["masks"][..., 0]}, r"masks\.npy: expected the shape"),
    "grey images": (FOLD | {"images": FOLD["images"][..., :1]}, r"images\.npy: expected the shape"),
    "text as masks": (FOLD | {"masks": FOLD["masks"].astype(str)}, r"masks\.npy: expected numbers"),
    "no tiles": (
        {name: array[:0] for name, array in FOLD.items()},
        r"images\.npy: expected tiles, got the empty shape",
    ),
    "fewer masks": (FOLD | {"masks": FOLD["masks"][:2]}, r"got 3 in .*images\.npy, 2 in .*masks"),
    "fewer types": (FOLD | {"types": FOLD["types"][:2]}, r"and 2 in .*types\.npy"),
    "other tile size": (FOLD | {"masks": FOLD["masks"][:, :8]}, r"tiles of \(16, 16\) pixels"),
    "types as numbers": (FOLD | {"types": np.arange(3)}, r"types\.npy: expected one tissue name"),
    "types in a table": (
        FOLD | {"types": FOLD["types"][:, None]},
        r"types\.npy: expected one tissue name",
    ),
    "pickled types": (
        FOLD | {"types": FOLD["types"].astype(object)},
        r"types\.npy holds pickled Python objects.*numpy\.save",
    ),
    "pickled masks": (
        FOLD | {"masks": FOLD["masks"].astype(object)},
        r"masks\.npy holds pickled Python objects",
    ),
    "Fortran order": (
        FOLD | {"masks": np.asfortranarray(FOLD["masks"])},
        r"masks\.npy is stored in Fortran order",
    ),
    "background first": (
        background_first(),
        r"masks\.npy, tile 1: .*got the background in channel 0",
    ),
}


def assert_refused(tmp_path: Path, match: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=match) as caught:
        prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", BAD_FOLDS)
def test_bad_folds_are_refused_and_leave_nothing(tmp_path, kind):
    arrays, match = BAD_FOLDS[kind]
    write_fold(tmp_path / "raw", 1, draw_fold(2))  # a good fold comes first
    write_fold(tmp_path / "raw", 2, arrays)
    assert_refused(tmp_path, match)


def test_background_first_shows_over_the_fold_where_no_tile_proves_it(tmp_path):
    arrays = background_first()
    arrays["masks"][..., 5] = 0  # no epithelial ids, which would give it away
    write_fold(tmp_path / "raw", 1, arrays)
    assert_refused(tmp_path, r"masks\.npy: .*got the background in channel 0.*numpy\.roll")


def test_the_advice_for_background_first_is_right(tmp_path):
    arrays = draw_fold(1)
    wrong = np.roll(arrays["masks"], 1, axis=-1)
    write_fold(tmp_path / "raw", 1, arrays | {"masks": np.roll(wrong, -1, axis=-1)})
    prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert_holds(Store.open(tmp_path / "out"), 1, arrays)


@pytest.mark.parametrize("name", ["images", "masks", "types"])
def test_a_missing_file_is_named(tmp_path, name):
    arrays = draw_fold(1)
    del arrays[name]
    write_fold(tmp_path / "raw", 1, arrays)
    assert_refused(tmp_path, rf"fold 1 has no {name}\.npy")


@pytest.mark.parametrize("name", ["images", "masks", "types"])
@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_a_truncated_file_is_named(tmp_path, name, keep):
    write_fold(tmp_path / "raw", 1, draw_fold(1))
    file = tmp_path / "raw" / "fold1" / f"{name}.npy"
    file.write_bytes(file.read_bytes()[:keep])
    assert_refused(tmp_path, rf"{name}\.npy( is damaged or no NumPy array file| is truncated)")


def test_what_is_no_npy_file_is_named(tmp_path):
    write_fold(tmp_path / "raw", 1, draw_fold(1))
    (tmp_path / "raw" / "fold1" / "masks.npy").write_bytes(b"<html>404</html>" * 99)
    assert_refused(tmp_path, r"masks\.npy is damaged or no NumPy array file")


@pytest.mark.parametrize(
    ("shape", "descr", "match"),
    [
        ((10**12, SIDE, SIDE, 6), "<f8", r"is truncated: expected .* bytes"),
        ((-1, -SIDE, SIDE, 6), "<f8", r"an array of shape \(-1, -16, 16, 6\)"),
        ((10**12,), "<U0", "with 0 bytes a value"),
        ((1, 1 << 15, 1, 6), "|u1", r"at most 32,767 pixels a side"),
    ],
)
def test_a_header_that_lies_is_named(tmp_path, shape, descr, match):
    write_fold(tmp_path / "raw", 1, draw_fold(1))
    with (tmp_path / "raw" / "fold1" / "masks.npy").open("wb") as stream:
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(bytes(1 << 18))
    with little_memory():
        assert_refused(tmp_path, rf"masks\.npy.*{match}")


@pytest.mark.parametrize("name", ["Col\non", "Colon\x07", "\udc80"])
def test_a_tissue_that_is_no_name_is_refused(tmp_path, name):
    write_fold(tmp_path / "raw", 1, draw_fold(1) | {"types": np.array(["Skin", name, "Skin"])})
    assert_refused(tmp_path, r"types\.npy is damaged or no text array of tissue names")


@no_hang
@pytest.mark.parametrize("name", ["images", "masks", "types"])
@pytest.mark.filterwarnings("ignore")  # numpy warns about what it then reads
def test_mutated_folds_are_read_or_refused(tmp_path, name):
    write_fold(tmp_path / "raw", 1, draw_fold(1, dtype=np.uint16))
    file = tmp_path / "raw" / "fold1" / f"{name}.npy"
    content, rng, errors = file.read_bytes(), random.Random(name), 0
    for _ in range(80):
        file.write_bytes(mutate_bytes(content, rng))
        result = frugal_outcome(prepare_pannuke, tmp_path / "raw", tmp_path / "out", overwrite=True)
        if isinstance(result, ValueError):
            errors += 1
            assert_clear(result, file.name)
        else:
            store = Store.open(tmp_path / "out")
            assert [len(store.types(i)) for i in range(3)] == [
                store.instances(i).max() + 1 for i in range(3)
            ]
        assert not list(tmp_path.glob(".out*"))
    assert 0 < errors < 80


def test_no_fold_at_all(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "holiday.npy").write_bytes(b"")
    assert_refused(tmp_path, r"no folds in .*expected `Fold 1/images/fold1/images\.npy`")
    with pytest.raises(ValueError, match="is no folder"):
        prepare_pannuke(tmp_path / "nowhere", tmp_path / "out")


def test_a_fold_found_twice(tmp_path):
    write_fold(tmp_path / "raw", 1, draw_fold(1), "official")
    write_fold(tmp_path / "raw", 1, draw_fold(1), "flat")
    assert_refused(tmp_path, "which one is the fold")


def test_a_path_that_names_two_folds(tmp_path):
    write_fold(tmp_path / "raw" / "Fold 2", 1, draw_fold(1))
    assert_refused(tmp_path, r"names the folds \[1, 2\]")


def test_a_scale_that_is_none(tmp_path):
    write_fold(tmp_path / "raw", 1, draw_fold(1))
    for mpp in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="--mpp: expected microns per pixel above 0"):
            prepare_pannuke(tmp_path / "raw", tmp_path / "out", mpp=mpp)


def test_an_existing_store_is_kept_unless_told(tmp_path):
    write_fold(tmp_path / "raw", 1, draw_fold(1))
    prepare_pannuke(tmp_path / "raw", tmp_path / "out")
    assert_refused(tmp_path, "exists already")
    prepare_pannuke(tmp_path / "raw", tmp_path / "out", overwrite=True)


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
