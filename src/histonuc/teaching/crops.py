"""Pictures of single nuclei, from a store or from a slide."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.contours import trace_contours
from histonuc.data.store import Store
from histonuc.exports import TABLE_FILE, read_table
from histonuc.exports.embeddings import EMBEDDINGS_FILE
from histonuc.exports.summary import read_summary
from histonuc.nuclei import Nuclei
from histonuc.slides import Slide, open_slide
from histonuc.teaching.embedding import read_options

CROP_UM = 40.0
"""Side of a picture in microns."""
CROP_PX = 160
"""Its side in pixels, where it is of a slide."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop:
    """A nucleus and what is around it.

    Attributes:
        image: RGB uint8 (H, W, 3).
        ring: float64 (k, 2), the outline in pixels of `image`.
        centroid: (x, y) of the nucleus in pixels of the tile or slide.
    """

    image: NDArray[np.uint8]
    ring: NDArray[np.float64]
    centroid: tuple[float, float]


def crop_tile(store: Store, tile: int, instance: int) -> Crop:
    """A nucleus of a store; the picture ends where the tile does.

    Args:
        store: with outlines.
        tile: number of the tile.
        instance: id in its instance map.
    """
    mask = store.labels(tile).instances == instance
    mpp = store.mpp(tile)
    half = round(CROP_UM / 2 / (mpp if math.isfinite(mpp) else 0.25))
    y, x = (float(values.mean()) + 0.5 for values in np.nonzero(mask))
    height, width = mask.shape
    left, top = max(round(x) - half, 0), max(round(y) - half, 0)
    window = slice(top, min(round(y) + half, height)), slice(left, min(round(x) + half, width))
    points, offsets = trace_contours(mask[window].astype(np.int32), 1)
    return Crop(
        image=np.ascontiguousarray(store.image(tile)[window]),
        ring=points[offsets[0] : offsets[1]],
        centroid=(x, y),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class SlideCrops:
    """Pictures of the nuclei of a result.

    Attributes:
        name: of the slide's file.
        gives_features: whether the result has embeddings.
        slide: open.
        nuclei: of the table.
    """

    name: str
    gives_features: bool
    slide: Slide
    nuclei: Nuclei

    @staticmethod
    @contextmanager
    def open(folder: Path) -> Iterator[SlideCrops]:
        """Open the slide of a result.

        Raises:
            ValueError: no finished result, or its slide is not there.
        """
        result = read_summary(folder)
        options = read_options(result)
        source = Path(result.fingerprint.get("source", result.source))
        if not source.exists():
            raise ValueError(f"{folder}: its slide {source} is not there to show nuclei of")
        with open_slide(source, scene=options.scene, icc=options.icc) as slide:
            yield SlideCrops(
                name=source.name,
                gives_features=(folder / EMBEDDINGS_FILE).is_file(),
                slide=slide,
                nuclei=read_table(folder / TABLE_FILE),
            )

    def crop(self, row: int) -> Crop:
        """The nucleus in a row of the table."""
        x, y = self.nuclei.centroid[row].tolist()
        side = round(CROP_UM / self.nuclei.mpp)
        left, top = round(x - side / 2), round(y - side / 2)
        image = self.slide.read(left, top, side, side, CROP_PX, CROP_PX)
        ring = (self.nuclei.contour(row) - (left, top)) * (CROP_PX / side)
        return Crop(image=image, ring=ring, centroid=(x, y))
