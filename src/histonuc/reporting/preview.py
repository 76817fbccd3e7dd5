"""The data at a glance: what a store holds by tissue, and a tile of each."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.data.store import Store
from histonuc.evaluation.panels import crop_to_panel
from histonuc.reporting.pictures import Picture, jpeg_uri, legend, outline_paths

_NUM_PICTURES = 24
_FEW_NUCLEI = 8


@dataclass(frozen=True, kw_only=True)
class TissueRow:
    """What a store holds of one tissue.

    Attributes:
        name: of the tissue.
        tiles: number of tiles.
        per_fold: number of tiles of each fold.
        nuclei: number of nuclei.
        counts: number of nuclei of each class.
        unknown: number of nuclei of unknown class.
    """

    name: str
    tiles: int
    per_fold: list[int]
    nuclei: int
    counts: list[int]
    unknown: int


@dataclass(frozen=True, kw_only=True)
class DataPreview:
    """What the report says of a store.

    Attributes:
        path: the store.
        classes: names of the columns of class counts.
        rows: one a tissue.
        total: the sums of `rows`.
        folds: their numbers.
        pictures: (tissue, name, picture) of one or more tiles a tissue.
        legend: (colour, class) pairs.
    """

    path: str
    classes: tuple[str, ...]
    rows: list[TissueRow]
    total: TissueRow
    folds: list[int]
    pictures: list[tuple[str, str, Picture]]
    legend: list[tuple[str, str]]


def preview_data(path: Path) -> DataPreview:
    """Count a store by tissue and draw some of its tiles.

    Raises:
        ValueError: no store there.
    """
    store = Store.open(path)
    tiles = np.arange(len(store))
    bare = set(store.select_unlabelled().tolist())
    tissues = np.array(
        [
            "without labels" if tile in bare else tissue or "unknown"
            for tile, tissue in enumerate(store.tiles["tissue"].to_pylist())
        ]
    )
    folds = np.array(store.tiles["fold"].to_pylist())
    nuclei = np.array(store.tiles["num_nuclei"].to_pylist())
    by_class = np.zeros((len(tiles), 1 + len(store.label_space)), np.int64)
    owner, kind = (store.nuclei.column(name).to_numpy() for name in ("tile", "type"))
    np.add.at(by_class, (owner, kind), 1)
    by_class = by_class[:, 1:]
    rows = [
        _row(name, tissues == name, nuclei, by_class, folds, store.folds)
        for name in sorted(set(tissues.tolist()))
    ]
    total = _row("all", np.ones(len(tiles), bool), nuclei, by_class, folds, store.folds)
    pictures = _draw(store, tissues, nuclei, names=[row.name for row in rows])
    return DataPreview(
        path=str(path),
        classes=store.label_space.classes,
        rows=rows,
        total=total,
        folds=store.folds,
        pictures=pictures,
        legend=list(legend(store.label_space, unknown=total.unknown > 0)),
    )


def _row(
    name: str,
    chosen: NDArray[np.bool_],
    nuclei: NDArray[np.int64],
    by_class: NDArray[np.int64],
    folds: NDArray[np.int64],
    fold_numbers: list[int],
) -> TissueRow:
    counts = by_class[chosen].sum(0)
    return TissueRow(
        name=name,
        tiles=int(chosen.sum()),
        per_fold=[int((folds[chosen] == fold).sum()) for fold in fold_numbers],
        nuclei=int(nuclei[chosen].sum()),
        counts=counts.tolist(),
        unknown=int(nuclei[chosen].sum() - counts.sum()),
    )


def _draw(
    store: Store, tissues: NDArray[np.str_], nuclei: NDArray[np.int64], names: list[str]
) -> list[tuple[str, str, Picture]]:
    """Tiles of each tissue, drawn by a hash of their names from those with enough nuclei.

    Tiles whose nuclei are marked by points are left out: there is no outline to draw.
    """
    each = max(1, min(4, 12 // max(len(names), 1)))
    pictures = []
    for tissue in names[:_NUM_PICTURES]:
        outlined = filter(store.has_outlines, np.flatnonzero(tissues == tissue).tolist())
        ranked = sorted(
            outlined,
            key=lambda tile: (nuclei[tile] < _FEW_NUCLEI, zlib.crc32(store.name(tile).encode())),
        )
        pictures += [(tissue, store.name(t), _picture(store, t)) for t in ranked[:each]]
    return pictures


def _picture(store: Store, tile: int) -> Picture:
    image = crop_to_panel(store.image(tile))
    labels = crop_to_panel(store.instances(tile))
    return Picture(
        identity=f"data-{tile}",
        layer="truth",
        width=image.shape[1],
        height=image.shape[0],
        data_uri=jpeg_uri(image),
        paths=outline_paths(labels, store.types(tile), store.label_space),
        title=f"{store.name(tile)} with the outlines of its nuclei",
    )
