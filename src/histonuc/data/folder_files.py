"""Find, read and check the image files of a folder of labelled images."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from histonuc.data.folder_index import IndexRow
from histonuc.data.label_checks import find_doubt, number_parts
from histonuc.files import reading
from histonuc.nuclei import make_consecutive

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
OUTLINE_SUFFIXES = (".geojson", ".geojson.gz")
POINT_SUFFIXES = (".csv", *OUTLINE_SUFFIXES)

_EIGHT_BIT_MODES = ("RGB", "RGBA", "L", "LA", "P")
_LOSSY_FORMATS = ("JPEG", "MPO", "JPEG2000", "WEBP")
_LOSSY_COMPRESSIONS = ("jpeg", "tiff_jpeg", "webp")
_AS_INDEXED = ("as index.csv states", "correct the index")
_LIKE_IMAGE = ("like its image", "do they belong together?")


@dataclass(frozen=True, kw_only=True)
class FolderFiles:
    """The files of labelled folders, each folder listed once.

    File names are compared with their accents composed, as tables and file systems differ in that,
    and suffixes in any case.
    """

    _listed: dict[Path, dict[str, list[Path]]] = field(default_factory=dict)

    def data_set(self, row: IndexRow) -> Path:
        """Folder of an image's data set.

        Raises:
            ValueError: there is none.
        """
        for path in self._list(row.directory).get(row.dataset, []):
            if path.is_dir():
                return path
        raise ValueError(f"{row.directory} has no folder {row.dataset}, which index.csv lists")

    def find(self, kind: str, row: IndexRow, suffixes: Sequence[str]) -> Path | None:
        """The file of an image in a folder of its data set; None where there is none.

        Args:
            kind: folder, such as "images".
            row: the image.
            suffixes: suffixes that the file may have, in small letters.

        Raises:
            ValueError: several files could be meant.
        """
        listing = self._list(self.data_set(row) / kind)
        found = [path for suffix in suffixes for path in listing.get(row.name + suffix, [])]
        if len(found) > 1:
            raise ValueError(f"{found[0]} and {found[1]}: which one is it? Remove the other")
        return found[0] if found else None

    def _list(self, folder: Path) -> dict[str, list[Path]]:
        """Paths by name: accents composed, the suffix in small letters."""
        if folder not in self._listed:
            listing: dict[str, list[Path]] = {}
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                name = unicodedata.normalize("NFC", path.name)
                small = next((s for s in _SUFFIXES if name.lower().endswith(s)), "")
                name = name[: len(name) - len(small)] + small
                listing.setdefault(name, []).append(path)
            self._listed[folder] = listing
        return self._listed[folder]


_SUFFIXES = (*IMAGE_SUFFIXES, ".csv", *OUTLINE_SUFFIXES)


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelImage:
    """Nuclei of one image as label images state them.

    Attributes:
        instances: int32 (H, W), 0 = background, 1..n.
        original_ids: int64 (n,), values in the file; of parts that were numbered here, their
            number.
        numbers: int64 (n,), class number in the data set's own numbering, 0 where there is none.
    """

    instances: NDArray[np.int32]
    original_ids: NDArray[np.int64]
    numbers: NDArray[np.int64]


def read_image(files: FolderFiles, row: IndexRow) -> NDArray[np.uint8]:
    """The RGB image (H, W, 3).

    Raises:
        ValueError: missing, damaged, not 8 bits a channel, or not of the size the index states.
    """
    file = files.find("images", row, IMAGE_SUFFIXES)
    if file is None:
        raise _missing(files.data_set(row) / "images", row, IMAGE_SUFFIXES)
    return _decode(file, (row.height, row.width), _AS_INDEXED, as_rgb=True)


def read_label_image(
    files: FolderFiles, row: IndexRow, shape: tuple[int, int], *, count_parts: bool
) -> LabelImage:
    """Nuclei of ``instances`` and their classes of ``types``.

    A nucleus's class number is the most frequent one of its pixels.

    Args:
        files: files of the folder.
        row: the image.
        shape: height and width of the image.
        count_parts: each 4-connected part of equal values is a nucleus, as in a mask without ids.

    Raises:
        ValueError: a missing or damaged file, no single channel of whole numbers, another size than
            the image's, or numbers that do not look like those of nuclei.
    """
    file = files.find("instances", row, IMAGE_SUFFIXES)
    if file is None:
        raise _missing(files.data_set(row) / "instances", row, (*IMAGE_SUFFIXES, ".geojson"))
    raw = _read_map(file, shape)
    instances, ids = make_consecutive(raw)
    if count_parts:
        instances = number_parts(instances)
        ids = np.arange(1, int(instances.max(initial=0)) + 1)
    if doubt := find_doubt(raw if not count_parts else instances, ids, instances, row.nuclei):
        raise ValueError(
            f"{file}: {doubt}; save nuclei as 16-bit PNG, 1..n, "
            f"or number the parts with --connected-components {row.dataset}"
        )
    return LabelImage(
        instances=instances,
        original_ids=ids.astype(np.int64),
        numbers=_read_types(files, row, instances, len(ids)),
    )


def _read_types(
    files: FolderFiles, row: IndexRow, instances: NDArray[np.int32], num: int
) -> NDArray[np.int64]:
    """Class numbers (n,), zeros where the data set has no folder ``types``."""
    folder = files.data_set(row) / "types"
    if not folder.is_dir():
        return np.zeros(num, np.int64)
    file = files.find("types", row, IMAGE_SUFFIXES)
    if file is None:
        raise _missing(folder, row, IMAGE_SUFFIXES)
    return majority(instances, _read_map(file, instances.shape), num).astype(np.int64)


def majority(
    instances: NDArray[np.int32], types: NDArray[np.integer], num: int
) -> NDArray[np.integer]:
    """Most frequent type pixel (num,) of every nucleus, the lowest of equals, 0 where it has none.

    Args:
        instances: (H, W), 0 = background, 1..num.
        types: (H, W), 0 = none; any values, as damage makes them: pairs that occur are counted.
        num: number of nuclei.

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


