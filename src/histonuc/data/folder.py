"""Folders of labelled images (index.csv, images, instances, optional types) into a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.data.folder_files import IndexRow, read_image, read_index, read_labels
from histonuc.data.preparation import PrepareReport, Table
from histonuc.data.writer import StoreWriter, TileRecord
from histonuc.taxonomy import LABEL_SPACES, TISSUES, LabelSpace, candidate_set, canonical_tissue

DEFAULT_MPP = {"nuinsseg": 0.17}
"""Estimates for data sets that do not state their scale: NuInsSeg's nuclei have a median diameter
of 33 px where 21 to 23 px are usual at 0.25 mpp."""


def prepare_folder(
    directory: Path,
    out: Path,
    *,
    only: Sequence[str] = (),
    label_space: str = "pannuke",
    num_folds: int = 3,
    mpp: Mapping[str, float] | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> PrepareReport:
    """Write a store from a folder of labelled images.

    Folds keep the images of one patient together (one image where no patient is given) and balance
    nuclei within each data set.

    Args:
        directory: folder with index.csv and one folder a data set.
        out: store to write; nothing is left there when a check fails.
        only: data sets to read; all when empty.
        label_space: a key of `LABEL_SPACES`; classes come in as candidate sets.
        num_folds: folds to split into.
        mpp: microns per pixel by data set, before what the index states.
        seed: seed of the split.
        overwrite: replace an existing store.

    Raises:
        ValueError: a missing or malformed index, image or label, or `out` is taken.
    """
    if label_space not in LABEL_SPACES:
        raise ValueError(f"--label-space {label_space!r}: choose from {list(LABEL_SPACES)}")
    if num_folds < 1:
        raise ValueError(f"--num-folds: expected at least 1, got {num_folds}")
    space = LABEL_SPACES[label_space]
    rows = read_index(directory, only)
    scales = _scales(rows, dict(mpp or {}))
    folds = assign_folds(rows, num_folds, seed)
    tally = {name: _Tally.empty(num_folds) for name in sorted({row.dataset for row in rows})}
    with StoreWriter(out, space, source=str(directory), overwrite=overwrite) as writer:
        for row, fold, scale in zip(rows, folds, scales, strict=True):
            record, own_types = _read_record(directory, row, space, fold, scale)
            writer.add(record)
            tally[row.dataset].add(record, own_types, space)
    return PrepareReport(
        out=str(out),
        tables=[_table(tally, num_folds)],
        findings=_findings(rows, tally, dict(mpp or {}), space),
    )


def assign_folds(rows: Sequence[IndexRow], num_folds: int, seed: int) -> list[int]:
    """Fold (1..num_folds) of every row.

    Each data set is split by itself, so its folds do not depend on which others are read: groups
    (a patient, or an image where none is known) go whole to the fold with the fewest nuclei, the
    largest group first; `seed` decides between equals.
    """
    folds = [0] * len(rows)
    for dataset in {row.dataset: None for row in rows}:
        own = [i for i, row in enumerate(rows) if row.dataset == dataset]
        groups = [rows[i].patient or f"image {rows[i].name}" for i in own]
        weight: dict[str, int] = {}
        for i, group in zip(own, groups, strict=True):
            weight[group] = weight.get(group, 0) + max(rows[i].nuclei, 1)
        names = sorted(weight)  # so that the order of rows does not matter
        shuffled = [names[k] for k in np.random.default_rng(seed).permutation(len(names))]
        load = np.zeros(num_folds, np.int64)
        fold_of: dict[str, int] = {}
        for group in sorted(shuffled, key=lambda name: -weight[name]):
            fold = int(load.argmin())
            load[fold] += weight[group]
            fold_of[group] = fold + 1
        for i, group in zip(own, groups, strict=True):
            folds[i] = fold_of[group]
    return folds


def _scales(rows: Sequence[IndexRow], given: Mapping[str, float]) -> list[float]:
    """Microns per pixel of every image."""
    known = sorted({row.dataset for row in rows})
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"--mpp: no data set {unknown} among those read; they are {known}")
    bad = {name: value for name, value in given.items() if not (np.isfinite(value) and value > 0)}
    if bad:
        raise ValueError(f"--mpp: expected microns per pixel above 0, got {bad}")
    scales = []
    for row in rows:
        stated = row.mpp if np.isfinite(row.mpp) else DEFAULT_MPP.get(row.dataset)
        scale = given.get(row.dataset, stated)
        if scale is None:
            raise ValueError(
                f"{row.dataset}/{row.name}: index.csv states no mpp: fill the column or give "
                f"--mpp.{row.dataset} VALUE"
            )
        scales.append(float(scale))
    return scales


def _read_record(
    directory: Path, row: IndexRow, space: LabelSpace, fold: int, mpp: float
) -> tuple[TileRecord, NDArray[np.int64]]:
    """The tile, and the data set's own type number of every nucleus."""
    image = read_image(directory, row)
    instances, original_ids, own_types = read_labels(directory, row, image.shape[:2])
    set_of_type = {
        int(own): candidate_set(row.dataset, int(own), space, row.organ)
        for own in np.unique(own_types)
    }
    sets = np.array([set_of_type[int(own)] for own in own_types], np.int64)
    is_one_class = (sets & (sets - 1)) == 0
    types = np.where(is_one_class, np.log2(np.maximum(sets, 1)).astype(np.int64) + 1, 0)
    record = TileRecord(
        image=image,
        instances=instances,
        types=types,
        candidates=sets,
        original_ids=original_ids,
        channels=np.full(len(sets), -1),
        fold=fold,
        name=row.name,
        tissue=canonical_tissue(row.organ) or "unknown",
        source=row.dataset,
        patient=row.patient,
        mpp=mpp,
    )
    return record, own_types


