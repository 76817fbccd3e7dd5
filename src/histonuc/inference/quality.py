"""Whether an image looks like what the models were trained on: H&E, in focus, in daylight.

Cheap enough for every tile. The bounds leave every image of the training data unflagged
(docs/how-to/image-quality.md has the figures), so a flag means: unlike anything seen in training.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

DEFOCUSED = "defocused"
"""The flag of a tile in which no nucleus is looked for."""
REASONS = {
    "dark": "dark throughout, as in fluorescence: expected H&E on bright glass",
    "grey": "without colour: expected red, green and blue of an H&E stain",
    "brown": "brown, as of DAB in immunohistochemistry: expected H&E",
    "colours": "not in the pinks and purples of H&E: another stain, or pen",
    "blurred": "out of focus: nuclei will be missed and outlines vague",
    DEFOCUSED: "so far out of focus that no nucleus can be seen: they were left out",
}
"""What each flag means."""
MAX_DARK = 35
"""Median grey value below which an image is dark."""
MIN_COLOUR = 5.0
"""Mean of max - min of RGB of the tissue, in grey values, below which it has no colour."""
TISSUE_DENSITY = 0.15
"""Mean optical density above which a pixel counts as tissue."""
MIN_TISSUE = 0.03
"""An image with a smaller share of tissue says too little to judge it."""
BROWN_SHARE, MAX_BROWN = 0.38, 0.5
"""Blue's share of the optical density in brown pixels, and how many of those are suspicious."""
MIN_GREEN = 0.3
"""Share of tissue where green is absorbed most, as eosin and haematoxylin do."""
MIN_SHARPNESS = 0.16
"""Contrast finer than 1 px over that from 1 to 4 px, of what is no glass."""
MIN_SHARPNESS_1_UM = 0.2
"""The same at 1 micron a pixel: of the 732 images the least is 0.233; blurred by a Gaussian of 2
microns, nine tenths lie below."""
MAX_SHARP_MPP, MIN_SHARP_PX, MIN_CONTRAST = 0.6, 48, 0.5
"""Coarser slides hold nothing so fine, smaller images and flatter ones (grey values) too little."""
NO_GLASS = 215
"""Grey value below which a pixel shows more than glass."""
ENOUGH_PX = 256
"""Side that is enough of an image to judge it."""

_DENSITY = -np.log10((np.arange(256, dtype=np.float32) + 1) / 256)


def flag_image(image: NDArray[np.uint8], enlarged: float = 1.0) -> str:
    """The first of `REASONS` that applies to an image; empty when none does.

    An image of a coarse slide that was enlarged for the network is soft without being out of focus.
    Its sharpness is measured in the slide's own pixels. That it is too coarse for the model is said
    once for the slide, see `scale.resolve_scale`.

    Args:
        image: RGB uint8 (H, W, 3), what the network sees.
        enlarged: how many pixels of it lie along one pixel of the slide; 1 or less for none.

    >>> flag_image(np.zeros((64, 64, 3), np.uint8))
    'dark'
    """
    if min(image.shape[:2]) >= 2 * ENOUGH_PX:  # the middle speaks for all, where it shows tissue
        quarters = tuple(slice(n // 4, n - n // 4) for n in image.shape[:2])
        middle = image[quarters]
        red, green, blue = np.moveaxis(middle[::8, ::8].astype(np.int32), -1, 0)
        if (red + green + blue < 3 * NO_GLASS).mean() > 0.5:
            image = np.ascontiguousarray(middle)
    # Channels apart: NumPy is slow along an axis of three.
    small = cv2.split(np.ascontiguousarray(cv2.blur(image, (4, 4))[::4, ::4]))
    if sum(int((channel < MAX_DARK).sum()) for channel in small) > 1.5 * small[0].size:
        return "dark"
    red, green, blue = (_DENSITY[channel] for channel in small)
    total = red + green + blue
    tissue = total > 3 * TISSUE_DENSITY
    if tissue.mean() < MIN_TISSUE:
        return ""
    colour = np.maximum.reduce(small) - np.minimum.reduce(small)
    if colour[tissue].mean() < MIN_COLOUR:
        return "grey"
    red, green, blue = (density[tissue] / total[tissue] for density in (red, green, blue))
    if (blue > BROWN_SHARE).mean() > MAX_BROWN:
        return "brown"
    if (green >= np.maximum(red, blue)).mean() < MIN_GREEN:
        return "colours"
    return "blurred" if _sharpness(_shrink(image, enlarged)) < MIN_SHARPNESS else ""


def is_defocused(image: NDArray[np.uint8], mpp: float, slide_mpp: float) -> bool:
    """Whether an RGB image (H, W, 3) is too far out of focus to show nuclei.

    Args:
        image: uint8, what the network would see.
        mpp: microns per pixel of it.
        slide_mpp: microns per pixel of what it was made of, which may be coarser.
    """
    small = _shrink(image, 1 / mpp)
    if slide_mpp > MAX_SHARP_MPP or min(small.shape[:2]) < MIN_SHARP_PX:
        return False
    return _sharpness(small, MIN_CONTRAST) < MIN_SHARPNESS_1_UM


def _shrink(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """The image with so many times fewer pixels a side, each a mean; itself up to a factor of 1."""
    if factor <= 1:
        return image
    size = tuple(max(1, round(side / factor)) for side in image.shape[1::-1])
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _sharpness(image: NDArray[np.uint8], min_contrast: float = 0.0) -> float:
    """Fine over coarse contrast, over what is not bare glass; infinite where there is none."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine, coarse = cv2.GaussianBlur(grey, (7, 7), 1.0), cv2.blur(grey, (13, 13))
    seen = (fine < NO_GLASS).view(np.uint8)
    if not seen.any():
        return float("inf")
    sharp, soft = (cv2.mean(cv2.absdiff(*pair), seen)[0] for pair in ((grey, fine), (fine, coarse)))
    return float("inf") if soft < min_contrast else sharp / max(soft, 1e-3)
