"""Seeded augmentation of H&E tiles and their labels: one geometric warp, then pixel changes.

Geometry (crop, resampling to the wanted mpp, scale, elastic, flips, right angles) is one
`cv2.remap` of the crop, so that each pixel is interpolated once and only the crop is touched.
Randomness comes from the `numpy` generator given, and from nothing else.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.data.augment_config import AugmentConfig


def random_crop(
    image: NDArray[np.uint8],
    instances: NDArray[np.int32],
    rng: np.random.Generator,
    config: AugmentConfig,
    *,
    tile_px: int,
    zoom: float,
) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.bool_]]:
    """One augmented crop at a random place, geometry only.

    Args:
        image: uint8 (H, W, 3).
        instances: int32 (H, W).
        rng: source of all randomness.
        config: what to do.
        tile_px: side of the crop.
        zoom: source pixels a crop pixel, before the random scale (mpp wanted / mpp of the tile).

    Returns:
        image (tile_px, tile_px, 3); instances, ids as in the source, 0 outside it; ignore, True
        outside the source, where the image is reflected.
    """
    zoom = zoom / rng.uniform(1 - config.scale, 1 + config.scale)
    height, width = instances.shape
    extent = tile_px * zoom
    top = _offset(rng, height, extent)
    left = _offset(rng, width, extent)
    grid = (np.arange(tile_px, dtype=np.float32) + 0.5) * zoom - 0.5
    map_y = np.repeat(grid[:, None] + np.float32(top), tile_px, axis=1)
    map_x = np.repeat(grid[None] + np.float32(left), tile_px, axis=0)
    if rng.random() < config.elastic:
        amount = rng.uniform(0, config.elastic_px) * zoom
        map_y += amount * _smooth_noise(rng, tile_px)
        map_x += amount * _smooth_noise(rng, tile_px)
    map_y, map_x = _turn(map_y, map_x, rng, config)
    # Read only what the maps touch: the source is memory-mapped and may be large.
    y0, y1 = _span(map_y, height)
    x0, x1 = _span(map_x, width)
    map_y, map_x = map_y - y0, map_x - x0
    source = np.ascontiguousarray(image[y0:y1, x0:x1])
    if zoom > 1.25:  # shrinking: low-pass first, or thin chromatin aliases
        source = _as_uint8(cv2.GaussianBlur(source, (0, 0), 0.5 * float(np.sqrt(zoom**2 - 1))))
    crop = cv2.remap(source, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    near_y, near_x = np.rint(map_y).astype(np.intp), np.rint(map_x).astype(np.intp)
    ignore = (near_y + y0 < 0) | (near_y + y0 >= height) | (near_x + x0 < 0)
    ignore |= near_x + x0 >= width
    inside_y, inside_x = np.clip(near_y, 0, y1 - y0 - 1), np.clip(near_x, 0, x1 - x0 - 1)
    labels = np.where(ignore, 0, instances[y0:y1, x0:x1][inside_y, inside_x]).astype(np.int32)
    return _as_uint8(crop), labels, ignore


def _offset(rng: np.random.Generator, size: int, extent: float) -> float:
    """Start of a window of `extent` in 0..size; a window that is too large is centred."""
    room = size - extent
    draw = rng.random()  # drawn in any case, so that the stream does not depend on the size
    return draw * room if room > 0 else room / 2


def _smooth_noise(rng: np.random.Generator, tile_px: int) -> NDArray[np.float32]:
    """Smooth field of unit size: coarse noise, enlarged."""
    coarse = rng.uniform(-1, 1, (5, 5)).astype(np.float32)
    field = cv2.resize(coarse, (tile_px, tile_px), interpolation=cv2.INTER_CUBIC)
    return np.asarray(field, np.float32)


def _turn(
    map_y: NDArray[np.float32],
    map_x: NDArray[np.float32],
    rng: np.random.Generator,
    config: AugmentConfig,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Flip and turn the maps, which flips and turns image and labels alike."""
    flip_y, flip_x = rng.random(2) < 0.5
    turns = int(rng.integers(4))
    for flip, axis in ((flip_y, 0), (flip_x, 1)):
        if config.flips and flip:
            map_y, map_x = np.flip(map_y, axis), np.flip(map_x, axis)
    if config.rotations:
        map_y, map_x = np.rot90(map_y, turns), np.rot90(map_x, turns)
    return np.ascontiguousarray(map_y), np.ascontiguousarray(map_x)


