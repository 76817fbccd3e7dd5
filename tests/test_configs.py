"""Every YAML of configs/ is a valid training, and the printed default one is too."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from histonuc.data.augment import AugmentConfig
from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.store import Store
from histonuc.data.synthetic import write_synthetic
from histonuc.evaluation import TileSelection, score_model
from histonuc.models.loading import find_checkpoint, load_model
from histonuc.models.zoo import build_trunk, load_network
from histonuc.representations import build_representation
from histonuc.taxonomy import PANNUKE
from histonuc.training.config import TrainConfig, commented_yaml
from histonuc.training.loop import train

DEFAULT = Path("default")
CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def test_each_seed_architecture_has_a_config() -> None:
    trunks = {yaml.safe_load(path.read_text())["trunk"] for path in CONFIGS}
    assert trunks >= {"unet", "inception_unet", "refinenet50", "deeplabv3_resnet101"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_parse_and_build(path: Path) -> None:
    import torch

    record = yaml.safe_load(path.read_text())
    config = TrainConfig.from_dict({**record, "data": "DATA", "out": "RUN"})
    with torch.device("meta"):
        build_trunk(config.trunk, **config.trunk_options)
    build_representation(config.representation, 5, **config.representation_options)
    first_lines = path.read_text().splitlines()[:6]
    assert any(f"histonuc train --config configs/{path.name}" in line for line in first_lines)


def test_the_pannuke_config_trains_on_synthetic_folds(tmp_path: Path) -> None:
    data = _folds(tmp_path)
    run = _train("compact_pannuke", data, tmp_path / "run", pretrained=False, max_lr=5e-3)
    store, fold = Store.open(data), TileSelection(folds=(3,))
    scores = score_model(load_model(str(run)), store, fold, tmp_path / "scores")[1]
    assert set(scores["per_class"]) == set(PANNUKE.classes)
    assert scores["overall"]["foreground_dice"] is not None
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in steps if row["event"] == "step"]
    assert losses[-1] < losses[0]


def test_fine_tuning_starts_from_the_shipped_model(tmp_path: Path) -> None:
    data = _folds(tmp_path)
    run = _train("fine_tune", data, tmp_path / "run", max_lr=1e-9, min_lr=1e-10)
    tuned, shipped = (
        load_network(run / "checkpoints" / "best"),
        load_network(find_checkpoint(DEFAULT)),
    )
    for (name, ours), theirs in zip(
        tuned.trunk.state_dict().items(), shipped.trunk.state_dict().values(), strict=True
    ):
        if "running" not in name and ours.is_floating_point():
            assert (ours - theirs).abs().max() < 1e-5, name


def _folds(folder: Path) -> Path:
    write_synthetic(folder / "raw", tiles=6, seed=0)
    prepare_pannuke(folder / "raw", folder / "store")
    return folder / "store"


def _train(name: str, data: Path, out: Path, **changes: object) -> Path:
    """A few steps with the settings of a file."""
    record = yaml.safe_load((CONFIGS[0].parent / f"{name}.yaml").read_text())
    short = {"epochs": 4, "first_cycle_epochs": 4, "warmup_epochs": 1, "validate_every": 4}
    few = {"samples_per_epoch": 8, "batch_size": 4, "workers": 0, "tile_px": 128, "log_every": 1}
    folds = {"folds": [1], "val_folds": [2], "accelerator": "cpu", "precision": "32"}
    record |= {**short, **few, **folds, **changes, "data": str(data), "out": str(out)}
    train(TrainConfig.from_dict(record))
    return out


def test_the_printed_config_holds_every_default_and_comment() -> None:
    text = commented_yaml()
    record = yaml.safe_load(text)
    config = TrainConfig.from_dict({**record, "data": "DATA", "out": "RUN"})
    assert config == TrainConfig(data=Path("DATA"), out=Path("RUN"))
    for f in (*fields(TrainConfig), *fields(AugmentConfig)):
        assert f"{f.name}:" in text


def test_yaml_and_back() -> None:
    config = TrainConfig(
        data=Path("a"), out=Path("b"), folds=(1, 3), trunk_options={"up": "bilinear"}
    )
    again = TrainConfig.from_dict(yaml.safe_load(yaml.safe_dump(config.to_dict())))
    assert again == config


def test_options_given_as_flags_are_read_as_yaml_would() -> None:
    config = TrainConfig(
        data=Path("a"), out=Path("b"), representation_options={"min-area-px": "24", "dice": "0.5"}
    )
    assert config.representation_options == {"min_area_px": 24, "dice": 0.5}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"data": "a", "out": "b", "epoch": 3}, "unknown training settings"),
        ({"out": "b"}, "lack --data"),
        ({"data": "a", "out": "b", "folds": []}, "at least one fold"),
    ],
)
def test_bad_settings_are_refused(record, message) -> None:
    with pytest.raises(ValueError, match=message):
        TrainConfig.from_dict(record)
