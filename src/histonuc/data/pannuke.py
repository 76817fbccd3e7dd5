"""PanNuke's official folds into a store, in one pass and without loss."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from histonuc.data.checks import FoldTally
from histonuc.data.classes import choose_label_space
from histonuc.data.findings import summarise
from histonuc.data.flatten import FlatMask, flatten_mask
from histonuc.data.image_checks import CopyTally
from histonuc.data.official import (
    FoldFiles,
    OfficialFold,
    choose_folds,
    find_folds,
    missing_folds,
    open_fold,
    read_ids,
    read_image,
)
from histonuc.data.preparation import PrepareReport
from histonuc.data.records import TileRecord
from histonuc.data.tables import single_class
from histonuc.data.writer import StoreWriter
from histonuc.taxonomy import PANNUKE, LabelSpace, canonical_tissue, translate

__all__ = ["FlatMask", "FoldFiles", "find_folds", "flatten_mask", "prepare_pannuke"]

log = logging.getLogger(__name__)


def prepare_pannuke(
    raw: str | Path,
    out: str | Path,
    *,
    folds: Sequence[int] = (),
    mpp: float = 0.25,
    label_space: str = PANNUKE.name,
    overwrite: bool = False,
) -> PrepareReport:
    """Check the official folds and write them as a store.

    Args:
        raw: folder that holds the folds, in any layout `find_folds` knows.
        out: store to write; nothing is left there when a check fails.
        folds: fold numbers to take; all when empty.
        mpp: microns per pixel.
        label_space: classes of the store, a key of `LABEL_SPACES`. A nucleus of a class that has no
            place in it may be any.
        overwrite: replace an existing store.

    Raises:
        ValueError: no fold, a missing, damaged or wrong file, images and masks that do not belong
            together, folds that are copies of each other, or `out` is taken.
    """
    if not (np.isfinite(mpp) and mpp > 0):
        raise ValueError(f"--mpp: expected microns per pixel above 0, got {mpp}")
    space = choose_label_space(label_space, ())
    raw, out = Path(raw), Path(out)
    found = choose_folds(find_folds(raw), folds)
    opened = [open_fold(files) for files in found]  # all headers, before anything is written
    copies = CopyTally()
    with StoreWriter(out, space, source=str(raw), overwrite=overwrite) as writer:
        writer.extra["mask_dtypes"] = {str(fold.number): fold.masks.dtype.str for fold in opened}
        tallies = [_convert(fold, writer, copies, mpp, space) for fold in opened]
        refused, findings = copies.judge()
        if refused:
            raise ValueError(f"{raw}: {refused[0]}")
    places = [f"fold {files.number}: {files.masks.parent}" for files in found]
    if not folds and (missing := missing_folds(found)):
        places.append(missing)
    return summarise(str(out), tallies, [*places, *findings], space)


def _convert(
    fold: OfficialFold, writer: StoreWriter, copies: CopyTally, mpp: float, space: LabelSpace
) -> FoldTally:
    log.info("fold %d: %d tiles of %s", fold.number, len(fold), fold.masks.path)
    tally = FoldTally(number=fold.number)
    set_of_channel = np.array([translate([name], space) for name in PANNUKE.classes])
    type_of_channel = single_class(set_of_channel)
    for i, raw_image, raw_mask in fold.tiles():
        image, rounded = read_image(raw_image, f"{fold.images.path}, tile {i}")
        where = f"{fold.masks.path}, tile {i}"
        ids = read_ids(raw_mask, where)
        flat = flatten_mask(ids)
        tissue = canonical_tissue(fold.tissues[i])
        tally.add_mask(ids, flat, where)
        tally.add_image(image, fold.tissues[i], rounded=rounded)
        tally.stain.add(image, flat.instances)
        name = f"fold{fold.number}_{i:04d}"
        copies.add(image, flat.instances, source="pannuke", fold=fold.number, name=name)
        writer.add(
            TileRecord(
                image=image,
                instances=flat.instances,
                types=type_of_channel[flat.channels],
                candidates=set_of_channel[flat.channels],
                original_ids=flat.original_ids,
                channels=flat.channels,
                overlaps=flat.overlaps,
                background=flat.background,
                fold=fold.number,
                name=name,
                tissue=tissue,
                source="pannuke",
                mpp=mpp,
            )
        )
    tally.finish(fold.images.path, fold.masks.path)
    return tally
