"""How well a wrong scale is noticed: `inference.scale` on real tiles at their scale and others.

    python benchmarks/bench_scale.py --data DATA [--tiles 14]

DATA is the store of `histonuc prepare folder ../shared/data`. Some tiles of each data set, of all
folds, are brought to the model's scale, or half or twice that, and cropped to 512 px. Prints the
median gains, and how often draws of eight tiles of one data set and scale would be noted. Then how
often a note of `histonuc predict --mpp` comes with each of these images alone, uncropped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from histonuc.data.store import Store
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
from histonuc.inference.scale import BETTER, PROBE_PX, PROBES, ZOOMS, measure_gains
from histonuc.models.loading import load_model

TRUE = {"right": 1.0, "half": 0.5, "twice": 2.0}
"""Size of what is shown against what it should be."""


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return (
        image if factor == 1 else cv2.resize(image, None, fx=factor, fy=factor, interpolation=how)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tiles", type=int, default=14, help="of each data set")
    args = parser.parse_args()
    store, runtime, rng = Store.open(args.data), load_model("default"), np.random.default_rng(0)
    sources: dict[str, list[int]] = {}
    for tile in range(len(store)):
        sources.setdefault(store.source(tile), []).append(tile)
    noted: dict[str, list[bool]] = {name: [] for name in TRUE}
    alone: dict[str, list[np.ndarray]] = {name: [] for name in TRUE}
    print("| data set | " + " | ".join(f"{name}: gain at ½, 2" for name in TRUE) + " |")
    print("|---" * (len(TRUE) + 1) + "|")
    for source, tiles in sources.items():
        if len(tiles) < PROBES:
            continue
        cells = []
        for name, factor in TRUE.items():
            gains = []
            for tile in rng.permutation(tiles)[: args.tiles]:
                image = resized(store.image(tile), factor * store.mpp(tile) / runtime.spec.mpp)
                alone[name].append(image)
                image = np.ascontiguousarray(image[:PROBE_PX, :PROBE_PX])
                if (gain := measure_gains(image, runtime, ZOOMS)) is not None:
                    gains.append(gain)
            cells.append(", ".join(f"{value:.2f}" for value in np.median(gains, axis=0)))
            for _ in range(200):
                draw = np.array(gains)[
                    rng.choice(len(gains), min(PROBES, len(gains)), replace=False)
                ]
                medians = np.median(draw, axis=0)
                wanted = name == "right" or ZOOMS[int(medians.argmax())] == 1 / factor
                noted[name].append(bool(medians.max() >= BETTER and wanted))
        print(f"| {source} | " + " | ".join(cells) + " |", flush=True)
    print("noted: " + ", ".join(f"{name} {np.mean(hits):.1%}" for name, hits in noted.items()))
    with TemporaryDirectory() as work:
        for name, images in alone.items():
            files = [Path(work) / f"{name}-{number}.png" for number in range(len(images))]
            for file, image in zip(files, images, strict=True):
                cv2.imwrite(str(file), image[..., ::-1])
            found = predict(
                files, Path(work) / "out", PredictOptions(mpp=runtime.spec.mpp, geojson=False)
            ).items
            hits = [any("give --mpp" in note for note in item.warnings) for item in found]
            print(f"alone, {name}: {np.mean(hits):.1%} of {len(hits)}", flush=True)


if __name__ == "__main__":
    main()
