"""PanNuke's official folds into a store, in one pass and without loss."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from histonuc.data.checks import FoldTally
from histonuc.data.findings import summarise
from histonuc.data.flatten import FlatMask, flatten_mask
from histonuc.data.official import (
    FoldFiles,
    OfficialFold,
    choose_folds,
    find_folds,
    open_fold,
    read_ids,
    read_image,
)
from histonuc.data.preparation import PrepareReport
from histonuc.data.writer import StoreWriter, TileRecord
from histonuc.taxonomy import PANNUKE, canonical_tissue

__all__ = ["FlatMask", "FoldFiles", "find_folds", "flatten_mask", "prepare_pannuke"]

log = logging.getLogger(__name__)


def prepare_pannuke(
    raw: Path,
    out: Path,
    *,
    folds: Sequence[int] = (),
    mpp: float = 0.25,
    overwrite: bool = False,
) -> PrepareReport:
    """Check the official folds and write them as a store.

    Args:
        raw: folder that holds the folds, in any layout `find_folds` knows.
        out: store to write; nothing is left there when a check fails.
        folds: fold numbers to take; all when empty.
        mpp: microns per pixel.
        overwrite: replace an existing store.

    Raises:
        ValueError: no fold, a missing, damaged or wrong file, or `out` is taken.
    """
    if not (np.isfinite(mpp) and mpp > 0):
        raise ValueError(f"--mpp: expected microns per pixel above 0, got {mpp}")
    found = choose_folds(find_folds(raw), folds)
    opened = [open_fold(files) for files in found]  # all headers, before anything is written
    with StoreWriter(out, PANNUKE, source=str(raw), overwrite=overwrite) as writer:
        writer.extra["mask_dtypes"] = {str(fold.number): fold.masks.dtype.str for fold in opened}
        tallies = [_convert(fold, writer, mpp) for fold in opened]
    places = [f"fold {files.number}: {files.masks.parent}" for files in found]
    return summarise(str(out), tallies, places)


def _convert(fold: OfficialFold, writer: StoreWriter, mpp: float) -> FoldTally:
    log.info("fold %d: %d tiles of %s", fold.number, len(fold), fold.masks.path)
    tally = FoldTally(number=fold.number)
    for i, raw_image, raw_mask in fold.tiles():
        image, rounded = read_image(raw_image, f"{fold.images.path}, tile {i}")
        where = f"{fold.masks.path}, tile {i}"
        ids = read_ids(raw_mask, where)
        flat = flatten_mask(ids)
        tissue = canonical_tissue(fold.tissues[i])
        tally.add_mask(ids, flat, where)
        tally.add_image(image, fold.tissues[i], rounded=rounded)
        writer.add(
            TileRecord(
                image=image,
                instances=flat.instances,
                types=flat.channels + 1,
                candidates=1 << flat.channels,
                original_ids=flat.original_ids,
                channels=flat.channels,
                overlaps=flat.overlaps,
                background=flat.background,
                fold=fold.number,
                name=f"fold{fold.number}_{i:04d}",
                tissue=tissue,
                source="pannuke",
                mpp=mpp,
            )
        )
    tally.finish(fold.images.path, fold.masks.path)
    return tally
