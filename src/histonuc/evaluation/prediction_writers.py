"""Predictions of a model as files that other programs and `evaluate --predictions` read.

- ``labels``: ``instances/NAME.png`` (16 bits; ``.npy`` where a tile has over 65,535 nuclei) and
  ``types/NAME.png`` (class number of each pixel); without classes ``NAME.png`` alone.
- ``hovernet``: ``NAME.json`` in HoVer-Net's form; beside the one contour that this form has for a
  nucleus, ``contours`` holds all of a nucleus with holes or several parts.
- ``pannuke``: ``masks.npy`` (N, H, W, C + 1), one channel a class, background last.

All have a manifest beside them, and ``pixels/NAME.png`` with the most probable class of each pixel:
scores of pixels are of the probabilities' decisions, which the nuclei alone do not tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from histonuc.evaluation.prediction_manifest import (
    MANIFEST_FILE,
    MASKS_FILE,
    PIXELS_FOLDER,
    Manifest,
    SaveAs,
    write_manifest,
)
from histonuc.evaluation.prediction_readers import RINGS
from histonuc.evaluation.predictions import Prediction
from histonuc.files import replacing, write_text
from histonuc.metrics.pixels import decide_pixels
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    from histonuc.data.store import Store

_LARGEST_16_BIT = 65_535


def save_while_scoring(
    predictions: Iterable[tuple[int, Prediction]],
    store: Store,
    tiles: Sequence[int],
    label_space: LabelSpace | None,
    folder: Path,
    save_as: SaveAs,
) -> Iterator[tuple[int, Prediction]]:
    """Write predictions as they pass by; the manifest comes last.

    Args:
        predictions: tiles (rows of `store.tiles`) and what is predicted there.
        store: whose tiles they are of.
        tiles: all tiles that come, in order.
        label_space: classes of the predictions; None where they have none.
        folder: where to write; empty, missing, or with earlier predictions, which are replaced.
        save_as: format.

    Yields:
        The same predictions.

    Raises:
        ValueError: the folder holds something else, or PanNuke's format is asked for without
            classes or for tiles of several sizes.
    """
    stems = _name_files(store, tiles)
    _make_room(folder)
    with ExitStack() as stack:
        masks = None
        if save_as == "pannuke":
            masks = _open_masks(
                store, tiles, label_space, stack.enter_context(replacing(folder / MASKS_FILE))
            )
        for row, (tile, prediction) in enumerate(predictions):
            stem = stems[row]
            if masks is not None:
                masks[row] = _paint_channels(prediction, masks.shape[-1])
            elif save_as == "hovernet":
                _write_contours(prediction, folder / f"{stem}.json")
            else:
                _write_labels(prediction, folder, stem)
            if prediction.pixel_probabilities is not None:
                decided = decide_pixels(prediction.pixel_probabilities)
                _write_png(decided.astype(np.uint8), folder / PIXELS_FOLDER / f"{stem}.png")
            yield tile, prediction
        del masks  # flushes and closes the map before the file gets its name
    keys = tuple((store.source(tile), store.name(tile)) for tile in tiles)
    write_manifest(
        Manifest(save_as=save_as, label_space=label_space, tiles=keys, stems=tuple(stems)), folder
    )


def _name_files(store: Store, tiles: Sequence[int]) -> list[str]:
    """What the files of each tile are called: by its name, or its source too where names recur."""
    names = [store.name(tile) for tile in tiles]
    if len(set(names)) == len(names):
        return names
    return [f"{store.source(tile)}-{name}" for tile, name in zip(tiles, names, strict=True)]


def _make_room(folder: Path) -> None:
    """Write only where there is nothing, or over predictions that were saved before.

    Files of other tiles stay there; the manifest, which comes last, does not name them.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST_FILE).is_file():
        raise ValueError(
            f"--save-predictions: {folder} is not empty and holds no saved predictions: give an "
            "empty or a new folder"
        )
    (folder / MANIFEST_FILE).unlink(missing_ok=True)


