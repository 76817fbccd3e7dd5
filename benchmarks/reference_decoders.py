"""Plain implementations of published decoders, to be timed and compared with beside ours.

They follow the published programs step by step with SciPy and scikit-image, written anew.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

PUBLISHED_OPENING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))


def hover_labels(
    nucleus: np.ndarray,
    horizontal: np.ndarray,
    vertical: np.ndarray,
    opening: np.ndarray = PUBLISHED_OPENING,
) -> np.ndarray:
    """HoVer-Net's marker-controlled watershed (arXiv 1812.06499; vqdang/hover_net post_proc.py).

    Args:
        nucleus: float32 (H, W), probability.
        horizontal: float32 (H, W), about -1..1.
        vertical: float32 (H, W), about -1..1.
        opening: uint8 kernel that markers are opened with.

    Returns:
        int32 (H, W), ids not consecutive.
    """
    mask = _drop_small(ndimage.label(nucleus >= 0.5)[0], 10) > 0
    flatness = []
    for values, dx, dy in ((horizontal, 1, 0), (vertical, 0, 1)):
        slope = cv2.Sobel(_to_unit(values), cv2.CV_64F, dx, dy, ksize=21)
        flatness.append(1 - _to_unit(slope))
    overall = np.maximum(*flatness)
    overall = np.maximum(overall - ~mask, 0)
    energy = -cv2.GaussianBlur((1 - overall) * mask, (3, 3), 0)
    marker = ndimage.binary_fill_holes(mask & (overall < 0.4)).astype(np.uint8)
    marker = cv2.morphologyEx(marker, cv2.MORPH_OPEN, opening)
    markers = _drop_small(ndimage.label(marker)[0], 10)
    return watershed(energy, markers=markers, mask=mask)


def hover_nuclei(labels: np.ndarray, types: np.ndarray) -> dict[int, dict[str, Any]]:
    """The published table of nuclei: one scan of the whole label image a nucleus.

    Args:
        labels: int32 (H, W).
        types: int (H, W), class of each pixel, 0 = background.

    Returns:
        By id: box ((y, x), (y, x)), centroid (x, y), contour (k, 2), and the commonest type.
    """
    nuclei = {}
    for value in np.unique(labels)[1:]:
        whole = labels == value
        rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
        low = np.array([rows[0], columns[0]])
        high = np.array([rows[-1], columns[-1]]) + 1
        crop = np.s_[low[0] : high[0], low[1] : high[1]]
        inside = whole[crop]
        moments = cv2.moments(inside.astype(np.uint8))
        contours, _ = cv2.findContours(
            inside.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE
        )
        found, pixels = np.unique(types[crop][inside], return_counts=True)
        commonest = found[np.argsort(-pixels, kind="stable")]
        nuclei[int(value)] = {
            "box": np.stack([low, high]),
            "centroid": np.array([moments["m10"], moments["m01"]]) / moments["m00"] + low[::-1],
            "contour": contours[0][:, 0] + low[::-1],
            "type": int(commonest[1 if commonest[0] == 0 and len(commonest) > 1 else 0]),
        }
    return nuclei


def _to_unit(values: np.ndarray) -> np.ndarray:
    return cv2.normalize(values, None, alpha=0, beta=1, norm_type=cv2.NORM_MINMAX, dtype=cv2.CV_32F)


def _drop_small(labels: np.ndarray, min_area_px: int) -> np.ndarray:
    areas = np.bincount(labels.ravel())
    return np.where(areas[labels] >= min_area_px, labels, 0)
