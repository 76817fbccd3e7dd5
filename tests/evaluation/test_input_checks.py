"""Inputs that do not belong together are noticed, through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from histonuc import cli
from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.store import Store, StoreWriter, TileRecord
from histonuc.data.synthetic import write_synthetic
from histonuc.evaluation.input_checks import find_warnings


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("checks")
    write_synthetic(root / "raw", tiles=16, folds=2, tile_px=96, seed=12)
    prepare_pannuke(root / "raw", root / "store")
    return Store.open(root / "store")


def read_masks(store: Store, fold: int) -> np.ndarray:
    return np.stack([store.official_mask(tile) for tile in store.select([fold])])


def evaluate(store: Store, masks: np.ndarray, folder: Path) -> int:
    np.save(folder / "masks.npy", masks)
    arguments = ["--predictions", str(folder / "masks.npy"), "--data", str(store.path)]
    return cli.run(["evaluate", *arguments, "--folds", "1", "--out", str(folder / "s")])


def test_a_background_in_the_first_channel_is_refused(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = read_masks(store, 1)
    assert evaluate(store, masks, tmp_path) == 0
    assert evaluate(store, np.roll(masks, 1, axis=-1), tmp_path) == 2
    assert "got the background in channel 0: save numpy.roll(masks, -1, axis=-1)" in (
        capsys.readouterr().err
    )


def test_where_no_tile_tells_it_all_together_do(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = read_masks(store, 1)
    masks[..., 4] = 0  # the last class, whose ids would tell
    masks[..., 5] = ~(masks[..., :5] > 0).any(-1)
    assert evaluate(store, np.roll(masks, 1, axis=-1), tmp_path) == 2
    assert "got the background in channel 0" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_predictions_of_another_fold_are_noticed(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(store, read_masks(store, 2), tmp_path) == 0
    assert "warning: predicted and true nuclei overlap no more than chance" in (
        capsys.readouterr().out
    )
    (warning,) = json.loads((tmp_path / "s" / "scores.json").read_text())["warnings"]
    assert "of another fold" in warning
    assert evaluate(store, np.roll(read_masks(store, 1), 3, 1), tmp_path) == 0
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("foreground", "warned"),
    [
        ([[81, 9], [9, 1]], True),  # independent: a tenth on each side, a hundredth on both
        ([[85, 5], [5, 5]], False),
        ([[900, 0], [100, 0]], False),  # finds nothing: a poor model, but no stranger
        ([[0, 0], [0, 100]], False),
        ([[0, 0], [0, 0]], False),
    ],
)
def test_agreement_is_measured_against_chance(foreground: list[list[int]], warned: bool) -> None:
    assert bool(find_warnings(np.array(foreground))) is warned


def write_store(source: Store, folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """A store that another program wrote, without the checks of `prepare`, with other images."""
    tiles = source.select([1])
    images = change(np.stack([source.image(tile) for tile in tiles]))
    with StoreWriter(folder, source.label_space, source="another program") as writer:
        for tile, image in zip(tiles.tolist(), images, strict=True):
            types = source.types(tile)[1:]
            writer.add(
                TileRecord(
                    image=np.ascontiguousarray(image),
                    instances=source.instances(tile),
                    types=types,
                    candidates=1 << np.maximum(types - 1, 0),
                    original_ids=np.arange(1, len(types) + 1),
                    channels=types - 1,
                    fold=1,
                    name=source.name(tile),
                    tissue=source.tissue(tile),
                    source="other",
                    mpp=0.25,
                )
            )
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: images[..., ::-1], "are red and blue swapped (BGR"),
        (lambda images: np.roll(images, 1, 0), "do the masks belong to these images?"),
        (lambda images: images, ""),
    ],
)
def test_images_unlike_their_masks_are_noticed(
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[np.ndarray], np.ndarray],
    message: str,
) -> None:
    data = write_store(store, tmp_path / "store", change)
    capsys.readouterr()
    np.save(tmp_path / "masks.npy", read_masks(store, 1))
    arguments = ["--predictions", str(tmp_path / "masks.npy"), "--data", str(data)]
    assert cli.run(["evaluate", *arguments, "--out", str(tmp_path / "s")]) == 0
    told = capsys.readouterr().err
    assert message in told
    assert bool(told) is bool(message)
