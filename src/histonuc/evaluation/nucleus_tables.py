"""Tables of scores.json about nuclei beyond PQ: detection, errors, calibration, intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histonuc.evaluation.counting import GroupCounts
from histonuc.evaluation.intervals import score_intervals
from histonuc.evaluation.results import Evaluation
from histonuc.metrics.aggregate import AGGREGATES
from histonuc.metrics.calibration import NUM_BINS
from histonuc.metrics.detection import IOU_THRESHOLDS
from histonuc.metrics.errors import PREDICTION_KINDS, TRUTH_KINDS


def number(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else float(value)


def nucleus_row(group: GroupCounts) -> dict[str, Any]:
    """Scores of all nuclei of some tiles, classes ignored."""
    detection = group.detection
    images, pooled = group.aggregate.images, group.aggregate.pooled
    return {
        **{name: number(images[i]) for i, name in enumerate(AGGREGATES)},
        **{f"{name}_pooled": number(pooled[i]) for i, name in enumerate(AGGREGATES)},
        **_found(group, 0),
        "precision_centroid": number(detection.centroid_precision),
        "recall_centroid": number(detection.centroid_recall),
        "hausdorff_px": number(group.hausdorff.mean_px),
        "hausdorff_um": number(group.hausdorff.mean_um),
    }


def class_row(group: GroupCounts, kind: int) -> dict[str, Any]:
    """Scores of the nuclei of one class, ``kind`` = 1 + j."""
    return {**_found(group, kind), "errors": _errors(group, kind, kind + 1)}


def nucleus_tables(evaluation: Evaluation) -> dict[str, Any]:
    """Whole tables, by their names in scores.json."""
    total, classes = evaluation.total, evaluation.label_space.classes
    names = ["any", *([] if evaluation.no_classes else classes)]
    return {
        "thresholds": {
            "iou": list(IOU_THRESHOLDS),
            **{name: _threshold_rows(total, kind) for kind, name in enumerate(names)},
        },
        "confusion_nuclei": {
            "rows": ["Spurious", *classes, "Unknown"],
            "columns": ["Missed", *classes, "Unknown"],
            "by_iou": total.detection.by_iou.tolist(),
            "by_centroid": total.detection.by_distance.tolist(),
        },
        "errors": _errors(total, 0, len(classes) + 1),
        "calibration": _calibration(total),
        "intervals": score_intervals(evaluation.tiles, [] if evaluation.no_classes else classes),
    }


def _found(group: GroupCounts, kind: int) -> dict[str, Any]:
    detection, composition = group.detection, group.composition
    return {
        "f1": number(detection.f1[kind, 0]),
        "precision": number(detection.precision[kind, 0]),
        "recall": number(detection.recall[kind, 0]),
        "f1_centroid": number(detection.centroid_f1[kind]),
        "count_mae": number(composition.mae[kind]),
        "count_r2": number(composition.r2[kind]),
    }


def _threshold_rows(group: GroupCounts, kind: int) -> dict[str, Any]:
    detection = group.detection
    return {
        name: _numbers(getattr(detection, name)[kind]) for name in ("f1", "precision", "recall")
    }


def _errors(group: GroupCounts, start: int, stop: int) -> dict[str, dict[str, int]]:
    """Kinds of the true and of the predicted nuclei of rows `start` to `stop`."""
    return {
        side: dict(zip(kinds, counts[start:stop].sum(0).tolist(), strict=True))
        for side, kinds, counts in (
            ("truth", TRUTH_KINDS, group.errors.truth),
            ("prediction", PREDICTION_KINDS, group.errors.prediction),
        )
    }


def _calibration(group: GroupCounts) -> dict[str, Any]:
    counts = group.calibration
    return {
        "class": {
            "ece": number(counts.class_ece),
            "nll": number(counts.nll),
            "temperature": number(counts.temperature),
            "ece_fitted": number(counts.class_ece_fitted),
            "nll_fitted": number(counts.nll_fitted),
            **_reliability(counts.class_bins()),
        },
        "score": {"ece": number(counts.score_ece), **_reliability(counts.score_bins())},
    }


def _reliability(
    bins: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]],
) -> dict[str, Any]:
    count, confidence, accuracy = bins
    return {
        "bin_edges": [k / NUM_BINS for k in range(NUM_BINS + 1)],
        "count": count.tolist(),
        "confidence": _numbers(confidence),
        "accuracy": _numbers(accuracy),
    }


def _numbers(values: ArrayLike) -> list[float | None]:
    return [number(value) for value in np.asarray(values, np.float64).tolist()]
