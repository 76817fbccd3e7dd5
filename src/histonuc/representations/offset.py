"""Offset maps: every nuclear pixel points to its nucleus's centre; centres are where votes pile up.

The idea is Hough voting for instance centres (Leibe et al. 2008, "Robust object detection with
interleaved categorization and segmentation"; on cells Neven et al. 2019, arXiv 1906.11109, and
Cheng et al. 2020, arXiv 1911.10194). What is different here:

- a vote is cast in two hops: the pixel that a vector lands on corrects it with its own, shorter
  vector, so that errors, which grow with the vector's length, shrink;
- votes are cast at sub-pixel positions;
- the width of a cluster of votes is not a parameter: two maxima of the vote density are one nucleus
  unless the density between them falls well below the lower of them (its prominence, as in
  persistence-based clustering, Chazal et al. 2013), so that a large nucleus with scattered votes
  stays whole and small neighbours with sharp maxima stay apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled
from histonuc.nuclei import Instances, TileLabels
from histonuc.representations.nuclear import (
    activate_nuclear,
    check_maps,
    encode_nuclear,
    nuclear_loss,
    nuclear_probabilities,
    to_instances,
)

if TYPE_CHECKING:
    from torch import Tensor

_UNIT_PX = 8.0
"""Pixels that a network output of 1 stands for, so that outputs are of order 1."""
_LEAST_DENSITY = 0.02
"""Cells of the vote density below it (votes a pixel) belong to no maximum."""


@dataclass(frozen=True, kw_only=True)
class Offset:
    """Maps are (3 + C, H, W): nucleus probability, offset y, offset x (px), class probabilities.

    Attributes:
        num_classes: C, classes of the label space.
        offset: weight of the offsets' loss.
        classes: weight of the class loss.
        class_weights: one weight a class; empty for all ones.
        threshold: least nucleus probability of a nuclear pixel.
        blur_px: standard deviation of the Gaussian that turns votes into a density.
        prominence: two maxima stay apart where the density between them is below this share of
            the lower one; smaller merges more.
        min_area_px: smaller nuclei are dropped.
        temperature: class probabilities of a nucleus are raised to 1 / temperature.
    """

    num_classes: int
    offset: float = 1.0
    classes: float = 1.0
    class_weights: tuple[float, ...] = field(default=())
    threshold: float = 0.5
    blur_px: float = 1.5
    prominence: float = 0.7
    min_area_px: int = 20
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.class_weights and len(self.class_weights) != self.num_classes:
            raise ValueError(
                f"class_weights: expected {self.num_classes} weights, got {len(self.class_weights)}"
            )

    @property
    def channels(self) -> int:
        """Nucleus, two offsets, and one channel a class."""
        return 3 + self.num_classes

    def encode(self, labels: TileLabels) -> dict[str, NDArray[Any]]:
        """Dense targets.

        Returns:
            Those of `encode_nuclear`, and ``geometry`` float32 (2, H, W): the way (y, x) in pixels
            from each nuclear pixel to the centre of the part of its nucleus that is in the tile
            (the pixel of it that is nearest to the mean of its pixels); 0 in the background.
        """
        targets = encode_nuclear(labels)
        return {**targets, "geometry": _to_centres(labels.instances, len(labels.candidates))}

    def loss(
        self, logits: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of nucleus and class (`nuclear_loss`) and a smooth L1 of the offsets.

        The offsets' loss is averaged over nuclear pixels with the weight of `encode_nuclear`, so
        that small nuclei count.

        Args:
            logits: float (B, 3 + C, H, W).
            targets: `encode`'s maps, batched.

        Returns:
            The scalar loss and its detached, unweighted terms by name.
        """
        from torch.nn.functional import smooth_l1_loss

        total, terms = nuclear_loss(
            logits[:, 0], logits[:, 3:], targets, classes=self.classes, weights=self.class_weights
        )
        wrong = smooth_l1_loss(
            logits[:, 1:3].float(), targets["geometry"] / _UNIT_PX, reduction="none", beta=0.25
        )
        weight = targets["weight"]
        terms["offset"] = (wrong.sum(1) * weight).sum() / weight.sum().clamp(min=1)
        return total + self.offset * terms["offset"], {k: v.detach() for k, v in terms.items()}

    def activate(self, logits: Tensor) -> Tensor:
        """Maps (B, 3 + C, H, W) from logits."""
        return activate_nuclear(logits, geometry=logits[:, 1:3].float() * _UNIT_PX)

    def decode(self, maps: NDArray[np.float32]) -> Instances:
        """Vote, find the maxima of the votes' density, give every pixel to its vote's maximum.

        Args:
            maps: float32 (3 + C, H, W).

        Raises:
            ValueError: wrong shape, NaN or infinite maps.
        """
        check_maps(maps, self.channels)
        pixels, votes = _vote(maps[0], maps[1], maps[2], np.float32(self.threshold))
        density = _blurred(_splat(votes, *maps.shape[1:]), self.blur_px)
        cells = np.flatnonzero(density > _LEAST_DENSITY)
        order = cells[np.argsort(-density.ravel()[cells], kind="stable")]
        maxima = _cluster(density, order, self.prominence)
        labels = _collect(pixels, votes, maxima)
        return to_instances(labels, maps, self.min_area_px, self.num_classes, self.temperature)

    def pixel_probabilities(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Background and class probabilities (1 + C, H, W)."""
        return nuclear_probabilities(maps, self.num_classes)


def _blurred(density: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    blurred = cv2.GaussianBlur(density, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, np.float32)


@compiled
def _to_centres(instances: NDArray[np.int32], num: int) -> NDArray[np.float32]:
    height, width = instances.shape
    count = np.zeros(num)
    centre = np.zeros((num, 2))
    for y in range(height):
        for x in range(width):
            owner = instances[y, x]
            count[owner] += 1
            centre[owner, 0] += y
            centre[owner, 1] += x
    nearest = np.full(num, np.inf)
    inside = np.zeros((num, 2), np.float32)
    for owner in range(num):
        centre[owner] /= max(count[owner], 1)
    for y in range(height):
        for x in range(width):
            owner = instances[y, x]
            if owner:
                away = (y - centre[owner, 0]) ** 2 + (x - centre[owner, 1]) ** 2
                if away < nearest[owner]:
                    nearest[owner] = away
                    inside[owner, 0] = y
                    inside[owner, 1] = x
    for owner in range(num):
        if nearest[owner] < 0.6:  # the mean lies in the nucleus: it need not be a pixel's centre
            inside[owner, 0] = centre[owner, 0]
            inside[owner, 1] = centre[owner, 1]
    out = np.zeros((2, height, width), np.float32)
    for y in range(height):
        for x in range(width):
            owner = instances[y, x]
            if owner:
                out[0, y, x] = inside[owner, 0] - y
                out[1, y, x] = inside[owner, 1] - x
    return out


@compiled
def _vote(
    nucleus: NDArray[np.float32],
    offset_y: NDArray[np.float32],
    offset_x: NDArray[np.float32],
    threshold: np.float32,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Nuclear pixels (n, flat index) and where each votes (n, 2), within the image."""
    height, width = nucleus.shape
    count = 0
    for y in range(height):
        for x in range(width):
            count += nucleus[y, x] > threshold
    pixels = np.empty(count, np.int32)
    votes = np.empty((count, 2), np.float32)
    index = 0
    for y in range(height):
        for x in range(width):
            if nucleus[y, x] <= threshold:
                continue
            to_y = min(max(y + offset_y[y, x], np.float32(0)), np.float32(height - 1))
            to_x = min(max(x + offset_x[y, x], np.float32(0)), np.float32(width - 1))
            at_y, at_x = int(to_y + np.float32(0.5)), int(to_x + np.float32(0.5))
            if nucleus[at_y, at_x] > threshold:
                to_y = min(max(to_y + offset_y[at_y, at_x], np.float32(0)), np.float32(height - 1))
                to_x = min(max(to_x + offset_x[at_y, at_x], np.float32(0)), np.float32(width - 1))
            pixels[index] = y * width + x
            votes[index, 0] = to_y
            votes[index, 1] = to_x
            index += 1
    return pixels, votes


@compiled
def _splat(votes: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Votes a pixel (H, W), each shared bilinearly by the four pixels around it."""
    density = np.zeros((height, width), np.float32)
    for index in range(len(votes)):
        y, x = int(votes[index, 0]), int(votes[index, 1])
        down, right = votes[index, 0] - y, votes[index, 1] - x
        below, beside = min(y + 1, height - 1), min(x + 1, width - 1)
        density[y, x] += (1 - down) * (1 - right)
        density[y, beside] += (1 - down) * right
        density[below, x] += down * (1 - right)
        density[below, beside] += down * right
    return density


@compiled
def _cluster(
    density: NDArray[np.float32], order: NDArray[np.int64], prominence: float
) -> NDArray[np.int32]:
    """Maximum (1..k) that each cell of the density belongs to; 0 for cells not in `order`.

    Cells come from the highest down. A cell without a neighbour that came before is a new maximum;
    others follow their highest neighbour, and join the maxima they touch that do not stand out.
    """
    height, width = density.shape
    owner = np.zeros((height, width), np.int32)
    parent = np.zeros(len(order) + 1, np.int32)
    peak = np.zeros(len(order) + 1, np.float32)
    count = 0
    for cell in order:
        y, x = cell // width, cell % width
        here = density[y, x]
        best, best_height = 0, np.float32(-1)
        for v in range(max(y - 1, 0), min(y + 2, height)):
            for u in range(max(x - 1, 0), min(x + 2, width)):
                if owner[v, u] and density[v, u] > best_height:
                    best, best_height = owner[v, u], density[v, u]
        if best == 0:
            count += 1
            parent[count] = count
            peak[count] = here
            owner[y, x] = count
            continue
        owner[y, x] = best
        a = _top(parent, best)
        for v in range(max(y - 1, 0), min(y + 2, height)):
            for u in range(max(x - 1, 0), min(x + 2, width)):
                if owner[v, u] == 0:
                    continue
                b = _top(parent, owner[v, u])
                if a != b and here >= prominence * min(peak[a], peak[b]):
                    if peak[b] > peak[a]:
                        a, b = b, a
                    parent[b] = a
    for y in range(height):
        for x in range(width):
            if owner[y, x]:
                owner[y, x] = _top(parent, owner[y, x])
    return owner


@compiled
def _top(parent: NDArray[np.int32], item: int) -> int:
    while parent[item] != item:
        parent[item] = parent[parent[item]]
        item = parent[item]
    return item


@compiled
def _collect(
    pixels: NDArray[np.int32], votes: NDArray[np.float32], maxima: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Label image (H, W): each pixel has the maximum its vote fell to."""
    labels = np.zeros(maxima.shape, np.int32)
    flat = labels.ravel()
    for index in range(len(pixels)):
        y, x = int(votes[index, 0] + 0.5), int(votes[index, 1] + 0.5)
        flat[pixels[index]] = maxima[y, x]
    return labels
