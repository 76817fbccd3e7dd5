"""How features of the network are best pooled per nucleus, where few labelled nuclei teach.

The shipped features are averaged over the nucleus's outline. Here they are pooled in other ways,
and a classifier learns from few labels, as in the study ``embedding`` of `tools/study_classes.py`:
macro F1 of three classes on CoNSeP's images of fold 3, half of which teach while the others are
scored, in turn.

    python tools/study_pooling.py MODEL --data STORE
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.measure import regionprops
from skimage.segmentation import expand_labels
from study_classes import lay_out, merge_truth, score_few_labels

from histonuc.data.resampling import at_mpp, resample_labels
from histonuc.data.store import Store
from histonuc.models.loading import find_checkpoint
from histonuc.models.network import Network
from histonuc.models.trust import pool_features
from histonuc.models.zoo import load_network
from histonuc.representations.cells import Cells

Pool = Callable[[list[Cells], NDArray[np.int32], int, float], NDArray[np.float32]]
"""Of grids of features, labels int32 (H, W), their number and microns per pixel: (num, D)."""


def over_outline(cells: list[Cells], labels: NDArray[np.int32], num: int, _mpp: float):
    return pool_features(cells, labels, num)


def over_surroundings(um: float) -> Pool:
    """Means over the outline and so many µm around it, as far as no other nucleus lies there."""
    return lambda cells, labels, num, mpp: pool_features(
        cells, expand_labels(labels, um / mpp).astype(np.int32), num
    )


def over_disc(um: float) -> Pool:
    """Means over a disc of this radius about the centroid, where no other disc lies."""

    def pool(cells: list[Cells], labels: NDArray[np.int32], num: int, mpp: float):
        points = np.zeros_like(labels)
        for region in regionprops(labels):
            y, x = map(int, region.centroid)
            points[y, x] = region.label
        return pool_features(cells, expand_labels(points, um / mpp).astype(np.int32), num)

    return pool


def with_deviations(cells: list[Cells], labels: NDArray[np.int32], num: int, _mpp: float):
    """Means and standard deviations over the outline."""
    mean = pool_features(cells, labels, num)
    squares = [Cells(values=one.values**2, stride=one.stride) for one in cells]
    variance = pool_features(squares, labels, num) - mean**2
    return np.concatenate([mean, np.sqrt(np.maximum(variance, 0))], axis=1)


def first_of_each(mean: Mapping[int, int], deviation: Mapping[int, int]) -> Pool:
    """Means of the first so many numbers of each stride, and standard deviations of others."""

    def pool(cells: list[Cells], labels: NDArray[np.int32], num: int, mpp: float):
        by_stride = {one.stride: one for one in cells}
        parts = [
            with_deviations(
                [Cells(values=by_stride[stride].values[:most], stride=stride)], labels, num, mpp
            )[:, half * most :][:, :most]
            for half, wanted in enumerate((mean, deviation))
            for stride, most in wanted.items()
        ]
        return np.concatenate(parts, axis=1)

    return pool


def both(first: Pool, second: Pool) -> Pool:
    """One after the other."""
    return lambda *given: np.concatenate([first(*given), second(*given)], axis=1)


POOLS: dict[str, Pool] = {
    "mean over the outline": over_outline,
    "mean over the outline and 1 µm around": over_surroundings(1),
    "mean over the outline and 3 µm around": over_surroundings(3),
    "mean over a disc of 2.25 µm": over_disc(2.25),
    "mean and standard deviation over the outline (256 numbers)": with_deviations,
    "a 72 + 56": first_of_each({4: 24, 8: 8, 16: 24, 32: 16}, {4: 16, 8: 16, 16: 16, 32: 8}),
    "b 64 + 64": first_of_each({4: 24, 8: 8, 16: 16, 32: 16}, {4: 24, 8: 16, 16: 16, 32: 8}),
    "c 84 + 44": first_of_each({4: 24, 8: 12, 16: 24, 32: 24}, {4: 16, 8: 8, 16: 12, 32: 8}),
    "d 88 + 40": first_of_each({4: 24, 8: 8, 16: 32, 32: 24}, {4: 24, 8: 16}),
    "e 72 + 56": first_of_each({4: 24, 8: 8, 16: 24, 32: 16}, {16: 32, 32: 24}),
    "f 80 + 48": first_of_each({4: 24, 8: 8, 16: 24, 32: 24}, {8: 16, 16: 32}),
    "k 80 + 48": first_of_each({4: 24, 8: 12, 16: 24, 32: 20}, {4: 16, 8: 12, 16: 12, 32: 8}),
    "l 92 + 36": first_of_each({4: 24, 8: 12, 16: 32, 32: 24}, {4: 12, 8: 8, 16: 8, 32: 8}),
    "m 80 + 48": first_of_each({4: 24, 8: 8, 16: 24, 32: 24}, {4: 16, 8: 8, 16: 8, 32: 16}),
    "n 100 + 28": first_of_each({4: 24, 8: 12, 16: 32, 32: 32}, {4: 8, 8: 8, 16: 8, 32: 4}),
    "mean over the outline, and with 3 µm around (256 numbers)": both(
        over_outline, over_surroundings(3)
    ),
}


@torch.no_grad()
def collect(network: Network, store: Store, tile: int) -> tuple[list[NDArray[np.float32]], ...]:
    """Features of a tile's nuclei, pooled in each way, and their candidate sets."""
    image = at_mpp(store, tile, network.spec.mpp)
    truth = store.labels(tile)
    labels = resample_labels(truth.instances, image.shape[1], image.shape[0])
    num = len(truth.candidates) - 1
    present = np.bincount(labels.ravel(), minlength=num + 1)[1:] > 0
    x = network.pad(torch.from_numpy(image[None].copy()).permute(0, 3, 1, 2))
    with torch.autocast("cpu", torch.bfloat16):
        grids = network.project(network.trunk(x))
    strides = map(int, network.spec.features)
    cells = [
        Cells(values=grid[0].float().numpy(), stride=stride)
        for grid, stride in zip(grids, strides, strict=True)
    ]
    mpp = network.spec.mpp
    pooled = [pool(cells, labels, num, mpp)[present] for pool in POOLS.values()]
    return pooled, [truth.candidates[1:][present]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Collect, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="run, checkpoint or shipped model with features")
    parser.add_argument("--data", type=Path, required=True, help="store of study_classes.py")
    parser.add_argument("--source", default="consep7")
    args = parser.parse_args(arguments)
    network, store = load_network(find_checkpoint(Path(args.model)) or Path(args.model)), None
    network.eval()
    store = Store.open(args.data)
    tiles = [int(tile) for tile in store.select([3], [args.source], labels=None)]
    found = [collect(network, store, tile) for tile in tiles]
    candidates = [one[1][0] for one in found]
    number = np.repeat(tiles, [len(one) for one in candidates])
    truth = merge_truth(np.concatenate(candidates))
    rows = []
    for row, name in enumerate(POOLS):
        x = np.concatenate([one[0][row] for one in found])
        x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
        known = truth >= 0
        rows.append({"pooled": name, **score_few_labels(x[known], truth[known], number[known])})
    print(*lay_out("pooling", rows), sep="\n")


if __name__ == "__main__":
    main()
