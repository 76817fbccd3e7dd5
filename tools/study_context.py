"""Do classes need a wider view than the nucleus? Surroundings beside the levels of the decoder.

The class branch of the shipped model is a linear function of four levels of the decoder, whose
receptive fields are wide already. Here means of the network's features over a square around each
nucleus stand beside them, and the same linear classifier is fitted: taught by both sets of colon or
by one, and scored on images of both that nothing was learned from, as in the study ``transfer`` of
`tools/study_classes.py`.

    python tools/study_context.py MODEL --data STORE
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from study_classes import COLON, classify, draw, lay_out, share_right

from histonuc.data.resampling import at_mpp, resample_labels
from histonuc.data.store import Store
from histonuc.models.loading import find_checkpoint
from histonuc.models.network import Network
from histonuc.models.trust import pool_features
from histonuc.models.zoo import load_network
from histonuc.representations.cells import Cells

SIDES_UM = (16, 32, 64, 128)
"""Sides of the squares around a nucleus."""
STRIDE = 16
"""Of the encoder's features that are averaged over the squares."""

Arrays = tuple[NDArray[np.float32], dict[int, NDArray[np.float32]], NDArray[np.uint32]]


@torch.no_grad()
def collect(network: Network, store: Store, tile: int) -> Arrays:
    """Features of a tile's nuclei by the decoder, by their surroundings, and candidate sets."""
    mpp, image = network.spec.mpp, at_mpp(store, tile, network.spec.mpp)
    truth = store.labels(tile)
    labels = resample_labels(truth.instances, image.shape[1], image.shape[0])
    num, trunk = len(truth.candidates) - 1, network.trunk
    present = np.bincount(labels.ravel(), minlength=num + 1)[1:] > 0
    x = network.pad(torch.from_numpy(image[None].copy()).permute(0, 3, 1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        features = trunk(x)
    cells = [
        Cells(values=values[0].float().numpy(), stride=stride)
        for values, stride in zip(features.levels, trunk.level_strides, strict=True)
    ]
    levels = pool_features(cells, labels, num)[present]
    place = trunk.encoder_strides.index(STRIDE)
    wide = features.encoder[place][0].float().numpy().transpose(1, 2, 0)
    around = {}
    for side in SIDES_UM:
        size = max(round(side / mpp / STRIDE), 1)
        channels = [
            cv2.blur(channel, (size, size), borderType=cv2.BORDER_REFLECT)
            for channel in np.moveaxis(wide, 2, 0)
        ]
        grid = [Cells(values=np.stack(channels), stride=STRIDE)]
        around[side] = pool_features(grid, labels, num)[present]
    return levels, around, truth.candidates[1:][present]


def main(arguments: Sequence[str] | None = None) -> None:
    """Collect, fit, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="run, checkpoint or shipped model of the trunk compact")
    parser.add_argument("--data", type=Path, required=True, help="store of study_classes.py")
    args = parser.parse_args(arguments)
    network = load_network(find_checkpoint(Path(args.model)) or Path(args.model)).eval()
    store = Store.open(args.data)
    tiles = [int(tile) for tile in store.select(None, list(COLON), labels=None)]
    found = [collect(network, store, tile) for tile in tiles]
    num = [len(one[2]) for one in found]
    source = np.repeat([store.source(tile) for tile in tiles], num)
    held = np.repeat([store.fold(tile) == 3 for tile in tiles], num)
    candidates = np.concatenate([one[2] for one in found])
    levels = np.concatenate([one[0] for one in found])
    sets = {"the decoder's levels": levels}
    for side in SIDES_UM:
        around = np.concatenate([one[1][side] for one in found])
        sets[f"and {side} µm around"] = np.concatenate([levels, around], axis=1)
    rows = []
    for name, x in sets.items():
        for taught in (COLON, COLON[:1], COLON[1:]):
            chosen = [draw(~held & (source == one)) for one in taught]
            answer = classify(x, candidates, np.concatenate(chosen))
            scores = {one: share_right(answer, candidates, held & (source == one)) for one in COLON}
            rows.append({"features": name, "taught by": " and ".join(taught), "scores": scores})
    print(*lay_out("context", rows), sep="\n")


if __name__ == "__main__":
    main()
