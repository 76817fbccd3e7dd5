"""Official masks (one channel a class, may overlap) to flat instance maps, and back exactly.

The flat map lets the later channel win, as the official `binarize` does. `Store.official_mask`
paints every visible nucleus into its channel with its official id, derives the background channel,
and then applies the overlap pixels: what comes out equals what went in, bit for bit. A nucleus that
later channels hide wholly has no row in nuclei.parquet; its pixels are all among the overlaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.nuclei import CoveredPixels


@dataclass(frozen=True, kw_only=True, eq=False)
class FlatMask:
    """An official mask as a flat instance map, and what the map alone cannot say.

    Attributes:
        instances: int32 (H, W), 0 = background, 1..n by channel, then official id.
        channels: int (n,), official channel of every visible nucleus.
        original_ids: int64 (n,), official id of every visible nucleus.
        overlaps: int64 (k, 4), (y, x, channel, value): nuclei where a later channel covers them,
            and background pixels unlike what the nuclei let expect.
        background: value of the background channel outside nuclei: 1, or 0 where it is inverted.
        official: int64 (m, 2), (channel, id) of all nuclei, hidden ones included.
    """

    instances: NDArray[np.int32]
    channels: NDArray[np.int64]
    original_ids: NDArray[np.int64]
    overlaps: NDArray[np.int64]
    background: int
    official: NDArray[np.int64]


def flatten_mask(ids: NDArray[np.integer]) -> FlatMask:
    """Flatten an official mask; later channels win, as in the official `binarize`.

    `paint_official_mask` undoes it exactly.

    Args:
        ids: int (H, W, C + 1), instance ids (0 to 2^60) of the classes, then the background map.

    >>> ids = np.zeros((1, 3, 6), np.int32)
    >>> ids[0, :, 0], ids[0, 2, 4] = [7, 7, 7], 7
    >>> flat = flatten_mask(ids)
    >>> flat.instances.tolist(), flat.channels.tolist(), flat.overlaps[0].tolist()
    ([[1, 1, 2]], [0, 4], [0, 2, 0, 7])
    """
    height, width, num_channels = ids.shape
    num_classes = num_channels - 1
    by_pixel = ids.reshape(-1, num_channels)
    is_nucleus = by_pixel != 0
    is_nucleus[:, num_classes] = False
    # Pixel by pixel, and within a pixel channel by channel: below, the last assignment wins.
    pixel, channel = np.divmod(np.flatnonzero(is_nucleus), num_channels)
    value = by_pixel[pixel, channel].astype(np.int64)
    keys, number = np.unique((channel << 60) | value, return_inverse=True)
    top = np.zeros(height * width, np.int32)
    top[pixel] = number + 1
    covered = top[pixel] != number + 1

    visible = np.bincount(top[pixel], minlength=len(keys) + 1) > 0
    instances = np.where(visible, np.cumsum(visible), 0).astype(np.int32)[top]
    official = np.stack([keys >> 60, keys & ((1 << 60) - 1)], axis=1)
    background, unexpected = _read_background(by_pixel[:, num_classes], top == 0)
    values = by_pixel[unexpected, num_classes]
    extra = _pixel_rows(unexpected, np.full(len(unexpected), num_classes), values, width)
    hidden = _pixel_rows(pixel[covered], channel[covered], value[covered], width)
    return FlatMask(
        instances=instances.reshape(height, width),
        channels=official[visible[1:], 0],
        original_ids=official[visible[1:], 1],
        overlaps=np.concatenate([hidden, extra]),
        background=background,
        official=official,
    )


def _read_background(
    values: NDArray[np.integer], is_outside: NDArray[np.bool_]
) -> tuple[int, NDArray[np.int64]]:
    """The value outside nuclei that explains more pixels, and the pixels it does not explain."""
    unexpected = np.flatnonzero(values != is_outside.astype(values.dtype))
    if len(unexpected) == 0:
        return 1, unexpected
    inverted = np.flatnonzero(values != (~is_outside).astype(values.dtype))
    return (0, inverted) if len(inverted) < len(unexpected) else (1, unexpected)


def _pixel_rows(
    pixel: NDArray[np.int64], channel: NDArray[np.int64], value: NDArray[Any], width: int
) -> NDArray[np.int64]:
    return np.stack([pixel // width, pixel % width, channel, value.astype(np.int64)], axis=1)


def paint_official_mask(
    instances: NDArray[np.integer],
    channels: NDArray[np.integer],
    original_ids: NDArray[np.integer],
    overlaps: NDArray[np.integer],
    *,
    background: int,
    num_classes: int,
) -> NDArray[np.int64]:
    """Undo `flatten_mask`.

    Args:
        instances: (H, W), 0 = background.
        channels: (n + 1,) official channel by instance id; entry 0 is not read.
        original_ids: (n + 1,) official id by instance id.
        overlaps: (k, 4), (y, x, channel, value) set at the end.
        background: value of the last channel outside nuclei, 1 (official) or 0 (inverted).
        num_classes: C.

    Returns:
        (H, W, C + 1).
    """
    mask = np.zeros((*instances.shape, num_classes + 1), np.int64)
    ys, xs = np.nonzero(instances)
    ids = instances[ys, xs]
    mask[ys, xs, channels[ids]] = original_ids[ids]
    mask[..., num_classes] = (instances == 0) == bool(background)
    y, x, channel, value = overlaps.T
    mask[y, x, channel] = value
    return mask


def find_covered(
    overlaps: NDArray[np.integer],
    channels: NDArray[np.integer],
    original_ids: NDArray[np.integer],
    types: NDArray[np.int32],
    channel_types: NDArray[np.int32],
    *,
    width: int,
) -> CoveredPixels | None:
    """Nuclear pixels among the overlaps of a tile; None where there are none.

    Args:
        overlaps: (k, 4), (y, x, channel, value), as `FlatMask` has them.
        channels: (n + 1,) official channel by instance id; entry 0 is not read.
        original_ids: (n + 1,) official id by instance id.
        types: (n + 1,) class + 1 by instance id.
        channel_types: (C,) class + 1 by official channel; overlaps of further channels, which are
            background, are passed over.
        width: width of the tile in pixels.
    """
    y, x, channel, value = overlaps[overlaps[:, 2] < len(channel_types)].astype(np.int64).T
    if len(y) == 0:
        return None
    official = zip(channels.tolist(), original_ids.tolist(), strict=True)
    ids = {key: i for i, key in enumerate(official) if i > 0}
    keys = list(zip(channel.tolist(), value.tolist(), strict=True))
    hidden = sorted(set(keys) - set(ids))
    ids |= {key: len(types) + i for i, key in enumerate(hidden)}
    return CoveredPixels(
        pixel=y * width + x,
        nucleus=np.array([ids[key] for key in keys], np.int64),
        types=np.append(types, [channel_types[key[0]] for key in hidden]).astype(np.int32),
    )
