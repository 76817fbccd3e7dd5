"""Switchable normalisation (field.md 6, item 6)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from histonuc.trunks.switch_norm import SwitchNorm2d

ALWAYS = 100.0  # a logit so large that its share is one


def _only(index: int, channels: int = 3) -> SwitchNorm2d:
    norm = SwitchNorm2d(channels)
    with torch.no_grad():
        norm.mean_weight[index] = ALWAYS
        norm.var_weight[index] = ALWAYS
        norm.weight.copy_(torch.linspace(0.5, 2, channels))
        norm.bias.copy_(torch.linspace(-1, 1, channels))
    return norm


def _images(seed: int = 0, batch: int = 4) -> torch.Tensor:
    x = torch.randn(batch, 3, 7, 5, generator=torch.Generator().manual_seed(seed))
    return 3 * x + torch.tensor([1.0, -2.0, 5.0]).view(1, 3, 1, 1)


def test_starts_as_the_even_mixture() -> None:
    norm, x = SwitchNorm2d(3), _images()
    var_in, mean_in = torch.var_mean(x, dim=(2, 3), correction=0, keepdim=True)
    var_ln, mean_ln = torch.var_mean(x, dim=(1, 2, 3), correction=0, keepdim=True)
    var_bn, mean_bn = torch.var_mean(x, dim=(0, 2, 3), correction=0, keepdim=True)
    mean, var = (mean_in + mean_ln + mean_bn) / 3, (var_in + var_ln + var_bn) / 3
    torch.testing.assert_close(norm(x), (x - mean) / (var + 1e-5).sqrt())


@pytest.mark.parametrize(
    ("index", "reference"),
    [
        (0, nn.InstanceNorm2d(3)),
        (1, nn.GroupNorm(1, 3, affine=False)),
        (2, nn.BatchNorm2d(3, affine=False)),
    ],
)
def test_each_share_alone_is_the_known_norm(index: int, reference: nn.Module) -> None:
    norm, x = _only(index), _images()
    affine = norm.weight.view(1, 3, 1, 1) * reference(x) + norm.bias.view(1, 3, 1, 1)
    torch.testing.assert_close(norm(x), affine)


def test_running_statistics_are_those_of_batch_norm() -> None:
    norm, reference = _only(2), nn.BatchNorm2d(3)
    torch.testing.assert_close(norm.running_var, torch.ones(3))  # the seed's started at 0
    for seed in range(5):
        norm(_images(seed))
        reference(_images(seed))
    torch.testing.assert_close(norm.running_mean, reference.running_mean)
    torch.testing.assert_close(norm.running_var, reference.running_var)


def test_fresh_evaluation_is_finite_and_tame() -> None:
    # running_var 0 made the first evaluations of the seed explode
    norm = _only(2).eval()
    assert norm(_images()).abs().max() < 100


def test_evaluation_converges_to_training() -> None:
    norm, x = SwitchNorm2d(3), _images(batch=64)
    before = (norm.eval()(x) - norm.train()(x)).abs().max()
    for _ in range(100):
        norm.train()(x)
    after = (norm.eval()(x) - norm.train()(x)).abs().max()
    assert before > 0.5
    assert after < 1e-2


def test_evaluation_does_not_see_the_batch_nor_change() -> None:
    norm, x = SwitchNorm2d(3), _images()
    norm(x)
    norm.eval()
    state = {key: value.clone() for key, value in norm.state_dict().items()}
    torch.testing.assert_close(norm(x)[:1], norm(x[:1]))
    for key, value in norm.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=0, atol=0)


def test_every_parameter_learns() -> None:
    norm = SwitchNorm2d(3)
    (norm(_images()) ** 3).sum().backward()
    for name, parameter in norm.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_gradient() -> None:
    norm = SwitchNorm2d(2).double()
    x = torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, x)
