"""The start of a smaller network: a trained one's weights where they fit, its stem imitated.

A network with `--trunk-options.plain-stem` has two plain convolutions where the trained one has
several layers. They are fitted to what those gave, on real tiles, before anything is trained.

    python tools/start_student.py MODEL --data STORE --out START.safetensors \
        --trunk-options '{"plain_stem": true, "widths": [128, 96, 64, 48, 32], "shuffle": 2}'
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from histonuc.data.augment_config import AugmentConfig
from histonuc.data.dataset import Sampling, TileDataset
from histonuc.data.store import Store
from histonuc.models.loading import find_checkpoint
from histonuc.models.zoo import build_network, load_network, save_network, start_from

log = logging.getLogger(__name__)


def fit_stem(student: nn.Module, teacher: nn.Module, images: TileDataset, steps: int) -> None:
    """Fit the student's stem to the teacher's features at stride 4 (normalised by their spread)."""
    stem = nn.Sequential(student.stem, student.down)
    wanted: list[torch.Tensor] = []
    # What the student's second block of stride 4 is to see: the output of the teacher's first.
    handle = teacher.blocks[1][0].register_forward_hook(lambda *args: wanted.append(args[2]))
    optimizer = torch.optim.AdamW(stem.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    loader = torch.utils.data.DataLoader(images, batch_size=8, shuffle=True, num_workers=1)
    step = 0
    while step < steps:
        for batch in loader:
            x = (batch["image"].float() - 127) / 128
            wanted.clear()
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                teacher.blocks[1][0](teacher.blocks[0](teacher.bn1(teacher.conv_stem(x))))
            target = wanted[0].float()
            unit = target.std((0, 2, 3), keepdim=True) + 1e-3
            with torch.autocast("cpu", torch.bfloat16):
                given = stem(x)
            loss = nn.functional.smooth_l1_loss(given.float() / unit, target / unit)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if step % 50 == 0:
                log.info("step %d  loss %.4f", step, loss.item())
            step += 1
            if step == steps:
                break
    handle.remove()


def main() -> None:
    """Write the start, from the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="trained model of the trunk compact")
    parser.add_argument("--data", type=Path, required=True, help="store with real tiles")
    parser.add_argument("--out", type=Path, required=True, help="file to write (.safetensors)")
    parser.add_argument("--trunk-options", type=json.loads, required=True, help="of the student")
    parser.add_argument("--class-branch", type=json.loads, default={}, help="of the student")
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2], help="tiles to fit on")
    parser.add_argument("--steps", type=int, default=300, help="of 8 crops")
    args = parser.parse_args()
    torch.manual_seed(0)
    teacher = load_network(find_checkpoint(Path(args.model)))
    store = Store.open(args.data)
    options = dict(teacher.spec.representation_options)
    for fitted_to_classes in ("class_weights", "temperature"):
        options.pop(fitted_to_classes, None)
    spec = replace(
        teacher.spec,
        representation_options=options,
        trunk_options=args.trunk_options,
        class_branch=args.class_branch,
        label_space=store.label_space,
    )
    student = build_network(spec)
    start_from(student, teacher)
    images = TileDataset(
        store,
        store.select(args.folds, None),
        lambda labels: {},
        tile_px=256,
        mpp=spec.mpp,
        augment=AugmentConfig(),
        sampling=Sampling(samples_per_epoch=1600, balance=(0, 0, 0.5), source_weights={}, seed=0),
    )
    fit_stem(student.trunk.encoder.train(), teacher.trunk.encoder.eval(), images, args.steps)
    save_network(student.eval(), args.out)


if __name__ == "__main__":
    main()
