"""`histonuc fine-tune`: the last layers learn new labels, and the rest stays true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from histonuc.cli import run
from histonuc.data.dataset import InTurn
from histonuc.data.store import Store
from histonuc.data.writer import StoreWriter
from histonuc.evaluation.comparison import compare
from histonuc.models.loading import load_model
from histonuc.models.model import ModelSpec
from histonuc.models.trust import Trust
from histonuc.models.zoo import build_network, load_network, save_network, start_from
from histonuc.representations.offset import Offset
from histonuc.taxonomy import PANNUKE, LabelSpace
from histonuc.training import tuning
from histonuc.training.crops import open_crops
from histonuc.training.teacher import Teacher, teacher_loss
from histonuc.training.tune_options import TuneOptions
from histonuc.training.tuning import make_config
from histonuc.viewing import tune_run

from ..data.pointed_store import mark, outlined_record, point_record
from ..data.small_store import write

SPEC = ModelSpec(
    trunk="compact",
    representation="offset",
    label_space=PANNUKE,
    mpp=0.125,
    trunk_options={"widths": [16, 16, 16, 16, 8]},
    representation_options={"blur_px": 1.5},
    class_branch={"hidden": 0},
    features={"4": 3, "8": 2},
    learned_on="squares",
    trust_threshold=0.07,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    network = build_network(SPEC)
    network.trust = Trust(
        centres=np.zeros((1, 5), np.float32),
        whitening=np.eye(5, dtype=np.float32),
        distances=np.linspace(0, 9, 11, dtype=np.float32),
    )
    return save_network(network, tmp_path_factory.mktemp("init") / "model.safetensors")


def test_the_decoder_learns_and_the_encoder_features_and_trust_stay(
    data, model, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(tuning, "_CROPS_AN_EPOCH", 16)
    before = model.read_bytes()
    out = tmp_path / tune_run.MODEL
    words = ["fine-tune", "--data", str(data), "--init", str(model), "--out", str(out)]
    assert run([*words, "--epochs", "1", "--threads", "1", "--replay", str(data)]) == 0
    assert model.read_bytes() == before
    old, new = load_network(model), load_network(out / "checkpoints" / "best")
    changed = {
        name.split(".")[0] if "encoder" not in name else "encoder"
        for name, value in old.state_dict().items()
        if not torch.equal(value, new.state_dict()[name])
    }
    assert changed == {"trunk", "head", "class_branch"}
    for name, value in old.state_dict().items():
        if "running_" in name:  # statistics of batch norm
            assert torch.equal(value, new.state_dict()[name])
    assert new.trust is not None
    assert new.trust.to_text() == old.trust.to_text()  # type: ignore[union-attr]
    assert (new.spec.learned_on, new.spec.trust_threshold) == ("squares", 0.07)
    image = np.full((1, 64, 64, 3), 200, np.uint8)
    for given, wanted in zip(
        load_model(str(out), "cpu").outputs(image).features,
        load_model(str(model), "cpu").outputs(image).features,
        strict=True,
    ):
        np.testing.assert_array_equal(given.values, wanted.values)
    assert (out / "scores" / "before" / "scores.json").is_file()
    assert (out / "scores" / "after" / "scores.json").is_file()
    assert "the model that was started from is as it was" in capsys.readouterr().out

    # The page of the viewer reads the same.
    scores = [out / "scores" / name for name in ("before", "after")]
    monkeypatch.setattr(tuning, "fine_tune", lambda options: (out, compare(scores)))
    assert run([*words, "--json"]) == 0
    (tmp_path / tune_run.COMPARISON).write_text(capsys.readouterr().out)
    found = tune_run.read_scores(tmp_path)
    assert found["num_held_out"] == 8
    assert {"bPQ", "mPQ"} <= {row["name"] for row in found["scores"]}
    monkeypatch.setattr(tune_run, "EPOCHS", 1)
    progress = tune_run.read_progress(out / "metrics.jsonl")
    assert (progress.step, progress.num_steps, progress.is_trained) == (4, 4, True)


def test_one_fold_leaves_nothing_to_compare_on(data, model, tmp_path, capsys) -> None:
    words = ["fine-tune", "--data", str(data), "--init", str(model), "--out", str(tmp_path / "a")]
    assert run([*words, "--val-folds", "1", "2"]) == 2
    assert "one to learn from and one that is held out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("outlined", "val_folds", "is_told"), [((1, 2), (2,), False), ((1,), (3,), True)]
)
def test_a_fold_with_outlines_is_held_out(
    model, tmp_path, caplog, outlined, val_folds, is_told
) -> None:
    source = "corrections"
    records = [outlined_record(fold=fold, source=source) for fold in outlined]
    records += [point_record(mark(), fold=fold, source=source) for fold in (1, 2, 3)]
    data = write(tmp_path / "store", *records).path
    config = make_config(TuneOptions(data=data, out=tmp_path / "run", init=str(model)))
    assert config.val_folds == val_folds
    assert sorted(config.folds + config.val_folds) == [1, 2, 3]
    assert ("no nuclei are outlined in the folds that are held out" in caplog.text) == is_told


def test_new_classes_keep_the_head_for_nucleus_and_geometry(model) -> None:
    given = load_network(model)
    classes = LabelSpace(name="two", classes=("Plasma cell", "Other"), colours=((1, 2, 3),) * 2)
    other = build_network(replace(SPEC, label_space=classes))
    start_from(other, given)
    assert torch.equal(other.head.weight, given.head.weight)
    assert torch.equal(other.projections["8"].weight, given.projections["8"].weight)


def test_features_are_those_of_the_start(settings, model) -> None:
    with pytest.raises(ValueError, match="--features are those of --init"):
        settings(features={"4": 3})


def test_every_other_crop_is_replayed(settings, data) -> None:
    config = settings(representation="offset", replay=str(data), samples_per_epoch=12)
    dataset, steps = open_crops(config, Store.open(data), Offset(num_classes=5), 1)
    assert isinstance(dataset, InTurn)
    assert (len(dataset), steps) == (24, 6)
    alone, _ = open_crops(replace(config, replay=""), Store.open(data), Offset(num_classes=5), 1)
    for epoch in range(2):
        own = [dataset[epoch * 24 + position]["tile"] for position in range(0, 24, 2)]
        assert own == [alone[epoch * 12 + position]["tile"] for position in range(12)]


def test_replayed_labels_have_the_same_classes(settings, data, tmp_path) -> None:
    classes = LabelSpace(name="two", classes=("Plasma cell", "Other"), colours=((1, 2, 3),) * 2)
    with StoreWriter(tmp_path / "other", classes, source="test"):
        pass
    config = settings(representation="offset", replay=str(tmp_path / "other"))
    with pytest.raises(ValueError, match="has the classes Plasma cell, Other; expected those"):
        open_crops(config, Store.open(data), Offset(num_classes=5), 1)


def test_the_teacher_speaks_only_where_labels_are_silent(model) -> None:
    representation = Offset(num_classes=2)
    logits = torch.randn(1, 5, 4, 4, requires_grad=True)
    maps = torch.rand(1, 5, 4, 4)
    where = torch.zeros(1, 4, 4, dtype=torch.bool)
    where[:, :2] = True
    known = torch.zeros_like(where)
    known[:, 0] = True  # a person gave these the class, and nothing else
    loss, terms = teacher_loss(representation, logits, maps, where, known)
    loss.backward()
    assert {"teacher_bce", "teacher_geometry", "teacher_class"} == set(terms)
    assert (logits.grad[:, :3, :2] != 0).any(1).all()
    assert (logits.grad[:, 3:, 0] == 0).all()
    assert (logits.grad[:, 3:, 1] != 0).all()
    assert (logits.grad[:, :, 2:] == 0).all()


def test_a_teacher_of_the_same_classes_teaches_them_when_asked(model) -> None:
    images = torch.randint(0, 255, (1, 3, 64, 64), dtype=torch.uint8)
    device = torch.device("cpu")
    assert Teacher(str(model), SPEC, device).maps(images, 0).shape[1] == 3
    assert Teacher(str(model), SPEC, device, classes=True).maps(images, 0).shape[1] == 8
