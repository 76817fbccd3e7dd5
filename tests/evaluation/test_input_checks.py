"""Inputs that do not belong together are noticed, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from histonuc import cli
from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.store import Store
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
