"""Predictions made elsewhere, read tile by tile: label images, HoVer-Net or CellViT JSON, npy.

- A folder of label images, ``NAME.png``, ``.tif``, ``.tiff`` or ``.npy`` (H, W), 0 = background,
  matched to tiles by name; or a folder with the two folders ``instances`` and ``types``, as
  `histonuc prepare folder` reads them: a type image holds the class of each pixel.
- A folder of ``NAME.json`` with contours, HoVer-Net's (``nuc``) or CellViT's (``cells``), in the
  tile's own pixels.
- One npy (N, H, W, C) or (N, H, W, C + 1) in PanNuke's shape: instance ids in one channel a class;
  row ``i`` is the ``i``-th of the tiles that are scored. A further channel is not read.
- A folder of `histonuc evaluate --save-predictions`, in any of these formats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from histonuc.evaluation.classes import NO_TYPES, ScoredClasses, choose_classes
from histonuc.evaluation.prediction_manifest import (
    MASKS_FILE,
    PIXELS_FOLDER,
    find_rows,
    read_manifest,
)
from histonuc.evaluation.prediction_readers import (
    TypeTable,
    read_json_contours,
    read_label_image,
    read_labels,
    read_npy,
)
from histonuc.evaluation.predictions import Prediction
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    from histonuc.data.store import Store


class PredictionFiles:
    """Predictions in files, before any of them is read.

    Args:
        path: see the module's docstring.

    Attributes:
        path: where they are.
        manifest: what they say about themselves; None for those of other programs.
        have_classes: whether they state the class of each nucleus.

    Raises:
        ValueError: nothing there, or a damaged manifest.
    """

    def __init__(self, path: Path) -> None:
        self.manifest = read_manifest(path)
        if self.manifest is not None and self.manifest.save_as == "pannuke" and path.is_dir():
            path = path / MASKS_FILE
        if not path.exists():
            raise ValueError(f"--predictions: nothing at {path}: give a folder or an npy file")
        self.path = path
        self._is_npy = path.is_file()
        if self.manifest is not None:
            self._is_json = self.manifest.save_as == "hovernet"
            self.have_classes = self.manifest.label_space is not None
        else:
            files = path.iterdir() if path.is_dir() else ()
            self._is_json = any(file.suffix.lower() == ".json" for file in files)
            self.have_classes = self._is_npy or self._is_json or (path / "types").is_dir()

    def choose_classes(
        self, store: LabelSpace, type_map: Mapping[str, str], *, binary_only: bool
    ) -> ScoredClasses:
        """The classes in which they can be scored.

        Args:
            store: classes of the truth.
            type_map: the store's class by type of the predictions, see `read`.
            binary_only: leave classes out.

        Raises:
            ValueError: see `histonuc.evaluation.classes.choose_classes`.
        """
        if not binary_only and not self.have_classes:
            return ScoredClasses(label_space=store, no_classes=NO_TYPES)
        return choose_classes(store, self._find_space(store, type_map), binary_only=binary_only)

    def read(
        self,
        store: Store,
        tiles: NDArray[np.integer],
        classes: ScoredClasses,
        type_map: Mapping[str, str],
        predicted: NDArray[np.integer],
    ) -> Iterator[tuple[int, Prediction]]:
        """Read the predictions of tiles one after the other.

        Args:
            store: whose tiles they are of.
            tiles: rows of `store.tiles`, ascending.
            classes: the classes that are scored.
            type_map: the store's class by type, a number or a name of the predictions, all of
                them; otherwise type ``k`` is the ``k``-th class and names are the classes' own.
                Type 0 is a nucleus of no class unless it is named here.
            predicted: tiles, ascending, that an npy without a manifest has a row of each.

        Raises:
            ValueError: a tile without prediction, one of another size, or types that are no class.
        """
        space = self._find_space(store.label_space, type_map)
        types = TypeTable(space, type_map, with_classes=not classes.no_classes)
        rows = np.searchsorted(predicted, tiles).tolist()
        num_rows, stems = len(predicted), [store.name(tile) for tile in tiles.tolist()]
        if self.manifest is not None:
            rows = find_rows(self.manifest, self.path, store, tiles.tolist())
            num_rows, stems = len(self.manifest.tiles), [self.manifest.stems[row] for row in rows]
        if self._is_npy:
            if type_map:
                raise ValueError("--types: an npy has a channel a class; it cannot be mapped")
            found = read_npy(self.path, store, tiles, rows, num_rows, len(space))
        else:
            found = self._read_folder(store, tiles, stems, types)
        for stem, (tile, prediction) in zip(stems, found, strict=True):
            yield tile, self._finish(prediction, stem, classes)

    def _find_space(self, store: LabelSpace, type_map: Mapping[str, str]) -> LabelSpace:
        """The classes of the predictions: those they state, else the store's."""
        if type_map or self.manifest is None:
            return store
        return self.manifest.label_space or store

    def _read_folder(
        self,
        store: Store,
        tiles: NDArray[np.integer],
        stems: Sequence[str],
        types: TypeTable,
    ) -> Iterator[tuple[int, Prediction]]:
        for stem, tile in zip(stems, map(int, tiles), strict=True):
            shape = store.image(tile).shape[:2]
            if self._is_json:
                yield tile, read_json_contours(self.path / f"{stem}.json", shape, types)
            else:
                yield tile, read_labels(self.path, stem, shape, types)

    def _finish(self, prediction: Prediction, stem: str, classes: ScoredClasses) -> Prediction:
        """The prediction in the classes that are scored, with what is known of its pixels."""
        folder = (self.path.parent if self._is_npy else self.path) / PIXELS_FOLDER
        if self.manifest is not None and folder.is_dir():
            decided = read_label_image(folder / f"{stem}.png", prediction.labels.shape)
            prediction = replace(prediction, pixel_types=decided.astype(np.int32))
        if classes.no_classes:
            return replace(prediction, types=None, covered=None)
        covered, types, pixels = prediction.covered, prediction.types, prediction.pixel_types
        assert types is not None, "files without types are scored without classes"
        return replace(
            prediction,
            types=classes.reorder_types(types),
            covered=covered and replace(covered, types=classes.reorder_types(covered.types)),
            pixel_types=None if pixels is None else classes.reorder_types(pixels),
        )
