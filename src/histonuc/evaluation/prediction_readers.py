"""Predictions made elsewhere, read tile by tile: label images, HoVer-Net or CellViT JSON, npy.

- A folder of label images, ``NAME.png``, ``.tif``, ``.tiff`` or ``.npy`` (H, W), 0 = background,
  matched to tiles by name; or a folder with the two folders ``instances`` and ``types``, as
  `histonuc prepare folder` reads them: a type image holds the class of each pixel.
- A folder of ``NAME.json`` with contours, HoVer-Net's (``nuc``) or CellViT's (``cells``), in the
  tile's own pixels.
- One npy (N, H, W, C) or (N, H, W, C + 1) in PanNuke's shape: instance ids in one channel a class;
  row ``i`` is the ``i``-th of the tiles that are scored. A further channel is not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.data.folder_files import majority
from histonuc.data.npy import inspect_npy
from histonuc.evaluation.predictions import Prediction
from histonuc.files import reading
from histonuc.metrics.official import flatten_channels
from histonuc.nuclei import make_consecutive
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    from histonuc.data.store import Store

_SUFFIXES = (".png", ".tif", ".tiff", ".npy")
_FARTHEST_PX = 1 << 20
"""A contour that leaves its tile so far is damage, and OpenCV fills each row that it spans."""


def have_classes(path: Path) -> bool:
    """Whether predictions are of a kind that states the class of each nucleus."""
    return path.is_file() or (path / "types").is_dir() or any(path.glob("*.json"))


def read_predictions(
    path: Path,
    store: Store,
    tiles: NDArray[np.integer],
    type_map: Mapping[str, str] | None = None,
    *,
    binary_only: bool = False,
    predicted: NDArray[np.integer] | None = None,
) -> Iterator[tuple[int, Prediction]]:
    """Read the predictions of tiles one after the other.

    Args:
        path: see the module's docstring.
        store: whose tiles they are of.
        tiles: rows of `store.tiles`, ascending.
        type_map: the store's class by type, a number or a name of the predictions, all of them;
            otherwise type ``k`` is the ``k``-th class and names are the store's own. Type 0 is a
            nucleus of no class unless it is named here.
        binary_only: leave types unread.
        predicted: tiles, ascending, that an npy has a row of each; `tiles` when not given.

    Raises:
        ValueError: nothing readable there, a tile without prediction, one of another size, or types
            that are no class of the store.
    """
    types = _Types(store.label_space, type_map or {}, binary_only=binary_only)
    if path.is_file():
        if type_map:
            raise ValueError("--types: an npy has a channel a class; it cannot be mapped")
        yield from _read_npy(path, store, tiles, tiles if predicted is None else predicted)
        return
    if not path.is_dir():
        raise ValueError(f"--predictions: nothing at {path}: give a folder or an npy file")
    is_json = any(path.glob("*.json"))
    for tile in map(int, tiles):
        shape = store.image(tile).shape[:2]
        if is_json:
            yield tile, _read_json(path / f"{store.name(tile)}.json", shape, types)
        else:
            yield tile, _read_labels(path, store.name(tile), shape, types)


class _Types:
    """From the predictions' types to class + 1 of the store; all 0 when classes are left out."""

    def __init__(self, space: LabelSpace, given: Mapping[str, str], *, binary_only: bool) -> None:
        by_name = {name.lower(): j + 1 for j, name in enumerate(space.classes)}
        wrong = [name for name in given.values() if name.lower() not in by_name]
        if wrong:
            raise ValueError(f"--types: {wrong} are none of {list(space.classes)}")
        by_number = {str(j + 1): j + 1 for j in range(len(space))}
        own = {key.lower(): by_name[name.lower()] for key, name in given.items()}
        self._table = {"0": 0} | (own or by_number | by_name)
        self._classes = ", ".join(space.classes)
        self._binary_only = binary_only

    def of(self, value: object, where: Path) -> int:
        """Class + 1 of one type."""
        if self._binary_only:
            return 0
        key = str(value).strip().lower()
        if key not in self._table:
            raise ValueError(
                f"{where}: type {value!r} is no class of the store ({self._classes}): name the "
                f"class of every type, --types.{value} CLASS, or leave them out, --binary-only"
            )
        return self._table[key]


