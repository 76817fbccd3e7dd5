"""PanNuke's official folds on disk: find them in any layout, check and read them in chunks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.data.npy import NpyFile, inspect_npy
from histonuc.files import is_text, reading
from histonuc.taxonomy import PANNUKE

MASK_CHANNELS = len(PANNUKE) + 1
"""Instance ids of the five classes, then the background map."""

LAYOUTS = (
    "`Fold 1/images/fold1/images.npy`, `Part 1/Images/images.npy`, `fold1/images.npy` or one "
    "folder with the three files"
)

_FILES = ("images.npy", "masks.npy", "types.npy")
_FOLD = re.compile(r"(?:fold|part)[ _-]?(\d+)", re.IGNORECASE)
_NUM_FOLDS = 3
_MAX_DEPTH = 8
_CHUNK_BYTES = 32 << 20
_ID_LIMIT = 1 << 60
_MAX_SIDE = (1 << 15) - 1
"""Places in a tile are int16 in the store's table of overlaps."""


@dataclass(frozen=True, kw_only=True)
class FoldFiles:
    """The three files of one fold.

    Attributes:
        number: 1, 2, ...
        images: (N, H, W, 3).
        masks: (N, H, W, 6).
        types: tissue names (N,).
    """

    number: int
    images: Path
    masks: Path
    types: Path


