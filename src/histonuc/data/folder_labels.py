"""The labels of one image of a folder, in whichever file they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.data.classes_file import ClassesFile
from histonuc.data.drawn_labels import read_outlines, read_points
from histonuc.data.folder_files import (
    IMAGE_SUFFIXES,
    OUTLINE_SUFFIXES,
    POINT_SUFFIXES,
    FolderFiles,
    read_label_image,
)
from histonuc.data.folder_index import IndexRow


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageLabels:
    """Labels of one image.

    Attributes:
        instances: int32 (H, W), 0 = background, 1..n; empty of nuclei where points are the labels.
        original_ids: int64 (n,), what the file calls each nucleus.
        numbers: int64 (n,), class number of each nucleus or point; 0 where it has no class, 1
            where it has a name and there is no classes file.
        position: float64 (n, 2), (x, y) of points in pixels, (0, 0) at the image's top-left corner;
            None where the labels are outlines.
        num_hidden: outlines in the file of which no pixel is left.
    """

    instances: NDArray[np.int32]
    original_ids: NDArray[np.int64]
    numbers: NDArray[np.int64]
    position: NDArray[np.float64] | None = None
    num_hidden: int = 0


def read_labels(
    files: FolderFiles, row: IndexRow, classes: ClassesFile | None, *, count_parts: bool
) -> ImageLabels:
    """Labels of one image, from ``instances`` (a label image or GeoJSON) or ``points``.

    Args:
        files: files of the folder.
        row: the image.
        classes: what numbers and names mean; None where nothing says it.
        count_parts: each 4-connected part of a label image is a nucleus.

    Raises:
        ValueError: no labels or several, what their readers refuse, classes that are not listed, or
            another number of nuclei or points than the index states.
    """
    drawn = files.find("instances", row, OUTLINE_SUFFIXES)
    marks = files.find("points", row, POINT_SUFFIXES)
    image = files.find("instances", row, IMAGE_SUFFIXES)
    found = [path for path in (image, drawn, marks) if path is not None]
    if len(found) > 1:
        raise ValueError(f"{found[0]} and {found[1]} both label {row.name}: remove one of them")
    if drawn is not None:
        labels = _read_drawn(drawn, row, classes)
    elif marks is not None:
        labels = _read_marks(marks, row, classes)
    else:
        read = read_label_image(files, row, (row.height, row.width), count_parts=count_parts)
        labels = ImageLabels(
            instances=read.instances, original_ids=read.original_ids, numbers=read.numbers
        )
    _compare_with_index(row, labels, classes)
    return labels


def _read_drawn(file: Path, row: IndexRow, classes: ClassesFile | None) -> ImageLabels:
    outlines = read_outlines(file, (row.height, row.width))
    return ImageLabels(
        instances=outlines.instances,
        original_ids=outlines.original_ids,
        numbers=_to_numbers(outlines.names, classes, file),
        num_hidden=outlines.num_drawn - len(outlines.names),
    )


def _read_marks(file: Path, row: IndexRow, classes: ClassesFile | None) -> ImageLabels:
    points = read_points(file, (row.height, row.width))
    return ImageLabels(
        instances=np.zeros((row.height, row.width), np.int32),
        original_ids=np.zeros(0, np.int64),
        numbers=_to_numbers(points.names, classes, file),
        position=points.position,
    )


def _to_numbers(names: Sequence[str], classes: ClassesFile | None, file: Path) -> NDArray[np.int64]:
    """Class numbers (n,) of class names, 0 for objects without one; without a classes file 1."""
    if classes is None:
        return np.array([bool(name) for name in names], np.int64)
    unknown = sorted({name for name in names if name and name not in classes.numbers})
    if unknown:
        raise ValueError(
            f"{file} has the classes {unknown}, which {classes.path} does not list; it lists "
            f"{list(classes.numbers)}: add them there, or rename them"
        )
    return np.array([classes.numbers[name] if name else 0 for name in names], np.int64)


def _compare_with_index(row: IndexRow, labels: ImageLabels, classes: ClassesFile | None) -> None:
    """Refuse another number of nuclei or points, in all or of a class, than the index states."""
    counts = {"nuclei": len(labels.numbers) + labels.num_hidden}
    stated = {"nuclei": row.nuclei} if row.nuclei is not None else {}
    if classes is not None:
        for name, number in classes.numbers.items():
            counts[name] = int((labels.numbers == number).sum())
            if row.others.get(name, "").isdecimal():
                stated[name] = int(row.others[name])
    for name, number in stated.items():
        if counts[name] != number:
            raise ValueError(
                f"{row.where}: {row.dataset}/{row.name} has {counts[name]} {name} where the index "
                f"states {number}: correct one of them, or leave the cell empty"
            )
