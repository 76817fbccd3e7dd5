"""Every YAML of configs/ is a valid training, and the printed default one is too."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from histonuc import cli
from histonuc.data.augment_config import AugmentConfig
from histonuc.data.pannuke import prepare_pannuke
from histonuc.data.synthetic import write_synthetic
from histonuc.field_checks import read_options
from histonuc.models.loading import find_checkpoint
from histonuc.models.zoo import build_trunk, load_network
from histonuc.representations import build_representation
from histonuc.taxonomy import PANNUKE
from histonuc.training.config import TrainConfig, commented_yaml

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


TINY = {
    "epochs": 1,
    "first-cycle-epochs": 1,
    "warmup-epochs": 0.5,
    "samples-per-epoch": 4,
    "batch-size": 2,
    "tile-px": 64,
    "workers": 0,
    "precision": 32,
    "accelerator": "cpu",
    "ema-decay": 0,
    "log-every": 1,
}
SMALLER = {
    "deeplabv3_resnet101_pannuke": ["--trunk", "deeplabv3_resnet50"],
    "refinenet50_pannuke": ["--trunk", "refinenet_lw50"],
    "unet_pannuke": ["--trunk-options.width", "8"],
}
"""The largest networks write gigabytes of checkpoints; these are of the same kind."""


@pytest.fixture(scope="module")
def folds(tmp_path_factory) -> Path:
    """Two drawn tiles of 64 px in each of three folds."""
    folder: Path = tmp_path_factory.mktemp("configs")
    write_synthetic(folder / "raw", tiles=6, seed=0, tile_px=64)
    prepare_pannuke(folder / "raw", folder / "store")
    return folder / "store"


def run_command(command: str, name: str, data: Path, out: Path, *words: str, **changes: object):
    """Run a command with a file of configs/ and a tiny budget."""
    settings = TINY | {key.replace("_", "-"): value for key, value in changes.items()}
    flags = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    file = CONFIGS[0].parent / f"{name}.yaml"
    where = ["--config", str(file), "--data", str(data), "--out", str(out)]
    assert cli.run([command, *where, *flags, *words]) == 0
    return out


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_trains_by_its_command(path: Path, folds: Path, tmp_path: Path) -> None:
    words = ["--folds", "1", "--val-folds", "2", *SMALLER.get(path.stem, [])]
    if path.stem != "fine_tune":  # it starts from a model that the package holds
        words.append("--no-pretrained")
    run = run_command("train", path.stem, folds, tmp_path / "run", *words)
    written = yaml.safe_load((run / "config.yaml").read_text())
    for name, value in yaml.safe_load(path.read_text()).items():
        if name.replace("_", "-") not in TINY and name not in ("trunk", "pretrained"):
            extra = {"width": 8} if name == "trunk_options" and "unet" in path.stem else {}
            assert written[name] == (value | extra if extra else value), name
    # What it wrote is a configuration too, also where options are lists.
    again = ["train", "--config", str(run / "config.yaml"), "--resume", "--epochs", "2"]
    assert cli.run(again) == 0
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows if row["event"] == "epoch"] == [1, 2]


def test_the_pannuke_config_is_cross_validated_by_its_command(folds: Path, tmp_path: Path) -> None:
    run_command("crossval", "compact_pannuke", folds, tmp_path / "cv", "--no-pretrained")
    summary = json.loads((tmp_path / "cv" / "crossval.json").read_text())
    assert set(summary["per_class"]) == set(PANNUKE.classes)


def test_the_pannuke_config_learns(folds: Path, tmp_path: Path) -> None:
    words = ["--folds", "1", "--val-folds", "2", "--no-pretrained"]
    long = {"epochs": 4, "first_cycle_epochs": 4, "warmup_epochs": 1, "max_lr": 5e-3}
    run = run_command("train", "compact_pannuke", folds, tmp_path / "run", *words, **long)
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in steps if row["event"] == "step"]
    assert losses[-1] < losses[0]


def test_fine_tuning_starts_from_the_shipped_model(folds: Path, tmp_path: Path) -> None:
    words = ["--folds", "1", "--val-folds", "2"]
    still = {"max_lr": 1e-9, "min_lr": 1e-10}
    run = run_command("train", "fine_tune", folds, tmp_path / "run", *words, **still)
    tuned, shipped = (
        load_network(run / "checkpoints" / "best"),
        load_network(find_checkpoint(DEFAULT)),
    )
    for (name, ours), theirs in zip(
        tuned.trunk.state_dict().items(), shipped.trunk.state_dict().values(), strict=True
    ):
        if "running" not in name and ours.is_floating_point():
            assert (ours - theirs).abs().max() < 1e-5, name


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
    flags = {"min-area-px": "24", "dice": ".5", "iou": "1e-05", "class-weights": ["1", "2.5"]}
    config = TrainConfig(data=Path("a"), out=Path("b"), representation_options=flags)
    expected = {"min_area_px": 24, "dice": 0.5, "iou": 1e-5, "class_weights": [1, 2.5]}
    assert config.representation_options == expected
    assert read_options({"up": "bilinear", "on": "True", "deep": "[" * 100_000})["on"] is True


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
