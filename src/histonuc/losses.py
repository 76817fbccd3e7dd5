"""Losses on logits, as pure functions.

Every loss is computed for each class of each image over that image's pixels, giving (B, K), and
only then reduced. The seed project summed over batch, classes and pixels at once: a class missed
altogether hardly moved its loss (docs/decisions/0004). Overlap losses (Dice, IoU, Tversky) are
averaged over the classes that are in the image: of an absent class they only say that something of
it was predicted, so steeply that rare classes are never predicted at all. Cross entropy says so in
proportion.

Shapes: logits (B, K, H, W), any float dtype (computed in float32 or better); targets (B, K, H, W)
in 0..1; valid (B, K, H, W) or (B, 1, H, W) bool, False where a pixel takes part in nothing.
Classes are exclusive, so the probability of class k is the softmax of the logits over K.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Reduction = Literal["none", "mean"]

SMOOTH = 1.0
"""Pixels added to numerator and denominator of overlap losses: a class that is not in an image's
truth or prediction has loss 0, and one stray probability of 1 does not make it 1."""


def _widen(logits: Tensor) -> Tensor:
    """float32 under autocast and for half inputs; float64 stays (gradient checks)."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _valid_like(valid: Tensor | None, reference: Tensor) -> Tensor:
    if valid is None:
        return torch.ones_like(reference)
    return valid.to(reference.dtype).expand_as(reference)


def _pixel_mean(per_pixel: Tensor, valid: Tensor) -> Tensor:
    """(B, K, H, W) to (B, K): mean over valid pixels, 0 where there are none."""
    return (per_pixel * valid).sum((2, 3)) / valid.sum((2, 3)).clamp(min=1)


def _reduce(
    per_class: Tensor,
    reduction: Reduction,
    class_weights: Sequence[float] = (),
    counted: Tensor | None = None,
) -> Tensor:
    """(B, K) as it is, or each image's weighted mean over its counted classes, then over images."""
    if reduction == "none":
        return per_class
    weights = torch.ones_like(per_class)
    if len(class_weights):
        weights = weights * torch.as_tensor(class_weights).to(per_class)
    if counted is not None:
        weights = weights * counted.to(weights.dtype)
    return ((per_class * weights).sum(1) / weights.sum(1).clamp(min=1e-12)).mean()


def batch_total(weights: Tensor, least: float) -> Tensor:
    """Sum of a batch's weights (any shape, no gradient) and at least `least`, to divide a sum by.

    Where processes train together each has a part of the batch, and their gradients are averaged.
    Each divides by an equal share of all weights, which averages to the whole batch's gradient.
    """
    total = weights.sum()
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return total.clamp(min=least)
    torch.distributed.all_reduce(total)
    return total.clamp(min=least) / torch.distributed.get_world_size()


def _log_not(log_probability: Tensor) -> Tensor:
    """log(1 - p) from log p; exact for small p, bounded (gradient too) as p nears 1."""
    return torch.log1p(-log_probability.exp().clamp(max=1 - 1e-6))


def bce_loss(
    logits: Float[Tensor, "b k h w"],
    targets: Float[Tensor, "b k h w"],
    valid: Bool[Tensor, "b _ h w"] | None = None,
    *,
    reduction: Reduction = "mean",
    class_weights: Sequence[float] = (),
) -> Tensor:
    """Binary cross entropy of each class's softmax probability, from log-softmax, never rounded."""
    log_p = _widen(logits).log_softmax(1)
    per_pixel = -(targets * log_p + (1 - targets) * _log_not(log_p))
    return _reduce(_pixel_mean(per_pixel, _valid_like(valid, log_p)), reduction, class_weights)


