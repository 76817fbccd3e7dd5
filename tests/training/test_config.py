"""Settings are refused in the words that the user typed, before anything is trained."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from histonuc.training.config import TrainConfig


def config(**changes: object) -> TrainConfig:
    return TrainConfig(data=Path("DATA"), out=Path("RUN"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "sgd"}, r"--optimizer: choose from \['adam', 'adamw'\], got 'sgd'"),
        ({"monitor": "f1"}, "--monitor: choose from"),
        ({"precision": 64}, "--precision: choose from"),
        ({"max_lr": math.nan}, "--max-lr: expected a number, got nan"),
        ({"max_lr": "1e-3"}, "--max-lr: .*write 1.0e-3"),
        ({"epochs": 2.5}, "--epochs: expected a whole number, got 2.5"),
        ({"epochs": True}, "--epochs: expected a whole number, got True"),
        ({"freeze": "no"}, "--freeze: expected true or false"),
        ({"folds": (1.5,)}, "--folds: expected a whole number"),
        ({"seed": -1}, "--seed: expected 0 or more"),
        ({"batch_size": 0}, "--batch-size: expected above 0"),
        ({"ema_decay": 1.0}, "--ema-decay"),
        ({"class_power": 2.0}, "--class-power: expected 0..1"),
        ({"source_weights": {"a": -1}}, "--source-weights.a: expected 0 or more, got -1"),
        ({"source_weights": {"a": "much"}}, "--source-weights.a: expected a number"),
        ({"source_weights": [2]}, r"--source-weights: expected numbers by name, got \[2\]"),
        ({"min_lr": 0.1, "max_lr": 0.01}, "--min-lr 0.1 is above --max-lr 0.01"),
        (
            {"warmup_epochs": 5.0, "first_cycle_epochs": 5.0},
            "--warmup-epochs 5.0 must be shorter than --first-cycle-epochs 5.0",
        ),
        ({"cycle_mult": 0.5}, "--cycle-mult: expected at least 1"),
        ({"gamma": 0.0}, "--gamma: expected above 0"),
        ({"precision": "16", "accelerator": "cpu"}, "--precision 16 needs a GPU"),
    ],
)
def test_a_bad_value_names_its_flag(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"batchsize": 8}, "batchsize .did you mean batch_size"),
        ({"zzz": 8}, "zzz; known are .*batch_size"),
        ({"augment": {"flps": True}}, "augmentation settings: flps .did you mean flips"),
        ({"augment": {"elastic": "much"}}, "augmentation settings"),
        ({"augment": {"flips": "no"}}, "--augment.flips: expected true or false"),
    ],
)
def test_a_bad_name_or_group_says_what_was_meant(record, message) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig.from_dict({"data": "DATA", "out": "RUN", **record})


def test_a_file_that_holds_no_settings() -> None:
    with pytest.raises(ValueError, match="settings by name"):
        TrainConfig.from_dict(None)  # type: ignore[arg-type]


def test_yaml_may_say_one_fold_and_a_number_for_the_precision() -> None:
    read = TrainConfig.from_dict(
        {"data": "DATA", "out": "RUN", "folds": 3, "sources": "consep", "precision": 32}
    )
    assert (read.folds, read.sources, read.precision) == ((3,), ("consep",), "32")
