"""Which true nucleus is which predicted one: a sparse contingency table of two label images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DENSE_LIMIT = 1 << 20
"""Largest table (true times predicted ids) that is counted densely."""


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
        prediction: integers of the same shape, 0 = background.

    Raises:
        ValueError: shapes differ, or an id is negative.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth is {truth.shape}, prediction is {prediction.shape}: must be equal")
    dense = _count_densely(truth, prediction)
    if dense is not None:
        return dense
    truth_ids, rows, truth_area = _compact(truth)
    prediction_ids, columns, prediction_area = _compact(prediction)
    keys, intersection = np.unique(
        (rows * (len(prediction_ids) + 1) + columns)[(rows > 0) & (columns > 0)],
        return_counts=True,
    )
    return Contingency(
        truth_ids=truth_ids,
        prediction_ids=prediction_ids,
        truth_area=truth_area,
        prediction_area=prediction_area,
        pair_truth=keys // (len(prediction_ids) + 1) - 1,
        pair_prediction=keys % (len(prediction_ids) + 1) - 1,
        intersection=intersection.astype(np.int64),
    )


def _count_densely(
    truth: NDArray[np.integer], prediction: NDArray[np.integer]
) -> Contingency | None:
    """By a table with a row and a column an id; None where ids are too large for one."""
    from histonuc.metrics.kernels import count_pairs

    # Two kinds of integers only: each further one would be compiled anew.
    small = truth.dtype == prediction.dtype == np.int32
    dtype: type[np.signedinteger] = np.int32 if small else np.int64
    flat = truth.ravel().astype(dtype, copy=False)
    other = prediction.ravel().astype(dtype, copy=False)
    low = min(int(flat.min(initial=0)), int(other.min(initial=0)))
    if low < 0:
        raise ValueError(f"label images hold 0 (background) and positive ids, got {low}")
    shape = int(flat.max(initial=0)) + 1, int(other.max(initial=0)) + 1
    if shape[0] * shape[1] > _DENSE_LIMIT:
        return None
    table = np.zeros(shape, np.int64)
    if len(flat):
        count_pairs(flat, other, table)
    truth_area, prediction_area = table.sum(1), table.sum(0)
    truth_area[0] = prediction_area[0] = 0
    truth_ids, prediction_ids = np.flatnonzero(truth_area), np.flatnonzero(prediction_area)
    inner = table[truth_ids][:, prediction_ids]
    pair_truth, pair_prediction = np.nonzero(inner)
    return Contingency(
        truth_ids=truth_ids,
        prediction_ids=prediction_ids,
        truth_area=truth_area[truth_ids],
        prediction_area=prediction_area[prediction_ids],
        pair_truth=pair_truth,
        pair_prediction=pair_prediction,
        intersection=inner[pair_truth, pair_prediction],
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


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassMatches:
    """Matches of one image, binary and class by class. Kind 0 is binary, ``1 + j`` class ``j``.

    Attributes:
        num_truth, num_predicted: int64 (1 + C,), nuclei.
        kind: int64 (t,), kind of each match: a match of right class comes twice.
        iou: float64 (t,).
    """

    num_truth: NDArray[np.int64]
    num_predicted: NDArray[np.int64]
    kind: NDArray[np.int64]
    iou: NDArray[np.float64]


def match_classes(
    table: Contingency,
    truth_types: NDArray[np.integer] | None = None,
    prediction_types: NDArray[np.integer] | None = None,
    *,
    num_classes: int = 0,
    whole: Contingency | None = None,
) -> ClassMatches:
    """Match all nuclei, then those of each class.

    IoU does not depend on the class, so matching within a class is the same as keeping, of all
    pairs above 0.5, those of equal class. A true nucleus of unknown class counts in kind 0 only,
    and so does the prediction matched to it.

    Args:
        table: contingency of the flat label images; decides kind 0.
        truth_types: class + 1 by id (entry 0: background), 0 where unknown; without it only kind 0
            is counted.
        prediction_types: class + 1 by id of the prediction, 0 where unknown.
        num_classes: C.
        whole: the table after `add_covered`, which decides the classes; `table` when None.
    """
    matches = match(table)
    num_truth = np.zeros(1 + num_classes, np.int64)
    num_predicted = num_truth.copy()
    num_truth[0], num_predicted[0] = len(table.truth_ids), len(table.prediction_ids)
    kind, iou = np.zeros(len(matches), np.int64), matches.iou
    if truth_types is not None and prediction_types is not None and num_classes:
        whole = whole or table
        pairs = matches if whole is table else match(whole)
        truth_type = truth_types[whole.truth_ids]
        predicted_type = prediction_types[whole.prediction_ids]
        pair_type = truth_type[pairs.truth]
        counted = np.ones(len(predicted_type), bool)
        counted[pairs.prediction[pair_type == 0]] = False
        same = (pair_type == predicted_type[pairs.prediction]) & (pair_type > 0)
        if whole is not table:
            same[same] = _find_unique(pairs, same)
        size = num_classes + 1
        num_truth[1:] = np.bincount(truth_type, minlength=size)[1:]
        num_predicted[1:] = np.bincount(predicted_type[counted], minlength=size)[1:]
        kind = np.concatenate([kind, pair_type[same].astype(np.int64)])
        iou = np.concatenate([iou, pairs.iou[same]])
    return ClassMatches(num_truth=num_truth, num_predicted=num_predicted, kind=kind, iou=iou)


def _find_unique(pairs: Matches, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the chosen pairs (k,) are the best both of their nuclei have.

    Nuclei of one class overlap where classes that had a channel each were merged into one, so a
    nucleus may have two partners above 0.5.
    """
    best_first = np.argsort(-pairs.iou[chosen], kind="stable")
    unique = np.ones(len(best_first), bool)
    for side in (pairs.truth[chosen], pairs.prediction[chosen]):
        first = np.zeros(len(best_first), bool)
        first[best_first[np.unique(side[best_first], return_index=True)[1]]] = True
        unique &= first
    return unique


def _compact(
    labels: NDArray[np.integer],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Ids present, the flat image as rows 0 (background), 1..n of them, and their areas."""
    values, flat = np.unique(labels.ravel().astype(np.int64), return_inverse=True)
    areas = np.bincount(flat)
    if values[0] != 0:
        return values, flat + 1, areas
    return values[1:], flat, areas[1:]
