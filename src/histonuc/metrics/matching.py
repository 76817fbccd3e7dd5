"""Which true nucleus is which predicted one: a sparse contingency table of two label images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DENSE_LIMIT = 1 << 20
"""Largest table (true times predicted nuclei) that is counted densely."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Contingency:
    """Areas of the nuclei of two label images and the overlaps between them.

    Attributes:
        truth_ids: int64 (n,), the ids present in the truth, ascending, without background.
        prediction_ids: int64 (m,), those present in the prediction.
        truth_area, prediction_area: int64 (n,) and (m,), pixels.
        pair_truth, pair_prediction: int64 (k,), rows of `truth_ids` and `prediction_ids` of every
            pair of nuclei that share a pixel.
        intersection: int64 (k,), pixels that the pair shares.
    """

    truth_ids: NDArray[np.int64]
    prediction_ids: NDArray[np.int64]
    truth_area: NDArray[np.int64]
    prediction_area: NDArray[np.int64]
    pair_truth: NDArray[np.int64]
    pair_prediction: NDArray[np.int64]
    intersection: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """float64 (k,), intersection over union of each pair."""
        union = (
            self.truth_area[self.pair_truth]
            + self.prediction_area[self.pair_prediction]
            - self.intersection
        )
        return np.asarray(self.intersection / union)


@dataclass(frozen=True, kw_only=True, eq=False)
class Matches:
    """Pairs of nuclei that are taken to be the same one.

    Attributes:
        truth, prediction: int64 (t,), rows of `Contingency.truth_ids` and `prediction_ids`.
        iou: float64 (t,).
    """

    truth: NDArray[np.int64]
    prediction: NDArray[np.int64]
    iou: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.iou)


def contingency(truth: NDArray[np.integer], prediction: NDArray[np.integer]) -> Contingency:
    """Count the overlaps of two label images in one pass.

    Args:
        truth: integers (H, W), 0 = background; ids need not be consecutive.
        prediction: the same shape.

    Raises:
        ValueError: shapes differ, or an id is negative.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape}, prediction is {prediction.shape}: must be equal")
    truth_ids, rows, truth_area = _compact(truth)
    prediction_ids, columns, prediction_area = _compact(prediction)
    width = len(prediction_ids) + 1
    joint = rows * width + columns
    if (len(truth_ids) + 1) * width <= _DENSE_LIMIT:
        table = np.bincount(joint, minlength=(len(truth_ids) + 1) * width).reshape(-1, width)
        pair_truth, pair_prediction = np.nonzero(table[1:, 1:])
        intersection = table[1:, 1:][pair_truth, pair_prediction]
    else:
        keys, intersection = np.unique(joint[(rows > 0) & (columns > 0)], return_counts=True)
        pair_truth, pair_prediction = keys // width - 1, keys % width - 1
    return Contingency(
        truth_ids=truth_ids,
        prediction_ids=prediction_ids,
        truth_area=truth_area,
        prediction_area=prediction_area,
        pair_truth=pair_truth,
        pair_prediction=pair_prediction,
        intersection=intersection.astype(np.int64),
    )


def match(table: Contingency, threshold: float = 0.5) -> Matches:
    """Pairs whose IoU is strictly above `threshold`.

    From 0.5 on a nucleus has at most one such partner, as nuclei of one image do not overlap, so no
    assignment has to be solved.

    Raises:
        ValueError: a threshold outside 0.5 to 1.
    """
    if not 0.5 <= threshold <= 1:
        raise ValueError(f"expected an IoU threshold of 0.5 to 1, got {threshold}")
    iou = table.iou
    same = iou > threshold
    return Matches(
        truth=table.pair_truth[same], prediction=table.pair_prediction[same], iou=iou[same]
    )


def _compact(
    labels: NDArray[np.integer],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Ids present, the flat image as rows 0 (background), 1..n of them, and their areas."""
    flat = labels.ravel().astype(np.int64)
    if flat.size and flat.min() < 0:
        raise ValueError(f"label images hold 0 (background) and positive ids, got {flat.min()}")
    if flat.size and flat.max() > flat.size:  # a table up to the largest id would not pay
        values, flat = np.unique(flat, return_inverse=True)
        areas = np.bincount(flat)
        if values[0] != 0:
            return values, flat + 1, areas
        return values[1:], flat, areas[1:]
    areas = np.bincount(flat, minlength=1)
    present = areas > 0
    present[0] = False
    ids = np.flatnonzero(present)
    if len(ids) + 1 < len(areas):
        rows = np.zeros(len(areas), np.int64)
        rows[ids] = np.arange(1, len(ids) + 1)
        flat = rows[flat]
    return ids, flat, areas[ids]
