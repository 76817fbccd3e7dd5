"""Read and check the files of a folder of labelled images: index.csv, images, instances, types."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histonuc.files import is_text, reading
from histonuc.nuclei import make_consecutive

INDEX_COLUMNS = ("dataset", "name", "height", "width", "organ", "patient", "mpp")
"""What index.csv must have; `nuclei` (for balanced folds) is optional, other columns are free."""

_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_EIGHT_BIT_MODES = ("RGB", "RGBA", "L", "LA", "P")
_LARGEST = 2**31 - 1
_AS_INDEXED = ("as index.csv states", "correct the index")
_LIKE_IMAGE = ("like its image", "do they belong together?")


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
    if not is_text(text["dataset"] + text["name"]):  # an unbalanced quote joins lines
        raise ValueError(
            f"{where}: expected the names of a folder and a file, got {text['dataset']!r} and "
            f"{text['name']!r}: correct them"
        )
    return IndexRow(
        dataset=text["dataset"],
        name=text["name"],
        height=_whole_number(text["height"], "height", where),
        width=_whole_number(text["width"], "width", where),
        nuclei=_whole_number(text["nuclei"], "nuclei", where) if text["nuclei"] else 0,
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


def _whole_number(text: str, name: str, where: str) -> int:
    number = _number(text, name, where)
    if number != int(number) or number > _LARGEST:
        raise ValueError(f"{where}: expected a whole number as {name}, got {text!r}: correct it")
    return int(number)


def read_image(directory: Path, row: IndexRow) -> NDArray[np.uint8]:
    """The RGB image (H, W, 3).

    Raises:
        ValueError: missing, damaged, not 8 bits a channel, or not of the size the index states.
    """
    file = _find(directory / row.dataset / "images", row.name)
    return _decode(file, (row.height, row.width), _AS_INDEXED, as_rgb=True)


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
    dense, ids = make_consecutive(raw)
    original_ids = ids.astype(np.int64)
    folder = directory / row.dataset / "types"
    if not folder.is_dir():
        return dense, original_ids, np.zeros(len(original_ids), np.int64)
    types = _read_map(folder, row, shape)
    return dense, original_ids, majority(dense, types, len(original_ids)).astype(np.int64)


def majority(
    instances: NDArray[np.int32], types: NDArray[np.integer], num: int
) -> NDArray[np.integer]:
    """Most frequent type pixel (num,) of every nucleus, the lowest of equals, 0 where it has none.

    Args:
        instances: (H, W), 0 = background, 1..num.
        types: (H, W), 0 = none; any values, as damage makes them: pairs that occur are counted.
        num: of nuclei.

    >>> majority(np.array([[1, 1, 1, 2, 0]], np.int32), np.array([[7, 0, 0, 0, 3]]), 2).tolist()
    [7, 0]
    """
    has_type = (instances > 0) & (types != 0)
    kinds, kind = np.unique(types[has_type], return_inverse=True)
    pairs, votes = np.unique(
        instances[has_type].astype(np.int64) * len(kinds) + kind, return_counts=True
    )
    nucleus, kind = np.divmod(pairs, max(len(kinds), 1))
    order = np.lexsort((-kind, votes))  # the last assignment wins
    winner = np.zeros(num + 1, types.dtype)
    winner[nucleus[order]] = kinds[kind[order]]
    return winner[1:]


def _read_map(folder: Path, row: IndexRow, shape: tuple[int, ...]) -> NDArray[Any]:
    file = _find(folder, row.name)
    pixels = _decode(file, shape, _LIKE_IMAGE, as_rgb=False)
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu" or pixels.min() < 0:
        raise ValueError(
            f"{file}: expected one channel of whole numbers from 0 (8 or 16 bits), got "
            f"{pixels.shape} {pixels.dtype}: save it as a grey PNG"
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


def _decode(
    file: Path, shape: tuple[int, ...], rule: tuple[str, str], *, as_rgb: bool
) -> NDArray[Any]:
    """The pixels of an image; orientation tags are not applied, as label maps have none.

    Args:
        file: image.
        shape: height and width that it must have; no other is decoded, whatever the header says.
        rule: why it must, and what to do where it has not.
        as_rgb: as uint8 (H, W, 3), not as they are.
    """
    with reading(file, "image"), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        # A stream in memory gives what there is; a file makes room for what a header claims.
        with Image.open(BytesIO(file.read_bytes())) as image:
            if (image.height, image.width) != shape:
                raise ValueError(
                    f"{file}: expected {shape[0]} x {shape[1]} pixels {rule[0]}, got "
                    f"{image.height} x {image.width}: {rule[1]}"
                )
            image.load()
            if not as_rgb:
                return np.asarray(image)
            if image.mode not in _EIGHT_BIT_MODES:
                raise ValueError(
                    f"{file}: expected 8 bits a channel, got the Pillow mode {image.mode!r}: "
                    "convert it"
                )
            return np.asarray(image.convert("RGB"))
