"""Whether images and labels belong together: copies, stain under the masks, colours."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

_ENOUGH_PX = 200
"""Pixels of nuclei, and of tissue beside them, from which on an image is counted."""
_GLASS = 230
"""Pixels are tissue where their darkest channel is below."""
_SURE = 20
"""Images from which on a share is evidence enough to refuse; below, it is a finding."""
_FEWEST = 3
_DARKER_EXPECTED, _DARKER_LEAST = 0.9, 0.7
"""Share of images whose nuclei are darker than the tissue beside them: 0.96 to 1.0 in seven data
sets of H&E; at most 0.53 under the masks of other images of the set."""
_REDDER_EXPECTED, _REDDER_LEAST = 0.7, 0.3
"""Share of images in which nuclei absorb more red than blue, measured against the tissue beside
them, as haematoxylin does: 0.93 to 1.0 in the same sets, at most 0.07 with red and blue swapped."""
_TELLING_NUCLEI = 10
"""So many nuclei have the same outlines in two images only if one is a copy of the other."""
_OPTICAL_DENSITY = -np.log10((np.arange(256, dtype=np.float32) + 1) / 256)


@dataclass(kw_only=True)
class StainTally:
    """How images look under their masks, counted over a fold or a data set.

    Attributes:
        images: images with enough nuclei and enough tissue beside them.
        darker: those whose nuclei are darker than the tissue beside them.
        redder: those whose nuclei absorb more red than blue, against the tissue beside them.
    """

    images: int = 0
    darker: int = 0
    redder: int = 0

    def add(self, image: NDArray[np.uint8], instances: NDArray[np.integer]) -> None:
        """Count one image.

        Args:
            image: (H, W, 3), RGB if all is right.
            instances: (H, W), 0 = background.
        """
        inside = instances > 0
        glass = cv2.inRange(image, (_GLASS, _GLASS, _GLASS), (255, 255, 255)) > 0
        beside = ~(inside | glass)
        if min(np.count_nonzero(inside), np.count_nonzero(beside)) < _ENOUGH_PX:
            return
        density = cv2.LUT(image, _OPTICAL_DENSITY)
        nuclei, tissue = (cv2.mean(density, mask.view(np.uint8))[:3] for mask in (inside, beside))
        self.images += 1
        self.darker += sum(nuclei) > sum(tissue)
        self.redder += nuclei[0] - tissue[0] > nuclei[2] - tissue[2]

    def judge(self, what: str) -> tuple[str, str]:
        """What is wrong, as (reason to refuse, finding); both empty where nothing is.

        Args:
            what: what was counted, as the beginning of a sentence: "fold 1".
        """
        if self.images < _FEWEST:
            return "", ""
        darker, redder = self.darker / self.images, self.redder / self.images
        if darker < _DARKER_EXPECTED:
            text = (
                f"{what}: in {self.images - self.darker:,} of {self.images:,} images the nuclei of "
                "the masks are not darker than the tissue beside them: do the masks belong to "
                "these images?"
            )
            return (text, "") if self.images >= _SURE and darker < _DARKER_LEAST else ("", text)
        if redder < _REDDER_EXPECTED:
            text = (
                f"{what}: in {self.images - self.redder:,} of {self.images:,} images the nuclei "
                "absorb blue more than red, unlike haematoxylin: are red and blue swapped (BGR, as "
                "OpenCV reads and writes)? Then save images[..., ::-1]"
            )
            return (text, "") if self.images >= _SURE and redder < _REDDER_LEAST else ("", text)
        return "", ""


_Place = tuple[str, int]  # data set and fold


@dataclass(kw_only=True)
class CopyTally:
    """Images and outlines that occur in several folds or several data sets."""

    _images: dict[bytes, dict[_Place, str]] = field(default_factory=dict)
    _outlines: dict[bytes, dict[_Place, str]] = field(default_factory=dict)
    _sizes: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        image: NDArray[np.uint8],
        instances: NDArray[np.int32],
        *,
        source: str,
        fold: int,
        name: str,
    ) -> None:
        """Note one tile.

        Images of one colour, and masks of few nuclei, may be alike without being copies.

        Args:
            image: (H, W, 3).
            instances: (H, W), 0 = background, 1..n.
            source: name of the data set.
            fold: number of the fold.
            name: name of the tile.
        """
        place = (source, fold)
        self._sizes.update((source, _fold_name(place)))
        if (image[0] != image[0, 0]).any() or (image != image[0, 0]).any():
            self._images.setdefault(_digest(image), {})[place] = name
        if instances.max(initial=0) >= _TELLING_NUCLEI:
            self._outlines.setdefault(_digest(instances), {})[place] = name

    def judge(self) -> tuple[list[str], list[str]]:
        """Reasons to refuse, and findings: half of a fold or of a data set is too much."""
        refused: list[str] = []
        found: list[str] = []
        for what, groups in (("images", self._images), ("outlines", self._outlines)):
            shared: dict[tuple[str, str], list[str]] = {}
            for places in groups.values():
                pairs = {_name_pair(*pair): places[pair[0]] for pair in combinations(places, 2)}
                for pair, name in pairs.items():
                    shared.setdefault(pair, []).append(name)
            for (one, other), names in shared.items():
                text = (
                    f"{one} and {other} have the {what} of {len(names):,} tiles in common, such as "
                    f"{names[0]}: take one of them, or what is learned in the one is known in the "
                    "other"
                )
                many = 2 * len(names) >= min(self._sizes[one], self._sizes[other])
                (refused if many else found).append(text)
        return refused, found


def _name_pair(one: _Place, other: _Place) -> tuple[str, str]:
    """Two data sets, or two folds of one."""
    if one[0] != other[0]:
        return one[0], other[0]
    return _fold_name(one), _fold_name(other)


def _fold_name(place: _Place) -> str:
    return f"{place[0]} fold {place[1]}"


def _digest(array: NDArray[np.generic]) -> bytes:
    digest = hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16)
    digest.update(repr(array.shape).encode())
    return digest.digest()
