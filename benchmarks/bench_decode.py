"""Encoding and decoding of every representation: time, and the quality that it can reach at best.

    .venv/bin/python benchmarks/bench_decode.py [--every 4] [--synthetic] [--quick] [--defaults]

Truth is encoded, optionally spoilt (Gaussian blur of 1 px, then noise of 5 %: of 1 for the nucleus
map, of the nucleus's largest value for its geometry), and decoded again: what is lost was lost by
the representation, not by a network. "bound" is the quality when every pixel that the spoilt
nucleus map still has is given to its true nucleus. Plain versions of the published algorithms run
beside ours on the same maps. One thread; times are medians of the thread's own CPU time, so that
other programs on the machine count less.

The last table goes on to the list of nuclei with box, centroid, outline and class, on one drawn
tile, repeated 1, 4 and 16 times: HoVer-Net's published program scans all of it once a nucleus.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from histonuc.data.synthetic import TISSUES, draw_tile
from histonuc.metrics.panoptic import panoptic_counts
from histonuc.models.loading import load_model
from histonuc.nuclei import Nuclei, TileLabels
from histonuc.representations import REPRESENTATIONS, build_representation
from histonuc.taxonomy import PANNUKE

sys.path.insert(0, str(Path(__file__).parent))
from reference_decoders import hover_labels, hover_nuclei
from reference_star import decode_star

SHARED = Path(__file__).parents[2] / "shared/data/consep/instances"
NUM_CLASSES = 5
FOR_GOOD_MAPS = {"min_area_px": 4}
OF_OFFSET = {"offset": {"blur_px": 0.7, "prominence": 0.9}}
"""Votes of such maps scatter less than a network's, for which the defaults are made."""
GROWTH_PX = (512, 1024, 2048)
GROWTH_SEED = (12, 1)
REPEATS = 5
Decoder = Callable[[np.ndarray], tuple[np.ndarray, float]]


def real_tiles(size: int) -> Iterator[np.ndarray]:
    """CoNSeP's label images in tiles; the last ones of a row overlap."""
    for path in sorted(SHARED.glob("*.png")):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        starts = [min(start, len(image) - size) for start in range(0, len(image), size)]
        for y in starts:
            for x in starts:
                yield image[y : y + size, x : x + size]


def drawn_tiles(size: int) -> Iterator[np.ndarray]:
    """Synthetic tissue."""
    for number in range(16 if size > 256 else 200):
        tissue = TISSUES[number % len(TISSUES)]
        _, mask = draw_tile(np.random.default_rng((11, number)), tissue, size)
        yield mask[:, :, :5].max(2)


def to_labels(image: np.ndarray) -> TileLabels:
    values, index = np.unique(image, return_inverse=True)
    instances = index.reshape(image.shape).astype(np.int32) + (values[0] != 0)
    num = int(instances.max())
    kinds = (1 << np.arange(num + 1) % NUM_CLASSES).astype(np.uint32)
    kinds[0] = 0
    return TileLabels(instances=instances, candidates=kinds, ignore=np.zeros(image.shape, bool))


def perfect_maps(name: str, labels: TileLabels) -> np.ndarray:
    targets = build_representation(name, NUM_CLASSES).encode(labels)
    nuclear = labels.instances > 0
    kinds = labels.candidates[labels.instances]
    classes = [(kinds >> j & 1).astype(bool) for j in range(NUM_CLASSES)]
    if name == "semantic":
        return np.stack([~nuclear, *classes]).astype(np.float32)
    return np.stack([nuclear, *targets["geometry"], *classes]).astype(np.float32)


