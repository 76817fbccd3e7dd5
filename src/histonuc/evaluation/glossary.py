"""Every score: the one word for it, its formula, and where it is shown.

Whatever prints, draws or writes a score takes its name from here, so that a word means one number
in `evaluate`, `compare`, `crossval`, the report and the docs. A key is the score's name in files:
in scores.json, crossval.json, compare.json and the tables in CSV.

A key without a suffix is what is published under that name. The suffixes say how the scores of
single images, or the counts of nuclei, are brought together:

- ``_strict``: as without it, but an image that only the prediction has nuclei in counts as 0.
- ``_images``: mean over images.
- ``_pooled``: from the nuclei, or the pixels, of all images together.
- ``_centroid``: nuclei are paired by the distance of their centroids instead of by overlap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Score(NamedTuple):
    """A score of scores.json.

    Attributes:
        name: what people call it.
        formula: how it is computed; TP, FP and FN are matched, spurious and missed nuclei.
        where: sections of scores.json that have it: o(verall), c(lass), t(issue and source).
    """

    name: str
    formula: str
    where: str


_OVER_TISSUES = "mean over the images of a tissue with true nuclei{}, then over tissues"
_STRICT = "; an image {}that only the prediction has nuclei of counts as 0"

SCORES: dict[str, Score] = {
    "bpq": Score("bPQ", "PQ of an image, classes ignored; " + _OVER_TISSUES.format(""), "ot"),
    "mpq": Score(
        "mPQ",
        "mean of the PQ of the classes that an image holds; "
        + _OVER_TISSUES.format(" of known class"),
        "ot",
    ),
    "pq": Score("PQ", "PQ of the class in an image; mean over the images that hold the class", "c"),
    "bpq_strict": Score("strict bPQ", "as bPQ" + _STRICT.format(""), "ot"),
    "mpq_strict": Score("strict mPQ", "as mPQ" + _STRICT.format("(or class of it) "), "ot"),
    "pq_strict": Score("strict PQ", "as PQ" + _STRICT.format(""), "c"),
    "bpq_images": Score("bPQ over images", "as bPQ, but mean over all images", "o"),
    "mpq_images": Score("mPQ over images", "as mPQ, but mean over all images", "o"),
    "bpq_strict_images": Score("strict bPQ over images", "as strict bPQ, over all images", "o"),
    "mpq_strict_images": Score("strict mPQ over images", "as strict mPQ, over all images", "o"),
    "bpq_pooled": Score("pooled bPQ", "Σ IoU / (TP + ½FP + ½FN) of all nuclei, any class", "ot"),
    "mpq_pooled": Score(
        "pooled mPQ",
        "mean of the pooled PQ of the classes that the truth holds: CoNIC's mPQ⁺",
        "ot",
    ),
    "pq_pooled": Score("pooled PQ", "Σ IoU / (TP + ½FP + ½FN) of all nuclei of the class", "c"),
    "dq_pooled": Score("pooled DQ", "TP / (TP + ½FP + ½FN) of all nuclei", "oct"),
    "sq_pooled": Score("pooled SQ", "Σ IoU / TP: mean IoU of the matched nuclei", "oct"),
    "f1": Score("F1", "2TP / (2TP + FP + FN) of all nuclei at IoU > 0.5", "oct"),
    "precision": Score("precision", "TP / (TP + FP) of all nuclei at IoU > 0.5", "oct"),
    "recall": Score("recall", "TP / (TP + FN) of all nuclei at IoU > 0.5", "oct"),
    "f1_images": Score("F1 over images", "F1 of an image; mean over the images with nuclei", "ot"),
    "f1_centroid": Score(
        "F1 by centroid",
        "HoVer-Net's: nuclei paired by centroids within 3 µm; any class 2TP / (2TP + FP + FN), a "
        "class 2TP / (2TP + 2FPc + 2FNc + FPd + FNd)",
        "oct",
    ),
    "precision_centroid": Score(
        "precision by centroid", "TP / (TP + FP), paired by centroid", "ot"
    ),
    "recall_centroid": Score("recall by centroid", "TP / (TP + FN), paired by centroid", "ot"),
    "f1_centroid_images": Score(
        "F1 by centroid over images", "F1 by centroid of an image; mean over images", "ot"
    ),
    "class_f1_centroid": Score(
        "class F1 by centroid", "mean F1 by centroid of the classes that the truth holds", "ot"
    ),
    "class_accuracy_centroid": Score(
        "class accuracy",
        "of nuclei paired by centroid whose true class is known, the share of the right class",
        "oct",
    ),
    "class_accuracy_centroid_images": Score(
        "class accuracy over images", "class accuracy of an image; mean over images", "ot"
    ),
    "aji": Score("AJI", "Σ intersections / Σ unions of an image; mean over images", "ot"),
    "aji_plus": Score("AJI+", "AJI with one-to-one pairs; mean over images", "ot"),
    "dice_ensemble": Score(
        "ensemble Dice", "2 Σ intersections / Σ areas of overlapping pairs; mean over images", "ot"
    ),
    "aji_pooled": Score("pooled AJI", "AJI of the pixels of all images together", "ot"),
    "aji_plus_pooled": Score("pooled AJI+", "AJI+ of the pixels of all images together", "ot"),
    "dice_ensemble_pooled": Score(
        "pooled ensemble Dice", "ensemble Dice of the pixels of all images together", "ot"
    ),
    "hausdorff_px": Score(
        "Hausdorff distance, px", "between the outlines of matched nuclei; mean over pairs", "ot"
    ),
    "hausdorff_um": Score(
        "Hausdorff distance, µm", "between the outlines of matched nuclei; mean over pairs", "ot"
    ),
    "count_mae": Score(
        "count error", "|predicted - true| nuclei of an image; mean over images", "oct"
    ),
    "count_r2": Score(
        "count R²", "1 - Σ (predicted - true)² / Σ (true - mean)² of the nuclei of an image", "oct"
    ),
    "foreground_dice": Score(
        "nucleus Dice", "Dice of nucleus against background, all pixels together", "ot"
    ),
    "foreground_dice_images": Score(
        "nucleus Dice over images", "nucleus Dice of an image; mean over images", "ot"
    ),
    "foreground_iou": Score("nucleus IoU", "IoU of nucleus against background, all pixels", "ot"),
    "dice": Score(
        "Dice", "Dice of the class's pixels; overall the mean of the classes in the truth", "oct"
    ),
    "iou": Score("IoU", "IoU of the class's pixels; overall as Dice", "oct"),
    "soft_dice": Score("soft Dice", "as Dice, of probabilities", "oct"),
    "soft_iou": Score("soft IoU", "as IoU, of probabilities", "oct"),
    "bce": Score("BCE", "binary cross entropy in nats; mean over pixels and channels", "oct"),
    "pixel_accuracy": Score("pixel accuracy", "share of pixels of the right channel", "oct"),
    "pixel_recall": Score("pixel recall", "share of the class's true pixels that are found", "c"),
    "pixel_precision": Score(
        "pixel precision", "share of its predicted pixels that are right", "c"
    ),
    "nuclear_accuracy": Score(
        "nuclear accuracy", "of nuclear pixels found nuclear, the share of the right class", "ot"
    ),
}

EVALUATE = (
    ("bpq", "mpq", "bpq_strict", "mpq_strict", "bpq_pooled", "mpq_pooled"),
    ("aji", "f1", "f1_centroid", "foreground_dice", "dice", "bce"),
    ("class_f1_centroid", "class_accuracy_centroid"),
)
"""Overall scores that `histonuc evaluate` prints, line by line."""
EVALUATE_CLASS = ("pq", "pq_pooled", "dq_pooled", "sq_pooled", "dice", "iou")
"""Scores of each class that `histonuc evaluate` prints."""
EVALUATE_POINTS = (
    ("f1_centroid", "precision_centroid", "recall_centroid"),
    ("class_f1_centroid", "class_accuracy_centroid"),
)
"""Overall scores that it prints where the truth has points, line by line."""
EVALUATE_POINTS_CLASS = ("f1_centroid", "class_accuracy_centroid")
"""Scores of each class that it prints there."""
EVALUATE_SPARSE = (("recall_centroid", "class_accuracy_centroid"),)
"""Overall scores that it prints where points mark some of the nuclei only."""
EVALUATE_SPARSE_CLASS = ("class_accuracy_centroid",)
"""Scores of each class that it prints there."""
CLASS_SCORES: Mapping[str, tuple[str, ...]] = {
    "outlines": EVALUATE_CLASS,
    "points": EVALUATE_POINTS_CLASS,
    "sparse points": EVALUATE_SPARSE_CLASS,
}
"""The same by kind of the labels."""
COMPARE = ("bpq", "mpq", "foreground_dice_images", "aji", "aji_plus", "f1_images")
"""Scores over all tiles, and of each tissue, that `histonuc compare` compares."""
COMPARE_CLASS = "pq"
"""Score of each class that `histonuc compare` compares."""
COMPARE_POINTS = ("f1_centroid_images", "class_accuracy_centroid_images")
"""Scores that it compares where the truth has points."""
COMPARE_POINTS_CLASS = "f1_centroid"
"""Score of each class that it compares there."""
COMPARE_SPARSE = ("class_accuracy_centroid_images",)
"""Scores that it compares where points mark some of the nuclei only."""
CROSSVAL = ("bpq", "mpq", "dice", "foreground_dice")
"""Overall scores that `histonuc crossval` prints."""
CROSSVAL_CLASS = ("pq", "pq_pooled", "dice")
"""Scores of each class that `histonuc crossval` prints."""
CROSSVAL_TISSUE = ("bpq", "mpq", "foreground_dice")
"""Scores of each tissue that `histonuc crossval` prints."""
REPORT_SUMMARY = (
    "bpq",
    "mpq",
    "dq_pooled",
    "sq_pooled",
    "dice",
    "iou",
    "bce",
    "pixel_accuracy",
)
"""Overall scores in the report's first table."""
REPORT_OVERALL = (
    "bpq",
    "mpq",
    "bpq_strict",
    "mpq_strict",
    "bpq_images",
    "mpq_images",
    "bpq_pooled",
    "mpq_pooled",
    "dq_pooled",
    "sq_pooled",
    "aji",
    "aji_plus",
    "dice_ensemble",
    "f1",
    "f1_images",
    "f1_centroid",
    "precision_centroid",
    "recall_centroid",
    "class_f1_centroid",
    "class_accuracy_centroid",
    "foreground_dice",
    "foreground_dice_images",
    "hausdorff_um",
    "count_mae",
    "count_r2",
)
"""Overall scores in the report's table of a score folder."""
REPORT_CLASS = (
    "pq",
    "pq_pooled",
    "dq_pooled",
    "sq_pooled",
    "dice",
    "iou",
    "bce",
    "pixel_recall",
    "pixel_precision",
    "pixel_accuracy",
)
"""Scores in the report's table of classes."""
REPORT = frozenset((*REPORT_SUMMARY, *REPORT_OVERALL, *REPORT_CLASS))
"""All scores that the report shows."""


