"""Which classes file speaks of a data set, and which label space a name stands for.

What such a file holds: `histonuc.data.classes_file`. Files of known data sets ship with the
package, in ``histonuc/configs/classes``, and are found by the data set's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from histonuc.data.classes_file import SHIPPED, ClassesFile, read_classes
from histonuc.taxonomy import LABEL_SPACES, LabelSpace

FILE_NAME = "classes.yaml"
"""What a classes file beside an index.csv, or in the folder of a data set, is called."""


def find_classes(
    directory: Path, folder: Path, dataset: str, given: Sequence[ClassesFile]
) -> ClassesFile | None:
    """The classes file of a data set; None where there is none.

    Asked in this order: the files given, ``DIR/DATASET/classes.yaml``, ``DIR/classes.yaml``, and
    the files that ship with the package.

    Args:
        directory: folder with the index.csv that lists the data set.
        folder: folder of the data set.
        dataset: name of the data set.
        given: files that were named with --classes.

    Raises:
        ValueError: a classes file that cannot be read, or several given ones for the data set.
    """
    chosen = [file for file in given if dataset in (file.datasets or (dataset,))]
    if len(chosen) > 1:
        raise ValueError(
            f"--classes: {chosen[0].path} and {chosen[1].path} both speak of {dataset}: name the "
            "data sets of each in it, as `datasets: [...]`"
        )
    if chosen:
        return chosen[0]
    for path in (folder / FILE_NAME, directory / FILE_NAME):
        if path.is_file():
            file = read_classes(path)
            if dataset in (file.datasets or (dataset,)):
                return file
    return _shipped_by_dataset().get(dataset)


def open_classes(name: str) -> ClassesFile:
    """The classes file at a path, or the one that ships with the package under a name.

    Raises:
        ValueError: neither is there, or it cannot be read.
    """
    shipped = {file.name: file for file in _read_shipped()}
    if Path(name).is_file() or name not in shipped:
        if not Path(name).is_file():
            raise ValueError(
                f"--classes: no file at {name}, and none of that name ships with histonuc "
                f"({', '.join(sorted(shipped))})"
            )
        return read_classes(Path(name))
    return shipped[name]


def choose_label_space(name: str, files: Sequence[ClassesFile]) -> LabelSpace:
    """The label space of a name: one made of PanNuke's classes, or that of a data set that is read.

    Args:
        name: a key of `LABEL_SPACES`, or the name of one of `files`.
        files: classes files of the data sets that are read.

    Raises:
        ValueError: no such label space.
    """
    if name in LABEL_SPACES:
        return LABEL_SPACES[name]
    spaces = {file.name: file.label_space for file in files if file.name == name}
    if not spaces:
        named = sorted({file.name for file in files if any(row.number for row in file.classes)})
        raise ValueError(
            f"--label-space {name!r}: choose from {[*LABEL_SPACES, *named]}; the classes of "
            f"a data set of your own are called by the `name` in its {FILE_NAME}"
        )
    return spaces[name]


@lru_cache
def _read_shipped() -> tuple[ClassesFile, ...]:
    return tuple(read_classes(path) for path in sorted(SHIPPED.glob("*.yaml")))


@lru_cache
def _shipped_by_dataset() -> dict[str, ClassesFile]:
    return {name: file for file in _read_shipped() for name in file.datasets or (file.name,)}
