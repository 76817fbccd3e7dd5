"""How features of the network are best pooled per nucleus, where few labelled nuclei teach.

A classifier learns from features of the network that were pooled in one way or another, as in the
study ``embedding`` of `tools/study_classes.py`: macro F1 of three classes on a data set's images of
fold 3, half of which teach while the others are scored, in turn.

    python tools/study_pooling.py MODEL --data STORE --source consep7

The model gives at least 24, 16, 48 and 40 features at strides 4, 8, 16 and 32: `fit_classes.py`
makes it with ``--features '{"4": 24, "8": 16, "16": 48, "32": 40}'``.
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

Rows = NDArray[np.float32]
Pool = Callable[[list[Cells], NDArray[np.int32], int, float], Rows]
"""Of grids of features, labels int32 (H, W), their number and microns per pixel: (num, D)."""


def over_outline(cells: list[Cells], labels: NDArray[np.int32], num: int, _mpp: float) -> Rows:
    """Means over the outline."""
    return pool_features(cells, labels, num)


def over_surroundings(um: float) -> Pool:
    """Means over the outline and so many µm around it, as far as no other nucleus lies there."""
    return lambda cells, labels, num, mpp: pool_features(
        cells, expand_labels(labels, um / mpp).astype(np.int32), num
    )


def over_disc(um: float) -> Pool:
    """Means over a disc of this radius about the centroid, where no other disc lies."""

    def pool(cells: list[Cells], labels: NDArray[np.int32], num: int, mpp: float) -> Rows:
        points = np.zeros_like(labels)
        for region in regionprops(labels):
            y, x = map(int, region.centroid)
            points[y, x] = region.label
        return pool_features(cells, expand_labels(points, um / mpp).astype(np.int32), num)

    return pool


def with_deviations(cells: list[Cells], labels: NDArray[np.int32], num: int, _mpp: float) -> Rows:
    """Means and standard deviations over the outline."""
    mean = pool_features(cells, labels, num)
    squares = [Cells(values=one.values**2, stride=one.stride) for one in cells]
    variance = pool_features(squares, labels, num) - mean**2
    return np.concatenate([mean, np.sqrt(np.maximum(variance, 0))], axis=1)


def of_each(mean: Mapping[int, int], deviation: Mapping[int, int]) -> Pool:
    """Means of the first so many numbers of each stride, and standard deviations of the others."""

    def pool(cells: list[Cells], labels: NDArray[np.int32], num: int, _mpp: float) -> Rows:
        by_stride = {one.stride: one for one in cells}
        parts = []
        for place, wanted in enumerate((mean, deviation)):
            for stride, count in wanted.items():
                first = Cells(values=by_stride[stride].values[:count], stride=stride)
                both = with_deviations([first], labels, num, _mpp)
                parts.append(both[:, place * count : (place + 1) * count])
        return np.concatenate(parts, axis=1)

    return pool


def beside(first: Pool, second: Pool) -> Pool:
    """One after the other."""
    return lambda *given: np.concatenate([first(*given), second(*given)], axis=1)


POOLS: dict[str, Pool] = {
    "mean over the outline": over_outline,
    "mean over the outline and 1 µm around": over_surroundings(1),
    "mean over the outline and 3 µm around": over_surroundings(3),
    "mean over a disc of 2.25 µm": over_disc(2.25),
    "mean over the outline, and with 3 µm around (256 numbers)": beside(
        over_outline, over_surroundings(3)
    ),
    "mean and standard deviation (256 numbers)": with_deviations,
    "mean of 84 and standard deviation of 44": of_each(
        {4: 24, 8: 12, 16: 24, 32: 24}, {4: 16, 8: 8, 16: 12, 32: 8}
    ),
    "mean of 64 and standard deviation of 64": of_each(
        {4: 24, 8: 8, 16: 16, 32: 16}, {4: 24, 8: 16, 16: 16, 32: 8}
    ),
    "mean of 88 and standard deviation of 40, of strides 4 and 8": of_each(
        {4: 24, 8: 8, 16: 32, 32: 24}, {4: 24, 8: 16}
    ),
    "mean of 72 and standard deviation of 56, of strides 16 and 32": of_each(
        {4: 24, 8: 8, 16: 24, 32: 16}, {16: 32, 32: 24}
    ),
    "mean of 100 and standard deviation of 28": of_each(
        {4: 24, 8: 12, 16: 32, 32: 32}, {4: 8, 8: 8, 16: 8, 32: 4}
    ),
}


@torch.no_grad()
def collect(network: Network, store: Store, tile: int) -> tuple[list[Rows], NDArray[np.uint32]]:
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
    return pooled, truth.candidates[1:][present]


def main(arguments: Sequence[str] | None = None) -> None:
    """Collect, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="run, checkpoint or shipped model with features")
    parser.add_argument("--data", type=Path, required=True, help="store of study_classes.py")
    parser.add_argument("--source", default="consep7", help="data set that teaches and is scored")
    args = parser.parse_args(arguments)
    network = load_network(find_checkpoint(Path(args.model)) or Path(args.model)).eval()
    store = Store.open(args.data)
    tiles = [int(tile) for tile in store.select([3], [args.source], labels=None)]
    found = [collect(network, store, tile) for tile in tiles]
    candidates = [one[1] for one in found]
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
