"""HoVer maps: how far each nuclear pixel is from its nucleus's centre, sideways and up or down.

HoVer-Net (Graham et al. 2019, arXiv 1812.06499; code vqdang/hover_net). Where two nuclei touch the
maps jump from 1 to -1, so their slopes part the nuclei: a marker-controlled watershed.

What is different from the published code:

- targets: the centre of mass is not rounded, so that maps flip and turn with their tile (the code
  is half to one and a half pixels off it), and nuclei below 30 pixels have maps like all others;
- the gradient loss takes each map's slope along its own direction, as the paper says; the code's
  kernels are swapped and take it across;
- markers are opened with 3×3 pixels; the code's 5×5 ellipse changes when turned by 90 degrees
  and loses small nuclei (benchmarks/reference_decoders.py has it);
- a connected piece of mask without any marker becomes one nucleus; the code drops it;
- specks of mask below 10 pixels are dropped after the watershed, by `min_area_px`, not before;
- the watershed gives a pixel that several nuclei reach to the one whose neighbouring pixel is
  highest, not to the one that came first (watershed.py), and needs no queue.

As published, slopes are scaled to the least and greatest of the array they come in, so a nucleus's
markers depend on what else is in the tile. Maps that are flipped or turned (signs and channels with
them) give nuclei that are flipped or turned, but for single pixels where rounding differs or
heights are equal to 1 / 65535: equal pixels are taken row by row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.nuclei import Instances, TileLabels
from histonuc.representations.cells import Cells
from histonuc.representations.kernels.regions import tidy
from histonuc.representations.kernels.targets import to_distances
from histonuc.representations.kernels.watershed import drop_specks, flood
from histonuc.representations.maps import Nuclear, encode_nuclear, nuclear_loss
from histonuc.representations.pooling import check_finite

if TYPE_CHECKING:
    from torch import Tensor

_SOBEL_PX = 21
_LEAST_SLOPE = np.float32(0.6)
"""Slope, of the tile's range of slopes, above which nuclear pixels are markers."""
_LEAST_MARKER_PX = 10
_LEVELS = 65535
_LOSS_SOBEL_PX = 5