@dataclass(frozen=True, kw_only=True)
class OfficialFold:
    """A fold whose headers and tissue names have passed their checks."""

    number: int
    images: NpyFile
    masks: NpyFile
    tissues: list[str]

    def __len__(self) -> int:
        return self.masks.shape[0]

    def tiles(self) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
        """Index, image and mask of every tile as they are on disk, a few mapped at a time."""
        tile_bytes = prod(self.masks.shape[1:]) * self.masks.dtype.itemsize
        step = max(1, _CHUNK_BYTES // tile_bytes)
        for start in range(0, len(self), step):
            stop = min(start + step, len(self))
            images, masks = self.images.read(start, stop), self.masks.read(start, stop)
            for i in range(stop - start):
                yield start + i, images[i], masks[i]


def find_folds(raw: Path) -> list[FoldFiles]:
    """The folds under a folder, in any of the layouts in use.

    A fold's number is the one its path names (``Fold 1``, ``fold_2``, ...), 1 where it names none.
    Zero-based folders (fold0, fold1, fold2) become folds 1, 2, 3.

    Raises:
        ValueError: no folds, a fold found twice, or one of its files is missing.
    """
    if not raw.is_dir():
        raise ValueError(f"{raw} is no folder: give the folder that holds the unpacked folds")
    found: dict[int, dict[str, Path]] = {}
    for path in _npy_files(raw):
        fold = found.setdefault(_fold_number(path, raw), {})
        if path.name in fold:
            raise ValueError(
                f"found {fold[path.name]} and {path}: which one is the fold? Give the folder that "
                "holds only one of them"
            )
        fold[path.name] = path
    if not found:
        raise ValueError(f"no folds in {raw}: expected {LAYOUTS}, with masks.npy and types.npy")
    for number, fold in sorted(found.items()):
        missing = [name for name in _FILES if name not in fold]
        if missing:
            have = ", ".join(str(path) for path in fold.values())
            raise ValueError(f"fold {number} has no {', '.join(missing)} (only {have}): unpack it")
    shift = 1 if 0 in found else 0
    return [
        FoldFiles(
            number=number + shift,
            images=found[number]["images.npy"],
            masks=found[number]["masks.npy"],
            types=found[number]["types.npy"],
        )
        for number in sorted(found)
    ]


def _npy_files(raw: Path) -> list[Path]:
    """The files by name, each once even where links lead to it twice."""
    files: dict[Path, Path] = {}
    for folder, folders, names in os.walk(raw, followlinks=True):
        folders.sort()
        if len(Path(folder).relative_to(raw).parts) >= _MAX_DEPTH:
            folders.clear()
        for name in sorted(set(names) & set(_FILES)):
            path = Path(folder, name)
            files.setdefault(path.resolve(), path)
    return list(files.values())


def _fold_number(path: Path, raw: Path) -> int:
    parts = path.parent.relative_to(raw).parts
    named = {int(match[1]) for part in parts if (match := _FOLD.fullmatch(part.strip()))}
    if len(named) > 1:
        raise ValueError(
            f"{path} names the folds {sorted(named)}: which one is it? Rename a folder"
        )
    if not named:  # RAW itself may be the fold's folder
        match = _FOLD.fullmatch(raw.resolve().name)
        named = {int(match[1]) if match else 1}
    return named.pop()


def open_fold(files: FoldFiles) -> OfficialFold:
    """Read the headers and the tissue names of a fold and check that they belong together.

    Raises:
        ValueError: a truncated, pickled or otherwise unreadable file, or a wrong shape or dtype.
    """
    images, masks = inspect_npy(files.images), inspect_npy(files.masks)
    _check_array(images, 3, "RGB images")
    _check_array(masks, MASK_CHANNELS, "instance ids of 5 classes and the background")
    tissues = _read_tissues(files.types)
    lengths = (images.shape[0], masks.shape[0], len(tissues))
    if len(set(lengths)) > 1:
        raise ValueError(
            f"fold {files.number}: expected as many images as masks and types, got {lengths[0]} in "
            f"{images.path}, {lengths[1]} in {masks.path} and {lengths[2]} in {files.types}: "
            "do they belong to one fold?"
        )
    if images.shape[1:3] != masks.shape[1:3]:
        raise ValueError(
            f"fold {files.number}: {images.path} has tiles of {images.shape[1:3]} pixels, "
            f"{masks.path} of {masks.shape[1:3]}: do they belong to one fold?"
        )
    return OfficialFold(number=files.number, images=images, masks=masks, tissues=tissues)


def _check_array(array: NpyFile, channels: int, what: str) -> None:
    shape = array.shape
    if len(shape) != 4 or shape[3] != channels:
        hint = "unpack the official file again"
        if len(shape) == 4 and shape[1] == channels:
            hint = "channels come last: save numpy.moveaxis(array, 1, -1)"
        raise ValueError(
            f"{array.path}: expected the shape (tiles, height, width, {channels}), {what}, "
            f"got {shape}: {hint}"
        )
    if min(shape) == 0:
        raise ValueError(f"{array.path}: expected tiles, got the empty shape {shape}")
    if max(shape[1:3]) > _MAX_SIDE:
        raise ValueError(
            f"{array.path}: expected tiles of at most {_MAX_SIDE:,} pixels a side, got {shape}"
        )
    if array.dtype.kind not in "iuf":
        raise ValueError(
            f"{array.path}: expected numbers (float64, uint8, ...), got {array.dtype}: save it as "
            "one of these"
        )


def _read_tissues(path: Path) -> list[str]:
    header = inspect_npy(path)
    if len(header.shape) != 1 or header.dtype.kind not in "US":
        raise ValueError(
            f"{path}: expected one tissue name a tile, a text array of shape (tiles,), got "
            f"{header.shape} {header.dtype}: unpack the official file again"
        )
    with reading(path, "text array of tissue names"):
        values = np.load(path, allow_pickle=False)
        values = np.char.decode(values) if values.dtype.kind == "S" else values
        names = [str(value) for value in values]
        if odd := [name for name in names if not is_text(name)]:
            raise ValueError(f"got {odd[0]!r}")
    return names


def read_image(tile: NDArray[Any], where: str) -> tuple[NDArray[np.uint8], bool]:
    """The image as uint8, and whether values had to be rounded.

    Args:
        tile: (H, W, 3) of any number type, values in 0..255.
        where: file and tile, for the error.

    Raises:
        ValueError: values that are not finite or out of 0..255.
    """
    if tile.dtype == np.uint8:
        return tile, False
    with np.errstate(invalid="ignore"):  # NaN: found by the comparison
        image = tile.astype(np.uint8)
    if np.array_equal(image, tile):
        return image, False
    low, high = tile.min(), tile.max()
    if not (low >= 0 and high <= 255):  # NaN is neither
        raise ValueError(
            f"{where}: expected finite image values in 0..255, got {low} to {high}: "
            "repair the file or leave the tile out"
        )
    return np.rint(tile).astype(np.uint8), True


def read_ids(tile: NDArray[Any], where: str) -> NDArray[np.integer]:
    """The mask as int32 (int64 where ids need it), checked to hold ids; -0.0 becomes 0.

    Args:
        tile: (H, W, 6) of any number type.
        where: file and tile, for the error.

    Raises:
        ValueError: values that are not finite, negative, not whole, or 2^60 and more.
    """
    for dtype in (np.int32, np.int64):
        with np.errstate(invalid="ignore"):  # NaN, infinity: found by the comparison
            ids: NDArray[np.integer] = tile.astype(dtype)
        if np.array_equal(ids, tile) and ids.min() >= 0 and ids.max() < _ID_LIMIT:
            return ids
    raise ValueError(
        f"{where}: expected whole instance ids from 0 to 2^60, got {_wrong_id(tile)}: "
        "repair the file or leave the tile out"
    )


def _wrong_id(tile: NDArray[Any]) -> str:
    if not np.isfinite(tile).all():
        return "values that are not finite (NaN or infinity)"
    if tile.min() < 0:
        return f"the negative id {tile.min()}"
    fractions = tile[tile != np.rint(tile)]
    return f"the id {fractions[0] if len(fractions) else tile.max()}"


def choose_folds(found: Sequence[FoldFiles], wanted: Sequence[int]) -> list[FoldFiles]:
    """The wanted folds, all when none is named.

    Raises:
        ValueError: a fold that was not found.
    """
    known = [fold.number for fold in found]
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ValueError(f"--folds: {unknown} not found; found {known}")
    return [fold for fold in found if not wanted or fold.number in wanted]


def missing_folds(found: Sequence[FoldFiles]) -> str:
    """What to say where some of the three official folds are not there; empty where none lacks."""
    known = [fold.number for fold in found]
    missing = [number for number in range(1, _NUM_FOLDS + 1) if number not in known]
    if not missing:
        return ""
    return (
        f"found folds {known}, not {missing}: the official protocol trains on one of three, "
        "validates on another and tests on the third"
    )
