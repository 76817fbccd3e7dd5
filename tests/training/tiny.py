"""A program for the training tests: `histonuc` with one more, tiny, trunk without batch norm.

Batch norm sees half the batch in each of two processes, so equality of one and two processes can
only be asked of a network without it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from histonuc.models.zoo import TRUNKS
from histonuc.trunks.base import Trunk, TrunkFeatures


class Tiny(Trunk):
    def __init__(self, *, pretrained: bool = False) -> None:
        super().__init__(out_channels=6, size_multiple=2, min_size=8)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2, 2),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(8, 6, 3, 1, 1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> TrunkFeatures:
        return TrunkFeatures(self.body(x), None)


class Steady(Tiny):
    """Without dropout, whose draws differ between processes."""

    def __init__(self, *, pretrained: bool = False) -> None:
        super().__init__()
        self.body[2] = nn.Identity()


if __name__ == "__main__":
    from histonuc.cli import main

    TRUNKS |= {"tiny": Tiny, "steady": Steady}
    torch.set_num_threads(1)
    main()