def name_score(key: str) -> str:
    """What people call a score.

    >>> name_score("pq"), name_score("pq_pooled"), name_score("foreground_dice")
    ('PQ', 'pooled PQ', 'nucleus Dice')
    """
    return SCORES[key].name


def glossary_rows() -> list[str]:
    """The reference of every score as rows of a Markdown table, for the docs.

    >>> glossary_rows()[2]
    '| bPQ | `bpq` | PQ of an image, classes ignored; mean over the images of a tissue with true \
nuclei, then over tissues | evaluate, compare, crossval, report |'
    """
    shown = {
        "evaluate": {
            *sum(EVALUATE + EVALUATE_POINTS + EVALUATE_SPARSE, ()),
            *EVALUATE_CLASS,
            *EVALUATE_POINTS_CLASS,
            *EVALUATE_SPARSE_CLASS,
        },
        "compare": {
            *COMPARE,
            COMPARE_CLASS,
            *COMPARE_POINTS,
            COMPARE_POINTS_CLASS,
            *COMPARE_SPARSE,
        },
        "crossval": {*CROSSVAL, *CROSSVAL_CLASS, *CROSSVAL_TISSUE},
        "report": REPORT,
    }
    rows = ["| score | key | formula | printed by |", "|---|---|---|---|"]
    for key, score in SCORES.items():
        places = ", ".join(name for name, keys in shown.items() if key in keys) or "files only"
        formula = score.formula.replace("|", "\\|")
        rows.append(f"| {score.name} | `{key}` | {formula} | {places} |")
    return rows
