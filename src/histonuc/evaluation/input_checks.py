"""Notices truth and predictions, or images and masks, that do not belong together."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from histonuc.data.image_checks import StainTally
from histonuc.metrics.counts import ratio

if TYPE_CHECKING:
    from histonuc.data.store import Store

log = logging.getLogger(__name__)

_LEAST_AGREEMENT = 0.1
"""Cohen's kappa of nucleus against background below which truth and predictions are strangers: 0
is what chance gives, and a network after a few steps of training already has more."""
_NUM_LOOKED_AT = 60
"""Tiles whose stain is looked at: a few seconds at most, however many are scored."""
_LEAST_LIKE_STAIN = 0.7
"""Share of the images that must look as H&E does: one odd image of a few is no reason to warn."""
_LEAST_SHARE = 0.005
"""Share of the pixels that must be nucleus on both sides before the agreement tells anything."""


def find_warnings(foreground: NDArray[np.int64]) -> list[str]:
    """What is suspicious about scores, in whole sentences.

    It is told from the counts alone, so it is the same whatever pieces they were counted in.

    Args:
        foreground: pixels (2, 2) by truth (rows) and prediction (columns), background first.
    """
    total = foreground.sum()
    shares = ratio(foreground, total)
    true, predicted = shares[1].sum(), shares[:, 1].sum()
    if total == 0 or min(true, predicted) < _LEAST_SHARE:
        return []
    expected = true * predicted + (1 - true) * (1 - predicted)
    agreement = (np.trace(shares) - expected) / (1 - expected) if expected < 1 else 1.0
    if agreement >= _LEAST_AGREEMENT:
        return []
    return [
        "predicted and true nuclei overlap no more than chance would have it (kappa "
        f"{agreement:.2f}): are the predictions, or the masks of the store, of other images, of "
        "another fold, or in another order?"
    ]


def warn_of_stain(store: Store, tiles: NDArray[np.integer]) -> None:
    """Warn, in the log, of images that do not look like H&E under the masks of the nuclei.

    `histonuc prepare` checks the same, but stores may be older or made by other programs.

    Args:
        store: where the images and masks are.
        tiles: rows of `store.tiles` that are scored.
    """
    if not all(map(store.has_outlines, tiles.tolist())):
        return  # points have no masks
    tally = StainTally()
    for tile in tiles[:: max(len(tiles) // _NUM_LOOKED_AT, 1)].tolist():
        tally.add(store.image(tile), store.instances(tile))
    if min(tally.darker, tally.redder) >= _LEAST_LIKE_STAIN * tally.images:
        return
    for text in filter(None, tally.judge(str(store.path))):
        log.warning("%s", text)
