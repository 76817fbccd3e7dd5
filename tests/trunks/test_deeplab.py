"""DeepLabV3 (field.md 6, item 9)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import segmentation

from histonuc.trunks.deeplab import DeepLabV3

COCO50 = "deeplabv3_resnet50_coco-cd0a2569.pth"


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    """torchvision's network, random weights."""
    torch.manual_seed(0)
    return segmentation.deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=21, aux_loss=True
    )


@pytest.fixture(scope="module")
def trunk(reference: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> DeepLabV3:
    """Ours, with those weights put into torch hub's cache as the COCO weights."""
    home = tmp_path_factory.mktemp("torch")
    (home / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(reference.state_dict(), home / "hub" / "checkpoints" / COCO50)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(home))
        patch.setattr(torch.hub, "_hub_dir", None)
        return DeepLabV3(depth=50, pretrained=True)


def test_is_torchvisions_up_to_the_last_convolution(reference: nn.Module, trunk: DeepLabV3) -> None:
    # and gives tensors, not the dict that the seed's loss could not take
    x = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = reference.eval()(x)["out"]
        features = trunk.eval()(x)
        logits = reference.classifier[-1](features.main)
    assert features.aux is None  # nobody pays for it at evaluation
    assert features.main.shape == (2, 256, 8, 6)
    upsampled = nn.functional.interpolate(logits, (64, 48), mode="bilinear", align_corners=False)
    torch.testing.assert_close(upsampled, expected)


def test_auxiliary_features_in_training(reference: nn.Module, trunk: DeepLabV3) -> None:
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for network in (reference.train(), trunk.train()):
        for layer in network.modules():
            if isinstance(layer, nn.Dropout):
                layer.eval()
    with torch.no_grad():
        expected = reference(x)["aux"]
        aux = trunk(x).aux
    assert aux is not None
    logits = reference.aux_classifier[-1](aux)
    upsampled = nn.functional.interpolate(logits, (32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(upsampled, expected)


def test_training_on_one_image_is_refused(trunk: DeepLabV3) -> None:
    with pytest.raises(ValueError, match="--batch-size 2 or more"):
        trunk.train()(torch.zeros(1, 3, 32, 32))


def test_seed_freezing_keeps_layer4_and_heads() -> None:
    with torch.device("meta"):
        trunk = DeepLabV3(depth=50, freeze_backbone_except_layer4=True)
    learning = {name.split(".")[0] for name, p in trunk.named_parameters() if p.requires_grad}
    assert learning == {"backbone", "aspp", "aux"}
    backbone = {n.split(".")[0] for n, p in trunk.backbone.named_parameters() if p.requires_grad}
    assert backbone == {"layer4"}
    trunk.train()
    assert not trunk.backbone.bn1.training
    assert not trunk.backbone.layer3[0].bn1.training
    assert trunk.backbone.layer4[0].bn1.training


def test_imagenet_weights_fill_the_backbone(
    reference: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    stored = reference.get_submodule("backbone").state_dict()
    torch.save(stored, tmp_path / "hub" / "checkpoints" / "resnet50-0676ba61.pth")
    trunk = DeepLabV3(depth=50, pretrained=True, weights="imagenet")
    loaded = trunk.backbone.state_dict()
    assert all(torch.equal(loaded[key], stored[key]) for key in loaded)


def test_unknown_weights() -> None:
    with pytest.raises(ValueError, match=r"unknown weights 'voc'; choose from"):
        DeepLabV3(weights="voc")
