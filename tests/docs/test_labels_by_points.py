"""The example of the page on labels by points, with the files as it shows them, to the scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histonuc.contours import find_centroids
from histonuc.data.store import Store

from .blocks import ROOT, Block, command_lines, find_blocks, run_command
from .test_own_labels import draw_case

PAGE = ROOT / "docs" / "how-to" / "labels-by-points.md"
NUMBER = np.array([0, 1, 2, 3, 3, 1])
"""Class number of the page by channel of the drawn masks, from 1; Dead is taken for Stroma."""
NAMES = ("", "Epithelium", "Lymphocyte", "Stroma")


@pytest.fixture
def blocks(tmp_path, monkeypatch) -> list[Block]:
    """The page's blocks; its files and the images that go with them are in the current folder."""
    monkeypatch.chdir(tmp_path)
    blocks = find_blocks(PAGE)
    for block in blocks:
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text)
    Path("configs").symlink_to(ROOT / "configs")
    for number in range(1, 7):
        image, labels, classes = draw_case(number)
        folder = Path("lab") / ("outlined" if number < 4 else "clicks")
        for kind in ("images", "instances", "types") if number < 4 else ("images",):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "images" / f"case_{number}.png")
        kinds = NUMBER[classes]
        if number < 4:
            types = np.concatenate([[0], kinds])[labels]
            Image.fromarray(labels.astype(np.uint16)).save(folder / f"instances/case_{number}.png")
            Image.fromarray(types.astype(np.uint8)).save(folder / f"types/case_{number}.png")
        elif number == 6:  # a click in the middle of each nucleus
            rows = zip(find_centroids(labels, len(classes)) - 0.5, kinds, strict=True)
            lines = [f"{x},{y},{NAMES[kind]}" for (x, y), kind in rows]
            (folder / "points" / "case_6.csv").write_text("\n".join(["x,y,class", *lines]))
    return [block for block in blocks if block.language == "bash"]


def test_from_clicks_to_scores(blocks, capsys) -> None:
    for block in blocks:
        for tokens in command_lines(block.text):
            run_command(tokens)
    store = Store.open("data/lab")
    tiles = {store.name(tile): tile for tile in range(len(store))}
    table, qupath = (store.points(tiles[name]) for name in ("case_4", "case_5"))
    assert table.position.tolist() == [[20.5, 32.0], [64.7, 80.5], [90.5, 45.5], [101.5, 100.5]]
    assert table.candidates.tolist() == [0b001, 0b010, 0b100, 0b111]
    assert qupath.position.tolist() == [[30.5, 40.2], [75.0, 22.8], [12.4, 99.0]]
    assert qupath.candidates.tolist() == [0b010, 0b010, 0b100]
    marked = store.labels(tiles["case_6"])
    assert marked.class_only
    assert marked.instances.any()
    assert "only classes are learned there" in capsys.readouterr().err
    clicks, outlined = (
        json.loads(Path(f"scores/{name}/scores.json").read_text())
        for name in ("clicks", "outlined")
    )
    assert clicks["labels"] == "points"
    assert clicks["num_nuclei"] == len(store.points(tiles["case_6"]))
    assert outlined["labels"] == "outlines"