@dataclass(kw_only=True)
class _Tally:
    """Running counts of one data set; nuclei by how much is known of their class."""

    images: list[int]
    """By fold."""
    one: int = 0
    several: int = 0
    any: int = 0
    unused: int = 0
    """Nuclei that have a class in the data set, which tells this label space nothing."""

    @staticmethod
    def empty(num_folds: int) -> _Tally:
        return _Tally(images=[0] * num_folds)

    def add(self, record: TileRecord, own_types: NDArray[np.int64], space: LabelSpace) -> None:
        self.images[record.fold - 1] += 1
        is_any = (record.candidates == space.any_class) & (len(space) > 1)
        self.one += int(np.count_nonzero(record.types))
        self.any += int(is_any.sum())
        self.several += int(np.count_nonzero((record.types == 0) & ~is_any))
        self.unused += int(np.count_nonzero(is_any & (own_types > 0)))


def _table(tallies: Mapping[str, _Tally], num_folds: int) -> Table:
    columns = ["images", *(f"fold {k + 1}" for k in range(num_folds))]
    columns += ["nuclei", "one class", "several", "any class"]
    rows = []
    for name, tally in tallies.items():
        nuclei = tally.one + tally.several + tally.any
        values = [sum(tally.images), *tally.images, nuclei, tally.one, tally.several, tally.any]
        rows.append((name, values))
    if len(rows) > 1:
        rows.append(("all", [sum(column) for column in zip(*(r for _, r in rows), strict=True)]))
    return Table(title="data set", columns=columns, rows=rows)


def _findings(
    rows: Sequence[IndexRow],
    tallies: Mapping[str, _Tally],
    given: Mapping[str, float],
    space: LabelSpace,
) -> list[str]:
    findings = []
    for name, tally in tallies.items():
        stated = all(np.isfinite(row.mpp) for row in rows if row.dataset == name)
        if name in given:
            findings.append(f"{name}: {given[name]} mpp, as given")
        elif not stated:
            findings.append(
                f"{name}: scale not stated, {DEFAULT_MPP[name]} mpp estimated from the size of its "
                f"nuclei (--mpp.{name} VALUE overrides)"
            )
        if tally.unused:
            findings.append(
                f"{name}: {tally.unused:,} nuclei have a class that the label space "
                f"{space.name!r} does not know; they may be any class"
            )
    tissues = {canonical_tissue(row.organ) or "unknown" for row in rows} - set(TISSUES)
    if tissues:
        findings.append(
            f"tissues that are none of PanNuke's nineteen, kept: {', '.join(sorted(tissues))}"
        )
    return findings
