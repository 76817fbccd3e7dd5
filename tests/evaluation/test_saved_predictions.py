"""What `evaluate --save-predictions` writes, `evaluate --predictions` scores alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from histonuc import cli
from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.store import Store, StoreWriter, TileRecord
from histonuc.data.synthetic import write_synthetic
from histonuc.evaluation.prediction_readers import TypeTable, read_json_contours
from histonuc.evaluation.prediction_writers import _write_contours
from histonuc.evaluation.predictions import Prediction
from histonuc.taxonomy import PANNUKE, LabelSpace

FORMATS = ("labels", "hovernet", "pannuke")
OF_PROBABILITIES = ("bce", "soft_dice", "soft_iou")
"""Scores that no format tells."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("saved")
    write_synthetic(root / "raw", tiles=6, folds=2, tile_px=128, seed=9)
    prepare_pannuke(root / "raw", root / "store")
    return Store.open(root / "store")


def evaluate(store: Store, out: Path, *arguments: str, folds: str = "1") -> dict[str, Any]:
    command = ["evaluate", *arguments, "--data", str(store.path), "--folds", folds]
    assert cli.run([*command, "--out", str(out)]) == 0
    scores: dict[str, Any] = json.loads((out / "scores.json").read_text())
    return scores


def comparable(scores: Mapping[str, Any]) -> dict[str, Any]:
    """All that is scored, but for what only probabilities tell."""
    sections = ("overall", "background", "per_class", "confusion", "confusion_nuclei", "errors")
    sections += ("thresholds", "per_tissue", "per_source", "intervals", "label_space")
    kept = json.loads(json.dumps({name: scores[name] for name in sections}))
    rows = [kept["overall"], kept["background"], *kept["per_class"].values()]
    rows += [*kept["per_tissue"].values(), *kept["per_source"].values()]
    for row in rows:
        for name in OF_PROBABILITIES:
            row.pop(name, None)
    return kept


@pytest.fixture(scope="module")
def scored(
    store: Store, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, dict[str, Any]]]:
    """By format: the shipped model's saved predictions, and its scores."""
    root, found = tmp_path_factory.mktemp("model"), {}
    for name in FORMATS:
        saved = root / name
        options = ["--save-predictions", str(saved), "--save-as", name]
        found[name] = (saved, evaluate(store, root / f"{name}-s", "default", *options))
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_a_model_and_its_saved_predictions_have_the_same_scores(
    name: str, store: Store, scored: dict[str, tuple[Path, dict[str, Any]]], tmp_path: Path
) -> None:
    saved, expected = scored[name]
    assert expected["overall"]["tp"] > 10
    found = evaluate(store, tmp_path / "s", "--predictions", str(saved))
    assert comparable(found) == comparable(expected)
    assert found["overall"]["bce"] is None
    assert found["data"]["merged_classes"] == expected["data"]["merged_classes"]


def test_a_part_of_the_tiles_is_found_by_name(
    store: Store, scored: dict[str, tuple[Path, dict[str, Any]]], tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", []
    for k in ("1", "2"):
        parts.append(str(tmp_path / k))
        arguments = ["--predictions", str(scored["pannuke"][0] / "masks.npy"), "--part", f"{k}/2"]
        evaluate(store, Path(parts[-1]), *arguments)
    assert cli.run(["merge-scores", *parts, "--out", str(whole)]) == 0
    merged = json.loads((whole / "scores.json").read_text())
    assert comparable(merged) == comparable(scored["pannuke"][1])


@pytest.mark.parametrize("name", FORMATS)
def test_predictions_of_another_fold_are_refused(
    name: str,
    store: Store,
    scored: dict[str, tuple[Path, dict[str, Any]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["--predictions", str(scored[name][0]), "--data", str(store.path), "--folds", "2"]
    assert cli.run(["evaluate", *arguments, "--out", str(tmp_path / "s")]) == 2
    error = capsys.readouterr().err
    assert "has none of 3 of the 3 tiles that are scored, such as pannuke/fold2_0000" in error
    assert not (tmp_path / "s").exists()


def test_without_classes_the_nuclei_are_saved_alone(store: Store, tmp_path: Path) -> None:
    for name in ("labels", "hovernet"):
        saved = tmp_path / name
        options = ["--binary-only", "--save-predictions", str(saved), "--save-as", name]
        expected = evaluate(store, tmp_path / f"{name}-a", "default", *options)
        found = evaluate(store, tmp_path / f"{name}-b", "--predictions", str(saved))
        assert comparable(found) == comparable(expected)
        assert found["no_classes"] == "the predictions have none"


def test_where_predictions_cannot_be_saved_it_is_said(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    start = ["evaluate", "default", "--data", str(store.path), "--out", str(tmp_path / "s")]
    for options, message in (
        (["--save-predictions", str(tmp_path / "mine")], "is not empty and holds no saved"),
        (
            ["--save-predictions", str(tmp_path / "p"), "--save-as", "pannuke", "--binary-only"],
            "--save-as pannuke has one channel a class, and classes are left out",
        ),
    ):
        assert cli.run([*start, *options]) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.tex").is_file()


@given(arrays(np.int32, (9, 11), elements=st.integers(0, 3)))
def test_contours_give_back_nuclei_with_holes_and_several_parts(labels: np.ndarray) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "tile.json"
        _write_contours(Prediction(labels=labels), file)
        space = LabelSpace(name="one", classes=("Nucleus",))
        types = TypeTable(space, {}, with_classes=False)
        found = read_json_contours(file, labels.shape, types)
    ids = np.unique(labels[labels > 0])
    np.testing.assert_array_equal(np.append(0, ids)[found.labels], labels)


def test_tiles_of_one_name_in_two_data_sets_are_saved_apart(tmp_path: Path) -> None:
    labels = np.zeros((64, 64), np.int32)
    labels[8:20, 8:20] = 1
    with StoreWriter(tmp_path / "store", PANNUKE, source="test") as writer:
        for place, source in enumerate(("a", "b")):
            writer.add(
                TileRecord(
                    image=np.full((64, 64, 3), 200, np.uint8),
                    instances=np.roll(labels, 20 * place, 1),
                    types=np.array([1 + place]),
                    candidates=np.array([1 << place]),
                    original_ids=np.array([1]),
                    channels=np.array([place]),
                    fold=1,
                    name="train_1",
                    source=source,
                    mpp=0.25,
                )
            )
    store = Store.open(tmp_path / "store")
    for name in FORMATS:
        options = ["--save-predictions", str(tmp_path / name), "--save-as", name]
        expected = evaluate(store, tmp_path / f"{name}-a", "default", *options)
        found = evaluate(store, tmp_path / f"{name}-b", "--predictions", str(tmp_path / name))
        assert comparable(found) == comparable(expected)
    assert (tmp_path / "labels" / "types" / "a-train_1.png").is_file()
