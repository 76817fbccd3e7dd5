"""RefineNet (field.md 6, item 3) and the loading of torchvision's weights."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from histonuc.trunks import refinenet
from histonuc.trunks.refinenet import ChainedPooling, RefineBlock, RefineNet, ResidualUnit

RESNET50 = "resnet50-0676ba61.pth"


def test_residual_unit_by_hand() -> None:
    unit = ResidualUnit(1)
    with torch.no_grad():
        for conv in (unit.first, unit.second):
            conv.weight.zero_()
            conv.weight[0, 0, 1, 1] = 2
        unit.first.bias.fill_(1)
    x = torch.tensor([-1.0, 3.0]).view(1, 1, 1, 2)
    # -1 + 2 relu(2 relu(-1) + 1) = 1;  3 + 2 relu(2 relu(3) + 1) = 17
    assert unit(x).flatten().tolist() == [1.0, 17.0]


def test_chained_pooling_by_hand_and_backward() -> None:
    # the seed's in-place sum wrote over the pool's input: backward raised
    crp = ChainedPooling(1, 1, 2)
    with torch.no_grad():
        crp.convs[0].weight.fill_(2)
        crp.convs[1].weight.fill_(3)
    x = torch.zeros(1, 1, 1, 6)
    x[0, 0, 0, 0], x[0, 0, 0, 5] = 1, -1
    x.requires_grad_()
    y = crp(x)
    # relu(x) + 2 pool(relu x) + 3 pool(2 pool(relu x)): pools reach 2 pixels, then 4
    assert y.flatten().tolist() == [1 + 2 + 6, 2 + 6, 2 + 6, 6, 6, 0]
    y.sum().backward()
    assert x.grad is not None
    # pixel 0: itself once, twice each for 3 pixels, six times each for 5 pixels
    assert x.grad[0, 0, 0, 0] == 1 + 2 * 3 + 6 * 5


@pytest.mark.parametrize("light", [False, True])
def test_block_structure(light: bool) -> None:
    """Two residual units an input, fusion, pooling, one unit; light-weight: no units, 1x1."""
    block = RefineBlock((4, 8), light=light, pools=3)
    count = 0 if light else 2
    assert [len(adapt) for adapt in block.adapt] == [count, count]
    assert len(block.output) == (0 if light else 1)
    size = (1, 1) if light else (3, 3)
    assert [conv.kernel_size for conv in block.fuse] == [size, size]
    assert [conv.kernel_size for conv in block.pool.convs] == [size] * 3
    out = block([torch.randn(1, 4, 8, 8), torch.randn(1, 8, 4, 4)])
    assert out.shape == (1, 4, 8, 8)


def test_single_input_is_not_fused() -> None:
    assert len(RefineBlock((8,), light=False, pools=1).fuse) == 0


def test_channels_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        trunk = RefineNet(depth=50)
    assert [reduce.out_channels for reduce in trunk.reduce] == [256, 256, 256, 512]
    assert [block.pool.convs[0].out_channels for block in trunk.blocks] == [256, 256, 256, 512]
    assert sum(isinstance(unit, ResidualUnit) for unit in trunk.modules()) == 7 * 2 + 4 + 2
    assert trunk.out_channels == 256


def test_features_stay_in_scale() -> None:
    """Nothing normalises the sums: with plain Kaiming weights they grow by 10^5."""
    torch.manual_seed(0)
    trunk = RefineNet(depth=50, width=16)
    with torch.no_grad():
        assert 0.1 < trunk(torch.randn(2, 3, 64, 64)).main.std() < 50


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch hub cache and no network."""

    def no_network(*args: object, **kwargs: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_pretrained_loads_the_resnet(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the seed passed pretrained= to a ResNet that does not take it
    stored = torchvision.models.resnet50().state_dict()
    torch.save(stored, hub / RESNET50)
    trunk = RefineNet(depth=50, light=True, width=8, pretrained=True)
    loaded = trunk.encoder.state_dict()
    assert set(stored) - set(loaded) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(loaded[key], stored[key]) for key in loaded)


def test_no_network_says_where_to_put_the_file(hub: Path) -> None:
    with pytest.raises(ValueError, match="pretrained=False") as caught:
        RefineNet(depth=50, light=True, width=8, pretrained=True)
    assert str(hub / RESNET50) in str(caught.value)
    assert "refinenet_lw50: no network" in str(caught.value)


def test_damaged_file_is_named(hub: Path) -> None:
    (hub / RESNET50).write_bytes(b"PK\x03\x04 not the weights")
    with pytest.raises(ValueError, match=r"resnet50-0676ba61\.pth are damaged"):
        RefineNet(depth=50, light=True, width=8, pretrained=True)


def test_frozen_layers_do_not_move() -> None:
    trunk = RefineNet(depth=50, light=True, width=8)
    trunk.freeze_encoder()
    trunk.train()
    before = {key: value.clone() for key, value in trunk.encoder.state_dict().items()}
    trunk(torch.randn(2, 3, 64, 64)).main.sum().backward()
    after = trunk.encoder.state_dict()
    moved = {key.split(".")[0] for key in after if not torch.equal(after[key], before[key])}
    assert moved == {"layer4"}  # its batch statistics; the frozen ones stayed
    learning = {
        name.split(".")[0] for name, p in trunk.encoder.named_parameters() if p.requires_grad
    }
    assert learning == {"layer4"}
    assert trunk.encoder.layer1[0].conv1.weight.grad is None


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="width and pools >= 1, got 8 and 0"):
        RefineNet(width=8, pools=0)


def test_relu_is_never_in_place() -> None:
    # an in-place ReLU would change the residual's other branch
    assert "relu_(" not in Path(refinenet.__file__).read_text()
    assert not any(
        isinstance(m, nn.ReLU) for m in RefineBlock((4,), light=False, pools=1).modules()
    )
