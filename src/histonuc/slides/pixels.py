"""Pixels as files hold them, turned into RGB of 8 bits, and what is refused for its pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from histonuc.slides.protocol import RGB, RefusedError

EIGHT_BITS = (
    "the models know 8-bit bright-field RGB only, and the right scaling of more bits depends on "
    "the scanner; convert the image to 8 bits first"
)
BRIGHT_FIELD = "the models know bright-field RGB of H&E only; export that"
_RGB_COLOURS = ("FF0000", "00FF00", "0000FF")
_RGB_NAMES = {"red": "r", "green": "g", "blue": "b", "r": "r", "g": "g", "b": "b"}
_NO_NAME = re.compile(r"(channel|ch|c|unnamed)?[\s_:#-]*[\d:]*", re.IGNORECASE)
"""Names that say no more than a number does: "Channel 0", "Channel:0:1", "C1"."""
Opacity = Literal["straight", "premultiplied", "ignored"]
"""How a last sample changes the colours before it: they have yet to be multiplied by it, they
are already, or it is no opacity."""


def flatten(rgba: NDArray[np.uint8]) -> RGB:
    """RGBA (H, W, 4) on white; pixels outside a slide are transparent."""
    alpha = rgba[..., 3]
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(rgba[..., :3])
    opacity = alpha[..., None].astype(np.float32) / 255
    return np.asarray(np.rint(rgba[..., :3] * opacity + 255 * (1 - opacity)), np.uint8)


def to_rgb(
    pixels: NDArray[np.uint8], *, inverted: bool = False, opacity: Opacity = "straight"
) -> RGB:
    """RGB, on white, of grey or RGB with an opacity or without.

    Args:
        pixels: (H, W, 1 to 4).
        inverted: white is zero; only of grey without an opacity.
        opacity: what the last of two or four samples is.
    """
    if inverted:
        pixels = 255 - pixels
    if pixels.shape[-1] <= 2:
        pixels = np.concatenate([np.repeat(pixels[..., :1], 3, -1), pixels[..., 1:]], -1)
    if pixels.shape[-1] == 3 or opacity == "ignored":
        return np.ascontiguousarray(pixels[..., :3])
    if opacity == "straight":
        return flatten(pixels)
    lit = pixels[..., :3].astype(np.uint16) + (255 - pixels[..., 3:])
    return np.asarray(np.minimum(lit, 255), np.uint8)  # a file may contradict itself


def scaled(samples: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Samples of 1 to 8 bits, the largest of which is white, as samples of 8 bits.

    >>> scaled(np.array([0, 1, 2, 3], np.uint8), 2).tolist()
    [0, 85, 170, 255]
    """
    if bits >= 8:
        return samples
    top = (1 << bits) - 1
    return np.rint(np.minimum(np.arange(256), top) * (255 / top)).astype(np.uint8)[samples]


def cmyk_rgb(samples: NDArray[np.uint8]) -> RGB:
    """RGB (H, W, 3) of cyan, magenta, yellow and black (H, W, 4), 255 being all of the ink.

    A plain reckoning without colour profiles, the same as Pillow's.
    """
    light = 255 - samples.astype(np.uint16)
    return ((light[..., :3] * light[..., 3:] + 127) // 255).astype(np.uint8)


def lab_rgb(samples: NDArray[np.uint8]) -> RGB:
    """RGB (H, W, 3) of CIE L*a*b* (H, W, 3) as TIFF stores it, a* and b* being signed."""
    from PIL import Image

    height, width = samples.shape[:2]
    lab = Image.frombytes("LAB", (width, height), samples.tobytes())
    return np.asarray(lab.convert("RGB"))


def check_depth(dtype: np.dtype[np.generic] | None) -> None:
    """Refuse pixels of more than 8 bits, and of a kind (None) that the reader does not know."""
    if dtype is None or dtype not in (np.dtype(np.uint8), np.dtype(bool)):
        kind = "unknown" if dtype is None else dtype
        raise RefusedError(f"it holds {kind} pixels, expected uint8: {EIGHT_BITS}")


def check_channels(num: int, names: Sequence[str], colours: Sequence[str]) -> None:
    """Refuse separate channels that are not the red, green and blue of one bright-field picture.

    Args:
        num: channels.
        names: what the file calls them, as far as it does.
        colours: the colours it shows them in, as RRGGBB, as far as it says.
    """
    shown = tuple(colour.upper() for colour in colours)
    is_grey = all(colour[:2] == colour[2:4] == colour[4:6] for colour in shown)
    is_rgb = shown in ((), _RGB_COLOURS) and _may_be_rgb(names)
    if (num == 1 and is_grey) or (num == 3 and is_rgb):
        return
    called = f" ({', '.join(names)})" if names else ""
    plural = "channels" if num > 1 else f"channel shown in {shown[0]}"
    raise RefusedError(
        f"it holds {num} separate {plural}{called}, as fluorescence does: {BRIGHT_FIELD}"
    )


def _may_be_rgb(names: Sequence[str]) -> bool:
    """Whether names of three channels, as far as they say anything, are red, green, blue in order.

    >>> _may_be_rgb(["R", "G", "B"]), _may_be_rgb(["Channel 0", "Channel 1", "Channel 2"])
    (True, True)
    >>> _may_be_rgb(["DAPI", "FITC", "TRITC"]), _may_be_rgb(["Blue", "Green", "Red"])
    (False, False)
    """
    said = [name.strip().lower() for name in names if not _NO_NAME.fullmatch(name.strip())]
    letters = "".join(_RGB_NAMES.get(name, "?") for name in said)
    return re.fullmatch("r?g?b?", letters) is not None


def pick_scene(names: Sequence[str], scene: int | None) -> int:
    """Index of the scene to read.

    Raises:
        RefusedError: several and none chosen, or no such scene; the message lists them.
    """
    if scene is None and len(names) == 1:
        return 0
    listed = "; ".join(f"{i}: {name}" for i, name in enumerate(names))
    if scene is None:
        raise RefusedError(f"it holds {len(names)} scenes, choose one with --scene: {listed}")
    if not 0 <= scene < len(names):
        raise RefusedError(f"--scene {scene}: expected 0 to {len(names) - 1}: {listed}")
    return scene
