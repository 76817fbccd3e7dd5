"""A program for the tests: gradients of a batch in one process, and of its halves in two.

    halves.py FOLDER

prints, as JSON, the largest difference for every representation, relative to the largest gradient.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import torch

from histonuc.nuclei import TileLabels
from histonuc.representations import REPRESENTATIONS, build_representation


def batch(name: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits and targets of four tiles; the last two have little to say."""
    rng = np.random.default_rng(0)
    representation = build_representation(name, 3)
    encoded = []
    for number in range(4):
        instances = np.zeros((24, 24), np.int32)
        if number < 3:
            instances[2:8, 2:8] = 1
        if number < 2:
            instances[10:22, 10:20] = 2
        candidates = np.array([0, 1, 0b110 if number else 0b10], np.uint32)
        ignore = rng.random((24, 24)) < 0.1
        labels = TileLabels(instances=instances, candidates=candidates, ignore=ignore)
        encoded.append(representation.encode(labels))
    targets = {key: torch.from_numpy(np.stack([e[key] for e in encoded])) for key in encoded[0]}
    return torch.randn(4, representation.channels, 24, 24, generator=torch.manual_seed(1)), targets


def gradient(name: str, rows: slice) -> torch.Tensor:
    logits, targets = batch(name)
    logits = logits[rows].requires_grad_()
    part = {key: value[rows] for key, value in targets.items()}
    build_representation(name, 3).loss(logits, part)[0].backward()
    assert logits.grad is not None
    return logits.grad


def work(rank: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    halves = {name: gradient(name, slice(2 * rank, 2 * rank + 2)) / 2 for name in REPRESENTATIONS}
    torch.save(halves, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    workers = [
        multiprocessing.get_context("spawn").Process(target=work, args=(rank, str(folder)))
        for rank in range(2)
    ]
    for worker in workers:
        worker.start()
    whole = {name: gradient(name, slice(None)) for name in REPRESENTATIONS}
    for worker in workers:
        worker.join()
    parts = [torch.load(folder / f"{rank}.pt") for rank in range(2)]
    print(
        json.dumps(
            {
                name: float(
                    (torch.cat([p[name] for p in parts]) - one).abs().max() / one.abs().max()
                )
                for name, one in whole.items()
            }
        )
    )
