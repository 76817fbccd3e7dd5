"""Offset maps: every nuclear pixel points to its nucleus's centre; centres are where votes pile up.

The idea is Hough voting for instance centres (Leibe et al. 2008, "Robust object detection with
interleaved categorization and segmentation"; on cells Neven et al. 2019, arXiv 1906.11109, and
Cheng et al. 2020, arXiv 1911.10194). What is different here:

- a vote is cast in two hops: the pixels that a vector lands on correct it with their own, shorter
  vectors, so that errors, which grow with the vector's length, shrink; votes are sub-pixel;
- the width of a cluster of votes is not a parameter: two maxima of the votes' density are one
  nucleus unless the density between them falls well below the lower of them (its prominence, as in
  persistence-based clustering, Chazal et al. 2013, doi 10.1145/2535927), so that a large nucleus
  with scattered votes stays whole and small neighbours with sharp maxima stay apart;
- the pixels around a centre must vote for it: where a vector field is undecided between two nuclei,
  votes pile up half-way, but the pixels there point elsewhere.

The steps are those of `histonuc.representations.voting`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc.nuclei import Instances, TileLabels
from histonuc.representations.cells import Cells
from histonuc.representations.kernels.targets import to_centres
from histonuc.representations.maps import (
    Nuclear,
    encode_nuclear,
    nuclear_loss,
)
from histonuc.representations.voting import votes_to_labels

if TYPE_CHECKING:
    from torch import Tensor

_UNIT_PX = 8.0
"""Pixels that a network output of 1 stands for, so that outputs are of order 1."""


@dataclass(frozen=True, kw_only=True)
class Offset(Nuclear):
    """Maps are (3 + C, H, W): nucleus probability, offset y, offset x (px), class probabilities.

    Attributes, beside those of `Nuclear`:
        offset: weight of the offsets' loss.
        blur_px: standard deviation of the Gaussian that smooths the votes' density.
        prominence: two maxima stay apart where the density between them is below this share of
            the lower one; smaller merges more.
    """

    offset: float = 1.0
    blur_px: float = 1.0
    prominence: float = 0.7

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
        return {**targets, "geometry": to_centres(labels.instances, len(labels.candidates))}

    def loss(
        self, logits: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of nucleus and class (`nuclear_loss`) and a smooth L1 of the offsets.

        Σ w · (h(o_y - ô_y) + h(o_x - ô_x)) / Σ w over nuclear pixels, in units of 8 px, with h(e) =
        2 e² up to |e| = 1/4 and |e| - 1/8 beyond, and the weight w of `encode_nuclear`, so that
        small nuclei count.

        Args:
            logits: float (B, 3 + C, H, W).
            targets: `encode`'s maps, batched.

        Returns:
            The scalar loss and its detached, unweighted terms by name.
        """
        from torch.nn.functional import smooth_l1_loss

        from histonuc.losses import batch_total

        total, terms = nuclear_loss(
            logits[:, 0], logits[:, 3:], targets, classes=self.classes, weights=self.class_weights
        )
        wrong = smooth_l1_loss(
            logits[:, 1:3].float(), targets["geometry"] / _UNIT_PX, reduction="none", beta=0.25
        )
        weight = targets["weight"]
        terms["offset"] = (wrong.sum(1) * weight).sum() / batch_total(weight, 1.0)
        return total + self.offset * terms["offset"], {k: v.detach() for k, v in terms.items()}

    def activate_geometry(self, logits: Tensor) -> Tensor:
        """Offsets (y, x) in pixels, of their logits (B, 2, H, W)."""
        return logits.float() * _UNIT_PX

    def mirror_geometry(
        self, geometry: NDArray[np.float32], *, down: bool, right: bool
    ) -> NDArray[np.float32]:
        """Vectors (y, x) turn round along the axes mirrored."""
        signs = np.array([-1 if down else 1, -1 if right else 1], np.float32)
        return geometry * signs[:, None, None]

    def decode(self, maps: NDArray[np.float32], classes: Cells | None = None) -> Instances:
        """Nuclei by `votes_to_labels`; classes and scores pooled over their pixels.

        Args:
            maps: float32 (3 + C, H, W), or (3, H, W) where `classes` has the rest.
            classes: class probabilities (C, h, w) on a coarser grid.

        Raises:
            ValueError: wrong shape, NaN or infinite maps.
        """
        self.check_maps(maps, classes)
        labels, num = votes_to_labels(
            maps[0] > self.threshold,
            maps[1:3],
            blur_px=self.blur_px,
            prominence=self.prominence,
            min_area_px=self.min_area_px,
        )
        return self.pool(labels, num, maps, classes)
