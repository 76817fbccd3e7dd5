"""All that a model gives of a batch of images: maps, classes on their own grid, features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from histonuc.models.trust import pool_deviations, pool_features
from histonuc.nuclei import Instances
from histonuc.representations import Representation
from histonuc.representations.cells import Cells
from histonuc.representations.maps import Nuclear

if TYPE_CHECKING:
    from histonuc.models.model import ModelSpec


@dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """All that a model gives of a batch of B images.

    Attributes:
        maps: float32 (B, K, H, W), activated; without their class channels where `classes` has
            them.
        classes: class probabilities (B, C, h, w) on a coarser grid; None where they are in `maps`.
        features: of the network, each (B, D, h, w) on its own grid; empty for models without.
    """

    maps: NDArray[np.float32]
    classes: Cells | None = None
    features: tuple[Cells, ...] = ()

    def merge(self) -> NDArray[np.float32]:
        """All maps (B, K, H, W) at full size; each pixel has the classes of its cell."""
        if self.classes is None:
            return self.maps
        return np.concatenate([self.maps, self.classes.spread(*self.maps.shape[2:])], axis=1)

    def decode(self, representation: Representation, index: int) -> Instances:
        """The nuclei of one image of the batch.

        Raises:
            ValueError: as of the representation's `decode`.
        """
        if self.classes is None:
            return representation.decode(self.maps[index])
        assert isinstance(representation, Nuclear)
        return representation.decode(self.maps[index], self.classes[index])

    def pool_features(self, labels: NDArray[np.int32], num: int, index: int) -> NDArray[np.float32]:
        """Mean features (num, D) of the nuclei of one image, which `Trust` judges."""
        return pool_features([cells[index] for cells in self.features], labels, num)

    def embed(
        self, spec: ModelSpec, labels: NDArray[np.int32], num: int, index: int
    ) -> NDArray[np.float32]:
        """Embeddings (num, D + D') of the nuclei of one image.

        They are the mean features over each nucleus, and behind them the standard deviations of
        the ones that the model's ``deviations`` name.
        """
        means = self.pool_features(labels, num, index)
        if not spec.deviations:
            return means
        parts, first = [means], 0
        for cells, (stride, size) in zip(self.features, spec.features.items(), strict=True):
            if count := spec.deviations.get(stride, 0):
                mean = means[:, first : first + count]
                parts.append(pool_deviations(cells[index], mean, labels))
            first += size
        return np.concatenate(parts, axis=1)
