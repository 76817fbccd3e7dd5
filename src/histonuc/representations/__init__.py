"""Representations: how nuclei become dense maps and come back. One file each, encode to decode.

A representation is a frozen dataclass built for a number of classes:

- ``channels``: number of map channels (C) the network must give;
- ``encode(labels) -> targets``: NumPy, truth of one tile to dense targets;
- ``loss(logits, targets) -> (loss, parts)``: torch, batched;
- ``activate(logits) -> maps``: torch, the cheap last step that goes into exported graphs;
- ``decode(maps) -> Instances``: NumPy, no torch, float32 (C, H, W) maps of one tile to nuclei;
- ``mirror(maps, down=, right=)``: NumPy, the maps (B, C, H, W) of the image that is mirrored top to
  bottom, left to right, or both;
- ``pixel_probabilities(maps)``: NumPy, the same maps to probabilities (1 + classes, H, W) of
  background and every class, for the pixel scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from histonuc.nuclei import Instances, TileLabels
from histonuc.representations.hover import Hover
from histonuc.representations.offset import Offset
from histonuc.representations.semantic import Semantic
from histonuc.representations.star import Star

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class Representation(Protocol):
    """What every representation offers; see the module's docstring."""

    @property
    def channels(self) -> int: ...  # noqa: D102

    def encode(self, labels: TileLabels) -> dict[str, NDArray[Any]]: ...  # noqa: D102

    def loss(  # noqa: D102
        self, logits: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]: ...

    def activate(self, logits: Tensor) -> Tensor: ...  # noqa: D102

    def decode(self, maps: NDArray[np.float32]) -> Instances: ...  # noqa: D102

    def mirror(  # noqa: D102
        self, maps: NDArray[np.float32], *, down: bool, right: bool
    ) -> NDArray[np.float32]: ...

    def pixel_probabilities(  # noqa: D102
        self, maps: NDArray[np.float32]
    ) -> NDArray[np.float32]: ...


REPRESENTATIONS: dict[str, Callable[..., Representation]] = {
    "semantic": Semantic,
    "hover": Hover,
    "offset": Offset,
    "star": Star,
}
"""Builders by name: ``REPRESENTATIONS[name](num_classes=..., **options)``."""


def build_representation(name: str, num_classes: int, **options: Any) -> Representation:
    """The representation `name` for `num_classes` classes.

    Raises:
        ValueError: unknown name or option.
    """
    if name not in REPRESENTATIONS:
        raise ValueError(f"unknown representation {name!r}; choose from {list(REPRESENTATIONS)}")
    try:
        return REPRESENTATIONS[name](num_classes=num_classes, **options)
    except TypeError as error:
        raise ValueError(f"representation {name!r}: {error}") from None
