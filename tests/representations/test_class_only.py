"""Tiles with points teach the class of the nuclei that are marked, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from histonuc.data.dataset import crop_labels
from histonuc.nuclei import TileLabels
from histonuc.representations import REPRESENTATIONS, Representation, build_representation

SIDE, CLASSES = 24, 3
SETS = np.array([0, 0b001, 0b011, 0b111, 0b100], np.uint32)
"""Of background and four nuclei: of one class, of two, of any, of the last."""


def outlined() -> TileLabels:
    instances = np.zeros((SIDE, SIDE), np.int32)
    for number, (y, x) in enumerate(((2, 2), (2, 13), (13, 2), (13, 13)), start=1):
        instances[y : y + 8, x : x + 9] = number
    ignore = np.zeros((SIDE, SIDE), bool)
    return TileLabels(instances=instances, candidates=SETS, ignore=ignore)


def marked() -> TileLabels:
    labels = outlined()
    ignore = np.ones((SIDE, SIDE), bool)
    return replace(labels, ignore=ignore, class_only=True)


def batch(representation: Representation, *tiles: TileLabels) -> dict[str, Tensor]:
    encoded = [representation.encode(tile) for tile in tiles]
    return {
        name: torch.stack([torch.from_numpy(np.ascontiguousarray(each[name])) for each in encoded])
        for name in encoded[0]
    }


def gradient(
    representation: Representation, targets: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Loss, gradient of the logits, and terms; the logits of a tile depend on its place alone."""
    generator = torch.Generator().manual_seed(0)
    num = len(targets["ignore"])
    logits = torch.randn((num, representation.channels, SIDE, SIDE), generator=generator)
    logits.requires_grad_()
    loss, terms = representation.loss(logits, targets)
    loss.backward()
    assert logits.grad is not None
    return loss.detach(), logits.grad, {name: float(value) for name, value in terms.items()}


@pytest.fixture(params=list(REPRESENTATIONS))
def representation(request: pytest.FixtureRequest) -> Representation:
    return build_representation(request.param, CLASSES)


def test_gradients_of_a_marked_tile_reach_the_class_at_marked_nuclei_only(representation) -> None:
    targets = batch(representation, outlined(), marked())
    _, grad, _ = gradient(representation, targets)
    first = representation.channels - CLASSES
    assert not grad[1, :first].any()  # neither nucleus, nor background, nor geometry
    assert grad[0, :first].any()
    known = torch.from_numpy(np.isin(outlined().instances, (1, 2, 4)))
    reached = (grad[1, first:] != 0).any(0)
    assert torch.equal(reached, known)  # not at the nucleus of any class, nor elsewhere
    # Where either of two classes may be, both rise together against the third.
    two = torch.from_numpy(outlined().instances == 2)
    assert (grad[1, first : first + 2, two] <= 0).all()
    assert (grad[1, -1, two] > 0).all()


def test_marked_tiles_leave_every_other_term_as_it_is(representation) -> None:
    _, grad, terms = gradient(representation, batch(representation, outlined(), marked()))
    _, alone_grad, alone = gradient(representation, batch(representation, outlined()))
    assert {name: terms[name] for name in terms if name != "class"} == pytest.approx(
        {name: alone[name] for name in alone if name != "class"}
    )
    first = representation.channels - CLASSES
    if "weight" in batch(representation, outlined()):  # of `semantic` they share a softmax
        torch.testing.assert_close(grad[0, :first], alone_grad[0, :first])


@pytest.mark.parametrize("name", ["offset", "hover", "star"])
def test_the_class_loss_is_that_of_outlined_tiles(name) -> None:
    representation = build_representation(name, CLASSES, class_weights=(1.0, 2.0, 0.5))
    first = representation.channels - CLASSES
    _, of_outlines, terms = gradient(representation, batch(representation, outlined()))
    _, of_points, same = gradient(representation, batch(representation, marked()))
    assert same["class"] == terms["class"] > 0
    assert torch.equal(of_points[:, first:], of_outlines[:, first:])
    assert not of_points[:, :first].any()


def test_a_batch_of_marked_tiles_alone(representation) -> None:
    loss, grad, terms = gradient(representation, batch(representation, marked(), marked()))
    assert float(loss) == pytest.approx(terms["class"])
    assert not any(value for name, value in terms.items() if name != "class")
    assert grad.isfinite().all()


def test_a_crop_of_a_marked_tile_is_marked() -> None:
    instances = np.where(outlined().instances == 3, 0, outlined().instances)
    outside = np.zeros((SIDE, SIDE), bool)
    outside[:4] = True
    crop = crop_labels(marked(), np.where(outside, 0, instances), outside)
    assert crop.class_only
    assert crop.ignore.all()
    assert crop.candidates.tolist() == [0, 0b001, 0b011, 0b100]
    assert not crop_labels(outlined(), instances, outside).class_only
