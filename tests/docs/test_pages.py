"""Every command line and Python snippet in the README, the docs and the model cards is run."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from histonuc import cli
from histonuc.data.synthetic import draw_tile, write_synthetic

from .blocks import PAGES, ROOT, command_lines, find_blocks, run_block, runnable, with_budget

TISSUE_PX, LABELLED_PX = 512, 128
LABELLED = ("consep", "monuseg", "glioma", "tnbc")
"""Data sets of the labelled images that some pages prepare."""


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
        for kind in ("images", "instances", "types"):
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
            for kind, picture in pictures.items():
                if kind != "types" or dataset == "consep":
                    assert cv2.imwrite(str(folder / dataset / kind / f"{number}.png"), picture)
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


def test_blocks_are_found_with_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "text\n```bash\nhistonuc info x  # why\nhistonuc a \\\n    b\n```\n"
        "<!-- test: skip, a SLURM script -->\n```bash\nsbatch\n```\n"
        "1.  item\n    ```python\n    x = 1\n    ```\n"
    )
    first, second, third = find_blocks(page)
    assert command_lines(first.text) == [["histonuc", "info", "x"], ["histonuc", "a", "b"]]
    assert (first.line, first.how) == (3, "run")
    assert (second.how, second.why) == ("skip", "a SLURM script")
    assert third.text == "x = 1\n"


def test_budgets_replace_what_a_page_says() -> None:
    line = with_budget(["train", "--epochs", "130", "--out", "RUN"])
    assert line[:3] == ["train", "--out", "RUN"]
    assert line[line.index("--epochs") + 1] == "1"
    assert with_budget(["info", "RUN"]) == ["info", "RUN"]


def test_what_is_not_run_says_why() -> None:
    for page in PAGES:
        for block in find_blocks(page):
            assert block.how == "run" or block.why, f"{page}:{block.line}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if runnable(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_what_the_page_shows_works(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: Path
) -> None:
    shutil.copytree(inputs, tmp_path / "here", symlinks=True)
    monkeypatch.chdir(tmp_path / "here" / "work")
    for block in runnable(page):
        try:
            run_block(block)
        except Exception as error:
            error.add_note(f"{page.relative_to(ROOT)}, line {block.line}:\n{block.text}")
            raise