def _overlap_sums(
    logits: Tensor, targets: Tensor, valid: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Σ p·t, Σ p, Σ t over valid pixels, each (B, K)."""
    p = _widen(logits).softmax(1)
    known = _valid_like(valid, p)
    t = targets.to(p.dtype) * known
    p = p * known
    return (p * t).sum((2, 3)), p.sum((2, 3)), t.sum((2, 3))


def dice_loss(
    logits: Float[Tensor, "b k h w"],
    targets: Float[Tensor, "b k h w"],
    valid: Bool[Tensor, "b _ h w"] | None = None,
    *,
    reduction: Reduction = "mean",
    class_weights: Sequence[float] = (),
) -> Tensor:
    """Soft Dice, 1 - (2 Σpt + s) / (Σp + Σt + s) (Milletari et al. 2016, arXiv 1606.04797)."""
    both, p, t = _overlap_sums(logits, targets, valid)
    loss = 1 - (2 * both + SMOOTH) / (p + t + SMOOTH)
    return _reduce(loss, reduction, class_weights, counted=t > 0)


def iou_loss(
    logits: Float[Tensor, "b k h w"],
    targets: Float[Tensor, "b k h w"],
    valid: Bool[Tensor, "b _ h w"] | None = None,
    *,
    reduction: Reduction = "mean",
    class_weights: Sequence[float] = (),
) -> Tensor:
    """Soft Jaccard, 1 - (Σpt + s) / (Σp + Σt - Σpt + s) (Rahman & Wang 2016)."""
    both, p, t = _overlap_sums(logits, targets, valid)
    loss = 1 - (both + SMOOTH) / (p + t - both + SMOOTH)
    return _reduce(loss, reduction, class_weights, counted=t > 0)


def focal_tversky_loss(
    logits: Float[Tensor, "b k h w"],
    targets: Float[Tensor, "b k h w"],
    valid: Bool[Tensor, "b _ h w"] | None = None,
    *,
    alpha: float = 0.7,
    beta: float = 0.3,
    gamma: float = 4 / 3,
    reduction: Reduction = "mean",
    class_weights: Sequence[float] = (),
) -> Tensor:
    """Focal Tversky, (1 - TI)^(1/γ) with α on misses (Abraham & Khan 2018, arXiv 1810.07842).

    TI = (TP + s) / (TP + α FN + β FP + s). The paper's exponent is 1/γ with γ = 4/3.
    """
    both, p, t = _overlap_sums(logits, targets, valid)
    tversky = (both + SMOOTH) / (both + alpha * (t - both) + beta * (p - both) + SMOOTH)
    # The power's slope is infinite at 0: keep a perfect class away from it.
    loss = (1 - tversky).clamp(min=1e-6) ** (1 / gamma)
    return _reduce(loss, reduction, class_weights, counted=t > 0)


def focal_loss(
    logits: Float[Tensor, "b k h w"],
    targets: Float[Tensor, "b k h w"],
    valid: Bool[Tensor, "b _ h w"] | None = None,
    *,
    gamma: float = 2.0,
    reduction: Reduction = "mean",
    class_weights: Sequence[float] = (),
) -> Tensor:
    """Focal loss per class, -(1 - p)^γ t log p (Lin et al. 2017, arXiv 1708.02002), without α."""
    log_p = _widen(logits).log_softmax(1)
    per_pixel = -((1 - log_p.exp()) ** gamma) * targets * log_p
    return _reduce(_pixel_mean(per_pixel, _valid_like(valid, log_p)), reduction, class_weights)


def candidate_cross_entropy(
    logits: Float[Tensor, "b k h w"],
    allowed: Bool[Tensor, "b k h w"],
    valid: Bool[Tensor, "b h w"] | None = None,
    *,
    reduction: Reduction = "mean",
) -> Tensor:
    """-log Σ p over the channels a pixel may be, per image (B,) or its mean.

    Equal to cross entropy where one channel is allowed and 0 where all are.
    """
    log_p = _widen(logits).log_softmax(1)
    per_pixel = -log_p.masked_fill(~allowed, -torch.inf).logsumexp(1)
    known = torch.ones_like(per_pixel) if valid is None else valid.to(per_pixel.dtype)
    # 0 * inf is nan where nothing is allowed (ignored pixels): replace, do not multiply.
    per_pixel = torch.where(known > 0, per_pixel, torch.zeros_like(per_pixel))
    per_image = per_pixel.sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    return per_image if reduction == "none" else per_image.mean()


def hybrid_loss(
    logits: Float[Tensor, "b k h w"],
    candidates: Int[Tensor, "b h w"],
    ignore: Bool[Tensor, "b h w"],
    *,
    bce: float = 2.0,
    dice: float = 2.0,
    iou: float = 1.0,
    candidate: float = 1.0,
    class_weights: Sequence[float] = (),
) -> tuple[Tensor, dict[str, Tensor]]:
    """The seed's weighted mean of BCE, Dice and IoU, with candidate sets and ignored regions.

    A pixel whose set holds one channel is an ordinary target. A pixel of several is a 0 for the
    channels outside its set, takes no part in the channels inside, and pays
    -log Σ p over the set instead.

    Args:
        logits: one channel a class.
        candidates: bit k set where the pixel may be channel k.
        ignore: True where the truth is unknown.
        bce: weight of the binary cross entropy.
        dice: weight of the Dice loss.
        iou: weight of the IoU loss.
        candidate: weight of the candidate-set term, where ambiguous pixels exist.
        class_weights: one weight a channel; empty for equal ones.

    Returns:
        The weighted sum divided by bce + dice + iou, and the detached terms by name.
    """
    bits = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    allowed = ((candidates.unsqueeze(1) >> bits) & 1).bool()  # (B, K, H, W)
    ambiguous = allowed.sum(1) > 1  # (B, H, W)
    valid = ~ignore.unsqueeze(1) & ~(allowed & ambiguous.unsqueeze(1))
    targets = (allowed & ~ambiguous.unsqueeze(1)).to(_widen(logits[:0]).dtype)
    terms = {
        "bce": bce_loss(logits, targets, valid, class_weights=class_weights),
        "dice": dice_loss(logits, targets, valid, class_weights=class_weights),
        "iou": iou_loss(logits, targets, valid, class_weights=class_weights),
    }
    total = (bce * terms["bce"] + dice * terms["dice"] + iou * terms["iou"]) / (bce + dice + iou)
    # Over all pixels, as the BCE is: averaged over the ambiguous ones alone it would outweigh the
    # background many times, and nuclei grow fat.
    share = (ambiguous & ~ignore).sum((1, 2)) / (~ignore).sum((1, 2)).clamp(min=1)
    missed = candidate_cross_entropy(logits, allowed, ambiguous & ~ignore, reduction="none")
    terms["candidate"] = (missed * share).mean()
    total = total + candidate * terms["candidate"]
    return total, {name: value.detach() for name, value in terms.items()}


def binary_loss(
    logits: Float[Tensor, "b h w"],
    targets: Float[Tensor, "b h w"],
    valid: Bool[Tensor, "b h w"],
) -> Tensor:
    """Binary cross entropy of one map: mean over an image's valid pixels, then over such images."""
    per_pixel = torch.nn.functional.binary_cross_entropy_with_logits(
        _widen(logits), targets.float(), reduction="none"
    )
    per_image = _pixel_mean(per_pixel.unsqueeze(1), valid.unsqueeze(1).float())
    return per_image.sum() / batch_total(valid.any(2).any(1).float(), 1.0)


def binary_dice_loss(
    logits: Float[Tensor, "b h w"],
    targets: Float[Tensor, "b h w"],
    valid: Bool[Tensor, "b h w"],
) -> Tensor:
    """Soft Dice of one map, 1 - (2 Σpt + s) / (Σp + Σt + s), averaged over images that have it."""
    known = valid.float()
    p, t = _widen(logits).sigmoid() * known, targets.float() * known
    both, p_sum, t_sum = (p * t).sum((1, 2)), p.sum((1, 2)), t.sum((1, 2))
    loss = 1 - (2 * both + SMOOTH) / (p_sum + t_sum + SMOOTH)
    counted = (t_sum > 0).float()
    return (loss * counted).sum() / batch_total(counted, 1.0)


def candidate_class_loss(
    logits: Float[Tensor, "b k h w"],
    candidates: Int[Tensor, "b h w"],
    weight: Float[Tensor, "b h w"],
    *,
    class_weights: Sequence[float] = (),
) -> Tensor:
    """-log Σ p over each pixel's candidate classes, weighted mean over the whole batch.

    Pixels without a class (background) or of any class say nothing and do not count in the mean.

    Args:
        logits: one channel a class.
        candidates: bit j set where the pixel may be of class j.
        weight: how much each pixel counts.
        class_weights: one a class; a set's weight is the least of its classes', as it does not say
            that the nucleus is of the rare one.
    """
    bits = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    allowed = ((candidates.unsqueeze(1) >> bits) & 1).bool()
    number = allowed.sum(1)
    log_p = _widen(logits).log_softmax(1)
    per_pixel = -log_p.masked_fill(~allowed, -torch.inf).logsumexp(1)
    known = (number > 0) & (number < logits.shape[1])
    per_pixel = torch.where(known, per_pixel, torch.zeros_like(per_pixel))
    share = weight * known
    if len(class_weights):
        per_class = torch.as_tensor(class_weights).to(log_p).view(1, -1, 1, 1)
        share = share * torch.where(allowed, per_class, per_class.amax()).amin(1)
    return (per_pixel * share).sum() / batch_total(share, 1e-6)
