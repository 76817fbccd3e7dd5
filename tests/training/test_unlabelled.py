"""Training on tiles without labels: the teacher alone is learned from there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from histonuc.data.dataset import InTurn
from histonuc.data.store import Store
from histonuc.models.zoo import build_network, save_network
from histonuc.representations import build_representation
from histonuc.training.crops import find_training_tiles, find_validation_tiles, open_crops
from histonuc.training.loop import train
from histonuc.training.teacher import teacher_loss
from histonuc.training.tune_options import TuneOptions
from histonuc.training.tuning import make_config

from ..data.pointed_store import SIDE, mark, outlined_record, point_record
from ..data.small_store import record, write
from .test_tuning import SPEC

UNLABELLED = (2, 4, 5, 6)


def bare_record(**changes: object):
    nothing = np.zeros((SIDE, SIDE), np.int32)
    image = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    return record(nothing, (), image=image, ignore=nothing == 0, **changes)


@pytest.fixture
def bare(tmp_path) -> Store:
    """Outlines in two folds, and four tiles without labels, two of which lie in a third fold."""
    records = [outlined_record(fold=1 + k // 2 % 2, seed=k, mpp=0.125) for k in range(4)]
    records.insert(2, bare_record(fold=1, mpp=0.125))
    records.insert(4, bare_record(fold=2, mpp=0.125))
    records[5:] = [bare_record(fold=3, mpp=0.125)] * 2 + records[5:]
    return write(tmp_path / "bare", *records)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    return save_network(build_network(SPEC), tmp_path_factory.mktemp("init") / "model.safetensors")


@pytest.mark.parametrize("name", ["offset", "hover", "semantic"])
def test_no_label_teaches_there_and_the_teacher_does(bare, name) -> None:
    representation = build_representation(name, num_classes=5)
    labels = bare.labels(UNLABELLED[0])
    targets = {
        key: torch.from_numpy(np.ascontiguousarray(value)).unsqueeze(0)
        for key, value in representation.encode(labels).items()
    }
    logits = torch.randn(1, representation.channels, SIDE, SIDE, requires_grad=True)
    loss, _ = representation.loss(logits, targets)
    (from_labels,) = torch.autograd.grad(loss, logits, retain_graph=True, allow_unused=True)
    assert float(loss.detach()) == 0
    assert from_labels is None or not from_labels.any()
    if name == "semantic":
        return  # no teacher is followed there
    maps = torch.rand(1, representation.channels, SIDE, SIDE)
    known = targets["candidates"] != 0
    told, terms = teacher_loss(representation, logits, maps, targets["ignore"], known)
    told.backward()
    assert all(value > 0 for value in terms.values())
    assert (logits.grad != 0).any(1).all()
    assert (logits.grad[:, -5:] != 0).all()  # the classes, too


def test_half_of_the_crops_are_without_labels_where_there_is_a_teacher(
    bare, model, settings, caplog
) -> None:
    caplog.set_level("INFO")
    changes = {"data": bare.path, "representation": "offset", "mpp": 0.125}
    changes |= {"folds": (1, 3), "val_folds": (2,), "batch_size": 2, "class_power": 0.5}
    config = settings(**changes, teacher=str(model), teacher_where="unknown")
    representation = build_representation("offset", num_classes=5)
    dataset, _ = open_crops(config, bare, representation, 1)
    assert isinstance(dataset, InTurn)
    crops = [dataset[key] for key in range(len(dataset))]
    bare_tiles = {crop["tile"] for crop in crops[1::2]}
    assert bare_tiles <= {2, 5, 6}
    assert not {crop["tile"] for crop in crops[::2]} & set(UNLABELLED)
    assert all(crop["targets"]["ignore"].all() for crop in crops[1::2])
    assert "3 tiles have no labels: the teacher alone is learned from there" in caplog.text
    alone, _ = open_crops(settings(**changes), bare, representation, 1)
    assert len(alone) == len(dataset) // 2
    assert not {alone[key]["tile"] for key in range(len(alone))} & set(UNLABELLED)
    assert "3 tiles without labels: left out" in caplog.text
    assert not set(find_validation_tiles(config, bare)) & set(UNLABELLED)


def test_replayed_and_unlabelled_crops_take_turns(bare, data, model, settings) -> None:
    config = settings(
        **{"data": bare.path, "replay": str(data), "representation": "offset", "mpp": 0.125},
        **{"teacher": str(model), "samples_per_epoch": 4, "batch_size": 2},
    )
    dataset, steps = open_crops(config, bare, build_representation("offset", num_classes=5), 1)
    assert (len(dataset), steps) == (12, 6)
    assert [part.store.path for part in dataset.parts] == [bare.path, bare.path, data]
    assert [dataset[key]["tile"] in UNLABELLED for key in (0, 1, 3, 4, 6, 7)] == [False, True] * 3


def test_a_training_learns_from_the_teacher_there(bare, model, settings) -> None:
    run = train(
        settings(
            **{"data": bare.path, "representation": "offset", "mpp": 0.125, "tile_px": 64},
            **{"teacher": str(model), "teacher_where": "unknown", "batch_size": 2, "epochs": 1},
        )
    )
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    steps = [row for row in rows if row["event"] == "step"]
    assert all(row["teacher_bce"] > 0 and row["bce"] > 0 for row in steps)


def test_a_fold_without_labels_is_not_held_out(bare, model, tmp_path) -> None:
    options = TuneOptions(data=bare.path, out=tmp_path / "run", init=str(model))
    config = make_config(options)
    assert (config.folds, config.val_folds) == ((1, 3), (2,))
    one = write(tmp_path / "one", outlined_record(fold=1), bare_record(fold=2))
    with pytest.raises(ValueError, match="has labels in one fold: expected at least two"):
        make_config(TuneOptions(data=one.path, out=tmp_path / "run", init=str(model)))
    only = write(tmp_path / "only", bare_record(fold=1), point_record(mark(), fold=2))
    with pytest.raises(ValueError, match=r"no tile of folds \(1,\).*has labels"):
        find_training_tiles(config.__class__(data=only.path, out=tmp_path / "r"), only)
