"""A program for the training tests: `histonuc` with one more, tiny, trunk without batch norm.

Batch norm sees half the batch in each of two processes, so equality of one and two processes can
only be asked of a network without it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

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


def end_after(num_lines: int, file: Path) -> None:
    """End this process, as a power cut does, at some moment after a file has so many lines."""
    while not file.is_file() or len(file.read_text().splitlines()) < num_lines:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    from histonuc.cli import main

    if when := os.environ.get("KILLED_AFTER"):  # "LINES FILE"
        lines, path = when.split(" ", 1)
        threading.Thread(target=end_after, args=(int(lines), Path(path)), daemon=True).start()
    TRUNKS |= {"tiny": Tiny, "steady": Steady}
    torch.set_num_threads(1)
    main()
