"""Every YAML of configs/ is a valid training, and the printed default one is too."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from histonuc.data.augment import AugmentConfig
from histonuc.representations import build_representation
from histonuc.training.config import TrainConfig, commented_yaml
from histonuc.zoo import build_trunk

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
