"""Readers of one prediction each: label images, contours in JSON, rows of an npy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.data.channel_order import ChannelOrder
from histonuc.data.folder_files import majority
from histonuc.data.npy import inspect_npy
from histonuc.evaluation.predictions import Prediction
from histonuc.files import find_named, reading
from histonuc.metrics.official import flatten_channels
from histonuc.nuclei import make_consecutive
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    from histonuc.data.store import Store

_SUFFIXES = (".png", ".tif", ".tiff", ".npy")
RINGS = "contours"
"""Key of all contours of a nucleus that has holes or several parts; ours, HoVer-Net knows none."""
_FARTHEST_PX = 1 << 20
"""A contour that leaves its tile so far is damage, and OpenCV fills each row that it spans."""


class TypeTable:
    """From the types in files to class + 1 of the predictions; all 0 without classes.

    Args:
        space: classes of the predictions.
        given: class by type, of all types; otherwise numbers count the classes from 1.
        with_classes: whether classes are scored.

    Raises:
        ValueError: `given` names something else than these classes.
    """

    def __init__(self, space: LabelSpace, given: Mapping[str, str], *, with_classes: bool) -> None:
        by_name = {name.lower(): j + 1 for j, name in enumerate(space.classes)}
        wrong = [name for name in given.values() if name.lower() not in by_name]
        if wrong:
            raise ValueError(f"--types: {wrong} are none of {list(space.classes)}")
        by_number = {str(j + 1): j + 1 for j in range(len(space))}
        mapped = {key.lower(): by_name[name.lower()] for key, name in given.items()}
        self._table = {"0": 0} | (mapped or by_number | by_name)
        self._classes = ", ".join(space.classes)
        self._with_classes = with_classes

    def find(self, value: object, where: Path) -> int:
        """Class + 1 of one type."""
        if not self._with_classes:
            return 0
        key = str(value).strip().lower()
        if key not in self._table:
            raise ValueError(
                f"{where}: type {value!r} is no class of the store ({self._classes}): name the "
                f"class of every type, --types.{value} CLASS, or leave them out, --binary-only"
            )
        return self._table[key]


def read_npy(
    path: Path,
    store: Store,
    tiles: NDArray[np.integer],
    rows: Sequence[int],
    num_rows: int,
    num_classes: int,
) -> Iterator[tuple[int, Prediction]]:
    """Read rows of an npy in PanNuke's shape.

    Args:
        path: the npy.
        store: whose tiles the predictions are of.
        tiles: rows of the store.
        rows: row of the npy for each of the tiles.
        num_rows: rows that the npy has to have.
        num_classes: C of the predictions.

    Yields:
        A tile and its prediction, in the predictions' own classes.

    Raises:
        ValueError: another shape, no instance ids, or the background as the first channel.
    """
    file = inspect_npy(path)
    fits = len(file.shape) == 4 and file.shape[3] in (num_classes, num_classes + 1)
    if not fits or file.shape[0] != num_rows or file.dtype.kind not in "iuf":
        raise ValueError(
            f"{path}: expected numbers ({num_rows}, H, W, {num_classes} or {num_classes + 1}), "
            f"one row a tile of the folds that are scored, got {file.shape} {file.dtype}"
        )
    order = ChannelOrder()
    for row, tile in zip(rows, map(int, tiles), strict=True):
        _check_size(path, file.shape[1:3], store.image(tile).shape[:2])
        mask = file.read(row, row + 1)[0]
        if file.shape[3] > num_classes:
            order.add(mask, f"{path}, row {row}")
        with reading(path, f"instance ids, in row {row}"):
            labels, covered = flatten_channels(mask, num_classes)
        yield tile, Prediction(labels=labels, types=covered.types, covered=covered)
    order.finish(str(path))


def read_labels(folder: Path, name: str, shape: tuple[int, ...], types: TypeTable) -> Prediction:
    """Read the label image of a tile, with the class of each nucleus where there are type images.

    Args:
        folder: with the label images, or with the folders ``instances`` and ``types``.
        name: name of the tile.
        shape: height and width that the images must have.
        types: tells the classes.

    Raises:
        ValueError: a missing or damaged image, one of another size, or a type that is no class.
    """
    typed = (folder / "types").is_dir()
    file = _find(folder / "instances" if typed else folder, name)
    raw = read_label_image(file, shape)
    labels, ids = make_consecutive(raw)
    if not typed:
        return Prediction(labels=labels)
    type_file = _find(folder / "types", name)
    pixels = read_label_image(type_file, shape)
    # Types only outside nuclei need no place in the map.
    of_nucleus = majority(labels, pixels, len(ids)).tolist()
    known = {value: types.find(value, type_file) for value in set(of_nucleus)}
    return Prediction(labels=labels, types=np.array([0, *map(known.get, of_nucleus)], np.int32))


def _find(folder: Path, name: str) -> Path:
    if (found := find_named(folder, name, _SUFFIXES)) is not None:
        return found
    raise ValueError(
        f"--predictions: {folder} has no {name}.png (nor {', '.join(_SUFFIXES[1:])}, nor is it a "
        "folder of .json): every tile that is scored needs one; an empty image where none was found"
    )


def read_label_image(file: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """Whole numbers (H, W) from 0.

    Args:
        file: PNG, TIFF or npy.
        shape: height and width that it must have; an image of another size is not decoded.

    Raises:
        ValueError: a missing or damaged file, another size, or other numbers.
    """
    with reading(file, "label image"):
        suffix = file.suffix.lower()
        if suffix == ".npy":
            _check_size(file, inspect_npy(file).shape[:2], shape)
            pixels = np.load(file, mmap_mode="r", allow_pickle=False)
        elif suffix in (".tif", ".tiff"):
            import tifffile

            with tifffile.TiffFile(file) as tiff:
                _check_size(file, tiff.series[0].shape[:2], shape)
                pixels = tiff.series[0].asarray()
        else:
            from PIL import Image

            # A stream in memory gives what there is; a file makes room for what a header claims.
            with Image.open(BytesIO(file.read_bytes())) as image:
                _check_size(file, (image.height, image.width), shape)
                pixels = np.asarray(image)
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu" or pixels.min(initial=0) < 0:
        raise ValueError(
            f"{file}: expected one channel of whole numbers from 0, got {pixels.shape} "
            f"{pixels.dtype}: save label images as 16-bit grey PNG or TIFF, or int32 npy"
        )
    return np.asarray(pixels)


def read_json_contours(file: Path, shape: tuple[int, ...], types: TypeTable) -> Prediction:
    """Read the contours of a tile; a later nucleus is painted over an earlier one.

    Args:
        file: JSON of HoVer-Net (``nuc``) or CellViT (``cells``).
        shape: height and width of the tile.
        types: tells the classes.

    Raises:
        ValueError: a missing or damaged file, an impossible contour, or a type that is no class.
    """
    if not file.is_file():
        raise ValueError(f"--predictions: no {file}: every tile that is scored needs one")
    with reading(file, "JSON of HoVer-Net (nuc) or CellViT (cells) with a contour each"):
        content = json.loads(file.read_text())
        nuclei = content["nuc"].values() if "nuc" in content else content["cells"]
        outlines = [
            [np.asarray(ring, np.float64) for ring in nucleus.get(RINGS, [nucleus["contour"]])]
            for nucleus in nuclei
        ]
        raw = [nucleus.get("type") for nucleus in nuclei]
        names = {str(k): v for k, v in (content.get("type_map") or {}).items()}
    for i, ring in ((i, ring) for i, rings in enumerate(outlines) for ring in rings):
        is_contour = ring.ndim == 2 and ring.shape[1] == 2
        if not (is_contour and (np.abs(ring) < _FARTHEST_PX).all()):  # NaN is not, either
            got = "points far outside the tile" if is_contour else ring.shape
            raise ValueError(f"{file}: nucleus {i}: expected a contour of (x, y) points, got {got}")
    labels = paint_contours(outlines, shape)
    found = [types.find(names.get(str(value), value), file) for value in raw]
    return Prediction(labels=labels, types=np.array([0, *found], np.int32))


def paint_contours(
    nuclei: Sequence[Sequence[NDArray[np.number]]], shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """Label image (H, W) of contours; the i-th nucleus has the label i + 1 and covers the others.

    Args:
        nuclei: for each nucleus its contours, points (k, 2) as (x, y), as OpenCV traces them:
            through the centres of a nucleus's outermost pixels, where whole numbers are pixel
            centres. The first is its outline; further ones are its other parts and its holes.
        shape: height and width.
    """
    labels = np.zeros(shape, np.int32)
    for i, contours in enumerate(nuclei):  # filling paints the contours as well
        cv2.fillPoly(labels, [np.rint(contour).astype(np.int32) for contour in contours], i + 1)
    return labels


def _check_size(where: Path, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if tuple(got) != tuple(expected):
        raise ValueError(
            f"{where}: expected {expected[0]} x {expected[1]} pixels like the tile, got "
            f"{' x '.join(map(str, got))}: predictions must be at the store's resolution"
        )
