"""StarDist's published decoding, plainly written, to be timed and compared beside ours.

Schmidt et al. 2018 (arXiv 1806.03535) as in the authors' code: every pixel (or every `grid`-th)
whose object probability is above the threshold proposes its polygon; the most probable comes first
and suppresses those whose intersection with it, over the smaller area of the two, exceeds
`nms_threshold`; accepted polygons are drawn, the most probable on top. Here polygons are the
pixels that scikit-image draws; the authors intersect exact polygons in C++.
"""

from __future__ import annotations

import numpy as np
from skimage.draw import polygon


def draw_star(
    point: tuple[int, int], lengths: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels in a star polygon; ray k at k / 32 of a turn from +x to +y."""
    angles = 2 * np.pi * np.arange(len(lengths)) / len(lengths)
    return polygon(point[0] + lengths * np.sin(angles), point[1] + lengths * np.cos(angles), shape)


def decode_star(
    probability: np.ndarray,
    rays: np.ndarray,
    *,
    probability_threshold: float = 0.5,
    nms_threshold: float = 0.4,
    grid: int = 1,
) -> np.ndarray:
    """Labels int32 (H, W) from object probability (H, W) and ray lengths (32, H, W) in px."""
    shape = probability.shape
    ys, xs = np.nonzero(probability[::grid, ::grid] > probability_threshold)
    ys, xs = ys * grid, xs * grid
    order = np.argsort(-probability[ys, xs], kind="stable")
    points = np.stack([ys, xs], 1)[order]
    lengths = rays[:, ys, xs].T[order]
    drawn = [draw_star(tuple(p), d, shape) for p, d in zip(points, lengths, strict=True)]
    area = np.array([len(rows) for rows, _ in drawn])
    reach = lengths.max(1) if len(lengths) else np.zeros(0)
    alive = area > 0
    accepted = []
    mask = np.zeros(shape, bool)
    for first in range(len(points)):
        if not alive[first]:
            continue
        accepted.append(first)
        mask[drawn[first]] = True
        away = np.hypot(*(points[first + 1 :] - points[first]).T)
        near = (away < reach[first] + reach[first + 1 :]) & alive[first + 1 :]
        for other in first + 1 + np.flatnonzero(near):
            common = np.count_nonzero(mask[drawn[other]])
            alive[other] = common <= nms_threshold * min(area[first], area[other])
        mask[drawn[first]] = False
    labels = np.zeros(shape, np.int32)
    for value, index in reversed(list(enumerate(accepted, 1))):
        labels[drawn[index]] = value
    return labels
