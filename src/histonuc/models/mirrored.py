"""A model that sees four mirrorings of each image and averages what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from histonuc.models.model import Model
from histonuc.models.outputs import Outputs
from histonuc.representations.cells import Cells
from histonuc.representations.maps import flip

_COARSEST_STRIDE = 64
"""Multiple of the strides of all classes and features that a network of ours gives, in pixels."""


class MirroredModel:
    """A model that runs another on four mirrorings and averages their maps, mirrored back.

    Args:
        model: any model; it is called four times for each batch.
    """

    def __init__(self, model: Model) -> None:
        self.name, self.sha256, self.precision = model.name, model.sha256, model.precision
        self.spec, self.representation = model.spec, model.representation
        self.trust = model.trust
        self._model = model

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Activated maps float32 (B, C, H, W) of RGB images uint8 (B, H, W, 3)."""
        return self.outputs(images).merge()

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        """All that the model gives of RGB images uint8 (B, H, W, 3)."""
        height, width = images.shape[1:3]
        if self.spec.class_branch or self.spec.features:
            # Cells of a mirrored image lie on the image's where its sides are multiples of theirs.
            rows, columns = (-side % _COARSEST_STRIDE for side in (height, width))
            images = np.pad(images, ((0, 0), (0, rows), (0, columns), (0, 0)), mode="symmetric")
        ways = [(down, right) for down in (False, True) for right in (False, True)]
        given = [self._see_mirrored(images, down=down, right=right) for down, right in ways]
        classes = [outputs.classes for outputs in given if outputs.classes is not None]
        return Outputs(
            maps=_mean([outputs.maps for outputs in given])[..., :height, :width],
            classes=_mean_cells(classes) if classes else None,
            features=tuple(
                _mean_cells(list(each))
                for each in zip(*(outputs.features for outputs in given), strict=True)
            ),
        )

    def _see_mirrored(self, images: NDArray[np.uint8], *, down: bool, right: bool) -> Outputs:
        """What the model gives of mirrored images, mirrored back."""
        axes = tuple(axis for axis, flipped in ((1, down), (2, right)) if flipped)
        given = self._model.outputs(np.ascontiguousarray(np.flip(images, axes)))

        def turn(cells: Cells) -> Cells:
            return replace(cells, values=flip(cells.values, down=down, right=right))

        return Outputs(
            maps=self.representation.mirror(given.maps, down=down, right=right),
            classes=None if given.classes is None else turn(given.classes),
            features=tuple(map(turn, given.features)),
        )


def _mean(arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    total: NDArray[np.float32] = sum(arrays[1:], start=arrays[0])
    return total / np.float32(len(arrays))


def _mean_cells(cells: Sequence[Cells]) -> Cells:
    return replace(cells[0], values=_mean([each.values for each in cells]))
