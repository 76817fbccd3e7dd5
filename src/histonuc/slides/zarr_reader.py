"""OME-Zarr pictures (OME-NGFF 0.4 on Zarr 2 and 0.5 on Zarr 3) with the extra `zarr`."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from histonuc.slides.limits import LARGE_PIECE_PIXELS
from histonuc.slides.pixels import check_channels, check_depth, pick_scene, to_rgb
from histonuc.slides.protocol import RGB, Contents, Level, RefusedError
from histonuc.slides.resolution import Scale, plausible_scale, unit_um


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group."""
    return (path / "zarr.json").is_file() or (path / ".zgroup").is_file()


def open_zarr(path: Path, scene: int | None = None) -> Contents:
    """Open an OME-Zarr folder, or one with several scenes as bioformats2raw writes them.

    Raises:
        RefusedError: several scenes and none chosen, no bright-field RGB of 8 bits, or arrays that
            are not safe to read.
    """
    from histonuc.slides.zarr_arrays import check_array, open_array, read_attributes

    folder, image = _choose(path, scene)
    paths = [_inside(str(entry["path"])) for entry in image["datasets"]]
    # All of them before any is opened: what a description says may run code.
    chunks = [check_array(folder / one) for one in paths]
    arrays = [open_array(folder, *one) for one in zip(paths, chunks, strict=True)]
    axes = [axis["name"] if isinstance(axis, dict) else axis for axis in image["axes"]]
    sizes = [dict(zip(axes, array.shape, strict=True)) for array in arrays]
    channels = read_attributes(folder).get("omero", {}).get("channels", [])
    for array, size in zip(arrays, sizes, strict=True):
        _check(array.dtype, size, channels)
    lock = threading.Lock()
    levels = tuple(
        Level(
            size=(int(size["x"]), int(size["y"])),
            read=_Reader(array, folder / name, axes, cut.shape, lock).read,
        )
        for array, size, name, cut in zip(arrays, sizes, paths, chunks, strict=True)
    )
    return Contents(
        levels=levels,
        reader="zarr",
        scale=_scale(image),
        properties={
            "zarr.format": "3" if (folder / "zarr.json").is_file() else "2",
            "zarr.axes": "".join(axes),
        },
    )


def _choose(path: Path, scene: int | None) -> tuple[Path, Mapping[str, Any]]:
    """The folder of the picture to read, and what its group says of it."""
    from histonuc.slides.zarr_arrays import read_attributes

    folders = _pictures(path)
    if not folders:
        raise RefusedError("no OME-Zarr picture: it has no 'multiscales'")
    images = [read_attributes(folder)["multiscales"][0] for folder in folders]
    names = [
        str(one.get("name") or folder.name) for one, folder in zip(images, folders, strict=True)
    ]
    index = pick_scene(names, scene)
    return folders[index], images[index]


def _check(dtype: np.dtype[Any], size: Mapping[str, int], channels: Sequence[Any]) -> None:
    deep = [axis for axis in size if axis not in "cyx" and size[axis] > 1]
    if deep:
        raise RefusedError(
            f"it has {size[deep[0]]} planes along {deep[0]!r}: expected one; export one"
        )
    names = [str(channel["label"]) for channel in channels if "label" in channel]
    colours = [str(channel["color"]) for channel in channels if "color" in channel]
    check_channels(size.get("c", 1), names, colours)
    check_depth(dtype)


class _Reader:
    """Reads windows of one array.

    Args:
        array: a `zarr.Array`.
        folder: that it lies in.
        axes: their names.
        chunk: the shape of what is unpacked at once.
        lock: of the slide, for chunks so large that one at a time is enough.
    """

    def __init__(
        self,
        array: Any,
        folder: Path,
        axes: Sequence[str],
        chunk: Sequence[int],
        lock: threading.Lock,
    ) -> None:
        self._array, self._folder, self._axes, self._lock = array, folder, axes, lock
        sides = dict(zip(axes, chunk, strict=True))
        self._chunk_px = (int(sides["x"]), int(sides["y"]))
        self._is_large = int(np.prod(chunk)) > LARGE_PIECE_PIXELS

    def read(self, x: int, y: int, w: int, h: int) -> RGB:
        """See `Level`."""
        if not self._is_large:
            return self._read(x, y, w, h)
        out = np.empty((h, w, 3), np.uint8)
        with self._lock:
            for left, right in _cells(x, x + w, self._chunk_px[0]):
                for top, bottom in _cells(y, y + h, self._chunk_px[1]):
                    part = self._read(left, top, right - left, bottom - top)
                    out[top - y : bottom - y, left - x : right - x] = part
        return out

    def _read(self, x: int, y: int, w: int, h: int) -> RGB:
        window = {"x": slice(x, x + w), "y": slice(y, y + h), "c": slice(None)}
        pixels = np.asarray(self._array[tuple(window.get(axis, 0) for axis in self._axes)])
        # Looked for after reading: of a store that is gone, unmounted say, all chunks are absent.
        if not self._folder.is_dir():
            raise FileNotFoundError(f"no folder at {self._folder} any more")
        if pixels.dtype == bool:
            pixels = pixels.astype(np.uint8) * 255
        kept = [axis for axis in self._axes if axis in "cyx"]
        order = [kept.index(axis) for axis in "yxc" if axis in kept]
        pixels = pixels.transpose(order)
        return to_rgb(pixels if pixels.ndim == 3 else pixels[..., None])


def _cells(start: int, end: int, side: int) -> Iterator[tuple[int, int]]:
    """A range cut at the multiples of `side`."""
    inner = range((start // side + 1) * side, end, side)
    return itertools.pairwise((start, *inner, end))


def _inside(path: str) -> str:
    """The path of an array in its group, if it is inside."""
    if path.startswith("/") or ".." in Path(path).parts:
        raise RefusedError(f"its pixels are said to lie at {path!r}: expected a folder inside")
    return path


def _pictures(path: Path) -> list[Path]:
    """The folders that hold a picture: the path itself, or its numbered children."""
    from histonuc.slides.zarr_arrays import read_attributes

    if "multiscales" in read_attributes(path):
        return [path]
    numbered = itertools.takewhile(is_zarr, (path / str(i) for i in itertools.count()))
    return [folder for folder in numbered if "multiscales" in read_attributes(folder)]


def _scale(image: Mapping[str, Any]) -> Scale | None:
    """Microns per pixel of the first level: its scale, where the axes have a unit of length."""
    scale = [1.0] * len(image["axes"])
    steps = [image.get("coordinateTransformations", [])]
    steps.append(image["datasets"][0].get("coordinateTransformations", []))
    for step in (one for some in steps for one in some if one["type"] == "scale"):
        scale = [a * float(b) for a, b in zip(scale, step["scale"], strict=True)]
    found: dict[str, float] = {}
    for axis, size in zip(image["axes"], scale, strict=True):
        unit = unit_um(str(axis.get("unit", ""))) if isinstance(axis, dict) else None
        if unit is not None:
            found[axis["name"]] = size * unit
    return plausible_scale((found.get("x"), found.get("y")), "OME-NGFF: scale of the first level")
