"""Losses: worked values, the seed's defect, gradients, ignored and ambiguous pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from histonuc.losses import (
    bce_loss,
    candidate_class_loss,
    candidate_cross_entropy,
    dice_loss,
    focal_loss,
    focal_tversky_loss,
    hybrid_loss,
    iou_loss,
)

ALL = [bce_loss, dice_loss, iou_loss, focal_loss, focal_tversky_loss]


def logits_of(probabilities: list[list[list[float]]]) -> Tensor:
    """(K, H, W) probabilities that sum to 1, as logits of one image (float64)."""
    return torch.tensor(probabilities, dtype=torch.float64).log().unsqueeze(0)


# Two classes, one row of four pixels; p of class 0, truth of class 0 is the first two pixels.
P0 = [0.9, 0.6, 0.3, 0.2]
LOGITS = logits_of([[P0], [[1 - p for p in P0]]])
TRUTH = torch.tensor([[[[1.0, 1, 0, 0]], [[0, 0, 1, 1.0]]]], dtype=torch.float64)


def test_bce_is_the_mean_of_binary_entropies() -> None:
    expected = -(math.log(0.9) + math.log(0.6) + math.log(1 - 0.3) + math.log(1 - 0.2)) / 4
    values = bce_loss(LOGITS, TRUTH, reduction="none")
    assert values.tolist() == [pytest.approx([expected, expected])]  # two classes mirror each other


def test_dice_and_iou_with_one_pixel_of_smoothing() -> None:
    both, p, t = 0.9 + 0.6, 0.9 + 0.6 + 0.3 + 0.2, 2
    assert dice_loss(LOGITS, TRUTH, reduction="none")[0, 0].item() == pytest.approx(
        1 - (2 * both + 1) / (p + t + 1)
    )
    assert iou_loss(LOGITS, TRUTH, reduction="none")[0, 0].item() == pytest.approx(
        1 - (both + 1) / (p + t - both + 1)
    )


def test_focal_tversky_weighs_misses() -> None:
    truth = torch.tensor([[[[1.0, 1, 1, 0]], [[0, 0, 0, 1.0]]]], dtype=torch.float64)
    tp, fn, fp = 0.9 + 0.6 + 0.3, 0.1 + 0.4 + 0.7, 0.2
    tversky = (tp + 1) / (tp + 0.7 * fn + 0.3 * fp + 1)
    assert focal_tversky_loss(LOGITS, truth, reduction="none")[0, 0].item() == pytest.approx(
        (1 - tversky) ** (3 / 4)
    )


def test_focal_weighs_what_is_wrong() -> None:
    focal = -(0.1**2 * math.log(0.9) + 0.4**2 * math.log(0.6)) / 4
    assert focal_loss(LOGITS, TRUTH, reduction="none")[0, 0].item() == pytest.approx(focal)


def test_a_rare_class_missed_altogether_is_not_hidden_by_the_others() -> None:
    """The seed's Dice of this tile was 0.0022; the missed class alone has 1."""
    truth = torch.zeros(1, 3, 100, 100)
    truth[:, 2, :3, :7] = 1  # 21 rare pixels of 10,000
    truth[:, 1, 50:] = 1
    truth[:, 0] = 1 - truth[:, 1:].sum(1)
    prediction = truth.clone()
    prediction[:, 0] += prediction[:, 2]
    prediction[:, 2] = 0
    logits = (prediction * 40) - 20
    per_class = dice_loss(logits, truth, reduction="none")
    assert per_class.shape == (1, 3)
    assert per_class[0, 2] == pytest.approx(1 - 1 / 22, abs=1e-3)
    assert per_class[0, :2].max() < 0.01
    assert dice_loss(logits, truth) > 0.3
    everything = 1 - (2 * (prediction * truth).sum() + 1) / (prediction.sum() + truth.sum() + 1)
    assert everything < 0.01  # what summing over all classes makes of it


def test_unreduced_losses_do_not_mix_images_or_classes() -> None:
    torch.manual_seed(1)
    logits, truth = torch.randn(3, 4, 6, 5), torch.rand(3, 4, 6, 5)
    for loss in ALL:
        together = loss(logits, truth, reduction="none")
        alone = torch.cat(
            [loss(logits[i : i + 1], truth[i : i + 1], reduction="none") for i in range(3)]
        )
        torch.testing.assert_close(together, alone)
        torch.testing.assert_close(loss(logits, truth), together.mean())  # all classes are present


@pytest.mark.parametrize("loss", [dice_loss, iou_loss, focal_tversky_loss])
def test_overlap_is_averaged_over_the_classes_that_are_there(loss) -> None:
    """The slope of an absent class's Dice would drive rare classes to never being predicted."""
    torch.manual_seed(6)
    logits, truth = torch.randn(2, 4, 6, 5), torch.zeros(2, 4, 6, 5)
    truth[0, 0], truth[1, 1, :3], truth[1, 2, 3:] = 1, 1, 1
    each = loss(logits, truth, reduction="none")
    expected = (each[0, 0] + (each[1, 1] + each[1, 2]) / 2) / 2
    torch.testing.assert_close(loss(logits, truth), expected)


def test_a_candidate_set_weighs_the_least_of_its_classes() -> None:
    logits = torch.randn(1, 3, 1, 4, generator=torch.Generator().manual_seed(0))
    candidates = torch.tensor([[[0b001, 0b110, 0b111, 0b000]]])  # the last two say nothing
    p = logits.softmax(1)[0, :, 0]
    first, both = -p[0, 0].log(), -(p[1, 1] + p[2, 1]).log()
    weight = torch.tensor([[[1.0, 2.0, 1.0, 1.0]]])
    found = candidate_class_loss(logits, candidates, weight, class_weights=(5.0, 4.0, 9.0))
    torch.testing.assert_close(found, (5 * first + 2 * 4 * both) / (5 + 2 * 4))
    found = candidate_class_loss(logits, candidates, weight)
    torch.testing.assert_close(found, (first + 2 * both) / 3)


