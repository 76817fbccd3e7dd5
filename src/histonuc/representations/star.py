"""Star maps: every nuclear pixel knows the way to its nucleus's boundary along 32 rays.

StarDist (Schmidt et al. 2018, "Cell detection with star-convex polygons", arXiv 1806.03535; with
classes Weigert & Schmidt 2022, arXiv 2203.02284). Deliberate deviations:

- the first map is the nucleus's mask, as in the other representations, and not the distance to the
  boundary. How central a pixel is follows from its own rays: they sum to nothing at the centre.
  So every pixel keeps a nucleus probability, which also cuts the polygons to shape;
- only local maxima of nucleus probability × centrality are proposed; StarDist proposes every pixel
  above its threshold;
- the rays of a proposal are the mean over its 3 × 3 nuclear pixels;
- overlap is counted on pixels that accepted nuclei own, in the label image itself, which is a
  spatial hash of cell size 1: what a proposal overlaps is read where it lies, whatever the number
  of nuclei. StarDist intersects polygons pair by pair;
- every nuclear pixel then goes to the nucleus found where its rays balance, so that pixels in two
  polygons or outside of all find their owner, as do nuclei that are not star-convex. Nuclear pixels
  that are still free are proposed too; where suppressed, they go to what suppressed them;
- a ray advances by whole pixels along its main axis (StarDist's by length 1), and the distances'
  loss has no term for the background.
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
from histonuc.representations.kernels.polygons import (
    RAYS,
    balance,
    find_maxima,
    settle,
    suppress,
)
from histonuc.representations.kernels.regions import tidy
from histonuc.representations.kernels.targets import march_rays
from histonuc.representations.maps import Nuclear, encode_nuclear, nuclear_loss
from histonuc.representations.pooling import check_finite

if TYPE_CHECKING:
    from torch import Tensor

_UNIT_PX = 8.0
"""Pixels that a network output of 1 stands for, so that outputs are of order 1."""


@dataclass(frozen=True, kw_only=True)
class Star(Nuclear):
    """Maps are (33 + C, H, W): nucleus probability, 32 ray lengths (px), class probabilities.

    Ray ``k`` leaves the pixel's centre at the angle ``k / 32`` of a turn, from +x towards +y.

    Turning or mirroring the maps (and permuting the rays alike) turns or mirrors the nuclei, up to
    rounding and to ties: of two neighbours with equal score the first in reading order is proposed,
    and a pixel centre exactly on a polygon's left or top edge is inside, on its right or bottom
    edge outside.

    Attributes, beside those of `Nuclear`:
        rays: weight of the ray lengths' loss.
        blur_px: standard deviation of the Gaussian that smooths the proposals' score.
        overlap: a proposal is suppressed where more than this share of it belongs to accepted
            nuclei, or it takes more than this share of one of them.
    """

    rays: float = 1.0
    blur_px: float = 1.0
    overlap: float = 0.4

    @property
    def channels(self) -> int:
        """Nucleus, 32 rays, and one channel a class."""
        return 1 + RAYS + self.num_classes

    def encode(self, labels: TileLabels) -> dict[str, NDArray[Any]]:
        """Dense targets.

        Returns:
            Those of `encode_nuclear`; ``geometry`` float32 (32, H, W): the way in pixels from each
            nuclear pixel's centre to where its nucleus, or the tile, ends; 0 in the background;
            ``depth`` float32 (H, W): the shortest ray over the largest such of its nucleus, in
            0..1 (StarDist's object probability), 0 in the background and where the truth is
            unknown.
        """
        rays, depth = march_rays(labels.instances, len(labels.candidates))
        depth[labels.ignore] = 0
        return {**encode_nuclear(labels), "geometry": rays, "depth": depth}

    def loss(
        self, logits: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of nucleus and class (`nuclear_loss`) and the L1 of the rays, weighted by depth.

        With rays d and depth p, Σ p̂ · mean_k |d_k - d̂_k| / Σ p̂ (true ones with a hat): StarDist's
        distance loss, which divides by the number of pixels instead and adds a small multiple of
        |d_k| in the background.

        Args:
            logits: float (B, 33 + C, H, W).
            targets: `encode`'s maps, batched.

        Returns:
            The scalar loss and its detached, unweighted terms by name.
        """
        from histonuc.losses import batch_total

        first = 1 + RAYS
        total, terms = nuclear_loss(
            logits[:, 0],
            logits[:, first:],
            targets,
            classes=self.classes,
            weights=self.class_weights,
        )
        wrong = (logits[:, 1:first].float() - targets["geometry"] / _UNIT_PX).abs().mean(1)
        depth = targets["depth"]
        terms["rays"] = (wrong * depth).sum() / batch_total(depth, 1.0)
        return total + self.rays * terms["rays"], {k: v.detach() for k, v in terms.items()}

    def activate_geometry(self, logits: Tensor) -> Tensor:
        """Rays in pixels, of their logits (B, 32, H, W)."""
        return logits.float().clamp(min=0) * _UNIT_PX

    def mirror_geometry(
        self, geometry: NDArray[np.float32], *, down: bool, right: bool
    ) -> NDArray[np.float32]:
        """Rays change places."""
        ray = np.arange(RAYS)
        ray = -ray if down else ray
        ray = RAYS // 2 - ray if right else ray
        return geometry[:, ray % RAYS]

    def decode(self, maps: NDArray[np.float32], classes: Cells | None = None) -> Instances:
        """Propose polygons, suppress those that overlap better ones, give nuclear pixels an owner.

        Args:
            maps: float32 (33 + C, H, W), or (33, H, W) where `classes` has the rest.
            classes: class probabilities (C, h, w) on a coarser grid.

        Raises:
            ValueError: wrong shape, NaN or infinite maps.
        """
        self.check_maps(maps, classes)
        check_finite(maps)
        maps = np.ascontiguousarray(maps)
        nuclear = maps[0] > np.float32(self.threshold)
        rays = maps[1 : 1 + RAYS]
        shift, centrality = balance(rays)
        score = np.where(nuclear, maps[0] * centrality, np.float32(0))
        cv2.GaussianBlur(score, (0, 0), self.blur_px, dst=score, borderType=cv2.BORDER_CONSTANT)
        proposed = _best_first(find_maxima(score, nuclear), score)
        labels, area = suppress(proposed, rays, nuclear, self.overlap)
        labels = settle(labels, shift, nuclear)
        uncovered = np.flatnonzero(nuclear & (labels == 0)).astype(np.int32)
        suppress(_best_first(uncovered, score), rays, nuclear, self.overlap, labels, area)
        labels, num = tidy(labels, self.min_area_px)
        return self.pool(labels, num, maps, classes)


def _best_first(cells: NDArray[np.int32], score: NDArray[np.float32]) -> NDArray[np.int32]:
    return cells[np.argsort(-score.ravel()[cells], kind="stable")]
