"""A result as `histonuc predict` leaves it, with drawn nuclei and a slide, made in half a second."""

import json
from dataclasses import fields
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from histonuc._version import __version__
from histonuc.exports.summary import (
    ClassResult,
    FlaggedRegion,
    SkippedRegion,
    SlideResult,
    write_summary,
)
from histonuc.exports.table import open_table
from histonuc.inference.sources import content_sha256, fingerprint
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import THREE

SIZE, MPP = (2500, 1700), 0.25
ROW_PX = 425
"""Height of a row of tiles: each is written by itself, in row groups of its own."""


def draw_nuclei(num=4000, seed=0, size=SIZE):
    """Star-shaped outlines of 5 to 40 vertices, some of which reach over the border."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 1, (num, 2)) * size
    centre[: num // 50] = np.round(centre[: num // 50])  # some lie on borders of squares
    sizes = rng.integers(5, 41, num)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    of = np.repeat(np.arange(num), sizes)
    angle = 2 * np.pi * (np.arange(len(of)) - offsets[of]) / sizes[of]
    radius = rng.uniform(6, 30, num)[of] * rng.uniform(0.8, 1, len(of))
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
    circularity = np.where(rng.uniform(size=num) < 0.1, np.nan, rng.uniform(size=num))
    return Nuclei(
        points=np.round(4 * (centre[of] + ring)) / 4,
        offsets=offsets,
        centroid=centre,
        class_probabilities=rng.dirichlet(np.ones(3), num).astype(np.float32),
        score=rng.uniform(0.5, 1, num).astype(np.float32),
        label_space=THREE,
        mpp=MPP,
        features={
            "circularity": circularity.astype(np.float32),
            "trust": rng.uniform(size=num).astype(np.float32),
        },
    )


@cache
def draw_slide(size=SIZE):
    """RGB uint8: red tells x, green tells y, in steps of 16 px, so that a place can be read off."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    return np.stack([x // 16, y // 16, np.full_like(x, 128)], axis=-1).astype(np.uint8)


def write_slide(path: Path, size=SIZE):
    cv2.imwrite(str(path), draw_slide(size)[..., ::-1])
    return path


def write_rows(nuclei, path: Path, source="slide.png", size=SIZE, **facts):
    """The table, a row of tiles at a time as the prediction writes it; the nuclei in its order."""
    facts = {"source": source, "image_size": size, "mpp_xy": (MPP, MPP)} | facts
    row = np.floor(nuclei.centroid[:, 1] / ROW_PX)
    parts = [nuclei.select(row == number) for number in np.unique(row)]
    facts = {"model": "drawn", "version": __version__, **facts}
    with open_table(path, nuclei.select([]), facts) as append:
        for part in parts:
            append(part)
    return Nuclei.concat(parts) if parts else nuclei


def write_result(folder: Path, slide: Path, nuclei=None, **changes):
    """The folder of a result; the nuclei in the order of the table."""
    nuclei = write_rows(draw_nuclei() if nuclei is None else nuclei, folder / "nuclei.parquet")
    counts = np.bincount(nuclei.class_index, minlength=3).tolist()
    found = dict(share=None, density_per_mm2=None, density_per_image_mm2=0.0)
    values = dict(
        source=str(slide),
        folder=str(folder),
        size_px=SIZE,
        image_mm2=0.25,
        tissue_mm2=0.2,
        left_out_mm2=0.05,
        ink_mm2=0.0,
        tiles_analysed=4,
        num_nuclei=len(nuclei),
        density_per_mm2=len(nuclei) / 0.15,
        density_per_image_mm2=len(nuclei) / 0.25,
        classes={
            name: ClassResult(num_nuclei=count, median_area_um2=None, **found)
            for name, count in zip(THREE.classes, counts, strict=True)
        },
        regions=(),
        tiles_resumed=0,
        geojson_bytes=None,
        geojson_origin_px=(0, 0),
        bounds_xyxy=(0, 0, *SIZE),
        levels_px=(SIZE,),
        reader="drawn",
        vendor=None,
        mpp=MPP,
        mpp_xy=(MPP, MPP),
        mpp_source="given",
        skipped_regions=(SkippedRegion(box_xyxy=(0, 0, 100, 100), reason="no tile"),),
        flagged_regions=(FlaggedRegion(box_xyxy=(100, 0, 300, 100), flag="blurred"),),
        warnings=("One warning.",),
        class_note="Classes are a guess here.",
        seconds={"total": 1.0},
        model="drawn",
        version=__version__,
        settings={"regions": None, "scene": None, "icc": False, "frame": "qupath"},
        fingerprint=json.loads(json.dumps(fingerprint(slide))),
        content_sha256=content_sha256(slide),
        versions={},
    )
    values = {one.name: (values | changes).get(one.name) for one in fields(SlideResult)}
    write_summary(SlideResult(**values), folder)
    return nuclei
