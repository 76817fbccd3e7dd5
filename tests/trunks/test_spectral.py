"""Spectral and hybrid pooling. The seed's failed every one of these (field.md 6, item 5)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from histonuc.trunks.spectral import HybridPool, spectral_pool

SIZES = [(8, 8, 4, 4), (9, 8, 4, 5), (16, 12, 8, 6), (7, 5, 3, 2), (8, 6, 7, 5), (10, 10, 1, 1)]


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _frequencies(n: int, size: int) -> list[int]:
    """Frequencies that `n` samples can hold, both signs, of a signal of `size` samples."""
    held = [k for k in range(-(n // 2), n // 2 + 1) if 2 * abs(k) <= n]
    return held if n < size else [k for k in held if -size < 2 * k <= size]


def _ideal(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """The two-sided sum over kept frequencies, evaluated at fewer points: the definition."""
    spectrum = np.fft.fft2(x, axes=(2, 3)) / (x.shape[2] * x.shape[3])
    rows, columns = np.arange(height)[:, None] / height, np.arange(width)[None] / width
    out = np.zeros((*x.shape[:2], height, width), complex)
    for a in _frequencies(height, x.shape[2]):
        for b in _frequencies(width, x.shape[3]):
            wave = np.exp(2j * np.pi * (a * rows + b * columns))
            out += spectrum[:, :, a % x.shape[2], b % x.shape[3], None, None] * wave
    assert np.abs(out.imag).max() < 1e-12
    return out.real


@pytest.mark.parametrize(("h", "w", "height", "width"), [*SIZES, (8, 8, 8, 8)])
def test_is_the_ideal_low_pass(h: int, w: int, height: int, width: int) -> None:
    x = _random(2, 3, h, w)
    pooled = spectral_pool(x, height, width)
    assert pooled.shape == (2, 3, height, width)
    np.testing.assert_allclose(pooled.numpy(), _ideal(x.numpy(), height, width), atol=1e-12)


@pytest.mark.parametrize("factor", [2, 4, 16])
def test_samples_band_limited_images_exactly(factor: int) -> None:
    # waves that also hold the new Nyquist frequency itself: cos(pi k) at every k-th pixel
    t = 2 * torch.pi * torch.arange(32, dtype=torch.float64) / 32
    low = 32 // factor // 2
    x = (torch.cos(low * t)[:, None] + 0.5 * torch.sin((low - 1) * t)[None]).expand(1, 1, 32, 32)
    torch.testing.assert_close(
        spectral_pool(x, 32 // factor, 32 // factor), x[..., ::factor, ::factor]
    )


def test_removes_what_the_smaller_image_cannot_hold() -> None:
    t = 2 * torch.pi * torch.arange(32, dtype=torch.float64) / 32
    high = torch.cos(9 * t).expand(1, 1, 32, 32)  # sampled at every second pixel it would alias
    assert spectral_pool(high, 16, 16).abs().max() < 1e-12


@given(
    h=st.integers(2, 40), w=st.integers(2, 40), divisor=st.integers(1, 16), value=st.floats(-9, 9)
)
def test_keeps_constants(h: int, w: int, divisor: int, value: float) -> None:
    # the seed gave 4 for 1 when halving, 256 at a sixteenth
    pooled = spectral_pool(
        torch.full((1, 2, h, w), value), max(h // divisor, 1), max(w // divisor, 1)
    )
    torch.testing.assert_close(pooled, torch.full_like(pooled, value), atol=1e-5, rtol=1e-5)


def test_correlates_with_a_blurred_and_sampled_image() -> None:
    x = _random(1, 1, 64, 64)
    reference = _ideal(x.numpy(), 32, 32)
    correlation = np.corrcoef(spectral_pool(x.float(), 32, 32).numpy().ravel(), reference.ravel())
    assert correlation[0, 1] > 0.999999  # the seed's: 0.475


@pytest.mark.parametrize(("h", "w", "height", "width"), SIZES[:4])
def test_gradient(h: int, w: int, height: int, width: int) -> None:
    x = _random(1, 2, h, w).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: spectral_pool(t, height, width), x)


def test_samples_and_channels_do_not_mix() -> None:
    x = _random(3, 4, 10, 12)
    whole = spectral_pool(x, 5, 6)
    torch.testing.assert_close(spectral_pool(x[1:2, 2:3], 5, 6), whole[1:2, 2:3])


def test_hartley_cropping_is_the_same() -> None:
    """Crop the Hartley transform (real minus imaginary part), odd sizes so no Nyquist term."""
    x = _random(1, 1, 9, 15).numpy()[0, 0]

    def hartley(image: np.ndarray) -> np.ndarray:
        rows = np.fft.fft(image, axis=0)
        rows = rows.real - rows.imag
        columns = np.fft.fft(rows, axis=1)
        return columns.real - columns.imag  # separable "cas-cas" transform, its own inverse

    spectrum = np.fft.fftshift(hartley(x))[2:7, 5:10]  # 5 x 5 frequencies about zero
    cropped = hartley(np.fft.ifftshift(spectrum)) / x.size
    pooled = spectral_pool(torch.from_numpy(x)[None, None], 5, 5)[0, 0].numpy()
    np.testing.assert_allclose(pooled, cropped, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_goes_through_float32(dtype: torch.dtype) -> None:
    x = _random(1, 1, 12, 12).to(dtype)
    pooled = spectral_pool(x, 6, 6)
    assert pooled.dtype == dtype
    torch.testing.assert_close(pooled, spectral_pool(x.float(), 6, 6).to(dtype))


def test_cannot_enlarge() -> None:
    with pytest.raises(ValueError, match=r"shrinks: got \(4, 4\), asked for \(8, 4\)"):
        spectral_pool(torch.zeros(1, 1, 4, 4), 8, 4)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_hybrid_pool_has_both_parts(stride: int) -> None:
    pool = HybridPool(2, 4, stride=stride)
    with torch.no_grad():
        pool.mix.weight.copy_(torch.eye(4)[:, :, None, None])  # lay the parts side by side
        x = _random(2, 2, 8, 12).float()
        out = pool(x)
    assert out.shape == (2, 4, 8 // stride, 12 // stride)
    torch.testing.assert_close(out[:, 2:], spectral_pool(x, 8 // stride, 12 // stride))
    if stride == 1:
        torch.testing.assert_close(out[:, 2:], x)
        assert out[0, 0, 3, 3] == x[0, 0, 2:5, 2:5].max()
    else:
        assert out[0, 0, 1, 1] == x[0, 0, stride : 2 * stride, stride : 2 * stride].max()
