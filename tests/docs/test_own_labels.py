"""The example of the page on own labels, with the files as it shows them, from prepare to scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histonuc.contours import trace_contours
from histonuc.data.store import Store
from histonuc.data.synthetic import draw_tile
from histonuc.nuclei import make_consecutive

from .blocks import ROOT, Block, command_lines, find_blocks, run_command

PAGE = ROOT / "docs" / "how-to" / "own-labels.md"
NAMES = ("Tumour", "Lymphocyte", "Plasma cell", "Stroma", "Epithelium")
SIDE = 128


def draw_case(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, label image 1..n and class number (n,) of one case."""
    for seed in range(1000 * number, 1000 * number + 50):
        image, mask = draw_tile(np.random.default_rng(seed), "Breast", SIDE)
        channel = mask[..., :5].argmax(-1)
        labels, ids = make_consecutive(mask[..., :5].max(-1))
        if len(ids) >= 5:
            break
    classes = np.array([int(channel[labels == i + 1][0]) + 1 for i in range(len(ids))])
    return image, labels, classes


def write_label_images(folder: Path, name: str, number: int) -> None:
    image, labels, classes = draw_case(number)
    types = np.concatenate([[0], classes])[labels]
    arrays = {
        "images": image,
        "instances": labels.astype(np.uint16),
        "types": types.astype(np.uint8),
    }
    for kind, array in arrays.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / kind / f"{name}.png")


def write_outlines(folder: Path, name: str, number: int) -> None:
    """The same as QuPath exports it: closed rings, names and colours of classes."""
    image, labels, classes = draw_case(number)
    points, offsets = trace_contours(labels, len(classes))
    features = []
    for i, kind in enumerate(classes):
        ring = points[offsets[i] : offsets[i + 1]].tolist()
        classification = {"name": NAMES[kind - 1], "color": [255, 0, 0]}
        features.append(
            {
                "type": "Feature",
                "id": f"00000000-0000-0000-0000-{i:012}",
                "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
                "properties": {"objectType": "annotation", "classification": classification},
            }
        )
    for kind in ("images", "instances"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / "images" / f"{name}.png")
    document = {"type": "FeatureCollection", "features": features}
    (folder / "instances" / f"{name}.geojson").write_text(json.dumps(document))


@pytest.fixture
def blocks(tmp_path, monkeypatch) -> list[Block]:
    """The page's blocks; its files and the images that go with them are in the current folder."""
    monkeypatch.chdir(tmp_path)
    blocks = find_blocks(PAGE)
    for block in blocks:
        if block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text)
    for number in (1, 2):
        write_label_images(Path("mylab/resections"), f"case_{number}", number)
    for number in (3, 4):
        write_outlines(Path("mylab/biopsies"), f"case_{number}", number)
    Path("mylab/clicks/images").mkdir()
    for number in (5, 6):
        Image.fromarray(draw_case(number)[0]).save(f"mylab/clicks/images/case_{number}.png")
    return [block for block in blocks if block.language == "bash"]


def test_five_classes_of_a_lab(blocks) -> None:
    for tokens in command_lines(blocks[0].text):
        run_command(tokens)
    store = Store.open("data/mylab")
    assert store.label_space.classes == NAMES
    tiles = {store.name(tile): tile for tile in range(len(store))}
    for number in (1, 2, 3, 4):  # label images and outlines alike
        _, labels, classes = draw_case(number)
        tile = tiles[f"case_{number}"]
        assert np.array_equal(store.instances(tile), labels)
        assert store.types(tile).tolist() == [0, *classes]
    points = store.points(tiles["case_5"])
    assert points.position.tolist() == [[20.5, 32.0], [64.7, 80.5]]
    assert points.candidates.tolist() == [1 << 0, 1 << 2]
    assert [store.fold(tiles[f"case_{number}"]) for number in (5, 6)] == [1, 2]
    scores = json.loads(Path("scores/mylab/scores.json").read_text())
    assert scores["label_space"]["classes"] == list(NAMES)


def test_the_lab_s_images_beside_others(blocks, shared_data) -> None:
    Path("shared").symlink_to(shared_data.parent)
    for tokens in command_lines(blocks[1].text):
        run_command(tokens)
    store = Store.open("data/together")
    assert store.label_space.name == "pannuke"
    tiles = {store.name(tile): tile for tile in range(len(store))}
    sets = [0b00001, 0b00010, 0b00010, 0b00100, 0b10001]  # of the five classes
    for number in (1, 3):
        _, _, classes = draw_case(number)
        found = store.candidates(tiles[f"case_{number}"]).tolist()
        assert found == [0, *(sets[kind - 1] for kind in classes)]
    assert len(store.select(None, ["pannuke3"])) == 3