def spoil(name: str, maps: np.ndarray, labels: TileLabels, rng: np.random.Generator) -> np.ndarray:
    if name == "semantic":
        spoilt = np.stack([cv2.GaussianBlur(channel, (0, 0), 1) for channel in maps])
        return spoilt + np.float32(0.05) * rng.standard_normal(maps.shape, np.float32)
    count = len(maps) - NUM_CLASSES
    largest = np.zeros(len(labels.candidates), np.float32)
    np.maximum.at(largest, labels.instances, np.abs(maps[1:count]).max(0))
    scale = np.broadcast_to(largest[labels.instances], maps[1:count].shape)
    spoilt = maps.copy()
    spoilt[:count] = [cv2.GaussianBlur(channel, (0, 0), 1) for channel in maps[:count]]
    spoilt[0] += np.float32(0.05) * rng.standard_normal(maps.shape[1:], np.float32)
    spoilt[1:count] += np.float32(0.05) * scale * rng.standard_normal(scale.shape, np.float32)
    return spoilt


def published_star(maps: np.ndarray, labels: TileLabels, noisy: bool) -> tuple[np.ndarray, float]:
    """With StarDist's own object probability, spoilt in the same way."""
    depth = build_representation("star", NUM_CLASSES).encode(labels)["depth"]
    if noisy:
        rng = np.random.default_rng(1)
        depth = cv2.GaussianBlur(depth, (0, 0), 1)
        depth = depth + np.float32(0.05) * rng.standard_normal(depth.shape, np.float32)
    start = time.thread_time()
    found = decode_star(depth, maps[1:33])
    return found, time.thread_time() - start


def decoders(name: str, labels: TileLabels, noisy: bool) -> dict[str, Decoder]:
    """Functions from maps to labels and seconds."""
    ours = build_representation(name, NUM_CLASSES, **FOR_GOOD_MAPS, **OF_OFFSET.get(name, {}))
    found: dict[str, Decoder] = {name: lambda maps: timed(lambda: ours.decode(maps).labels)}
    if name == "hover":
        found["hover as published (SciPy, scikit-image)"] = lambda maps: timed(
            lambda: hover_labels(*maps[:3])
        )
    if name == "star":
        found["star as published (NumPy, scikit-image)"] = lambda maps: published_star(
            maps, labels, noisy
        )
    return found


def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    start = time.thread_time()
    return work(), time.thread_time() - start


