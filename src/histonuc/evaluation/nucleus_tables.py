"""Tables of scores.json about nuclei beyond PQ: detection, errors, calibration, intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from histonuc.metrics.aggregate import AGGREGATES
from histonuc.metrics.bootstrap import LEVEL, REPEATS, bootstrap_interval, ratio_interval
from histonuc.metrics.calibration import NUM_BINS
from histonuc.metrics.detection import IOU_THRESHOLDS
from histonuc.metrics.errors import PREDICTION_KINDS, TRUTH_KINDS

if TYPE_CHECKING:
    from histonuc.evaluation.results import Evaluation, GroupCounts
    from histonuc.evaluation.tile_table import TileTable


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
        "intervals": _intervals(evaluation),
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


def _intervals(evaluation: Evaluation) -> dict[str, Any]:
    records = evaluation.records
    names = ("bpq", "mpq", "bpq_strict", "mpq_strict")
    ends = {
        name: _numbers(bootstrap_interval(records.numbers[name], records.texts["tissue"]))
        for name in names
    }
    tables = {
        f"per_{text}": {
            value: _image_intervals(records.where(text, value))
            for value in sorted(set(records.texts[text]))
        }
        for text in ("tissue", "source")
    }
    return {"level": LEVEL, "repeats": REPEATS, **ends, **_image_intervals(records), **tables}


def _image_intervals(records: TileTable) -> dict[str, Any]:
    """Of the scores that are means over images, or of the nuclei of all of them together."""
    tiles = records.numbers
    ratios = {}
    for name, column in (
        ("bpq_images", "bpq"),
        ("mpq_images", "mpq"),
        ("bpq_strict_images", "bpq_strict"),
        ("mpq_strict_images", "mpq_strict"),
        *((name, name) for name in AGGREGATES),
    ):
        defined = ~np.isnan(tiles[column])
        ratios[name] = np.where(defined, tiles[column], 0), defined
    nuclei = tiles["tp"] + (tiles["fp"] + tiles["fn"]) / 2
    overlap = np.nan_to_num(tiles["bpq"]) * nuclei  # a tile's sum of IoUs
    ratios |= {
        "bpq_pooled": (overlap, nuclei),
        "dq": (tiles["tp"], nuclei),
        "sq": (overlap, tiles["tp"]),
        "f1": (tiles["tp"], nuclei),
        "f1_centroid": (2 * tiles["tp_centroid"], tiles["num_truth"] + tiles["num_predicted"]),
    }
    return {
        name: _numbers(ratio_interval(above, below, records.texts["tissue"]))
        for name, (above, below) in ratios.items()
    }


def _numbers(values: ArrayLike) -> list[float | None]:
    return [number(value) for value in np.asarray(values, np.float64).tolist()]
