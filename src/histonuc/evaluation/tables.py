"""Counts to numbers: the tables of scores.json and the lines on the screen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.evaluation.counting import GroupCounts
from histonuc.evaluation.nucleus_tables import class_row, nucleus_row, nucleus_tables, number
from histonuc.evaluation.results import Evaluation
from histonuc.metrics.calibration import CalibrationCounts
from histonuc.metrics.counts import nanmean, ratio
from histonuc.metrics.pixels import PixelCounts

CONVENTIONS = {
    "matching": "a nucleus is found when IoU > 0.5 (strict)",
    "bpq, mpq": "PanNuke's: PQ of an image (mpq: mean over the classes it holds), mean over the "
    "images of a tissue, mean over tissues; images without true nuclei (of the class) do not "
    "count, so false positives there are free",
    "bpq_images, mpq_images, pq_images": "the same, mean over all images",
    "bpq_strict, mpq_strict, ..._strict_images": "as bpq and mpq, but an image (or class of an "
    "image) that only the prediction has nuclei of counts as 0",
    "intervals": "95 % percentile bootstrap over the images within each tissue; of averages over "
    "tissues and over images and of the pooled scores of all nuclei; none of a single image",
    "bpq_pooled, mpq_pooled, pq, dq, sq": "from the nuclei of all images together; false positives "
    "count everywhere",
    "overlaps": "PQ, DQ, SQ and F1 of a class score its whole nuclei, as PanNuke's channels hold "
    "them; everything else the flat label image, where the later channel wins",
    "aji, aji_plus, dice_ensemble": "mean over images; ..._pooled: from the pixels of all together",
    "f1, precision, recall": "IoU > 0.5, nuclei of all images together; thresholds has 0.5 to 0.95",
    "f1_centroid": "HoVer-Net's: centroids paired within 3 microns (12 px at 0.25 mpp; 12 px where "
    "the resolution is unknown), class F1 = 2TP / (2TP + 2FPc + 2FNc + FPd + FNd)",
    "hausdorff_px, hausdorff_um": "mean over the nuclei matched at IoU > 0.5",
    "count_mae, count_r2": "number of nuclei an image; by class only where all true classes are "
    "known",
    "errors": "merged, split: more than half of an area shared with two or more nuclei; missed, "
    "spurious: the rest that is not matched, badly outlined nuclei included",
    "calibration": "class: matched nuclei of known class; score: all predicted nuclei, right when "
    "matched; 15 equal bins; the temperature minimises the negative log likelihood of these very "
    "tiles and is a factor on the temperature that the model has",
    "unknown classes": "true nuclei of unknown class count in bpq and foreground scores only, and "
    "predictions matched to them not at all in class scores; their pixels are left out",
    "dice, iou": "of pixels, most probable channel",
    "mean over classes": "overall dice, iou and mpq_pooled: mean over the classes that occur in "
    "the truth, without background; false positives of the others show in their own rows",
    "soft_dice, soft_iou": "with probabilities in place of decisions",
    "bce": "binary cross entropy in nats, mean over pixels; overall: mean over all channels",
    "foreground_dice": "nucleus of any class against background",
    "nuclear_accuracy and confusion.nuclear": "the seed's: excludes missed and background pixels",
    "resolution": "images are resampled to the model's mpp where it differs by more than 2 % and "
    "decoded there, labels are resampled back; scored at the data's own resolution",
}


def summarise(evaluation: Evaluation) -> dict[str, float | None]:
    """A few numbers that say how good the model is; None where not defined.

    ``dice`` and ``iou`` (mean over the classes, of pixels), ``foreground_dice``, ``bce``,
    ``pixel_accuracy``, ``bpq`` and ``mpq`` (mean over tissues of the mean over images).
    """
    overall = _overall(evaluation)
    names = ("dice", "iou", "foreground_dice", "bce", "pixel_accuracy", "bpq", "mpq")
    return {name: overall[name] for name in names}


def score_tables(evaluation: Evaluation) -> dict[str, Any]:
    """Every score as JSON-able tables; None where a score is not defined."""
    classes = evaluation.label_space.classes
    total = evaluation.total
    return {
        "num_tiles": total.num_tiles,
        "num_nuclei": int(total.panoptic.tp[0] + total.panoptic.fn[0]),
        "num_nuclei_predicted": int(total.panoptic.tp[0] + total.panoptic.fp[0]),
        "label_space": evaluation.label_space.to_dict(),
        "no_classes": evaluation.no_classes or None,
        "overall": _overall(evaluation),
        "background": _pixel_row(total.pixels, 0),
        "per_class": _class_rows(evaluation),
        "confusion": {
            "pixels": _confusion(["Background", *classes], total.pixels.confusion),
            "nuclear": _confusion(list(classes), total.pixels.confusion[1:, 1:]),
        },
        **nucleus_tables(evaluation),
        "per_tissue": _tables(evaluation.by_tissue(), classes),
        "per_source": _tables(evaluation.by_source(), classes),
        "conventions": CONVENTIONS,
    }


def score_lines(evaluation: Evaluation) -> list[str]:
    """The scores in short, for people."""
    overall, total = _overall(evaluation), evaluation.total
    nuclei = int(total.panoptic.tp[0] + total.panoptic.fn[0])
    lines = [
        f"{total.num_tiles} tiles, {nuclei} nuclei, {int(total.panoptic.tp[0])} found, "
        f"{int(total.panoptic.fn[0])} missed, {int(total.panoptic.fp[0])} spurious",
        f"bPQ {_text(overall['bpq'])}   mPQ {_text(overall['mpq'])}   "
        f"Dice {_text(overall['dice'])}   nucleus Dice {_text(overall['foreground_dice'])}   "
        f"BCE {_text(overall['bce'])}",
        f"AJI {_text(overall['aji'])}   F1 {_text(overall['f1'])}   "
        f"F1 by centroid {_text(overall['f1_centroid'])}   strict mPQ "
        f"{_text(overall['mpq_strict'])}   pooled mPQ {_text(overall['mpq_pooled'])}",
        _calibration_line(total.calibration),
    ]
    if evaluation.no_classes:
        return [*lines, f"no class scores: {evaluation.no_classes}"]
    header = f"{'class':<26}{'nuclei':>8}{'PQ':>8}{'DQ':>8}{'SQ':>8}{'Dice':>8}{'IoU':>8}"
    rows = [
        f"{name:<26}{row['num_nuclei']:>8}"
        + "".join(f"{_text(row[key]):>8}" for key in ("pq", "dq", "sq", "dice", "iou"))
        for name, row in _class_rows(evaluation).items()
    ]
    return [*lines, header, *rows]


def _calibration_line(counts: CalibrationCounts) -> str:
    score = f"ECE of the score {_text(number(counts.score_ece))}"
    factor = number(counts.temperature)
    if factor is None:
        return score
    return (
        f"ECE of the class {_text(number(counts.class_ece))}, "
        f"{_text(number(counts.class_ece_fitted))} at {factor:.3f} times the temperature   {score}"
    )


def _overall(evaluation: Evaluation) -> dict[str, Any]:
    tissues = list(evaluation.by_tissue().values())
    official = {
        "bpq": number(nanmean([group.panoptic.image_pq[0] for group in tissues])),
        "mpq": number(nanmean([group.panoptic.image_mpq for group in tissues])),
        "bpq_strict": number(nanmean([group.panoptic.strict_pq[0] for group in tissues])),
        "mpq_strict": number(nanmean([group.panoptic.strict_mpq for group in tissues])),
    }
    return official | _group_row(evaluation.total)


def _group_row(group: GroupCounts) -> dict[str, Any]:
    nuclei, pixels = group.panoptic, group.pixels
    has_nuclei = nuclei.tp[1:] + nuclei.fn[1:] > 0
    has_pixels = pixels.confusion.sum(1)[1:] > 0
    return {
        "num_tiles": group.num_tiles,
        "num_nuclei": int(nuclei.tp[0] + nuclei.fn[0]),
        "bpq_images": number(nuclei.image_pq[0]),
        "mpq_images": number(nuclei.image_mpq),
        "bpq_strict_images": number(nuclei.strict_pq[0]),
        "mpq_strict_images": number(nuclei.strict_mpq),
        "bpq_pooled": number(nuclei.pq[0]),
        "mpq_pooled": number(nanmean(nuclei.pq[1:][has_nuclei])),
        "dq": number(nuclei.dq[0]),
        "sq": number(nuclei.sq[0]),
        "tp": int(nuclei.tp[0]),
        "fp": int(nuclei.fp[0]),
        "fn": int(nuclei.fn[0]),
        **nucleus_row(group),
        "foreground_dice": number(pixels.foreground_dice),
        "foreground_iou": number(pixels.foreground_iou),
        "bce": number(nanmean(pixels.bce)),
        "dice": number(nanmean(pixels.dice[1:][has_pixels])),
        "iou": number(nanmean(pixels.iou[1:][has_pixels])),
        "soft_dice": number(nanmean(pixels.soft_dice[1:][has_pixels])),
        "soft_iou": number(nanmean(pixels.soft_iou[1:][has_pixels])),
        "pixel_accuracy": number(pixels.accuracy),
        "nuclear_accuracy": number(pixels.nuclear_accuracy),
    }


def _tables(groups: dict[str, GroupCounts], classes: tuple[str, ...]) -> dict[str, Any]:
    """One row a group, its averages over images under the official names, and PQ by class."""
    tables = {}
    for name, group in groups.items():
        row = _group_row(group)
        by_class = {cls: number(group.panoptic.image_pq[1 + j]) for j, cls in enumerate(classes)}
        dice = {cls: number(group.pixels.dice[1 + j]) for j, cls in enumerate(classes)}
        tables[name] = {
            "bpq": row.pop("bpq_images"),
            "mpq": row.pop("mpq_images"),
            "bpq_strict": row.pop("bpq_strict_images"),
            "mpq_strict": row.pop("mpq_strict_images"),
            **row,
            "pq_images_per_class": by_class,
            "dice_per_class": dice,
        }
    return tables


def _class_rows(evaluation: Evaluation) -> dict[str, Any]:
    total = evaluation.total
    return {name: _class_row(total, 1 + j) for j, name in enumerate(evaluation.label_space.classes)}


def _class_row(group: GroupCounts, channel: int) -> dict[str, Any]:
    nuclei = group.panoptic
    return {
        "num_nuclei": int(nuclei.tp[channel] + nuclei.fn[channel]),
        "pq_images": number(nuclei.image_pq[channel]),
        "pq_strict_images": number(nuclei.strict_pq[channel]),
        "num_images": int(nuclei.image_count[channel]),
        "pq": number(nuclei.pq[channel]),
        "dq": number(nuclei.dq[channel]),
        "sq": number(nuclei.sq[channel]),
        "tp": int(nuclei.tp[channel]),
        "fp": int(nuclei.fp[channel]),
        "fn": int(nuclei.fn[channel]),
        **class_row(group, channel),
        **_pixel_row(group.pixels, channel),
    }


def _pixel_row(pixels: PixelCounts, channel: int) -> dict[str, Any]:
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


def _confusion(labels: list[str], counts: NDArray[np.int64]) -> dict[str, Any]:
    shares = ratio(100 * counts, counts.sum(1, keepdims=True))
    accuracy = ratio(np.trace(counts), counts.sum())
    return {
        "labels": labels,
        "counts": counts.tolist(),
        "row_percent": [[number(share) for share in row] for row in shares],
        "accuracy": number(float(accuracy)),
    }


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
