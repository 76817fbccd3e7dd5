"""Writes the truth of a store as if another program had predicted it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image

from histonuc.data.store import Store


def save(array: np.ndarray, file: Path) -> None:
    if file.suffix == ".npy":
        np.save(file, array.astype(np.int32))
    elif file.suffix == ".png":
        Image.fromarray(array.astype(np.uint16)).save(file)
    else:
        tifffile.imwrite(file, array.astype(np.int32))


def write_labels(store: Store, tiles: np.ndarray, folder: Path, suffix: str = ".png") -> Path:
    for name in ("instances", "types"):
        (folder / name).mkdir(parents=True)
    for tile in tiles:
        labels = store.instances(tile)
        save(3 * labels, folder / "instances" / f"{store.name(tile)}{suffix}")
        save(store.types(tile)[labels], folder / "types" / f"{store.name(tile)}{suffix}")
    return folder


def write_json(store: Store, tiles: np.ndarray, folder: Path, *, cellvit: bool = False) -> Path:
    folder.mkdir()
    for tile in tiles:
        nuclei: list[dict[str, Any]] = []
        labels, types = store.instances(tile), store.types(tile)
        for i in range(1, len(types)):
            found, _ = cv2.findContours(
                (labels == i).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            contour = max(found, key=len)[:, 0].tolist()
            nuclei.append({"contour": contour, "type": int(types[i])})
        content: dict[str, Any] = {"nuc": {str(i): nucleus for i, nucleus in enumerate(nuclei)}}
        if cellvit:
            names = {str(j + 1): name for j, name in enumerate(store.label_space.classes)}
            content = {"cells": nuclei, "type_map": {"0": "Background", **names}}
        (folder / f"{store.name(tile)}.json").write_text(json.dumps(content))
    return folder
