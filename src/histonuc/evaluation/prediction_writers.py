"""Predictions of a model as files that other programs and `evaluate --predictions` read.

- ``labels``: ``instances/NAME.png`` (16 bits; ``.npy`` where a tile has over 65,535 nuclei) and
  ``types/NAME.png`` (class number of each pixel); without classes ``NAME.png`` alone.
- ``hovernet``: ``NAME.json`` in HoVer-Net's form, with one contour a nucleus.
- ``pannuke``: ``masks.npy`` (N, H, W, C + 1), one channel a class, background last.

All have a manifest beside them, and ``pixels/NAME.png`` with the most probable class of each pixel:
scores of pixels are of the probabilities' decisions, which the nuclei alone do not tell.
"""

from __future__ import annotations

import json
import logging
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
from histonuc.evaluation.prediction_readers import paint_contours
from histonuc.evaluation.predictions import Prediction
from histonuc.files import replacing, write_text
from histonuc.metrics.pixels import decide_pixels
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    from histonuc.data.store import Store

log = logging.getLogger(__name__)

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
        ValueError: the folder holds something else, two tiles have one name, or PanNuke's format
            is asked for without classes or for tiles of several sizes.
    """
    names = _name_tiles(store, tiles)
    _make_room(folder)
    num_simplified = num_nuclei = 0
    with ExitStack() as stack:
        masks = None
        if save_as == "pannuke":
            masks = _open_masks(
                store, tiles, label_space, stack.enter_context(replacing(folder / MASKS_FILE))
            )
        for row, (tile, prediction) in enumerate(predictions):
            name = names[row]
            if masks is not None:
                masks[row] = _paint_channels(prediction, masks.shape[-1])
            elif save_as == "hovernet":
                num_simplified += _write_contours(prediction, folder / f"{name}.json")
                num_nuclei += int(prediction.labels.max(initial=0))
            else:
                _write_labels(prediction, folder, name)
            if prediction.pixel_probabilities is not None:
                decided = decide_pixels(prediction.pixel_probabilities)
                _write_png(decided.astype(np.uint8), folder / PIXELS_FOLDER / f"{name}.png")
            yield tile, prediction
        del masks  # flushes and closes the map before the file gets its name
    if num_simplified:
        log.warning(
            "%d of %d nuclei have holes or several parts, which one contour cannot tell: scores of "
            "these files may differ a little; --save-as labels keeps them",
            num_simplified,
            num_nuclei,
        )
    keys = tuple((store.source(tile), store.name(tile)) for tile in tiles)
    write_manifest(Manifest(save_as=save_as, label_space=label_space, tiles=keys), folder)


def _name_tiles(store: Store, tiles: Sequence[int]) -> list[str]:
    """Names of the tiles' files."""
    names = [store.name(tile) for tile in tiles]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"--save-predictions: two tiles are called {twice}, and files are called by the tiles' "
            "names: save the predictions of one data set at a time, with --sources"
        )
    return names


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


def _write_contours(prediction: Prediction, file: Path) -> int:
    """HoVer-Net's JSON of one tile.

    Returns:
        Number of nuclei that one contour each does not tell exactly.
    """
    labels, nuclei, contours, ids = prediction.labels, {}, [], [0]
    for number, box in enumerate(find_objects(labels), 1):
        if box is None:
            continue
        (top, bottom), (left, right) = ((side.start, side.stop) for side in box)
        inside = labels[box] == number
        y, x = np.nonzero(inside)
        ids.append(number)
        contours.append(_trace(inside) + np.array([left, top], np.int32))
        nuclei[str(number)] = {
            "bbox": [[top, left], [bottom, right]],
            "centroid": [float(x.mean()) + left, float(y.mean()) + top],
            "contour": contours[-1].tolist(),
            "type_prob": _find_probability(prediction, number),
            "type": None if prediction.types is None else int(prediction.types[number]),
        }
    write_text(file, json.dumps({"mag": None, "nuc": nuclei}))
    painted = np.array(ids, np.int32)[paint_contours(contours, labels.shape)]
    wrong = painted != labels
    return len((set(labels[wrong].tolist()) | set(painted[wrong].tolist())) - {0})


def _find_probability(prediction: Prediction, number: int) -> float | None:
    """Probability of the class of a nucleus, None where it is not known."""
    if prediction.class_probabilities is None:
        return None
    return float(prediction.class_probabilities[number - 1].max())


def _trace(inside: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Contour (k, 2) as (x, y) of the largest part of a nucleus in its box."""
    found, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(max(found, key=cv2.contourArea)[:, 0], np.int32)


def _write_png(pixels: NDArray[np.unsignedinteger[Any]], file: Path) -> None:
    done, encoded = cv2.imencode(".png", pixels)
    assert done, "OpenCV could not encode a PNG"
    with replacing(file) as draft:
        draft.write_bytes(encoded.tobytes())