def _read_map(file: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    pixels = _decode(file, shape, _LIKE_IMAGE, as_rgb=False)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu" or pixels.min() < 0:
        raise ValueError(
            f"{file}: expected one channel of whole numbers from 0 (8 or 16 bits), got "
            f"{pixels.shape} {pixels.dtype}: save it as a grey PNG"
        )
    return pixels


def _missing(folder: Path, row: IndexRow, suffixes: Sequence[str]) -> ValueError:
    return ValueError(
        f"{folder} has no {row.name}{suffixes[0]} (nor {', '.join(suffixes[1:])}), which index.csv "
        "lists: add it or remove the row"
    )


def _decode(
    file: Path, shape: tuple[int, ...], rule: tuple[str, str], *, as_rgb: bool
) -> NDArray[Any]:
    """The pixels of an image; orientation tags are not applied, as label maps have none.

    Args:
        file: image.
        shape: height and width that it must have; no other is decoded, whatever the header says.
        rule: why it must, and what to do where it has not.
        as_rgb: whether to return uint8 (H, W, 3); otherwise the pixels come as they are, from
            formats that keep every value.
    """
    with reading(file, "image"), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        # A stream in memory gives what there is; a file makes room for what a header claims.
        with Image.open(BytesIO(file.read_bytes())) as image:
            if not as_rgb:
                _check_label_file(file, image)
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


def _check_label_file(file: Path, image: Image.Image) -> None:
    """Refuse formats that change numbers, and files in which the labels may be on another page."""
    compression = str(image.info.get("compression", "")).lower()
    if image.format in _LOSSY_FORMATS or compression in _LOSSY_COMPRESSIONS:
        raise ValueError(
            f"{file}: {image.format if not compression else compression.upper()} changes numbers, "
            "so it cannot hold labels: save them as PNG from where they were made"
        )
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        raise ValueError(
            f"{file} has {pages} pages: expected one; save the page with the labels alone, as PNG"
        )
