"""Images and masks that do not belong together, copies, swapped colours, missing folds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histonuc import cli
from histonuc.data.image_checks import CopyTally, StainTally
from histonuc.data.store import Store
from histonuc.data.synthetic import write_synthetic
from histonuc.taxonomy import PANNUKE, THREE

from .labelled_folder import write_set
from .official_folds import LAYOUT_OF_SYNTH


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """Three folds of 36 tiles."""
    folder = tmp_path_factory.mktemp("drawn")
    write_synthetic(folder, tiles=108, seed=0, tile_px=64)
    return folder


@pytest.fixture
def raw(drawn, tmp_path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "raw"))


def run(raw: Path, *options: str) -> int:
    out = str(raw.parent / "out")
    return cli.run(["prepare", "pannuke", str(raw), "--out", out, "--overwrite", *options])


def refuse(raw: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(raw) == 2
    assert not (raw.parent / "out").exists()
    return capsys.readouterr().err.strip().splitlines()[-1]


def file_of(raw: Path, fold: int, kind: str) -> Path:
    return raw / LAYOUT_OF_SYNTH[kind].format(k=fold)


def change(raw: Path, fold: int, kind: str, function) -> None:
    file = file_of(raw, fold, kind)
    np.save(file, function(np.load(file)))


def test_folds_as_they_should_be_give_no_finding(raw, capsys) -> None:
    assert run(raw) == 0
    text = capsys.readouterr().out
    assert "in common" not in text
    assert "darker" not in text
    assert "not [" not in text


def test_the_same_images_in_all_folds_are_refused(raw, capsys) -> None:
    for kind in ("images", "masks", "types"):
        for fold in (2, 3):
            shutil.copy(file_of(raw, 1, kind), file_of(raw, fold, kind))
    message = refuse(raw, capsys)
    assert "pannuke fold 1 and pannuke fold 2 have the images of 36 tiles in common" in message


def test_some_images_of_another_fold_are_told(raw, capsys) -> None:
    others = np.load(file_of(raw, 1, "images"))[:3]
    change(raw, 2, "images", lambda images: np.concatenate([others, images[3:]]))
    assert run(raw) == 0
    assert (
        "fold 1 and pannuke fold 2 have the images of 3 tiles in common" in capsys.readouterr().out
    )


def test_masks_copied_from_another_fold_are_refused(raw, capsys) -> None:
    shutil.copy(file_of(raw, 2, "masks"), file_of(raw, 1, "masks"))
    assert "fold 1: in " in (message := refuse(raw, capsys))
    assert "do the masks belong to these images?" in message


def test_masks_in_another_order_are_refused(raw, capsys) -> None:
    change(raw, 3, "masks", lambda masks: np.roll(masks, 1, axis=0))
    assert "fold 3: in " in (message := refuse(raw, capsys))
    assert "are not darker than the tissue beside them" in message


def test_swapped_colours_are_refused(raw, capsys) -> None:
    change(raw, 1, "images", lambda images: images[..., ::-1])
    message = refuse(raw, capsys)
    assert "images the nuclei absorb blue more than red" in message
    assert "save images[..., ::-1]" in message


def test_a_missing_fold_is_told_unless_it_was_not_wanted(raw, capsys) -> None:
    assert run(raw, "--folds", "1", "3") == 0
    assert "not [2]" not in capsys.readouterr().out
    shutil.rmtree(raw / "Fold 2")
    assert run(raw) == 0
    assert "found folds [1, 3], not [2]: the official protocol" in capsys.readouterr().out


def test_few_images_are_a_finding_and_no_reason_to_refuse(raw, capsys) -> None:
    for kind in ("images", "masks", "types"):
        for fold in (1, 2, 3):
            change(raw, fold, kind, lambda array: array[:8])
    change(raw, 1, "images", lambda images: images[..., ::-1])
    assert run(raw) == 0
    assert "fold 1: in " in (text := capsys.readouterr().out)
    assert "are red and blue swapped" in text


def test_copies_in_two_folds_of_a_folder_are_refused(tmp_path, capsys) -> None:
    write_set(tmp_path, names=("a", "b"))
    shutil.copy(tmp_path / "consep/images/a.png", tmp_path / "consep/images/b.png")
    line = ["prepare", "folder", str(tmp_path), "--out", str(tmp_path / "out")]
    assert cli.run(line) == 2
    assert "have the images of 1 tiles in common, such as a" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert cli.run([*line, "--num-folds", "1"]) == 0


def test_swapped_colours_of_a_folder_are_told(shared_data, tmp_path, capsys) -> None:
    folder = tmp_path / "raw"
    shutil.copytree(shared_data / "nucls15", folder / "nucls15")
    lines = (shared_data / "index.csv").read_text().splitlines()
    chosen = [line for line in lines if line.startswith(("dataset,", "nucls15,"))]
    (folder / "index.csv").write_text("\n".join(chosen))
    for file in (folder / "nucls15" / "images").iterdir():
        with Image.open(file) as image:
            pixels = np.asarray(image)
        Image.fromarray(pixels[..., ::-1]).save(file.with_suffix(".png"))
        file.unlink()
    assert cli.run(["prepare", "folder", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert "nucls15: in 15 of 15 images the nuclei absorb blue more than red" in (
        capsys.readouterr().out
    )


def test_tiles_of_one_colour_are_no_copies() -> None:
    tally = CopyTally()
    white, empty = np.full((9, 9, 3), 255, np.uint8), np.zeros((9, 9), np.int32)
    for fold in (1, 2):
        tally.add(white, empty, source="x", fold=fold, name="a")
    assert tally.judge() == ([], [])


def test_images_that_show_too_little_are_not_counted() -> None:
    tally = StainTally()
    glass = np.full((40, 40, 3), 240, np.uint8)
    tally.add(glass, np.ones((40, 40), np.int32))  # nothing beside the nucleus
    tally.add(glass, np.zeros((40, 40), np.int32))
    assert (tally.images, tally.judge("x")) == (0, ("", ""))


# ---- other label spaces


def test_folds_in_a_space_of_fewer_classes(raw, capsys) -> None:
    assert run(raw) == 0
    five = Store.open(raw.parent / "out")
    truth = [(five.types(tile), five.official_mask(tile)) for tile in range(len(five))]
    capsys.readouterr()
    assert run(raw, "--label-space", "three") == 0
    assert "Dead: no class of the label space 'three'; such nuclei may be any" in (
        capsys.readouterr().out
    )
    three = Store.open(raw.parent / "out")
    assert three.label_space == THREE
    place = np.array(
        [0, 1, 2, 3, 0, 1]
    )  # of Neoplastic, Inflammatory, Connective, Dead, Epithelial
    sets = np.array([0, 1, 2, 4, THREE.any_class, 1])
    for tile, (types, mask) in enumerate(truth):
        assert np.array_equal(three.types(tile), place[types])
        assert np.array_equal(three.candidates(tile), sets[types])
        assert np.array_equal(three.official_mask(tile), mask)  # nothing of the folds is lost
        covered = three.covered(tile)
        assert covered is None or set(covered.types.tolist()) <= {0, 1, 2, 3}
    assert run(raw, "--label-space", "nucleus") == 0
    one = Store.open(raw.parent / "out")
    assert set(one.nuclei["type"].to_pylist()) == {1}


def test_a_space_that_is_none_lists_the_choices(raw, capsys) -> None:
    assert run(raw, "--label-space", "lab") == 2
    assert "choose from ['pannuke', 'four', 'three', 'nucleus']" in capsys.readouterr().err
    assert PANNUKE.name == "pannuke"
