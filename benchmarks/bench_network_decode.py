"""Time to decode what networks make of real tiles, by representation.

    python benchmarks/bench_network_decode.py MODEL... --data DATA [--folds 3] [--sources ...]

The maps of whole images are cut into tiles of 256 px; every decoder has the options of its model.
One thread; medians of the thread's own CPU time, so that other programs on the machine count less.
Perfect maps, clean and spoilt: `bench_decode.py`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from histonuc.data.resampling import at_mpp
from histonuc.data.store import Store
from histonuc.models.loading import load_model
from histonuc.models.model import Model

TILE_PX = 256


def tile_maps(runtime: Model, store: Store, tiles: list[int]) -> Iterator[np.ndarray]:
    for tile in tiles:
        image = at_mpp(store, tile, runtime.spec.mpp)
        maps = runtime.maps(image[None])[0]
        for y in range(0, image.shape[0] - TILE_PX + 1, TILE_PX):
            for x in range(0, image.shape[1] - TILE_PX + 1, TILE_PX):
                yield np.ascontiguousarray(maps[:, y : y + TILE_PX, x : x + TILE_PX])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[3])
    parser.add_argument("--sources", nargs="+")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    store = Store.open(args.data)
    tiles = store.select(args.folds, args.sources).tolist()
    print("| model | representation | tiles | nuclei (median) | ms a tile (median) | ms (95th) |")
    print("|---|---|---|---|---|---|")
    for model in args.models:
        runtime = load_model(model)
        decode = runtime.representation.decode
        seconds, nuclei = [], []
        for maps in tile_maps(runtime, store, tiles):
            decode(maps)  # compiles, the first time; and maps come from the cache
            start = time.thread_time()
            nuclei.append(len(decode(maps).score))
            seconds.append(time.thread_time() - start)
        print(
            f"| {Path(model).name} | {type(runtime.representation).__name__.lower()} "
            f"| {len(seconds)} | {median(nuclei):.0f} | {1e3 * median(seconds):.2f} "
            f"| {1e3 * float(np.quantile(seconds, 0.95)):.2f} |"
        )


if __name__ == "__main__":
    main()
