"""Small folders of labelled images, for tests."""

from __future__ import annotations

import csv
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from histonuc.data.folder import FolderOptions, prepare_folder
from histonuc.data.folder_index import COLUMNS
from histonuc.data.store import Store

SIDE = 12

INSTANCES = np.zeros((SIDE, SIDE), np.uint16)
INSTANCES[1:4, 1:4] = 300  # ids are not consecutive
INSTANCES[6:9, 1:4] = 7
INSTANCES[6:9, 8:10] = 9
INSTANCES[11, 11] = 9  # in two parts

TYPES = np.zeros((SIDE, SIDE), np.uint8)
TYPES[1:4, 1:4] = 3
TYPES[3, 1:4] = 2  # a minority of the pixels
TYPES[6, 1] = 4  # most of the nucleus has no type


def write_set(
    folder: Path,
    dataset: str = "consep",
    names: tuple[str, ...] = ("a",),
    *,
    types: np.ndarray | None = TYPES,
    **changes: Any,
) -> None:
    """Add a data set of equal images to a folder, and its rows to index.csv."""
    for kind in ("images", "instances", *([] if types is None else ["types"])):
        (folder / dataset / kind).mkdir(parents=True, exist_ok=True)
    rows = []
    for name in names:
        rng = np.random.default_rng(zlib.crc32(f"{dataset}/{name}".encode()))
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / dataset / "images" / f"{name}.png")
        Image.fromarray(INSTANCES).save(folder / dataset / "instances" / f"{name}.png")
        if types is not None:
            Image.fromarray(types).save(folder / dataset / "types" / f"{name}.png")
        row = {"dataset": dataset, "name": name, "height": SIDE, "width": SIDE, "nuclei": 3}
        rows.append(row | {"organ": "Colon", "patient": "", "mpp": 0.25} | changes)
    is_new = not (folder / "index.csv").exists()
    with (folder / "index.csv").open("a", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def prepare(folder: Path, *, overwrite: bool = False, **options: Any) -> Store:
    prepare_folder(folder, folder / "out", FolderOptions(**options), overwrite=overwrite)
    return Store.open(folder / "out")


def assert_refused(folder: Path, match: str, **options: Any) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        prepare(folder, **options)
    assert "\n" not in str(caught.value)
    assert not (folder / "out").exists()
    assert not list(folder.glob(".writing*"))