def bound(maps: np.ndarray, labels: TileLabels) -> np.ndarray:
    """Every pixel of the nucleus map, given to the nearest true nucleus."""
    _, nearest = cv2.distanceTransformWithLabels(
        (labels.instances == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner = np.zeros(nearest.max() + 1, np.int32)
    owner[nearest[labels.instances > 0]] = labels.instances[labels.instances > 0]
    return np.where(maps[0] > 0.5, owner[nearest], 0)


def run(tiles: list[TileLabels], name: str, *, noisy: bool, references: bool) -> None:
    rng = np.random.default_rng(0)
    table: dict[str, list[tuple[float, int, float]]] = {}
    encode_ms = []
    representation = build_representation(name, NUM_CLASSES)
    for labels in tiles:
        start = time.thread_time()
        representation.encode(labels)
        encode_ms.append(1e3 * (time.thread_time() - start))
        maps = perfect_maps(name, labels)
        maps = spoil(name, maps, labels, rng) if noisy else maps
        for title, decode in decoders(name, labels, noisy).items():
            if title != name and not references:
                continue
            found, seconds = decode(maps)
            score = panoptic_counts(labels.instances, found)
            table.setdefault(title, []).append(
                (1e3 * seconds, int(score.tp[0] + score.fp[0]), float(score.image_pq[0]))
            )
        if name == "offset" and noisy:
            score = panoptic_counts(labels.instances, bound(maps, labels))
            table.setdefault("(bound)", []).append((0, 0, float(score.image_pq[0])))
    nuclei = sum(len(labels.candidates) - 1 for labels in tiles)
    for title, rows in table.items():
        spent, found, quality = zip(*rows, strict=True)
        encoding = f"{median(encode_ms):.2f}" if title == name else "–"
        print(
            f"| {title} | {'noisy' if noisy else 'clean'} | {np.nanmean(quality):.4f} "
            f"| {sum(found):,} / {nuclei:,} | {median(spent):.2f} | {encoding} |"
        )


def time_growth(tile_px: int) -> None:
    """Rows of one tile: from perfect maps to labels, and from labels to a list of nuclei."""
    _, mask = draw_tile(np.random.default_rng(GROWTH_SEED), TISSUES[0], GROWTH_PX[0])
    drawn, side = mask[:, :, :5].max(2), tile_px // GROWTH_PX[0]
    first = np.arange(side**2).reshape(side, side) * (int(drawn.max()) + 1)
    labels = to_labels(np.block([[np.where(drawn > 0, drawn + i, 0) for i in r] for r in first]))
    for name in ("offset", "star", "hover"):
        maps = perfect_maps(name, labels)
        ours = build_representation(name, NUM_CLASSES, min_area_px=4)
        decoding, listing = [], []
        for _ in range(REPEATS):
            start = time.thread_time()
            found = ours.decode(maps)
            decoding.append(time.thread_time() - start)
            start = time.thread_time()
            nuclei = Nuclei.from_instances(found, PANNUKE)
            listing.append(time.thread_time() - start)
        print_growth(tile_px, len(nuclei), name, median(decoding), median(listing))
    start = time.thread_time()
    found = hover_labels(*maps[:3])
    between = time.thread_time()
    nuclei = hover_nuclei(found, np.where(maps[0] > 0.5, maps[3:].argmax(0) + 1, 0))
    spent = between - start, time.thread_time() - between
    print_growth(tile_px, len(nuclei), "hover as published (once)", *spent)


def print_growth(tile_px: int, num: int, title: str, decoding: float, listing: float) -> None:
    each = 1e6 * (decoding + listing) / max(num, 1)
    print(
        f"| {tile_px} | {num:,} | {title} | {1e3 * decoding:.1f} | {1e3 * listing:.1f} "
        f"| {each:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=4, help="take every n-th tile")
    parser.add_argument("--synthetic", action="store_true", help="drawn tissue, not CoNSeP")
    parser.add_argument("--defaults", action="store_true", help="every decoder's own options")
    parser.add_argument("--shipped", action="store_true", help="offset as the default model has it")
    parser.add_argument("--quick", action="store_true", help="256 px tiles only, no references")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.defaults:
        OF_OFFSET.clear()
        FOR_GOOD_MAPS.clear()
    if options.shipped:
        shipped = load_model("default").representation
        names = ("threshold", "min_score", "min_area_px", "blur_px", "prominence")
        FOR_GOOD_MAPS.clear()
        OF_OFFSET["offset"] = {name: getattr(shipped, name) for name in names}
    real = SHARED.is_dir() and not options.synthetic
    for size in (256,) if options.quick else (256, 1000):
        every = options.every if size == 256 else max(options.every, 4)
        source = real_tiles(size) if real else drawn_tiles(size)
        tiles = [to_labels(image) for image in list(source)[::every] if image.any()]
        nuclei = median(len(labels.candidates) - 1 for labels in tiles)
        print(
            f"\n{len(tiles)} {'CoNSeP' if real else 'synthetic'} tiles of {size} px, "
            f"{nuclei:.0f} nuclei in the median one\n"
        )
        print("| decoder | maps | mean bPQ | nuclei found / true | ms a tile | encode ms |")
        print("|---|---|---|---|---|---|")
        for name in REPRESENTATIONS:
            representation = build_representation(name, NUM_CLASSES)
            representation.decode(perfect_maps(name, tiles[0]))  # compiles
            for noisy in (False, True):
                # StarDist's own takes minutes on 1000 px.
                references = not options.quick and (size == 256 or name != "star")
                run(tiles, name, noisy=noisy, references=references)
    if options.quick:
        return
    print("\nFrom perfect maps of a drawn tile, repeated, to the list of its nuclei\n")
    print("| tile px | nuclei | decoder | labels ms | list ms | µs a nucleus |")
    print("|---|---|---|---|---|---|")
    for tile_px in GROWTH_PX:
        time_growth(tile_px)


if __name__ == "__main__":
    main()
