"""How fast a trunk trains on a processor, with torch's depthwise gradients and with ours.

    python benchmarks/bench_training.py [--stem-stride 2] [--batch 8]

Forward, backward and step in bf16 on crops of 256 px, both ways in turn, medians. The data come
from memory: preparing crops is not measured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import torch
from torch import nn

from histonuc.models.model import ModelSpec
from histonuc.models.zoo import build_network
from histonuc.taxonomy import LABEL_SPACES
from histonuc.trunks.depthwise import DepthwiseConv2d


def seconds_a_step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: int) -> float:
    images = torch.randint(0, 256, (batch, 3, 256, 256), dtype=torch.uint8)
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
    logits.float().square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stem-stride", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    spec = ModelSpec(
        trunk="compact",
        representation="offset",
        label_space=LABEL_SPACES["three"],
        mpp=0.25,
        trunk_options={"stem_stride": args.stem_stride, "repeats": 2, "shuffle": 2},
        representation_options={},
    )
    model = build_network(spec).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters())
    ours, torchs = DepthwiseConv2d.forward, _torch_forward
    seconds: dict[str, list[float]] = {"torch's": [], "ours": []}
    for _ in range(args.repeats + 1):
        for name, forward in (("torch's", torchs), ("ours", ours)):
            DepthwiseConv2d.forward = forward  # type: ignore[method-assign]
            seconds[name].append(seconds_a_step(model, optimizer, args.batch))
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}\n")
    print("| depthwise gradients | seconds a step | crops/s |")
    print("|---|---|---|")
    for name, spent in seconds.items():
        median = statistics.median(spent[1:])
        print(f"| {name} | {median:.2f} | {args.batch / median:.1f} |")


def _torch_forward(conv: DepthwiseConv2d, x: torch.Tensor) -> torch.Tensor:
    return nn.Conv2d.forward(conv, nn.functional.pad(x, conv.pads) if any(conv.pads) else x)


if __name__ == "__main__":
    main()
