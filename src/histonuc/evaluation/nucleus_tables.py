"""Tables of scores.json about nuclei beyond PQ: detection, errors, calibration, intervals."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histonuc.evaluation.counting import GroupCounts
from histonuc.evaluation.intervals import score_intervals
from histonuc.evaluation.records import (
    Calibration,
    Errors,
    FoundClassRow,
    FoundRow,
    NucleusRow,
    NucleusTables,
    Reliability,
    ThresholdRow,
)
from histonuc.evaluation.results import Evaluation
from histonuc.metrics.aggregate import AGGREGATES
from histonuc.metrics.calibration import NUM_BINS
from histonuc.metrics.detection import IOU_THRESHOLDS
from histonuc.metrics.errors import PREDICTION_KINDS, TRUTH_KINDS


def number(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else float(value)


def nucleus_row(group: GroupCounts) -> NucleusRow:
    """Scores of all nuclei of some tiles, classes ignored."""
    detection = group.detection
    images = dict(zip(AGGREGATES, map(number, group.aggregate.images), strict=True))
    pooled = dict(zip(AGGREGATES, map(number, group.aggregate.pooled), strict=True))
    return {
        "aji": images["aji"],
        "aji_plus": images["aji_plus"],
        "dice_ensemble": images["dice_ensemble"],
        "aji_pooled": pooled["aji"],
        "aji_plus_pooled": pooled["aji_plus"],
        "dice_ensemble_pooled": pooled["dice_ensemble"],
        **_found(group, 0),
        "precision_centroid": number(detection.centroid_precision),
        "recall_centroid": number(detection.centroid_recall),
        "class_f1_centroid": number(detection.mean_class_f1),
        "hausdorff_px": number(group.hausdorff.mean_px),
        "hausdorff_um": number(group.hausdorff.mean_um),
    }


def class_row(group: GroupCounts, kind: int) -> FoundClassRow:
    """Scores of the nuclei of one class, ``kind`` = 1 + j."""
    return {**_found(group, kind), "errors": _errors(group, kind, kind + 1)}


def nucleus_tables(evaluation: Evaluation) -> NucleusTables:
    """Whole tables, by their names in scores.json."""
    total, classes = evaluation.total, evaluation.label_space.classes
    names = ["any", *([] if evaluation.no_classes else classes)]
    return {
        "thresholds": {
            "iou": list(IOU_THRESHOLDS),
            **{name: _threshold_row(total, kind) for kind, name in enumerate(names)},
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


def _found(group: GroupCounts, kind: int) -> FoundRow:
    detection, composition = group.detection, group.composition
    return {
        "f1": number(detection.f1[kind, 0]),
        "precision": number(detection.precision[kind, 0]),
        "recall": number(detection.recall[kind, 0]),
        "f1_centroid": number(detection.centroid_f1[kind]),
        "class_accuracy_centroid": number(detection.class_accuracy[kind]),
        "count_mae": number(composition.mae[kind]),
        "count_r2": number(composition.r2[kind]),
    }


def _threshold_row(group: GroupCounts, kind: int) -> ThresholdRow:
    detection = group.detection
    return {
        "f1": _numbers(detection.f1[kind]),
        "precision": _numbers(detection.precision[kind]),
        "recall": _numbers(detection.recall[kind]),
    }


def _errors(group: GroupCounts, start: int, stop: int) -> Errors:
    """Kinds of the true and of the predicted nuclei of rows `start` to `stop`."""
    if not group.is_outlined:
        return {"truth": {}, "prediction": {}}
    truth, prediction = (
        counts[start:stop].sum(0).tolist()
        for counts in (group.errors.truth, group.errors.prediction)
    )
    return {
        "truth": dict(zip(TRUTH_KINDS, truth, strict=True)),
        "prediction": dict(zip(PREDICTION_KINDS, prediction, strict=True)),
    }


def _calibration(group: GroupCounts) -> Calibration:
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
) -> Reliability:
    count, confidence, accuracy = bins
    return {
        "bin_edges": [k / NUM_BINS for k in range(NUM_BINS + 1)],
        "count": count.tolist(),
        "confidence": _numbers(confidence),
        "accuracy": _numbers(accuracy),
    }


def _numbers(values: ArrayLike) -> list[float | None]:
    return [number(value) for value in np.asarray(values, np.float64).tolist()]
