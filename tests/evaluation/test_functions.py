"""Functions and arrays are scored as files with the same nuclei are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from histonuc import cli
from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.store import Store
from histonuc.data.synthetic import write_synthetic
from histonuc.evaluation import (
    evaluate_arrays,
    evaluate_function,
    score_tables,
    summarise,
    write_scores,
)

CLASSES = ("Neoplastic", "Inflammatory", "Connective", "Dead", "Epithelial")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("functions")
    write_synthetic(root / "raw", tiles=6, folds=2, tile_px=64, seed=6)
    prepare_pannuke(root / "raw", root / "store")
    return Store.open(root / "store")


@pytest.fixture
def labelled(store: Store) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images of fold 2, their labels, moved labels, and the classes of the moved labels' pixels."""
    tiles = store.select([2])
    images = np.stack([store.image(tile) for tile in tiles])
    labels = np.stack([store.instances(tile) for tile in tiles])
    types = np.stack([store.types(t)[store.instances(t)] for t in tiles])
    return images, labels, 5 * np.roll(labels, 1, 1), np.roll(types, 1, 1)


def test_a_function_scores_as_its_nuclei_in_files_do(
    store: Store, labelled: tuple[np.ndarray, ...], tmp_path: Path
) -> None:
    images, _, moved, types = labelled

    def segment(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place = next(i for i, other in enumerate(images) if np.array_equal(other, image))
        image[:] = 0  # what a function does to its image stays with it
        return moved[place], types[place]

    evaluation = evaluate_function(str(store.path), segment, folds=[2], with_classes=True)
    for name in ("instances", "types"):
        (tmp_path / "files" / name).mkdir(parents=True)
    for i, tile in enumerate(store.select([2])):
        np.save(tmp_path / "files" / "instances" / f"{store.name(tile)}.npy", moved[i])
        np.save(tmp_path / "files" / "types" / f"{store.name(tile)}.npy", types[i])
    arguments = ["--predictions", str(tmp_path / "files"), "--data", str(store.path)]
    arguments += ["--folds", "2", "--out", str(tmp_path / "s")]
    assert cli.run(["evaluate", *arguments]) == 0
    expected = json.loads((tmp_path / "s" / "scores.json").read_text())
    found = json.loads(json.dumps(score_tables(evaluation)))
    assert found == {key: expected[key] for key in found}
    write_scores(evaluation, str(tmp_path / "own"), model={"name": "mine"})
    assert cli.run(["compare", str(tmp_path / "s"), str(tmp_path / "own")]) == 0


def test_a_function_without_classes_is_scored_without_them(store: Store) -> None:
    evaluation = evaluate_function(store, lambda image: np.zeros(image.shape[:2], int))
    assert score_tables(evaluation)["no_classes"] == "the predictions have none"
    assert summarise(evaluation)["bpq"] == 0


def test_arrays_need_no_store(labelled: tuple[np.ndarray, ...], store: Store) -> None:
    _, labels, moved, types = labelled
    true_types = np.roll(types, -1, 1)
    evaluation = evaluate_arrays(
        labels,
        moved,
        truth_types=true_types,
        prediction_types=types,
        classes=CLASSES,
        tissues=[store.tissue(tile) for tile in store.select([2])],
        mpp=0.25,
    )
    places = iter(zip(moved, types, strict=True))
    same = evaluate_function(store, lambda image: next(places), folds=[2], with_classes=True)
    # In arrays nothing covers anything: pixels that the store keeps beside the labels are not there.
    assert summarise(evaluation) == pytest.approx(summarise(same), nan_ok=True)
    assert evaluate_arrays(labels, moved).total.panoptic.tp[0] == evaluation.total.panoptic.tp[0]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((64, 64), bool), r"got True and False: number the nuclei"),
        (np.zeros((64, 64), float), r"expected whole numbers from 0, got float64"),
        (np.full((64, 64), -1), r"expected whole numbers from 0"),
        (np.zeros((32, 64), int), r"expected an array \(64, 64\), got \(32, 64\)"),
    ],
)
def test_what_is_no_label_image_is_named(store: Store, labels: np.ndarray, message: str) -> None:
    name = store.name(int(store.select([2])[0]))
    with pytest.raises(ValueError, match=rf"segment, tile {name}: .*{message}"):
        evaluate_function(store, lambda image: labels, folds=[2])


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    one, two = np.zeros((1, 8, 8), int), np.zeros((2, 8, 8), int)
    with pytest.raises(ValueError, match="predictions: expected 1, as many as in truth, got 2"):
        evaluate_arrays(one, two)
    with pytest.raises(ValueError, match=r"predictions 0: expected an array \(8, 8\), as in truth"):
        evaluate_arrays(one, np.zeros((1, 8, 9), int))
    with pytest.raises(ValueError, match="classes: expected the names"):
        evaluate_arrays(one, one, truth_types=one, prediction_types=one)
    labels = one + 1
    with pytest.raises(ValueError, match="types of truth 0: expected 0 to 1, got 2"):
        evaluate_arrays(labels, labels, truth_types=2 * labels, prediction_types=one, classes="a")
