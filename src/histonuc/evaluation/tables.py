"""Counts to numbers: the tables of scores.json."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from histonuc.evaluation.counting import GroupCounts
from histonuc.evaluation.glossary import SCORES
from histonuc.evaluation.input_checks import find_warnings
from histonuc.evaluation.nucleus_tables import class_row, nucleus_row, nucleus_tables, number
from histonuc.evaluation.records import (
    ClassRow,
    Confusion,
    GroupRow,
    OverallRow,
    PixelRow,
    PooledRow,
    ScoreTables,
)
from histonuc.evaluation.results import Evaluation
from histonuc.evaluation.sparse import leave_out_undefined
from histonuc.evaluation.tile_scores import TileScores
from histonuc.metrics.counts import PAIR_UNIT, nanmean, ratio, to_fixed
from histonuc.metrics.pixels import PixelCounts

CONVENTIONS = {
    "scores": {key: f"{score.name}: {score.formula}" for key, score in SCORES.items()},
    "matching": "a nucleus is found when IoU > 0.5 (strict)",
    "official": "bpq, mpq and pq are PanNuke's; images without true nuclei (of the class) do not "
    "count, so false positives there are free",
    "intervals": "95 % percentile bootstrap over the images within each tissue; of averages over "
    "tissues and over images and of the pooled scores of all nuclei; none of a single image",
    "pooled": "false positives count everywhere",
    "per_tissue, per_source": "bpq, mpq and their strict twins are means over these images",
    "overlaps": "PQ, DQ, SQ and F1 of a class score its whole nuclei, as PanNuke's channels hold "
    "them; everything else the flat label image, where the later channel wins",
    "f1_centroid": "centroids paired within 3 microns (12 px at 0.25 mpp; 12 px where the "
    "resolution is unknown)",
    "points": "where the truth has points and no outlines (labels: points), they are paired as "
    "centroids are; tp, fp and fn are those pairs, and what asks for outlines is not defined. "
    "Classes that a point leaves open are scored as one",
    "sparse points": "where points mark some of the nuclei only (labels: sparse points), what is "
    "predicted beside them is neither right nor wrong and left out: the recall and the classes of "
    "the points that were found are scored, not precision, F1 and counts",
    "thresholds": "f1, precision and recall at IoU 0.5 to 0.95",
    "count_mae, count_r2": "by class only where all true classes of an image are known",
    "errors": "merged, split: more than half of an area shared with two or more nuclei; missed, "
    "spurious: the rest that is not matched, badly outlined nuclei included",
    "calibration": "class: matched nuclei of known class; score: all predicted nuclei, right when "
    "matched; 15 equal bins; the temperature minimises the negative log likelihood of these very "
    "tiles and is a factor on the temperature that the model has",
    "unknown classes": "true nuclei of unknown class count in bpq and foreground scores only, and "
    "predictions matched to them not at all in class scores; their pixels are left out",
    "pixels": "the most probable channel; of predictions without probabilities, the label images",
    "mean over classes": "overall dice, iou and mpq_pooled: mean over the classes that occur in "
    "the truth, without background; false positives of the others show in their own rows",
    "nuclear_accuracy and confusion.nuclear": "the seed's: excludes missed and background pixels",
    "resolution": "images are resampled to the model's mpp where it differs by more than 2 % and "
    "decoded there, labels are resampled back; scored at the data's own resolution",
}


def summarise(evaluation: Evaluation) -> dict[str, float | None]:
    """A few numbers that say how good the model is; None where not defined.

    ``dice`` and ``iou`` (mean over the classes, of pixels), ``foreground_dice``, ``bce``,
    ``pixel_accuracy``, ``bpq`` and ``mpq`` (mean over tissues of the mean over images). Of points
    ``f1_centroid``, ``class_f1_centroid`` and ``class_accuracy_centroid``; of sparse points the
    last of these and ``recall_centroid``.
    """
    overall = _overall(evaluation)
    if evaluation.total.labels == "sparse points":
        return {name: overall[name] for name in ("class_accuracy_centroid", "recall_centroid")}
    if not evaluation.total.is_outlined:
        return {
            "f1_centroid": overall["f1_centroid"],
            "class_f1_centroid": overall["class_f1_centroid"],
            "class_accuracy_centroid": overall["class_accuracy_centroid"],
        }
    return {
        "dice": overall["dice"],
        "iou": overall["iou"],
        "foreground_dice": overall["foreground_dice"],
        "bce": overall["bce"],
        "pixel_accuracy": overall["pixel_accuracy"],
        "bpq": overall["bpq"],
        "mpq": overall["mpq"],
    }


def score_tables(evaluation: Evaluation) -> ScoreTables:
    """Every score as JSON-able tables; None where a score is not defined."""
    classes = evaluation.label_space.classes
    total = evaluation.total
    found = total.found[0]
    tables: ScoreTables = {
        "num_tiles": total.num_tiles,
        "num_nuclei": int(found[[0, 2]].sum()),
        "num_nuclei_predicted": int(found[[0, 1]].sum()),
        "labels": total.labels,
        "label_space": evaluation.label_space.to_dict(),
        "no_classes": evaluation.no_classes or None,
        "warnings": find_warnings(total.pixels.foreground),
        "overall": _overall(evaluation),
        "background": _pixel_row(total.pixels, 0),
        "per_class": _class_rows(evaluation),
        "confusion": {
            "pixels": _confusion(["Background", *classes], total.pixels.confusion),
            "nuclear": _confusion(list(classes), total.pixels.confusion[1:, 1:]),
        },
        **nucleus_tables(evaluation),
        "per_tissue": _tables(evaluation.by_tissue(), evaluation.tiles, "tissue", classes),
        "per_source": _tables(evaluation.by_source(), evaluation.tiles, "source", classes),
        "conventions": CONVENTIONS,
    }
    return leave_out_undefined(tables) if total.labels == "sparse points" else tables


def _overall(evaluation: Evaluation) -> OverallRow:
    tissues, total = list(evaluation.by_tissue().values()), evaluation.total
    nuclei = total.panoptic
    return {
        "bpq": number(nanmean([group.panoptic.image_pq[0] for group in tissues])),
        "mpq": number(nanmean([group.panoptic.image_mpq for group in tissues])),
        "bpq_strict": number(nanmean([group.panoptic.strict_pq[0] for group in tissues])),
        "mpq_strict": number(nanmean([group.panoptic.strict_mpq for group in tissues])),
        "num_tiles": total.num_tiles,
        "num_nuclei": int(total.found[0, [0, 2]].sum()),
        "bpq_images": number(nuclei.image_pq[0]),
        "mpq_images": number(nuclei.image_mpq),
        "bpq_strict_images": number(nuclei.strict_pq[0]),
        "mpq_strict_images": number(nuclei.strict_mpq),
        **_pooled_row(total, evaluation.tiles.image_scores()),
    }


def _pooled_row(group: GroupCounts, images: Mapping[str, NDArray[np.float64]]) -> PooledRow:
    """Scores of some tiles, by the counts of them all and the scores of each image."""
    nuclei, pixels, (tp, fp, fn) = group.panoptic, group.pixels, group.found[0].tolist()
    has_nuclei = nuclei.tp[1:] + nuclei.fn[1:] > 0
    has_pixels = pixels.confusion.sum(1)[1:] > 0
    return {
        "bpq_pooled": number(nuclei.pq[0]),
        "mpq_pooled": number(nanmean(nuclei.pq[1:][has_nuclei])),
        "dq_pooled": number(nuclei.dq[0]),
        "sq_pooled": number(nuclei.sq[0]),
        "tp": tp,
        "fp": fp,
        "fn": fn,
        **nucleus_row(group),
        "f1_images": _average(images["f1_images"]),
        "f1_centroid_images": _average(images["f1_centroid_images"]),
        "class_accuracy_centroid_images": _average(images["class_accuracy_centroid_images"]),
        "foreground_dice": number(pixels.foreground_dice),
        "foreground_dice_images": _average(images["foreground_dice_images"]),
        "foreground_iou": number(pixels.foreground_iou),
        "bce": number(nanmean(pixels.bce)),
        "dice": number(nanmean(pixels.dice[1:][has_pixels])),
        "iou": number(nanmean(pixels.iou[1:][has_pixels])),
        "soft_dice": number(nanmean(pixels.soft_dice[1:][has_pixels])),
        "soft_iou": number(nanmean(pixels.soft_iou[1:][has_pixels])),
        "pixel_accuracy": number(pixels.accuracy),
        "nuclear_accuracy": number(pixels.nuclear_accuracy),
    }


def _tables(
    groups: Mapping[str, GroupCounts], tiles: TileScores, field: str, classes: tuple[str, ...]
) -> dict[str, GroupRow]:
    """One row a group, its averages over images under the official names, and PQ by class."""
    images, owners = tiles.image_scores(), np.array(tiles.texts[field])
    return {
        name: _group_row(
            group, {key: values[owners == name] for key, values in images.items()}, classes
        )
        for name, group in groups.items()
    }


def _group_row(
    group: GroupCounts, images: Mapping[str, NDArray[np.float64]], classes: tuple[str, ...]
) -> GroupRow:
    nuclei, pixels = group.panoptic, group.pixels
    return {
        "bpq": number(nuclei.image_pq[0]),
        "mpq": number(nuclei.image_mpq),
        "bpq_strict": number(nuclei.strict_pq[0]),
        "mpq_strict": number(nuclei.strict_mpq),
        "num_tiles": group.num_tiles,
        "num_nuclei": int(group.found[0, [0, 2]].sum()),
        **_pooled_row(group, images),
        "pq_per_class": {cls: number(nuclei.image_pq[1 + j]) for j, cls in enumerate(classes)},
        "dice_per_class": {cls: number(pixels.dice[1 + j]) for j, cls in enumerate(classes)},
    }


def _class_rows(evaluation: Evaluation) -> dict[str, ClassRow]:
    total = evaluation.total
    return {name: _class_row(total, 1 + j) for j, name in enumerate(evaluation.label_space.classes)}


def _class_row(group: GroupCounts, channel: int) -> ClassRow:
    nuclei, (tp, fp, fn) = group.panoptic, group.found[channel].tolist()
    return {
        "num_nuclei": tp + fn,
        "num_images": int(nuclei.image_count[channel]),
        "pq": number(nuclei.image_pq[channel]),
        "pq_strict": number(nuclei.strict_pq[channel]),
        "pq_pooled": number(nuclei.pq[channel]),
        "dq_pooled": number(nuclei.dq[channel]),
        "sq_pooled": number(nuclei.sq[channel]),
        "tp": tp,
        "fp": fp,
        "fn": fn,
        **class_row(group, channel),
        **_pixel_row(group.pixels, channel),
    }


def _pixel_row(pixels: PixelCounts, channel: int) -> PixelRow:
    return {
        "bce": number(pixels.bce[channel]),
        "dice": number(pixels.dice[channel]),
        "iou": number(pixels.iou[channel]),
        "soft_dice": number(pixels.soft_dice[channel]),
        "soft_iou": number(pixels.soft_iou[channel]),
        "pixel_recall": number(pixels.recall[channel]),
        "pixel_precision": number(pixels.precision[channel]),
        "pixel_accuracy": number(pixels.class_accuracy[channel]),
    }


def _confusion(labels: list[str], counts: NDArray[np.int64]) -> Confusion:
    shares = ratio(100 * counts, counts.sum(1, keepdims=True))
    accuracy = ratio(np.trace(counts), counts.sum())
    return {
        "labels": labels,
        "counts": counts.tolist(),
        "row_percent": [[number(share) for share in row] for row in shares],
        "accuracy": number(float(accuracy)),
    }


def _average(values: NDArray[np.float64]) -> float | None:
    """Mean of the images that have a score, the same bits in any order; None without one."""
    known = values[~np.isnan(values)]
    return number(float(ratio(to_fixed(known, PAIR_UNIT).sum() * PAIR_UNIT, len(known))))
