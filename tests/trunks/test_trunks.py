"""One inherited test for every trunk in the zoo: what a model must do, whatever is inside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from histonuc.models.model import ModelSpec
from histonuc.models.network import Network
from histonuc.models.zoo import TRUNKS, build_network, load_network, save_network
from histonuc.nuclei import TileLabels
from histonuc.taxonomy import PANNUKE

# As small as the options allow; the deeper ResNets are seen on the meta device only.
TINY: dict[str, dict[str, object]] = {
    "deeplabv3_resnet50": {},
    "unet": {"width": 4},
    "inception_unet": {"width": 4},
    "refinenet50": {"width": 8},
    "refinenet_lw50": {"width": 8},
    "compact": {"widths": [8, 8, 8, 8, 8]},
}
SIZES = [(65, 64), (100, 127), (250, 257), (320, 512)]


def _spec(trunk: str, **options: object) -> ModelSpec:
    return ModelSpec(
        trunk=trunk,
        representation="semantic",
        label_space=PANNUKE,
        mpp=0.25,
        trunk_options=options,
    )


def _images(batch: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.randint(0, 256, (batch, 3, height, width), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module", params=list(TINY))
def model(request: pytest.FixtureRequest) -> Network:
    """Built once, as nothing below depends on the values of its weights."""
    torch.manual_seed(0)
    return build_network(_spec(request.param, **TINY[request.param]))


def test_every_family_is_tested() -> None:
    assert {name.rstrip("0123456789") for name in TRUNKS} == {
        name.rstrip("0123456789") for name in TINY
    }


@pytest.mark.parametrize("trunk", TRUNKS)
def test_output_has_the_input_size(trunk: str) -> None:
    # the seed's RefineNets gave a quarter of it, and took 256 x 256 only
    with torch.device("meta"):
        model = build_network(_spec(trunk, **TINY.get(trunk, {})))
        for height, width in [(model.trunk.min_size, model.trunk.min_size), *SIZES]:
            images = torch.zeros(2, 3, height, width, dtype=torch.uint8)
            assert model.eval()(images).shape == (2, 6, height, width)
        logits, aux = model.train().forward_train(images)
        assert logits.shape == (2, 6, height, width)
        assert (aux is None) == (model.aux_head is None)
        assert aux is None or aux.shape == logits.shape


@pytest.mark.parametrize("representation", ["hover", "star", "offset"])
@pytest.mark.parametrize("trunk", TRUNKS)
def test_every_representation_goes_with_every_trunk(trunk: str, representation: str) -> None:
    instances = np.zeros((64, 64), np.int32)
    instances[5:20, 5:20], instances[30:50, 40:60] = 1, 2
    truth = TileLabels(
        instances=instances,
        candidates=np.array([0, 1, 6], np.uint32),
        ignore=np.zeros((64, 64), bool),
    )
    with torch.device("meta"):
        model = build_network(
            replace(_spec(trunk, **TINY.get(trunk, {})), representation=representation)
        )
        logits, aux = model.train().forward_train(torch.zeros(2, 3, 64, 64))
    targets = {
        name: torch.from_numpy(np.stack([target, target]))
        for name, target in model.representation.encode(truth).items()
    }
    for found in (logits,) if aux is None else (logits, aux):
        assert found.shape == (2, model.representation.channels, 64, 64)
        values = torch.zeros(found.shape, requires_grad=True)
        total, _ = model.representation.loss(values, targets)
        total.backward()
        assert (values.grad.abs().amax((0, 2, 3)) > 0).all()  # every channel learns


def test_too_small_is_refused_with_the_sizes_that_work(model: Network) -> None:
    smallest = model.trunk.min_size
    with pytest.raises(ValueError, match=rf"too small.*every width and height from {smallest} up"):
        model(_images(1, smallest - 1, 300))
    with pytest.raises(ValueError, match="expected RGB images"):
        model(torch.zeros(1, 4, 256, 256))


def test_training_reaches_every_parameter(model: Network) -> None:
    state = {key: value.clone() for key, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.train().trainable_parameters(), 1e-3)
    size = model.trunk.min_size
    images, truth = _images(2, size, size), torch.zeros(2, size, size, dtype=torch.int64)
    truth[:, 8:25, 5:30] = 3
    losses = []
    for _ in range(3):
        logits, aux = model.forward_train(images)
        loss = torch.nn.functional.cross_entropy(logits, truth)
        if aux is not None:
            loss = loss + torch.nn.functional.cross_entropy(aux, truth)
        optimiser.zero_grad()
        loss.backward()
        losses.append(loss.item())
        optimiser.step()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name
    assert losses[-1] < losses[0]
    model.load_state_dict(state)


def test_evaluation_is_deterministic_and_independent_of_the_batch(model: Network) -> None:
    # the seed's spectral pool transformed over the batch too
    images = _images(3, 70, 101)
    with torch.no_grad():
        model.train()(images)  # batch statistics that are not the initial ones
        whole = model.eval()(images)
        assert torch.equal(whole, model(images))
        scale = whole.abs().max().item()
        torch.testing.assert_close(model(images[1:2]), whole[1:2], rtol=1e-4, atol=1e-5 * scale)


def test_uint8_and_float_images_are_the_same(model: Network) -> None:
    images = _images(1, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), model(images.float()))


def test_channels_last_and_bfloat16(model: Network) -> None:
    size = model.trunk.min_size
    images = _images(2, size, size).to(memory_format=torch.channels_last)
    model.train().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits, _ = model.forward_train(images)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    logits.mean().backward()
    model.zero_grad()
    model.to(memory_format=torch.contiguous_format)


def test_save_and_load(model: Network, tmp_path: Path) -> None:
    images = _images(1, 64, 80)
    with torch.no_grad():
        expected = model.eval()(images)
        file = save_network(model.to(memory_format=torch.channels_last), tmp_path / "checkpoint")
        model.to(memory_format=torch.contiguous_format)
        loaded = load_network(tmp_path / "checkpoint")
        assert file == tmp_path / "checkpoint" / "model.safetensors"
        assert not loaded.training
        assert loaded.spec == model.spec
        torch.testing.assert_close(loaded(images), expected)
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_padding_does_not_move_the_image(model: Network) -> None:
    """A multiple of the trunk's size needs no padding, so the padded path must agree with it."""
    images = _images(1, 64, 128)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), model.forward_outputs(images).logits)