def _read_npy(
    path: Path, store: Store, tiles: NDArray[np.integer], predicted: NDArray[np.integer]
) -> Iterator[tuple[int, Prediction]]:
    num_classes, num_rows = len(store.label_space), len(predicted)
    file = inspect_npy(path)
    fits = len(file.shape) == 4 and file.shape[3] in (num_classes, num_classes + 1)
    if not fits or file.shape[0] != num_rows or file.dtype.kind not in "iuf":
        raise ValueError(
            f"{path}: expected numbers ({num_rows}, H, W, {num_classes} or {num_classes + 1}), "
            f"one row a tile of the folds that are scored, got {file.shape} {file.dtype}"
        )
    rows = np.searchsorted(predicted, tiles)
    for row, tile in zip(rows.tolist(), map(int, tiles), strict=True):
        _check_size(path, file.shape[1:3], store.image(tile).shape[:2])
        with reading(path, f"instance ids, in row {row}"):
            labels, covered = flatten_channels(file.read(row, row + 1)[0], num_classes)
        yield tile, Prediction(labels=labels, types=covered.types, covered=covered)


def _read_labels(folder: Path, name: str, shape: tuple[int, ...], types: _Types) -> Prediction:
    typed = (folder / "types").is_dir()
    file = _find(folder / "instances" if typed else folder, name)
    raw = _read_image(file, shape)
    labels, ids = make_consecutive(raw)
    if not typed:
        return Prediction(labels=labels)
    type_file = _find(folder / "types", name)
    pixels = _read_image(type_file, shape)
    # Types only outside nuclei need no place in the map.
    of_nucleus = majority(labels, pixels, len(ids)).tolist()
    known = {value: types.of(value, type_file) for value in set(of_nucleus)}
    return Prediction(labels=labels, types=np.array([0, *map(known.get, of_nucleus)], np.int32))


def _find(folder: Path, name: str) -> Path:
    for suffix in _SUFFIXES:
        file = folder / f"{name}{suffix}"
        if file.is_file():
            return file
    raise ValueError(
        f"--predictions: {folder} has no {name}.png (nor {', '.join(_SUFFIXES[1:])}, nor is it a "
        "folder of .json): every tile that is scored needs one; an empty image where none was found"
    )


def _read_image(file: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """Whole numbers (H, W) from 0; an image of another size is not decoded."""
    with reading(file, "label image"):
        if file.suffix == ".npy":
            _check_size(file, inspect_npy(file).shape[:2], shape)
            pixels = np.load(file, mmap_mode="r", allow_pickle=False)
        elif file.suffix in (".tif", ".tiff"):
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


def _read_json(file: Path, shape: tuple[int, ...], types: _Types) -> Prediction:
    """Paint the contours: OpenCV's, through pixel centres, so filling includes the outline."""
    if not file.is_file():
        raise ValueError(f"--predictions: no {file}: every tile that is scored needs one")
    with reading(file, "JSON of HoVer-Net (nuc) or CellViT (cells) with a contour each"):
        content = json.loads(file.read_text())
        nuclei = content["nuc"].values() if "nuc" in content else content["cells"]
        outlines = [np.asarray(nucleus["contour"], np.float64) for nucleus in nuclei]
        raw = [nucleus.get("type") for nucleus in nuclei]
        names = {str(k): v for k, v in (content.get("type_map") or {}).items()}
    labels = np.zeros(shape, np.int32)
    for i, outline in enumerate(outlines):
        is_contour = outline.ndim == 2 and outline.shape[1] == 2
        if not (is_contour and (np.abs(outline) < _FARTHEST_PX).all()):  # NaN is not, either
            got = "points far outside the tile" if is_contour else outline.shape
            raise ValueError(f"{file}: nucleus {i}: expected a contour of (x, y) points, got {got}")
        cv2.fillPoly(labels, [np.rint(outline).astype(np.int32)], i + 1)
    found = [types.of(names.get(str(value), value), file) for value in raw]
    return Prediction(labels=labels, types=np.array([0, *found], np.int32))


def _check_size(where: Path, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if tuple(got) != tuple(expected):
        raise ValueError(
            f"{where}: expected {expected[0]} x {expected[1]} pixels like the tile, got "
            f"{' x '.join(map(str, got))}: predictions must be at the store's resolution"
        )
