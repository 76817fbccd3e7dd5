"""Read and check the files of a folder of labelled images: index.csv, images, instances, types."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

INDEX_COLUMNS = ("dataset", "name", "height", "width", "organ", "patient", "mpp")
"""What index.csv must have; `nuclei` (for balanced folds) is optional, other columns are free."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_EIGHT_BIT_MODES = ("RGB", "RGBA", "L", "LA", "P")


@dataclass(frozen=True, kw_only=True)
class IndexRow:
    """One image of index.csv.

    Attributes:
        dataset: its folder.
        name: of its files, without suffix.
        height: pixels.
        width: pixels.
        nuclei: stated number, 0 where the index has none.
        organ: as written.
        patient: empty when not known.
        mpp: microns per pixel, NaN when not stated.
    """

    dataset: str
    name: str
    height: int
    width: int
    nuclei: int
    organ: str
    patient: str
    mpp: float


def read_index(directory: Path, only: Sequence[str]) -> list[IndexRow]:
    """The rows of index.csv, or those of the data sets in `only`.

    Raises:
        ValueError: no index, columns missing, a value that is no number, an image listed twice,
            or a data set that is not there.
    """
    file = directory / "index.csv"
    if not file.is_file():
        raise ValueError(
            f"{directory} has no index.csv: make one with the columns {', '.join(INDEX_COLUMNS)}"
        )
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in INDEX_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise ValueError(f"{file}: expected the columns {INDEX_COLUMNS}, no {missing}")
            rows = [_parse(row, f"{file}, line {reader.line_num}") for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file}: expected a UTF-8 CSV table ({error}): save it again") from None
    known = sorted({row.dataset for row in rows})
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise ValueError(f"--only: {file} has no {unknown}; it has {known}")
    rows = [row for row in rows if not only or row.dataset in only]
    if not rows:
        raise ValueError(f"{file} lists no images: add one row an image")
    _refuse_doubles(rows, file)
    return rows


def _refuse_doubles(rows: Sequence[IndexRow], file: Path) -> None:
    seen = set()
    for row in rows:
        if (row.dataset, row.name) in seen:
            raise ValueError(f"{file} lists {row.dataset}/{row.name} twice: remove one of the rows")
        seen.add((row.dataset, row.name))


def _parse(row: Mapping[str, str | None], where: str) -> IndexRow:
    text = {name: (row.get(name) or "").strip() for name in (*INDEX_COLUMNS, "nuclei")}
    if not (text["dataset"] and text["name"]):
        raise ValueError(f"{where}: expected a dataset and a name, got {dict(row)}: fill them in")
    return IndexRow(
        dataset=text["dataset"],
        name=text["name"],
        height=int(_number(text["height"], "height", where)),
        width=int(_number(text["width"], "width", where)),
        nuclei=int(_number(text["nuclei"], "nuclei", where)) if text["nuclei"] else 0,
        organ=text["organ"],
        patient=text["patient"],
        mpp=_number(text["mpp"], "mpp", where) if text["mpp"] else float("nan"),
    )


def _number(text: str, name: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not (np.isfinite(number) and (number > 0 or (number == 0 and name == "nuclei"))):
        raise ValueError(f"{where}: expected a number above 0 as {name}, got {text!r}: correct it")
    return number


def read_image(directory: Path, row: IndexRow) -> NDArray[np.uint8]:
    """The RGB image (H, W, 3).

    Raises:
        ValueError: missing, damaged, not 8 bits a channel, or not of the size the index states.
    """
    file = _find(directory / row.dataset / "images", row.name)
    pixels = _decode(file, as_rgb=True)
    if pixels.shape[:2] != (row.height, row.width):
        raise ValueError(
            f"{file}: expected {row.height} x {row.width} pixels as index.csv states, got "
            f"{pixels.shape[0]} x {pixels.shape[1]}: correct the index"
        )
    return pixels


def read_labels(
    directory: Path, row: IndexRow, shape: tuple[int, ...]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Instance map (H, W) numbered 1..n, and of every nucleus the id and the type in the source.

    The type (0: none) is the most frequent one of the nucleus's pixels in the types image.

    Raises:
        ValueError: a missing or damaged file, no single channel of whole numbers, or another size
            than the image's.
    """
    raw = _read_map(directory / row.dataset / "instances", row, shape)
    ids, inverse = np.unique(raw, return_inverse=True)
    dense: NDArray[np.int32] = inverse.reshape(shape).astype(np.int32)
    if ids[0] != 0:  # no background at all
        ids, dense = np.concatenate([np.zeros(1, ids.dtype), ids]), dense + np.int32(1)
    original_ids = ids[1:].astype(np.int64)
    folder = directory / row.dataset / "types"
    if not folder.is_dir():
        return dense, original_ids, np.zeros(len(original_ids), np.int64)
    types = _read_map(folder, row, shape)
    return dense, original_ids, _majority(dense, types, len(original_ids))


def _majority(instances: NDArray[np.int32], types: NDArray[Any], num: int) -> NDArray[np.int64]:
    """Most frequent type pixel (n,) of every nucleus, 0 where it has none."""
    top = int(types.max()) + 1
    votes = np.bincount(
        instances.ravel().astype(np.int64) * top + types.ravel(), minlength=(num + 1) * top
    ).reshape(num + 1, top)
    votes[:, 0] = 0
    return np.asarray(votes.argmax(1)[1:], np.int64)


def _read_map(folder: Path, row: IndexRow, shape: tuple[int, ...]) -> NDArray[Any]:
    file = _find(folder, row.name)
    pixels = _decode(file, as_rgb=False)
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu" or pixels.min() < 0:
        raise ValueError(
            f"{file}: expected one channel of whole numbers from 0 (8 or 16 bits), got "
            f"{pixels.shape} {pixels.dtype}: save it as a grey PNG"
        )
    if pixels.shape != shape:
        raise ValueError(
            f"{file}: expected {shape[0]} x {shape[1]} pixels like its image, got "
            f"{pixels.shape[0]} x {pixels.shape[1]}: do they belong together?"
        )
    return pixels


def _find(folder: Path, name: str) -> Path:
    for suffix in _SUFFIXES:
        file = folder / f"{name}{suffix}"
        if file.is_file():
            return file
    raise ValueError(
        f"{folder} has no {name}.png (nor {', '.join(_SUFFIXES[1:])}), which index.csv lists: "
        "add it or remove the row"
    )


def _decode(file: Path, *, as_rgb: bool) -> NDArray[Any]:
    """The pixels of an image; orientation tags are not applied, as label maps have none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                image.load()
                mode = image.mode
                if not as_rgb:
                    return np.asarray(image)
                if mode in _EIGHT_BIT_MODES:
                    return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{file} cannot be read as an image ({error}): is it truncated? Copy it again"
        ) from None
    raise ValueError(f"{file}: expected 8 bits a channel, got the Pillow mode {mode!r}: convert it")
