"""Folders of labelled images (index.csv, images, and instances or points) into a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.data.classes import FILE_NAME, choose_label_space, find_classes, open_classes
from histonuc.data.classes_file import CHECK, ClassesFile
from histonuc.data.folder_files import FolderFiles, read_image
from histonuc.data.folder_index import IndexRow, read_indexes
from histonuc.data.folder_labels import ImageLabels, read_labels
from histonuc.data.folder_report import FolderTally
from histonuc.data.folds import assign_folds
from histonuc.data.preparation import PrepareReport
from histonuc.data.records import TileRecord
from histonuc.data.tables import single_class
from histonuc.data.writer import StoreWriter
from histonuc.nuclei import PointLabels
from histonuc.taxonomy import LabelSpace, canonical_tissue


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """What `prepare folder` may be told.

    Attributes:
        only: data sets to read; all when empty.
        label_space: a key of `histonuc.taxonomy.LABEL_SPACES`, or the name of a classes file of the
            data sets that are read, whose own classes the store then has.
        classes: paths of classes files, or names of those that ship with the package; they go
            before those that lie beside an index.
        num_folds: folds to split into.
        mpp: microns per pixel by data set, before what the index states.
        seed: seed of the split.
        connected_components: data sets whose masks have no ids: each 4-connected part of equal
            values becomes a nucleus.
    """

    only: Sequence[str] = ()
    label_space: str = "pannuke"
    classes: Sequence[str] = ()
    num_folds: int = 3
    mpp: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    connected_components: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.num_folds < 1:
            raise ValueError(f"--num-folds: expected at least 1, got {self.num_folds}")


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What holds for all images of a data set."""

    classes: ClassesFile | None
    space: LabelSpace
    count_parts: bool


def prepare_folder(
    directories: str | Path | Sequence[str | Path],
    out: str | Path,
    options: FolderOptions | None = None,
    *,
    overwrite: bool = False,
) -> PrepareReport:
    """Write a store from folders of labelled images.

    Folds keep the images of one patient together (one image where no patient is given) and balance
    nuclei within each data set; a data set that states a split keeps it.

    Args:
        directories: folders with an index.csv and one folder a data set.
        out: store to write; nothing is left there when a check fails.
        options: what to read and how.
        overwrite: replace an existing store.

    Raises:
        ValueError: a missing or malformed index, image, label or classes file, labels whose meaning
            nothing states, images that occur in two folds, or `out` is taken.
    """
    options = options or FolderOptions()
    if isinstance(directories, str | Path):
        directories = [directories]
    places = [Path(directory) for directory in directories]
    rows = read_indexes(places, options.only)
    files = FolderFiles()
    classes = _find_all_classes(rows, files, options)
    _check_names(options, list(classes))
    space = choose_label_space(options.label_space, [f for f in classes.values() if f is not None])
    scales = [_scale(row, classes[row.dataset], options.mpp) for row in rows]
    check_only = [
        name for name, file in classes.items() if file is not None and file.split == CHECK
    ]
    folds = assign_folds(rows, options.num_folds, options.seed, check_only)
    tally = FolderTally(space=space, num_folds=options.num_folds)
    source = ", ".join(map(str, places))
    with StoreWriter(Path(out), space, source=source, overwrite=overwrite) as writer:
        for row, fold, mpp in zip(rows, folds, scales, strict=True):
            count_parts = row.dataset in options.connected_components
            data_set = _Source(classes=classes[row.dataset], space=space, count_parts=count_parts)
            record, labels = _read_record(files, row, data_set, fold, mpp)
            writer.add(record)
            tally.add(record, labels)
        tally.refuse()
    return tally.report(str(out), rows, classes, options.mpp)


def _find_all_classes(
    rows: Sequence[IndexRow], files: FolderFiles, options: FolderOptions
) -> dict[str, ClassesFile | None]:
    """The classes file of every data set, None where there is none."""
    given = [open_classes(name) for name in options.classes]
    found = {
        row.dataset: find_classes(row.directory, files.data_set(row), row.dataset, given)
        for row in {row.dataset: row for row in rows}.values()
    }
    idle = [str(file.path) for file in given if file not in found.values()]
    if idle:
        raise ValueError(f"--classes: {idle[0]} speaks of none of the data sets {sorted(found)}")
    return dict(sorted(found.items()))


def _check_names(options: FolderOptions, known: Sequence[str]) -> None:
    for flag, names in (
        ("mpp", options.mpp),
        ("connected-components", options.connected_components),
    ):
        if unknown := sorted(set(names) - set(known)):
            raise ValueError(f"--{flag}: no data set {unknown} among those read; they are {known}")
    bad = {name: mpp for name, mpp in options.mpp.items() if not (np.isfinite(mpp) and mpp > 0)}
    if bad:
        raise ValueError(f"--mpp: expected microns per pixel above 0, got {bad}")


def _scale(row: IndexRow, classes: ClassesFile | None, given: Mapping[str, float]) -> float:
    """Microns per pixel of an image: as given, as the index states, as the classes file does."""
    if row.dataset in given:
        return float(given[row.dataset])
    if np.isfinite(row.mpp):
        return row.mpp
    if classes is not None and classes.mpp is not None:
        return classes.mpp
    raise ValueError(
        f"{row.dataset}/{row.name}: index.csv states no mpp: fill the column or give "
        f"--mpp.{row.dataset} VALUE"
    )


def _read_record(
    files: FolderFiles, row: IndexRow, source: _Source, fold: int, mpp: float
) -> tuple[TileRecord, ImageLabels]:
    """The tile as the store takes it, and its labels as the data set has them."""
    image = read_image(files, row)
    labels = read_labels(files, row, source.classes, count_parts=source.count_parts)
    organ = row.organ or (source.classes.organ if source.classes is not None else "")
    sets = _candidate_sets(labels, source, organ, row)
    points = None
    if labels.position is not None:
        points = PointLabels(position=labels.position, candidates=sets)
        sets = sets[:0]
    record = TileRecord(
        image=image,
        instances=labels.instances,
        types=single_class(sets),
        candidates=sets,
        original_ids=labels.original_ids,
        channels=np.full(len(labels.original_ids), -1),
        points=points,
        is_sparse=points is not None and row.is_sparse,
        fold=fold,
        name=row.name,
        tissue=canonical_tissue(organ) or "unknown",
        source=row.dataset,
        patient=row.patient,
        mpp=mpp,
    )
    return record, labels


def _candidate_sets(
    labels: ImageLabels, source: _Source, organ: str, row: IndexRow
) -> NDArray[np.uint32]:
    """Candidate set (n,) of each nucleus or point.

    Raises:
        ValueError: nothing says what the classes of the labels mean.
    """
    if source.classes is None and labels.numbers.any() and len(source.space) > 1:
        raise ValueError(
            f"{row.dataset}/{row.name}: its nuclei have classes, and nothing says what they mean: "
            f"write {row.directory / FILE_NAME} (docs/how-to/own-labels.md has one to start from), "
            "or name one with --classes"
        )
    if source.classes is None:
        return np.full(len(labels.numbers), source.space.any_class, np.uint32)
    numbers, inverse = np.unique(labels.numbers, return_inverse=True)
    try:
        sets = [source.classes.candidate_set(int(n), source.space, organ) for n in numbers]
    except ValueError as error:
        raise ValueError(f"{row.dataset}/{row.name}: {error}") from None
    return np.array(sets, np.uint32)[inverse]
