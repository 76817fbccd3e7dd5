"""Distillation: a network learns a trained model's maps."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from histonuc import cli
from histonuc.models.model import ModelSpec
from histonuc.models.zoo import build_network, load_network, save_network
from histonuc.taxonomy import LABEL_SPACES
from histonuc.training.teacher import Teacher, teacher_loss

SPEC = ModelSpec(
    trunk="compact",
    representation="offset",
    label_space=LABEL_SPACES["three"],
    mpp=0.25,
    trunk_options={"widths": [8, 8, 8, 8, 8]},
)
CPU = torch.device("cpu")
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), np.uint8))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    network = build_network(SPEC)
    torch.nn.init.normal_(network.head.weight, std=0.5)
    return network.eval(), save_network(network, tmp_path_factory.mktemp("teacher"))


def test_what_is_mirrored_for_the_teacher_is_mirrored_back(checkpoint) -> None:
    network, path = checkpoint
    teacher = Teacher(str(path), replace(SPEC, label_space=LABEL_SPACES["four"]), CPU)
    with torch.no_grad():
        plain = network.representation.activate(network(IMAGES))[:, :3]
        mirrored = network.representation.activate(network(IMAGES.flip(3)))[:, :3].flip(3)
    mirrored[:, 2] *= -1  # x of the vectors
    given = [teacher.maps(IMAGES, seed) for seed in range(12)]
    for expected in (plain, mirrored):
        assert any(torch.allclose(maps, expected, rtol=1e-4, atol=1e-3) for maps in given)
    assert not torch.allclose(plain, mirrored, atol=0.1)


def test_the_loss_is_least_for_the_teachers_own_maps(checkpoint) -> None:
    network, _ = checkpoint
    logits = network(IMAGES).detach()
    maps = network.representation.activate(logits)[:, :3]
    loss, terms = teacher_loss(network.representation, logits, maps)
    assert set(terms) == {"teacher_bce", "teacher_geometry"}
    assert terms["teacher_geometry"] < 1e-9
    other = (logits + 0.3 * torch.randn_like(logits)).requires_grad_()
    further, _ = teacher_loss(network.representation, other, maps)
    assert further > loss
    further.backward()
    assert other.grad[:, :3].abs().sum() > 0
    assert other.grad[:, 3:].abs().sum() == 0, "classes are not learned from the teacher"


def test_a_teacher_of_other_maps_is_refused(checkpoint) -> None:
    _, path = checkpoint
    with pytest.raises(ValueError, match=r"expected representation hover at 0\.25 mpp"):
        Teacher(str(path), replace(SPEC, representation="hover"), CPU)
    with pytest.raises(ValueError, match=r"--teacher: --model nowhere: no such model"):
        Teacher("nowhere", SPEC, CPU)


def test_a_student_with_a_class_branch_learns_on_the_command_line(data, tmp_path, capsys) -> None:
    # At half the tiles' scale, as they are smaller than the trunk takes.
    path = save_network(build_network(replace(SPEC, mpp=0.125)), tmp_path / "teacher")
    run = tmp_path / "run"
    options = "--trunk compact --representation offset --no-pretrained --epochs 1 --batch-size 8 --mpp 0.125"
    options += " --warmup-epochs 0 --tile-px 64 --log-every 1 --threads 1"
    options += " --trunk-options.plain-stem true --class-branch.hidden 8"
    arguments = ["train", "--data", str(data), "--out", str(run), *options.split()]
    arguments += ["--trunk-options.widths", "[8,8,8,8,8]", "--teacher", str(path)]
    assert cli.run(arguments) == 0, capsys.readouterr().err
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"teacher_bce", "teacher_geometry"} < set(steps[0])
    trained = load_network(run / "checkpoints" / "best")
    assert trained.class_branch is not None
    assert trained.spec.trunk_options["plain_stem"] is True
    capsys.readouterr()
    assert cli.run([*arguments, "--resume"]) == 0, capsys.readouterr().err
