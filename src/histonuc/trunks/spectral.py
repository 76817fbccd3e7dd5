"""Pooling in the frequency domain, and its hybrid with max pooling."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


def spectral_pool(
    x: Float[Tensor, "b c h w"], height: int, width: int
) -> Float[Tensor, "b c h2 w2"]:
    """Shrink images by cropping their spectra: the ideal low pass, sampled at fewer points.

    Papers: Rippel, Snoek, Adams, "Spectral Representations for Convolutional Neural Networks",
    NeurIPS 2015, algorithm 1; Zhang and Ma, "Hartley Spectral Pooling for Deep Learning",
    arXiv 1810.04028. The Hartley transform of a real image is the real minus the imaginary part of
    its Fourier transform, and both hold the same frequencies; so cropping one or the other, two
    sides alike, gives the same real image, and the fast real FFT does it here.

    Deviations: the two frequencies ±n/2 that meet in the Nyquist term of an even size n are added,
    which keeps the image real and makes the result equal the band-limited image at every k-th
    pixel (Rippel drops their imaginary part; the reference code of Inception U-Net weighs them by
    √½, which is neither). Amplitudes are kept: a constant image stays what it was.

    Args:
        x: images; under autocast the transform still runs in float32 (there is no bf16 FFT).
        height: rows wanted, at most those of `x`.
        width: columns wanted, at most those of `x`.
    """
    if not (1 <= height <= x.shape[-2] and 1 <= width <= x.shape[-1]):
        raise ValueError(
            f"spectral pooling shrinks: got {tuple(x.shape[-2:])}, asked for {(height, width)}"
        )
    dtype = x.dtype
    if dtype in (torch.bfloat16, torch.float16):
        x = x.float()
    # Over height and width one after the other (the transform is separable), never batch, channel.
    return _crop_spectrum(_crop_spectrum(x, 3, width), 2, height).to(dtype)


def _crop_spectrum(x: Tensor, dim: int, size: int) -> Tensor:
    """Keep the frequencies that `size` samples along `dim` can hold, and sample there."""
    if size == x.shape[dim]:
        return x
    # As pairs of reals: ONNX knows no complex tensors to cut and join.
    half = torch.view_as_real(torch.fft.rfft(x, dim=dim, norm="forward"))
    # In an even size, +n/2 and -n/2 meet in the last term: conjugates in a real image, so their sum
    # is twice the real part, and irfft ignores the imaginary part there. Written without an "if"
    # to hold for every size in an exported graph.
    low, last = half.narrow(dim, 0, size // 2), half.narrow(dim, size // 2, 1)
    half = torch.cat([low, (2 - size % 2) * last], dim)
    spectrum = torch.view_as_complex(half.contiguous())
    shrunk: Tensor = torch.fft.irfft(spectrum, n=size, dim=dim, norm="forward")
    return shrunk


class HybridPool(nn.Module):
    """Max pooling beside spectral pooling, concatenated, mixed by a 1x1 convolution.

    With ``stride=1`` (the pool branch of an inception block) the maximum is over 3x3 and spectral
    pooling crops nothing: it hands its input on, as in the authors' code.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.max = nn.MaxPool2d(3, 1, padding=1) if stride == 1 else nn.MaxPool2d(stride)
        self.mix = nn.Conv2d(2 * in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B, C, H, W) to (B, out_channels, H // stride, W // stride)."""
        height, width = x.shape[-2] // self.stride, x.shape[-1] // self.stride
        pooled = torch.cat([self.max(x), spectral_pool(x, height, width)], dim=1)
        return self.mix(pooled)  # type: ignore[no-any-return]
