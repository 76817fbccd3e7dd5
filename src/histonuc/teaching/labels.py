"""What people said of the nuclei of a result: labels that teach, and those that only judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.corrections import Corrections, read_corrections
from histonuc.exports import TABLE_FILE
from histonuc.files import reading
from histonuc.taxonomy import UNCERTAIN, LabelSpace


@dataclass(frozen=True, kw_only=True)
class ResultLabels:
    """The labels of one result; nuclei by their number in the table, from 1.

    Attributes:
        taught: class of each nucleus that teaches: those that a person gave a class, and all in
            complete fields; none that is "Uncertain".
        held_out: class of each nucleus that was drawn at random to judge with, and never teaches.
        label_space: all classes, those that people defined among them.
        num_without_features: labelled nuclei that the network did not find; they teach no classes.
        touched: nuclei that people did something to, and whose class is not the model's any more.
    """

    taught: Mapping[int, str]
    held_out: Mapping[int, str]
    label_space: LabelSpace
    num_without_features: int = 0
    touched: frozenset[int] = frozenset()


def find_results(paths: Sequence[Path]) -> list[Path]:
    """The folders of results among paths: each is one, or holds some one folder below.

    Raises:
        ValueError: a path with no result.
    """
    found: list[Path] = []
    for path in paths:
        inside = [path] if (path / TABLE_FILE).is_file() else []
        inside = inside or sorted(table.parent for table in path.glob(f"*/{TABLE_FILE}"))
        if not inside:
            raise ValueError(
                f"no prediction in {path}: expected {TABLE_FILE} there or one folder below"
            )
        found.extend(inside)
    return list(dict.fromkeys(found))


def read_labels(folder: Path) -> ResultLabels | None:
    """The labels of the result in a folder; None where nobody corrected anything.

    Raises:
        ValueError: the corrections or the table cannot be read.
    """
    found = read_corrections(folder)
    return None if found is None else collect_labels(folder, found.corrections)


def collect_labels(folder: Path, corrections: Corrections) -> ResultLabels:
    """The labels that corrections of a result are.

    Args:
        folder: of the result; its table tells what lies in complete fields.
        corrections: of that table.
    """
    given = corrections.classes
    judged = {n: given[n] for n in sorted(corrections.held_out) if n in given}
    return ResultLabels(
        taught=choose_taught(corrections, _read_fields(folder, corrections)),
        held_out={n: name for n, name in judged.items() if name != UNCERTAIN},
        label_space=corrections.label_space,
        num_without_features=sum(number > corrections.num_nuclei for number in given),
        touched=list_touched(corrections),
    )


def list_touched(corrections: Corrections) -> frozenset[int]:
    """Numbers of the nuclei of which people said something."""
    return frozenset(
        {
            *corrections.classes,
            *corrections.deleted,
            *corrections.rings,
            *corrections.held_out,
            *(conflict.id for conflict in corrections.conflicts),
        }
    )


def choose_taught(corrections: Corrections, in_fields: Mapping[int, str]) -> dict[int, str]:
    """The class of each nucleus that teaches, by its number.

    Those are the nuclei of the table that a person gave a class, and those of complete fields, but
    for those that are deleted, held out, or of an uncertain class.

    Args:
        corrections: of the table.
        in_fields: predicted class of the nuclei in complete fields, by number.
    """
    num, gone = corrections.num_nuclei, corrections.held_out | corrections.deleted
    labels = {**in_fields, **corrections.classes}
    return {n: c for n, c in labels.items() if n <= num and n not in gone and c != UNCERTAIN}


def _read_fields(folder: Path, corrections: Corrections) -> Mapping[int, str]:
    """The predicted class of all nuclei in complete fields, by number."""
    import pyarrow.parquet as pq
    import shapely

    rings = [field.ring for field in corrections.fields if field.complete]
    if not rings:
        return {}
    path = folder / TABLE_FILE
    with reading(path, "table of nuclei"):
        table = pq.read_table(path, columns=["x", "y", "class"])
        x, y = (table[name].to_numpy() for name in "xy")
        area = shapely.union_all([shapely.Polygon(ring) for ring in rings])
        shapely.prepare(area)
        inside = np.flatnonzero(shapely.contains_xy(area, x, y))
        names = table["class"].take(inside).to_pylist()
    return dict(zip((inside + 1).tolist(), names, strict=True))


def join_spaces(spaces: Iterable[LabelSpace]) -> LabelSpace:
    """All classes of several label spaces, in the order that they first come in.

    Raises:
        ValueError: no classes, or more than a label space holds.
    """
    colours: dict[str, tuple[int, int, int]] = {}
    for space in spaces:
        for name, colour in zip(space.classes, space.colours, strict=True):
            colours.setdefault(name, colour)
    return LabelSpace(name="taught", classes=tuple(colours), colours=tuple(colours.values()))


def number_labels(
    labels: Mapping[int, str], space: LabelSpace
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the table (k,), from 0, and classes of the label space (k,) of labelled nuclei."""
    number = {name: j for j, name in enumerate(space.classes)}
    rows = [(i - 1, number[name]) for i, name in sorted(labels.items()) if name in number]
    index, classes = np.array(rows, np.int64).reshape(-1, 2).T
    return index, classes