def _open_masks(
    store: Store, tiles: Sequence[int], label_space: LabelSpace | None, file: Path
) -> NDArray[Any]:
    """A memory-mapped npy (N, H, W, C + 1), in which rows are written one by one."""
    if label_space is None:
        raise ValueError(
            "--save-as pannuke has one channel a class, and classes are left out: choose labels or "
            "hovernet"
        )
    shapes = {store.image(tile).shape[:2] for tile in tiles}
    if len(shapes) > 1:
        raise ValueError(
            f"--save-as pannuke is one array, and the tiles have {len(shapes)} sizes: choose "
            "labels or hovernet, or one data set with --sources"
        )
    shape = (len(tiles), *shapes.pop(), len(label_space) + 1)
    small = shape[1] * shape[2] <= _LARGEST_16_BIT + 1
    masks: NDArray[Any] = np.lib.format.open_memmap(
        file, mode="w+", dtype=np.uint16 if small else np.int32, shape=shape
    )
    return masks


def _paint_channels(prediction: Prediction, num_channels: int) -> NDArray[np.int32]:
    """Instance ids (H, W, C + 1), each in the channel of its class, and the background last."""
    assert prediction.types is not None, "without classes there is no such file"
    labels = prediction.labels
    mask = np.zeros((*labels.shape, num_channels), np.int32)
    y, x = np.nonzero(labels)
    mask[y, x, prediction.types[labels[y, x]] - 1] = labels[y, x]
    mask[..., -1] = labels == 0
    return mask


def _write_labels(prediction: Prediction, folder: Path, name: str) -> None:
    """Label image, and type image where there are classes."""
    labels, types = prediction.labels, prediction.types
    instances = folder if types is None else folder / "instances"
    if labels.max(initial=0) > _LARGEST_16_BIT:
        with replacing(instances / f"{name}.npy") as draft:
            np.save(draft, labels)
    else:
        _write_png(labels.astype(np.uint16), instances / f"{name}.png")
    if types is not None:
        _write_png(types[labels].astype(np.uint8), folder / "types" / f"{name}.png")


def _write_contours(prediction: Prediction, file: Path) -> None:
    """HoVer-Net's JSON of one tile."""
    labels, nuclei = prediction.labels, {}
    for number, box in enumerate(find_objects(labels), 1):
        if box is None:
            continue
        (top, bottom), (left, right) = ((side.start, side.stop) for side in box)
        inside = labels[box] == number
        y, x = np.nonzero(inside)
        contours = [contour + np.array([left, top]) for contour in _trace(inside)]
        nuclei[str(number)] = {
            "bbox": [[top, left], [bottom, right]],
            "centroid": [float(x.mean()) + left, float(y.mean()) + top],
            "contour": contours[0].tolist(),
            "type_prob": _find_probability(prediction, number),
            "type": None if prediction.types is None else int(prediction.types[number]),
            **({RINGS: [ring.tolist() for ring in contours]} if len(contours) > 1 else {}),
        }
    write_text(file, json.dumps({"mag": None, "nuc": nuclei}))


def _find_probability(prediction: Prediction, number: int) -> float | None:
    """Probability of the class of a nucleus, None where it is not known."""
    if prediction.class_probabilities is None:
        return None
    return float(prediction.class_probabilities[number - 1].max())


def _trace(inside: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    """Contours (k, 2) as (x, y) of a nucleus in its box: its largest part, other parts, holes."""
    found, tree = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    is_hole = (tree[0, :, 3] >= 0).tolist()
    order = sorted(range(len(found)), key=lambda i: (is_hole[i], -cv2.contourArea(found[i])))
    return [np.asarray(found[i][:, 0], np.int32) for i in order]


def _write_png(pixels: NDArray[np.unsignedinteger[Any]], file: Path) -> None:
    done, encoded = cv2.imencode(".png", pixels)
    assert done, "OpenCV could not encode a PNG"
    with replacing(file) as draft:
        draft.write_bytes(encoded.tobytes())
