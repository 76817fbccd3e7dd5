"""Official folds that are refused: one clear error, nothing left behind."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.store import Store

from ..fuzzing import assert_clear, frugal_outcome, little_memory, mutate_bytes, no_hang
from .official_folds import SIDE, assert_holds, draw_fold, write_fold


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
    for folder in ("raw", "raw/again"):
        write_fold(tmp_path / folder, 1, draw_fold(1))
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
