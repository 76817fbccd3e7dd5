"""Representations: how nuclei become dense maps and come back. One file each, encode to decode.

C is the number of classes, K the number of map channels, B a batch, H and W the sides of a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

from histonuc.nuclei import Instances, TileLabels
from histonuc.parts import find_part
from histonuc.representations.hover import Hover
from histonuc.representations.offset import Offset
from histonuc.representations.semantic import Semantic
from histonuc.representations.star import Star

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class Representation(Protocol):
    """What every representation offers: a frozen dataclass, built for a number of classes.

    Its fields are its options. One of one's own is written down in docs/how-to/own-representation.
    """

    @property
    def num_classes(self) -> int:
        """C, the number of classes of the label space."""

    @property
    def temperature(self) -> float:
        """T, above 0: `decode` raises the class probabilities of a nucleus to 1 / T.

        A training fits it to its validation nuclei, so that probabilities mean what they say.
        """

    @property
    def channels(self) -> int:
        """K, the number of map channels that the network must give."""

    def with_options(self, **options: Any) -> Self:
        """A copy with other options; the network's weights fit both.

        Raises:
            ValueError: an unknown option or a bad value.
        """

    def encode(self, labels: TileLabels) -> dict[str, NDArray[Any]]:
        """Dense targets of the truth of one tile, as `loss` takes them; arrays (H, W) or (k, H, W).

        It runs in the processes that prepare the crops, without torch.
        """

    def loss(
        self, logits: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch, by torch.

        Args:
            logits: float (B, K, H, W).
            targets: `encode`'s arrays, batched.

        Returns:
            The scalar to minimise, and its detached, unweighted terms by name, for the log.
        """

    def activate(self, logits: Tensor) -> Tensor:
        """Maps float32 (B, K, H, W) of logits, by torch: the last step, part of exported graphs."""

    def decode(self, maps: NDArray[np.float32]) -> Instances:
        """Nuclei of the activated maps float32 (K, H, W) of one tile, without torch.

        Those with separate maps of nucleus and class (`histonuc.representations.maps.Nuclear`) take
        the classes on a coarser grid as well, by the argument ``classes``.

        Raises:
            ValueError: another shape, NaN or infinite maps.
        """

    def mirror(self, maps: NDArray[np.float32], *, down: bool, right: bool) -> NDArray[np.float32]:
        """Maps (B, K, H, W) of the image mirrored top to bottom, left to right, or both."""

    def pixel_probabilities(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (1 + C, H, W) of background and every class by pixel, for pixel scores."""


REPRESENTATIONS: dict[str, Callable[..., Representation]] = {
    "semantic": Semantic,
    "hover": Hover,
    "offset": Offset,
    "star": Star,
}
"""Builders by name: ``REPRESENTATIONS[name](num_classes=..., **options)``."""


def build_representation(name: str, num_classes: int, **options: Any) -> Representation:
    """The representation `name`, of the package or of one's own, for `num_classes` classes.

    Raises:
        ValueError: unknown name or option, or a bad value.
    """
    builder = find_part("representation", name, REPRESENTATIONS)
    built: Representation = builder(num_classes=num_classes)
    return built.with_options(**options)
