"""Pictures for a model's card: of every data set a typical tile, and the worst ones.

    python tools/model_pictures.py MODEL --data DATA [--folds 3] --out docs/images

Writes OUT/MODEL-typical.jpg (of each data set the tile whose binary PQ is the median) and
OUT/MODEL-failures.jpg (the lowest with ten or more nuclei): image, truth, prediction. The middle of
large tiles is shown. Grey: class unknown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from histonuc.data.resampling import at_mpp, resample_labels
from histonuc.data.store import Store
from histonuc.evaluation import TileScore, TileScores, evaluate_maps
from histonuc.evaluation.panels import crop_to_panel
from histonuc.models.loading import load_model
from histonuc.models.model import Model
from histonuc.taxonomy import LabelSpace

GREY = (90, 90, 90)
FEW_NUCLEI = 10


def outlined(
    image: NDArray[np.uint8], labels: NDArray[np.int32], types: NDArray[np.int32], space: LabelSpace
) -> NDArray[np.uint8]:
    """The image with the rim of every nucleus in the colour of its class."""
    eroded = cv2.erode(labels.astype(np.float32), np.ones((3, 3)))
    dilated = cv2.dilate(labels.astype(np.float32), np.ones((3, 3)))
    rim = (labels > 0) & ((eroded != labels) | (dilated != labels))
    colours = np.array([GREY, *space.colours], np.uint8)
    canvas = image.copy()
    canvas[rim] = colours[types[labels[rim]]]
    return canvas


def row(store: Store, model: Model, record: TileScore) -> NDArray[np.uint8]:
    """Image, truth, prediction of a tile side by side, with a line of text below."""
    image = np.ascontiguousarray(store.image(record.tile))
    maps = model.maps(at_mpp(store, record.tile, model.spec.mpp)[None])[0]
    found = model.representation.decode(maps)
    labels = resample_labels(found.labels, *image.shape[1::-1])
    truth = outlined(
        image, store.instances(record.tile), store.types(record.tile), store.label_space
    )
    prediction = outlined(image, labels, found.types, model.spec.label_space)
    strip = np.concatenate([crop_to_panel(x) for x in (image, truth, prediction)], axis=1)
    text = Image.new("RGB", (strip.shape[1], 22), (255, 255, 255))
    line = f"{record.source}  {record.name}  {record.tissue}: {record.num_truth} nuclei, "
    line += f"{record.num_predicted} predicted, binary PQ {record.bpq:.2f}"
    ImageDraw.Draw(text).text((4, 3), line, (20, 20, 20), ImageFont.load_default(14))
    return np.concatenate([strip, np.asarray(text)])


def choose(records: TileScores) -> tuple[list[TileScore], list[TileScore]]:
    """A typical tile of each data set; the worst of the larger data sets."""
    typical, failures = [], []
    for source in sorted({record.source for record in records}):
        own = [r for r in records if r.source == source and r.num_truth >= FEW_NUCLEI]
        own.sort(key=lambda r: (r.bpq, r.name))
        if own:
            typical.append(own[len(own) // 2])
        if len(own) > 5:
            failures += own[: 2 if source == "nuinsseg" else 1]
    return typical, failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[3])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    store, model = Store.open(args.data), load_model(args.model)
    tiles = evaluate_maps(
        store,
        store.select(args.folds),
        model.maps,
        representation=model.representation,
        label_space=model.spec.label_space,
        mpp=model.spec.mpp,
    ).tiles
    for kind, chosen in zip(("typical", "failures"), choose(tiles), strict=True):
        if not chosen:
            print(f"no {kind} tiles: expected {FEW_NUCLEI} nuclei or more a tile")
            continue
        rows = [row(store, model, record) for record in chosen]
        width = max(r.shape[1] for r in rows)
        rows = [
            np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows
        ]
        path = args.out / f"{model.name}-{kind}.jpg"
        Image.fromarray(np.concatenate(rows)).save(path, quality=85)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