def _span(coordinates: NDArray[np.float32], size: int) -> tuple[int, int]:
    """Half-open range of source rows or columns that interpolation touches."""
    low = int(np.floor(coordinates.min())) - 1
    high = int(np.ceil(coordinates.max())) + 2
    low = min(max(low, 0), size - 1)
    return low, max(min(high, size), low + 1)


def change_pixels(
    image: NDArray[np.uint8], rng: np.random.Generator, config: AugmentConfig
) -> NDArray[np.uint8]:
    """Stain, brightness, blur, noise and JPEG of one crop uint8 (H, W, 3)."""
    if config.stain > 0:
        image = jitter_stain(image, rng, config.stain)
    if config.brightness > 0:
        contrast, shift = 1 + rng.uniform(-config.brightness, config.brightness, 2)
        table = np.clip((np.arange(256) - 128) * contrast + 128 * shift, 0, 255)
        image = _as_uint8(cv2.LUT(image, np.rint(table).astype(np.uint8)))
    if rng.random() < config.blur:
        image = _as_uint8(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.5)))
    if rng.random() < config.noise:
        noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(1, 10)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < config.jpeg:
        quality = int(rng.integers(30, 91))
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None  # it was encoded a line above
        image = _as_uint8(decoded)
    return image


def _as_uint8(image: NDArray[Any]) -> NDArray[np.uint8]:
    """The same array: OpenCV's annotations forget that it keeps the dtype."""
    return np.asarray(image, np.uint8)


# Ruifrok & Johnston 2001, unit rows: optical density of haematoxylin, eosin and a residual in RGB.
_STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
_STAINS /= np.linalg.norm(_STAINS, axis=1, keepdims=True)
_UNSTAIN = np.linalg.inv(_STAINS)
_DENSITY = -np.log((np.arange(256) + 1) / 256).astype(np.float32)


def jitter_stain(
    image: NDArray[np.uint8], rng: np.random.Generator, amount: float
) -> NDArray[np.uint8]:
    """Scale and shift each stain's optical density (Tellez et al. 2018, HED jitter).

    Args:
        image: uint8 (H, W, 3) RGB.
        rng: source of randomness.
        amount: largest relative change of a stain; the shift is up to a third of it.
    """
    scale = 1 + rng.uniform(-amount, amount, 3)
    shift = rng.uniform(-amount, amount, 3) / 3
    shift[2] = 0  # the residual carries no stain: shifting it only tints glass
    matrix = (_UNSTAIN @ np.diag(scale) @ _STAINS).astype(np.float32)
    offset = (shift @ _STAINS).astype(np.float32)
    density = _DENSITY[image]  # (H, W, 3)
    # Glass stays glass: the shift fades where there is no stain.
    strength = np.minimum(density.sum(-1, keepdims=True), 1.0)
    changed = density @ matrix + strength * offset
    grey: NDArray[np.uint8] = np.clip(256 * np.exp(-changed) - 1, 0, 255).astype(np.uint8)
    return grey


def transfer_stain(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give `image` the stain of `reference` (Macenko et al. 2009, by torchstain).

    Tiles with too little tissue for the method are returned as they are.
    """
    from torchstain.base.normalizers import MacenkoNormalizer

    if min(_num_stained(image), _num_stained(reference)) < _MIN_STAINED_PX:
        return image
    normalizer = MacenkoNormalizer(backend="numpy")
    try:
        with np.errstate(all="ignore"):
            normalizer.fit(reference)
            changed, _, _ = normalizer.normalize(I=image, stains=False)
    except np.linalg.LinAlgError:
        return image  # single-coloured: there are no two stains to find
    result: NDArray[np.uint8] = changed.astype(np.uint8)
    return result if np.isfinite(changed).all() else image


_MIN_STAINED_PX = 500
"""Pixels of tissue below which Macenko's two directions are noise."""


def _num_stained(image: NDArray[np.uint8]) -> int:
    """Pixels that Macenko's method would take for tissue (optical density above 0.15 in RGB)."""
    return int((_DENSITY[image] > 0.15).all(-1).sum())