@dataclass(frozen=True, kw_only=True)
class Hover(Nuclear):
    """Maps are (3 + C, H, W): nucleus probability, horizontal, vertical, class probabilities.

    Attributes, beside those of `Nuclear`:
        distance: weight of the squared error of the maps.
        gradient: weight of the squared error of their slopes.
    """

    distance: float = 1.0
    gradient: float = 2.0

    @property
    def channels(self) -> int:
        """Nucleus, two distances, and one channel a class."""
        return 3 + self.num_classes

    def encode(self, labels: TileLabels) -> dict[str, NDArray[Any]]:
        """Dense targets.

        Returns:
            Those of `encode_nuclear`, and ``geometry`` float32 (2, H, W) in -1..1: each nuclear
            pixel's way from the centre of mass of the part of its nucleus that is in the tile, to
            the right and downwards; each of the four sides divided by its own largest; 0 in the
            background.
        """
        targets = encode_nuclear(labels)
        return {**targets, "geometry": to_distances(labels.instances, len(labels.candidates))}

    def loss(
        self, logits: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of nucleus and class (`nuclear_loss`), and squared errors of the maps and slopes.

        With maps p, targets Γ and ∇ the slope of each along its own direction x or y, the paper's
        L_a = mean (p - Γ)² and L_b = mean over nuclear pixels of (∇p_x - ∇Γ_x)² + (∇p_y - ∇Γ_y)².
        Both are averaged over the two maps as well: the maps' over all known pixels, the slopes'
        over nuclear pixels whose whole 5×5 neighbourhood is known.

        Args:
            logits: float (B, 3 + C, H, W).
            targets: `encode`'s maps, batched.

        Returns:
            The scalar loss and its detached, unweighted terms by name.
        """
        from torch.nn.functional import max_pool2d

        total, terms = nuclear_loss(
            logits[:, 0], logits[:, 3:], targets, classes=self.classes, weights=self.class_weights
        )
        wrong = logits[:, 1:3].float() - targets["geometry"]
        unknown = targets["ignore"].unsqueeze(1).float()
        terms["distance"] = _mean_square(wrong, 1 - unknown)
        near_unknown = max_pool2d(unknown, _LOSS_SOBEL_PX, stride=1, padding=_LOSS_SOBEL_PX // 2)
        nuclear = (targets["candidates"] != 0).unsqueeze(1).float()
        terms["gradient"] = _mean_square(_slopes(wrong), nuclear * (1 - near_unknown))
        total = total + self.distance * terms["distance"] + self.gradient * terms["gradient"]
        return total, {name: value.detach() for name, value in terms.items()}

    def activate_geometry(self, logits: Tensor) -> Tensor:
        """Distances (x, y), which are their logits (B, 2, H, W)."""
        return logits.float()

    def mirror_geometry(
        self, geometry: NDArray[np.float32], *, down: bool, right: bool
    ) -> NDArray[np.float32]:
        """Distances (x, y) change sign along the axes mirrored."""
        signs = np.array([-1 if right else 1, -1 if down else 1], np.float32)
        return geometry * signs[:, None, None]

    def decode(self, maps: NDArray[np.float32], classes: Cells | None = None) -> Instances:
        """Markers where both slopes are gentle, grown down to where they break, within the mask.

        The paper's S = max(H_x(p_x), H_y(p_y)), H the Sobel slope scaled to 0..1 with its sign
        turned; markers are the nuclear pixels of S below a threshold, and pixels are flooded in the
        order of S. Here heights are 1 - S.

        Args:
            maps: float32 (3 + C, H, W), or (3, H, W) where `classes` has the rest.
            classes: class probabilities (C, h, w) on a coarser grid.

        Raises:
            ValueError: wrong shape, NaN or infinite maps.
        """
        self.check_maps(maps, classes)
        check_finite(maps)
        mask = maps[0] >= self.threshold
        height = _heights(mask, maps[1], maps[2])
        markers, num = _find_markers(height)
        markers *= mask  # a filled hole of a marker need not be nuclear
        smooth = np.asarray(cv2.GaussianBlur(height, (3, 3), 0), np.float32)
        pixels = np.flatnonzero(mask & (markers == 0))
        # 16 bits: NumPy's stable sort of them is a radix sort, linear in the pixels.
        depth = (_LEVELS * (1 - smooth.ravel()[pixels]) + 0.5).astype(np.uint16)
        order = pixels[np.argsort(depth, kind="stable")]
        labels = flood(smooth, order, markers, num)
        labels, num = tidy(labels, self.min_area_px)
        return self.pool(labels, num, maps, classes)


def _mean_square(wrong: Tensor, weight: Tensor) -> Tensor:
    """Mean of (B, 2, H, W) squared, over both channels and the pixels of weight (B, 1, H, W)."""
    from histonuc.losses import batch_total

    return (wrong.square() * weight).sum() / batch_total(2 * weight, 1.0)


def _slopes(maps: Tensor) -> Tensor:
    """Horizontal slope of the first and vertical slope of the second map (B, 2, H, W).

    The kernel is x / (x² + y²) over 5×5 pixels, as in the published code.
    """
    import torch
    from torch.nn.functional import conv2d

    reach = _LOSS_SOBEL_PX // 2
    steps = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    across = x / (x.square() + y.square()).clamp(min=1)
    kernels = torch.stack([across, across.T]).unsqueeze(1)  # (2, 1, 5, 5)
    with torch.autocast(maps.device.type, enabled=False):  # it would round the maps to 8 bits
        return conv2d(maps, kernels, padding=reach, groups=2)


def _heights(
    mask: NDArray[np.bool_], horizontal: NDArray[np.float32], vertical: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The lower of both maps' slopes (H, W), scaled to 0..1; 0 outside the mask.

    High inside nuclei, where both maps rise gently; low where either falls from 1 to -1.
    """
    # The published code scales the maps as well; scaling the slopes undoes it.
    slopes = cv2.Sobel(horizontal, cv2.CV_32F, 1, 0, ksize=_SOBEL_PX)
    other = cv2.Sobel(vertical, cv2.CV_32F, 0, 1, ksize=_SOBEL_PX)
    for slope in (slopes, other):
        cv2.normalize(slope, slope, 0, 1, cv2.NORM_MINMAX)
    np.minimum(slopes, other, out=slopes)
    slopes *= mask
    return np.asarray(slopes, np.float32)


def _find_markers(height: NDArray[np.float32]) -> tuple[NDArray[np.int32], int]:
    """4-connected markers (H, W), ids 1..n, and n."""
    padded = np.pad((height > _LEAST_SLOPE).view(np.uint8), 1)
    outside = padded.copy()
    cv2.floodFill(outside, None, (0, 0), 1, flags=4)
    filled = (padded | (outside == 0))[1:-1, 1:-1]
    opened = cv2.morphologyEx(filled, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    num, pieces = cv2.connectedComponents(opened, connectivity=4, ltype=cv2.CV_32S)
    return drop_specks(np.asarray(pieces, np.int32), num, _LEAST_MARKER_PX)
