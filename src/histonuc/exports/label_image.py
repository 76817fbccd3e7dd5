"""Label images back into nuclei: what other programs draw or correct."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.reading import class_indices
from histonuc.files import reading
from histonuc.nuclei import Instances, Nuclei, make_consecutive
from histonuc.taxonomy import LabelSpace

_MAX_PIXELS = 1_000_000_000
"""Of a label image: 4 GB of ids, and as much again for what is made of them."""


def read_label_image(
    path: Path,
    *,
    label_space: LabelSpace,
    classes: Mapping[int, str],
    class_map: Mapping[str, str] | None = None,
    mpp: float = float("nan"),
) -> Nuclei:
    """Outline the labels of an image; they become nuclei in rising order, score 1.

    Args:
        path: TIFF (its finest level) or any image of whole numbers, 0 = background.
        label_space: classes wanted.
        classes: label -> class name, e.g. of the columns ``id`` and ``class`` of `nuclei.csv`.
        class_map: name in `classes` -> name in the label space, where they differ.
        mpp: microns per pixel of the image.

    Raises:
        ValueError: no label image, a label without a class, or a class that is not known.
    """
    image = _read(path)
    labels, ids = make_consecutive(image)
    missing = [int(i) for i in ids if int(i) not in classes]
    if missing:
        raise ValueError(
            f"{path.name}: {len(missing)} labels have no class, the first is {missing[0]}: "
            "name them in classes"
        )
    index = class_indices([classes[int(i)] for i in ids], label_space, class_map, path.name)
    instances = Instances(
        labels=labels,
        class_probabilities=np.eye(len(label_space), dtype=np.float32)[index],
        score=np.ones(len(ids), np.float32),
    )
    return Nuclei.from_instances(instances, label_space, mpp)


def _read(path: Path) -> NDArray[Any]:
    import tifffile
    from PIL import Image

    with reading(path, "image"):
        if path.suffix.lower() in (".tif", ".tiff"):
            with tifffile.TiffFile(path) as file:
                series = file.series[0]
                _check_size(path, math.prod(series.shape), series.shape)
                image = series.asarray()
        else:
            with Image.open(path) as picture:
                _check_size(path, math.prod(picture.size), picture.size[::-1])
                image = np.asarray(picture)
    if image.ndim != 2 or image.dtype.kind not in "ui":
        raise ValueError(
            f"{path} is no label image: expected whole numbers in two dimensions, got "
            f"{image.dtype} of shape {image.shape}"
        )
    return np.asarray(image)


def _check_size(path: Path, num_pixels: int, shape: Sequence[int]) -> None:
    """Refuse an image that would not fit into memory, before it is read."""
    if num_pixels > _MAX_PIXELS:
        raise ValueError(
            f"{path}: expected a label image of at most {_MAX_PIXELS:,} pixels, got "
            f"{' x '.join(map(str, shape))}: cut it into parts"
        )
