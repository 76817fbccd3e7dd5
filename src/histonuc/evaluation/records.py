"""The fields of scores.json, by name.

None stands for a score that is not defined. What each score is, the glossary says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from histonuc.data.selection import LabelKind


class Errors(TypedDict):
    """Number of the true and of the predicted nuclei by what became of them; empty with points."""

    truth: dict[str, int]
    prediction: dict[str, int]


class PixelRow(TypedDict):
    """Scores of the pixels of one channel."""

    bce: float | None
    dice: float | None
    iou: float | None
    soft_dice: float | None
    soft_iou: float | None
    pixel_recall: float | None
    pixel_precision: float | None
    pixel_accuracy: float | None


class FoundRow(TypedDict):
    """How many nuclei, of one class or of all, were found."""

    f1: float | None
    precision: float | None
    recall: float | None
    f1_centroid: float | None
    class_accuracy_centroid: float | None
    count_mae: float | None
    count_r2: float | None


class FoundClassRow(FoundRow):
    """The same of one class, with the kinds of its errors."""

    errors: Errors


class ClassRow(FoundClassRow, PixelRow):
    """Scores of one class."""

    num_nuclei: int
    num_images: int
    pq: float | None
    pq_strict: float | None
    pq_pooled: float | None
    dq_pooled: float | None
    sq_pooled: float | None
    tp: int
    fp: int
    fn: int


class NucleusRow(FoundRow):
    """Scores of all nuclei of some tiles, classes ignored."""

    aji: float | None
    aji_plus: float | None
    dice_ensemble: float | None
    aji_pooled: float | None
    aji_plus_pooled: float | None
    dice_ensemble_pooled: float | None
    precision_centroid: float | None
    recall_centroid: float | None
    class_f1_centroid: float | None
    hausdorff_px: float | None
    hausdorff_um: float | None


class PooledRow(NucleusRow):
    """Scores of all nuclei and pixels of some tiles together, and means over their images."""

    bpq_pooled: float | None
    mpq_pooled: float | None
    dq_pooled: float | None
    sq_pooled: float | None
    tp: int
    fp: int
    fn: int
    f1_images: float | None
    f1_centroid_images: float | None
    class_accuracy_centroid_images: float | None
    foreground_dice: float | None
    foreground_dice_images: float | None
    foreground_iou: float | None
    bce: float | None
    dice: float | None
    iou: float | None
    soft_dice: float | None
    soft_iou: float | None
    pixel_accuracy: float | None
    nuclear_accuracy: float | None


class OfficialRow(PooledRow):
    """The same with PanNuke's scores."""

    bpq: float | None
    mpq: float | None
    bpq_strict: float | None
    mpq_strict: float | None
    num_tiles: int
    num_nuclei: int


class OverallRow(OfficialRow):
    """Scores of all tiles: PanNuke's are means over tissues, beside those over all images."""

    bpq_images: float | None
    mpq_images: float | None
    bpq_strict_images: float | None
    mpq_strict_images: float | None


class GroupRow(OfficialRow):
    """Scores of the tiles of one tissue or source: PanNuke's are means over their images."""

    pq_per_class: dict[str, float | None]
    dice_per_class: dict[str, float | None]


class Confusion(TypedDict):
    """Pixels by true (row) and predicted class (column)."""

    labels: list[str]
    counts: list[list[int]]
    row_percent: list[list[float | None]]
    accuracy: float | None


class Confusions(TypedDict):
    """Of all pixels of known class, and of those that are nuclear in truth and prediction."""

    pixels: Confusion
    nuclear: Confusion


class NucleusConfusion(TypedDict):
    """Nuclei by true (row) and predicted class (column), paired by overlap and by centroid."""

    rows: list[str]
    columns: list[str]
    by_iou: list[list[int]]
    by_centroid: list[list[int]]


class ThresholdRow(TypedDict):
    """Scores at each of the IoU thresholds."""

    f1: list[float | None]
    precision: list[float | None]
    recall: list[float | None]


class Reliability(TypedDict):
    """Predictions in bins of their confidence, 0 to 1, and the share of each that is right."""

    bin_edges: list[float]
    count: list[int]
    confidence: list[float | None]
    accuracy: list[float | None]


class ScoreCalibration(Reliability):
    """Of the detection score."""

    ece: float | None


class ClassCalibration(ScoreCalibration):
    """Of the class's probability, as it is and at the temperature that fits best."""

    nll: float | None
    temperature: float | None
    ece_fitted: float | None
    nll_fitted: float | None


Calibration = TypedDict("Calibration", {"class": ClassCalibration, "score": ScoreCalibration})
"""Calibration of the two confidences that a prediction states."""


class NucleusTables(TypedDict):
    """Tables about nuclei beyond PQ.

    Those by threshold are by class, with ``any`` class and the thresholds ``iou`` themselves;
    intervals are pairs of ends, under the names that the scores have.
    """

    thresholds: dict[str, list[float] | ThresholdRow]
    confusion_nuclei: NucleusConfusion
    errors: Errors
    calibration: Calibration
    intervals: dict[str, Any]


class ScoreTables(NucleusTables):
    """Every score of an evaluation."""

    num_tiles: int
    num_nuclei: int
    num_nuclei_predicted: int
    labels: LabelKind
    label_space: dict[str, object]
    no_classes: str | None
    warnings: list[str]
    overall: OverallRow
    background: PixelRow
    per_class: dict[str, ClassRow]
    confusion: Confusions
    per_tissue: dict[str, GroupRow]
    per_source: dict[str, GroupRow]
    conventions: dict[str, Any]


class DataFacts(TypedDict, total=False):
    """What was scored: the store, the part of it, its merged classes, its folds and sources."""

    store: str
    part: str
    merged_classes: dict[str, str | None]
    folds: list[int]
    sources: list[str]


class Scores(ScoreTables):
    """The content of scores.json; facts about the model are whatever its scorer tells."""

    format: int
    created: str
    versions: dict[str, str]
    model: dict[str, Any]
    data: DataFacts
    files_sha256: dict[str, str]


def find_score(row: Mapping[str, object], name: str) -> float | None:
    """The score of a row that has a name of the glossary; None where it has none or no such.

    >>> find_score({"bpq": 0.5, "errors": {}}, "bpq")
    0.5
    """
    value = row.get(name)
    return value if isinstance(value, int | float) else None
