"""Count and check official folds while they are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.data.channel_order import ChannelOrder
from histonuc.data.flatten import FlatMask
from histonuc.data.image_checks import StainTally
from histonuc.data.label_checks import count_parts
from histonuc.taxonomy import PANNUKE, canonical_tissue

_CLASSES = len(PANNUKE)


def _zeros() -> NDArray[np.int64]:
    return np.zeros(_CLASSES, np.int64)


@dataclass(kw_only=True)
class FoldTally:
    """Running counts of one fold.

    Attributes:
        number: number of the fold.
        nuclei: (channel, id) pairs of each class, hidden ones included.
        visible: nuclei of each class that later channels do not hide wholly.
        images_with: images that hold a nucleus of the class.
        spellings: images of each tissue as the file spells it.
        facts: counts of what is worth knowing, by name.
        stain: how the images look under the masks.
    """

    number: int
    images: int = 0
    nuclei: NDArray[np.int64] = field(default_factory=_zeros)
    visible: NDArray[np.int64] = field(default_factory=_zeros)
    images_with: NDArray[np.int64] = field(default_factory=_zeros)
    spellings: Counter[str] = field(default_factory=Counter)
    facts: Counter[str] = field(default_factory=Counter)
    stain: StainTally = field(default_factory=StainTally)
    _image_max: int = 0
    _id_max: int = 0
    _order: ChannelOrder = field(default_factory=ChannelOrder)

    @property
    def tissues(self) -> Counter[str]:
        """Images of each tissue, official spelling where it is one of the nineteen."""
        tissues: Counter[str] = Counter()
        for name, count in self.spellings.items():
            tissues[canonical_tissue(name) or "unknown"] += count
        return tissues

    def add_image(self, image: NDArray[np.uint8], tissue: str, *, rounded: bool) -> None:
        """Count an image and its tissue."""
        self.images += 1
        self.spellings[tissue] += 1
        self._image_max = max(self._image_max, int(image.max()))
        self.facts["images with fractions, rounded"] += rounded

    def add_mask(self, ids: NDArray[np.integer], flat: FlatMask, where: str) -> None:
        """Count a mask and what is odd in it.

        Args:
            ids: (H, W, 6).
            flat: `ids` flattened.
            where: file and tile, for the error.

        Raises:
            ValueError: the background is the first channel.
        """
        self._order.add(ids, where)
        self._id_max = max(self._id_max, int(flat.official[:, 1].max(initial=0)))
        nuclei = np.bincount(flat.official[:, 0], minlength=_CLASSES)
        self.nuclei += nuclei
        self.visible += np.bincount(flat.channels, minlength=_CLASSES)
        self.images_with += nuclei > 0
        self.facts.update(_facts(flat, ids.shape[1]))

    def finish(self, images: Path, masks: Path) -> None:
        """Check what shows only over the whole fold.

        Raises:
            ValueError: images scaled to 0..1, the background is the first channel, masks that do
                not belong to the images, or red and blue are swapped.
        """
        if self._image_max <= 1:
            raise ValueError(
                f"{images}: expected values in 0..255, got at most {self._image_max} in all tiles: "
                "are the images scaled to 0..1? Multiply them by 255"
            )
        self._order.finish(str(masks))
        refused, _ = self.stain.judge(f"fold {self.number}")
        if refused:
            raise ValueError(f"{images}: {refused}")

    @property
    def ids_look_lost(self) -> bool:
        """Whether no id is above 1 though nuclei come in several parts."""
        return self._id_max == 1 and self.facts["nuclei in several parts"] > 0


def _facts(flat: FlatMask, width: int) -> dict[str, int]:
    hidden_rows = flat.overlaps[:, 2] < _CLASSES
    covered = flat.overlaps[hidden_rows]
    _, uses = np.unique(flat.official[:, 1], return_counts=True)
    return {
        "empty images": int(len(flat.official) == 0),
        "ids reused across channels": int((uses > 1).sum()),
        "overlapping pixels": len(np.unique(covered[:, 0] * width + covered[:, 1])),
        "images with overlaps": int(len(covered) > 0),
        "nuclei hidden wholly": len(flat.official) - len(flat.channels),
        "nuclei in several parts": int((count_parts(flat.instances) > 1).sum()),
        "images with channel 5 inverted": int(flat.background == 0),
        "pixels where channel 5 disagrees": int((~hidden_rows).sum()),
    }
