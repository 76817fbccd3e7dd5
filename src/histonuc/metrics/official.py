"""PanNuke's own terms: masks of one channel a class, which may overlap, scored as published.

The published script (Gamper et al. 2020, arXiv 2003.10778; github.com/TissueImageAnalytics/
PanNuke-metrics) scores a class within its channel, and the binary PQ on `binarize`: channels are
painted one after the other into one label image, so a later class covers an earlier one. Here both
come from one flat label image and the few pixels it cannot show.

Deviations: an id that `binarize` covers wholly is no nucleus of the binary score (the script leaves
a gap in its numbers and then fails or takes another nucleus's row); a channel without background
is scored (the script stops).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.metrics.matching import contingency, match_classes
from histonuc.metrics.overlaps import add_covered
from histonuc.metrics.panoptic import PanopticCounts, panoptic_counts_from
from histonuc.nuclei import CoveredPixels, make_consecutive

_USUAL_IDS = 4096
"""Masks with larger ids are renumbered first, which is slower."""


def official_counts(
    truth: NDArray[Any], prediction: NDArray[Any], *, num_classes: int = 5
) -> PanopticCounts:
    """Score one image as the published script does.

    Args:
        truth: (H, W, C or more), instance ids of the classes in the first C channels, 0 where there
            is none; any number type. Further channels, the official background, are not read.
        prediction: array of the same height and width, with the same channels.
        num_classes: C.

    Raises:
        ValueError: shapes differ, channels are missing, or ids are negative or no whole numbers.
    """
    true_labels, covered_truth = flatten_channels(truth, num_classes)
    labels, covered = flatten_channels(prediction, num_classes)
    table = contingency(true_labels, labels)
    matches = match_classes(
        table,
        covered_truth.types,
        covered.types,
        num_classes=num_classes,
        whole=add_covered(table, true_labels, labels, covered_truth, covered),
    )
    return panoptic_counts_from(matches)


def flatten_channels(
    mask: NDArray[Any], num_classes: int
) -> tuple[NDArray[np.int32], CoveredPixels]:
    """The official `binarize`, and what it covers.

    Args:
        mask: instance ids (H, W, C or more), as `official_counts` takes them.
        num_classes: C.

    Returns:
        Label image int32 (H, W), nuclei numbered as they come row by row, with gaps where one is
        covered wholly; and the covered pixels with the class of every nucleus.

    Raises:
        ValueError: see `official_counts`.

    >>> mask = np.zeros((1, 3, 5))
    >>> mask[0, :, 0], mask[0, 2, 4] = 7, 7
    >>> labels, covered = flatten_channels(mask, 5)
    >>> labels.tolist(), covered.pixel.tolist(), covered.types.tolist()
    ([[1, 1, 2]], [2], [0, 1, 5])
    """
    if mask.ndim != 3 or mask.shape[2] < num_classes:
        raise ValueError(
            f"expected a mask (H, W, {num_classes} or more), one channel a class, got {mask.shape}"
        )
    from histonuc.metrics.kernels import paint_channels

    mask = _compilable(mask)
    height, width, num_channels = mask.shape
    by_pixel = mask.reshape(-1, num_channels)
    labels = np.zeros(height * width, np.int32)
    covered = np.empty((2, num_classes * height * width), np.int32)  # pages come when written
    number = np.zeros((num_classes, _USUAL_IDS), np.int32)
    types = np.zeros(number.size + 1, np.int32)
    num, num_covered = paint_channels(by_pixel, _bits(by_pixel), number, types, labels, covered)
    if num < 0:
        by_pixel = _renumber(by_pixel[:, :num_classes])
        number = np.zeros((num_classes, int(by_pixel.max(initial=0)) + 1), np.int32)
        types, labels = np.zeros(number.size + 1, np.int32), np.zeros_like(labels)
        num, num_covered = paint_channels(by_pixel, _bits(by_pixel), number, types, labels, covered)
    pixel, nucleus = covered[:, :num_covered].astype(np.int64)
    return labels.reshape(height, width), CoveredPixels(
        pixel=pixel, nucleus=nucleus, types=types[: num + 1].copy()
    )


def _compilable(mask: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in a type that numba knows: native bytes, no half or long double."""
    is_odd = mask.dtype.kind == "f" and mask.dtype.itemsize not in (4, 8)
    return mask.astype(np.float64 if is_odd else mask.dtype.newbyteorder("="), copy=False)


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    return values.view(f"u{values.itemsize}")


def _renumber(ids: NDArray[Any]) -> NDArray[np.int64]:
    """The same array with ids 1, 2, ...; refuses what is no id."""
    numbered, values = make_consecutive(ids)
    if not (
        np.isfinite(values).all() and (values > 0).all() and (values == np.floor(values)).all()
    ):
        raise ValueError("expected instance ids, whole numbers from 0, in every channel of a mask")
    return numbered.astype(np.int64)
