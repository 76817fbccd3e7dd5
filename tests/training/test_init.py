"""Training that goes on from another model: fine-tuning."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from histonuc.cli import run
from histonuc.data.classes import open_classes
from histonuc.models.model import ModelSpec
from histonuc.models.zoo import build_network, load_network, save_network, start_from
from histonuc.taxonomy import PANNUKE
from histonuc.training.loop import train

CONSEP = open_classes("consep").label_space

SPEC = ModelSpec(
    trunk="compact", representation="offset", label_space=PANNUKE, mpp=0.25, trunk_options={}
)


def _same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_the_same_kind_of_model_is_taken_whole() -> None:
    given, model = build_network(SPEC), build_network(SPEC)
    assert not _same(given, model)
    start_from(model, given)
    assert _same(given, model)


@pytest.mark.parametrize(
    "changes", [{"label_space": CONSEP}, {"representation": "hover"}, {"representation": "star"}]
)
def test_other_classes_or_maps_keep_the_trunk_and_start_a_new_head(changes: dict) -> None:
    given, model = build_network(SPEC), build_network(replace(SPEC, **changes))
    head = model.head.weight.clone()
    start_from(model, given)
    assert _same(given.trunk, model.trunk)
    assert torch.equal(model.head.weight, head)


def test_another_trunk_is_refused() -> None:
    with pytest.raises(ValueError, match="--init: the model given has trunk compact"):
        start_from(build_network(replace(SPEC, trunk="inception_unet")), build_network(SPEC))


def test_another_decoder_starts_anew_behind_the_same_encoder(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = build_network(SPEC)
    model = build_network(replace(SPEC, trunk_options={"widths": (64, 48, 32, 24, 16)}))
    before = model.trunk.merge[0][0][0].weight.clone()
    start_from(model, given)
    assert _same(given.trunk.encoder, model.trunk.encoder)
    assert torch.equal(model.trunk.merge[0][0][0].weight, before)
    assert "tensors have another shape there and start anew" in caplog.text


def test_options_that_differ_are_named_as_flags(caplog: pytest.LogCaptureFixture) -> None:
    given = build_network(
        replace(SPEC, representation_options={"blur_px": 1.5, "temperature": 2.0})
    )
    start_from(build_network(SPEC), given)
    assert "for the same: --representation-options.blur-px 1.5" in caplog.text
    assert "temperature" not in caplog.text
    caplog.clear()
    start_from(build_network(replace(SPEC, representation_options={"blur_px": 1.5})), given)
    start_from(build_network(replace(SPEC, mpp=0.5)), given)  # where pixels are others
    assert not caplog.text


def test_train_starts_from_a_run(settings) -> None:
    first = train(settings("first"))
    # A rate of next to nothing leaves the model where it started.
    tuned = train(settings("tuned", init=str(first), max_lr=1e-9, min_lr=1e-9))
    before = load_network(first / "checkpoints/best")
    after = load_network(tuned / "checkpoints/last")
    for x, y in zip(before.parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-4)


def test_a_run_goes_on_also_where_its_start_is_gone(settings) -> None:
    first = train(settings("first"))
    begun = settings("tuned", init=str(first))
    train(begun)
    shutil.rmtree(first)
    longer = replace(begun, epochs=2, resume=True)
    assert (train(longer) / "checkpoints" / "last").is_dir()


@pytest.mark.parametrize(
    "words",
    [["predict", "{}/x.png", "--out", "{}", "--model"], ["export-model", "--out", "{}/x.onnx"]],
)
def test_a_model_that_left_the_package_names_where_it_is(words, tmp_path, capsys) -> None:
    Image.new("RGB", (300, 300)).save(tmp_path / "x.png")
    line = [word.replace("{}", str(tmp_path)) for word in words]
    for name, successor in (("-4", "-5"), ("-fast-1", "-fast-2")):
        assert run([*line, f"compact-offset{name}"]) == 2
        said = capsys.readouterr().err
        assert f"compact-offset{successor} took its place" in said
        assert "commit 834474f of the repository has its files" in said


def test_an_unknown_model_is_one_clear_error(settings, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model at"):
        train(settings(init=str(tmp_path / "nothing")))


def test_save_and_load_keep_the_trunk_s_options(tmp_path: Path) -> None:
    options = {"stem_stride": 4, "widths": [32, 24, 16, 16, 16, 8], "shuffle": 2}
    model = build_network(replace(SPEC, trunk_options=options)).eval()
    again = load_network(save_network(model, tmp_path))
    images = torch.randint(0, 255, (1, 3, 96, 64), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(model(images), again(images))
