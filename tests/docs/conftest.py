"""A folder with what the commands of the pages name."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from histonuc import cli, parts
from histonuc.data.synthetic import draw_tile, write_synthetic

from .blocks import ROOT

TISSUE_PX, LABELLED_PX = 512, 128
LABELLED = ("consep", "monuseg", "glioma", "tnbc")
"""Data sets of the labelled images that some pages prepare."""


@pytest.fixture(autouse=True)
def _no_plugin_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages run in this process: what one gives by `--plugin` is not for the tests after it."""
    monkeypatch.setattr(parts, "_plugins", {kind: {} for kind in parts._plugins})


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages' commands name: folds, stores, images, slides, results."""
    folder = tmp_path_factory.mktemp("docs") / "work"
    write_labelled(folder.parent / "shared" / "data")
    write_synthetic(folder / "RAW", tiles=6, seed=0)
    (folder / "PANNUKE").symlink_to("RAW")
    (folder / "MY_LABELS").symlink_to("../shared/data")
    for name in ("configs", "benchmarks", "tools"):
        (folder / name).symlink_to(ROOT / name)
    rng = np.random.default_rng(0)
    write_slide(folder / "slide.svs", rng)
    (folder / "regions.geojson").write_text(
        '{"type": "Polygon", "coordinates": [[[0, 0], [400, 0], [400, 400], [0, 400], [0, 0]]]}'
    )
    for name in ("slides/a.svs", "slides/b.svs"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "slide.svs", folder / name)
    for name in ("more/one.png", "more/two.png", "folder/three.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        tissue = draw_tile(rng, "Colon")[0]
        assert cv2.imwrite(str(folder / name), tissue[..., ::-1])
    assert cli.run(["prepare", "pannuke", str(folder / "RAW"), "--out", str(folder / "DATA")]) == 0
    shutil.copytree(folder / "DATA", folder / "data" / "pannuke")
    assert cli.run(["predict", str(folder / "slide.svs"), "--out", str(folder / "OUT")]) == 0
    shutil.copy(folder / "OUT/slide/nuclei.geojson", folder / "corrected.geojson")
    return folder.parent


def write_labelled(folder: Path) -> None:
    """Labelled images in the layout of `histonuc prepare folder`, three of each data set."""
    rng = np.random.default_rng(1)
    rows = ["dataset,name,height,width,nuclei,organ,patient,mpp,species,labels"]
    for dataset in LABELLED:
        kinds = ("images", "instances", "types") if dataset == "consep" else ("images", "instances")
        for kind in kinds:
            (folder / dataset / kind).mkdir(parents=True)
        for number in range(3):
            image, masks = draw_tile(rng, "Colon", LABELLED_PX)
            ids = masks[..., :5].max(-1)
            found, instances = np.unique(ids, return_inverse=True)
            types = np.where(ids > 0, 1 + masks[..., :5].argmax(-1) % 4, 0)
            pictures = {
                "images": image[..., ::-1],
                "instances": instances.reshape(ids.shape).astype(np.uint16),
                "types": types.astype(np.uint8),
            }
            for kind in kinds:
                assert cv2.imwrite(str(folder / dataset / kind / f"{number}.png"), pictures[kind])
            rows.append(
                f"{dataset},{number},{LABELLED_PX},{LABELLED_PX},{len(found) - 1},"
                f"Colon,,0.25,human,exact"
            )
    (folder / "index.csv").write_text("\n".join(rows) + "\n")


def write_slide(path: Path, rng: np.random.Generator) -> None:
    """A small slide as Aperio's scanners write it: tiled, with its scale in the description."""
    tissue = draw_tile(rng, "Colon", TISSUE_PX)[0]
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(
            tissue,
            tile=(256, 256),
            photometric="rgb",
            compression="jpeg",
            description=f"Aperio Image Library v12\n{TISSUE_PX}x{TISSUE_PX}|AppMag = 40|MPP = 0.25",
            metadata=None,
        )
