"""Training on points: the tiles it takes, what they teach, and what validates it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from histonuc.data.augment_config import AugmentConfig
from histonuc.data.store import Store
from histonuc.models.zoo import load_network
from histonuc.training.config import TrainConfig
from histonuc.training.crops import find_training_tiles, find_validation_tiles
from histonuc.training.loop import train
from histonuc.training.validation import find_monitored

from ..data.pointed_store import write_pointed


@pytest.fixture
def pointed(tmp_path: Path) -> Store:
    """Two tiles with points and two with outlines in each of two folds."""
    return write_pointed(tmp_path / "pointed")


def make(store: Store, settings, out: str = "run", **changes: object) -> TrainConfig:
    values = {"representation": "offset", "mpp": 0.5, "batch_size": 2, "tile_px": 64}
    return settings(out, data=store.path, **(values | changes))


def epochs(run: Path) -> list[dict]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["event"] == "epoch"]


def steps(run: Path) -> list[dict]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["event"] == "step"]


def test_tiles_with_points_are_trained_on_once_they_are_outlined(
    tmp_path, pointed, settings, caplog
) -> None:
    config = make(pointed, settings)
    sources = [pointed.source(tile) for tile in find_training_tiles(config, pointed).tolist()]
    assert sorted(sources) == ["clicks"] * 2 + ["outlines"] * 2
    alone = write_pointed(tmp_path / "alone", marked=False)
    caplog.set_level("INFO")
    found = find_training_tiles(config, alone).tolist()
    assert {alone.source(tile) for tile in found} == {"outlines"}
    assert f"`histonuc prepare outline {alone.path}` makes training learn" in caplog.text
    only = make(alone, settings, sources=("clicks",))
    with pytest.raises(ValueError, match="2 tiles of clicks have points alone: `histonuc prepare"):
        find_training_tiles(only, alone)


def test_outlined_tiles_validate_where_there_are_any(pointed, settings) -> None:
    mixed = find_validation_tiles(make(pointed, settings), pointed).tolist()
    assert [pointed.source(tile) for tile in mixed] == ["outlines"] * 2
    points = make(pointed, settings, sources=("clicks",))
    alone = find_validation_tiles(points, pointed).tolist()
    assert [pointed.source(tile) for tile in alone] == ["clicks"] * 2


def test_batches_of_both_kinds_of_tiles(pointed, settings, caplog) -> None:
    caplog.set_level("INFO")
    run = train(make(pointed, settings, epochs=2, batch_size=4, augment=AugmentConfig()))
    (first, _) = steps(run)
    assert first["bce"] > 0
    assert first["class"] > 0
    assert "bpq" in epochs(run)[-1]["val"]
    assert "2 tiles with points do not validate, as others have outlines" in caplog.text


@pytest.mark.parametrize("representation", ["offset", "semantic"])
def test_points_teach_classes_and_nothing_else(pointed, settings, representation, caplog) -> None:
    caplog.set_level("INFO")
    changes = {"sources": ("clicks",), "representation": representation}
    short, long = (
        train(make(pointed, settings, f"run{epochs}", epochs=epochs, **changes))
        for epochs in (1, 4)
    )
    assert all(row["bce"] == row.get("offset", 0) == 0 for row in steps(long))
    assert steps(long)[-1]["class"] < steps(long)[0]["class"]
    before, after = (load_network(run / "checkpoints" / "last") for run in (short, long))
    first = before.representation.channels - len(pointed.label_space)
    heads = [
        (one, other)
        for (name, one), other in zip(before.named_parameters(), after.parameters(), strict=True)
        if not name.startswith("trunk.")
    ]
    assert heads
    for one, other in heads:  # begun alike: the rows that no gradient reached are still the same
        assert torch.equal(one[:first], other[:first])
        assert not torch.equal(one[first:], other[first:])
    assert "2 tiles of clicks have points: only classes are learned there" in caplog.text
    assert "nothing holds those of the model as they are" in caplog.text
    assert "class F1 by centroid decides which checkpoint is the best" in caplog.text
    names = {"f1_centroid", "class_f1_centroid", "class_accuracy_centroid"}
    assert set(epochs(long)[-1]["val"]) == names


def test_the_checkpoint_of_the_best_class_f1_is_kept() -> None:
    points = {"f1_centroid": 0.9, "class_f1_centroid": 0.5, "class_accuracy_centroid": 0.8}
    assert find_monitored(points, "bpq") == 0.5
    assert find_monitored(points | {"class_f1_centroid": None}, "bpq") == 0.9
    assert find_monitored({"bpq": None, "mpq": 0.3}, "bpq") is None
    sparse = {"recall_centroid": 0.7, "class_accuracy_centroid": 0.6}
    assert find_monitored(sparse, "bpq") == 0.6
    assert find_monitored(sparse | {"class_accuracy_centroid": None}, "bpq") == 0.7
