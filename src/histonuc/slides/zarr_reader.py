"""OME-Zarr pictures (OME-NGFF 0.4 on Zarr 2 and 0.5 on Zarr 3) with the extra `zarr`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from histonuc.slides.pixels import (
    check_channels,
    check_depth,
    pick_scene,
    plausible_mpp,
    to_rgb,
)
from histonuc.slides.protocol import RGB, Contents, Level, RefusedError

_UNIT_UM = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "centimeter": 1e4}


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr group."""
    return (path / "zarr.json").is_file() or (path / ".zgroup").is_file()


def open_zarr(path: Path, scene: int | None = None) -> Contents:
    """Open an OME-Zarr folder, or one with several scenes as bioformats2raw writes them.

    Raises:
        RefusedError: several scenes and none chosen, or no bright-field RGB of 8 bits.
    """
    import zarr

    root = zarr.open_group(str(path), mode="r")
    groups = _pictures(root)
    names = [str(_multiscales(group).get("name") or group.name) for group in groups]
    if not groups:
        raise RefusedError("no OME-Zarr picture: it has no 'multiscales'")
    group = groups[pick_scene(names, scene)]
    image = _multiscales(group)
    arrays = [group[entry["path"]] for entry in image["datasets"]]
    axes = [axis["name"] if isinstance(axis, dict) else axis for axis in image["axes"]]
    sizes = [dict(zip(axes, array.shape, strict=True)) for array in arrays]
    _check(arrays[0].dtype, sizes[0], _attributes(group).get("omero", {}).get("channels", []))
    levels = tuple(
        Level(
            size=(int(size["x"]), int(size["y"])),
            read=partial(_read, _white_where_absent(array), path / array.path, axes),
        )
        for array, size in zip(arrays, sizes, strict=True)
    )
    return Contents(
        levels=levels,
        reader="zarr",
        mpp_xy=_mpp(image),
        properties={"zarr.format": str(root.metadata.zarr_format), "zarr.axes": "".join(axes)},
    )


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


def _white_where_absent(array: Any) -> Any:
    """The array, its absent chunks white as in other readers, where it has them black (or unset).

    Writers leave out what the scanner did not visit; black would look like tissue.
    """
    import zarr

    if array.fill_value:  # the writer chose a background
        return array
    metadata = replace(array.metadata, fill_value=array.dtype.type(255))
    return zarr.Array(zarr.AsyncArray(metadata=metadata, store_path=array.store_path))


def _read(array: Any, folder: Path, axes: Sequence[str], x: int, y: int, w: int, h: int) -> RGB:
    window = {"x": slice(x, x + w), "y": slice(y, y + h), "c": slice(None)}
    pixels = np.asarray(array[tuple(window.get(axis, 0) for axis in axes)])
    # Looked for after reading: of a store that is gone, unmounted say, all chunks are absent.
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder at {folder} any more")
    if pixels.ndim == 2:
        return to_rgb(pixels[..., None])
    return to_rgb(pixels.transpose([[a for a in axes if a in "cyx"].index(a) for a in "yxc"]))


def _attributes(group: Any) -> Mapping[str, Any]:
    attributes = group.attrs.asdict()
    found: Mapping[str, Any] = attributes.get("ome", attributes)
    return found


def _multiscales(group: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _attributes(group)["multiscales"][0]
    return found


def _pictures(root: Any) -> list[Any]:
    """The groups that hold a picture: the root, or its numbered children."""
    if "multiscales" in _attributes(root):
        return [root]
    children: list[Any] = []
    while str(len(children)) in root:
        children.append(root[str(len(children))])
    return [child for child in children if "multiscales" in _attributes(child)]


def _mpp(image: Mapping[str, Any]) -> tuple[float, float] | None:
    """Microns per pixel of the first level: its scale, where the axes have a unit of length."""
    scale = [1.0] * len(image["axes"])
    steps = [image.get("coordinateTransformations", [])]
    steps.append(image["datasets"][0].get("coordinateTransformations", []))
    for step in (one for some in steps for one in some if one["type"] == "scale"):
        scale = [a * float(b) for a, b in zip(scale, step["scale"], strict=True)]
    found: dict[str, float] = {}
    for axis, size in zip(image["axes"], scale, strict=True):
        unit_um = _UNIT_UM.get(axis.get("unit", "")) if isinstance(axis, dict) else None
        if unit_um is not None:
            found[axis["name"]] = size * unit_um
    return plausible_mpp(found.get("x"), found.get("y"))