def test_class_weights_are_a_weighted_mean() -> None:
    logits = logits_of([[[0.5, 0.6]], [[0.3, 0.3]], [[0.2, 0.1]]])
    truth = torch.tensor([[[[1.0, 0]], [[0, 1.0]], [[0, 0]]]], dtype=torch.float64)
    each = iou_loss(logits, truth, reduction="none")[0]
    weighted = iou_loss(logits, truth, class_weights=(3.0, 1.0, 7.0))
    assert weighted.item() == pytest.approx((3 * each[0] + each[1]).item() / 4)


@pytest.mark.parametrize("loss", [dice_loss, iou_loss])
def test_a_class_absent_from_truth_and_prediction_costs_nothing(loss) -> None:
    truth = torch.zeros(1, 2, 8, 8)
    truth[:, 0] = 1
    assert loss((truth * 60) - 30, truth, reduction="none")[0, 1].item() == pytest.approx(
        0, abs=1e-5
    )


def test_ignored_pixels_get_no_gradient_and_change_nothing() -> None:
    torch.manual_seed(2)
    logits = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    candidates = 1 << torch.randint(0, 3, (2, 6, 6))
    candidates[0, 0, 0] = 0b110
    ignore = torch.zeros(2, 6, 6, dtype=torch.bool)
    ignore[:, :2] = True
    loss, _ = hybrid_loss(logits, candidates, ignore)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[:, :, :2].abs().max() == 0
    assert gradient[:, :, 2:].abs().min() > 0
    other = candidates.clone()
    other[:, :2] = 1
    torch.testing.assert_close(hybrid_loss(logits, other, ignore)[0], loss)


def test_everything_ignored_is_zero_not_nan() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss, _ = hybrid_loss(
        logits, torch.zeros(1, 4, 4, dtype=torch.int32), torch.ones(1, 4, 4, dtype=torch.bool)
    )
    loss.backward()
    assert loss.item() == pytest.approx(0)
    assert torch.isfinite(logits.grad).all()


def test_the_gradient_is_right() -> None:
    torch.manual_seed(3)
    logits = torch.randn(2, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    candidates = 1 << torch.randint(0, 4, (2, 3, 4))
    candidates[0, 1] = 0b0110
    ignore = torch.zeros(2, 3, 4, dtype=torch.bool)
    ignore[1, 2] = True
    assert torch.autograd.gradcheck(lambda x: hybrid_loss(x, candidates, ignore)[0], logits)
    truth = torch.rand(2, 4, 3, 4, dtype=torch.float64)
    for loss in ALL:
        assert torch.autograd.gradcheck(lambda x, f=loss: f(x, truth), logits)


def test_hybrid_is_the_weighted_mean_of_its_terms() -> None:
    torch.manual_seed(4)
    logits = torch.randn(2, 3, 5, 5)
    candidates = 1 << torch.randint(0, 3, (2, 5, 5))
    ignore = torch.zeros(2, 5, 5, dtype=torch.bool)
    total, parts = hybrid_loss(logits, candidates, ignore)
    expected = (2 * parts["bce"] + 2 * parts["dice"] + 1 * parts["iou"]) / 5
    torch.testing.assert_close(total, expected)
    assert parts["candidate"] == 0
    one_hot = torch.stack([(candidates >> k) & 1 for k in range(3)], 1).float()
    torch.testing.assert_close(parts["dice"], dice_loss(logits, one_hot))


def test_a_candidate_set_is_satisfied_by_any_of_its_classes() -> None:
    """Neoplastic or Epithelial: either answer is right, a third is not."""
    ignore = torch.zeros(1, 8, 8, dtype=torch.bool)
    sets = torch.full((1, 8, 8), 0b0110)

    def loss_when_sure_of(channel: int) -> float:
        logits = torch.full((1, 4, 8, 8), -20.0)
        logits[:, channel] = 20.0
        return hybrid_loss(logits, sets, ignore)[0].item()

    assert loss_when_sure_of(1) == pytest.approx(0, abs=1e-4)
    assert loss_when_sure_of(2) == pytest.approx(0, abs=1e-4)
    assert loss_when_sure_of(0) > 1
    assert loss_when_sure_of(3) > 1


def test_candidate_cross_entropy_is_minus_log_of_the_sum() -> None:
    logits = logits_of([[[0.5]], [[0.2]], [[0.3]]])
    allowed = torch.tensor([False, True, True]).view(1, 3, 1, 1)
    assert candidate_cross_entropy(logits, allowed).item() == pytest.approx(-math.log(0.2 + 0.3))
    assert candidate_cross_entropy(logits, torch.ones_like(allowed)).item() == pytest.approx(0)


@pytest.mark.parametrize("loss", ALL)
def test_extreme_logits_stay_finite(loss) -> None:
    for value in (1e4, -1e4):
        logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
        truth = torch.zeros(1, 2, 4, 4)
        truth[:, 1] = 1
        (result := loss(logits + torch.tensor([value, 0.0]).view(1, 2, 1, 1), truth)).backward()
        assert torch.isfinite(result)
        assert torch.isfinite(logits.grad).all()


def test_half_precision_is_computed_in_float32() -> None:
    torch.manual_seed(5)
    logits = torch.randn(1, 3, 64, 64).bfloat16()
    truth = torch.rand(1, 3, 64, 64)
    for loss in ALL:
        assert loss(logits, truth).dtype == torch.float32
        torch.testing.assert_close(loss(logits, truth), loss(logits.float(), truth))
