"""What a pathologist would measure on each nucleus: shape, stain and texture.

Everything is measured on the image that the network saw, so at the model's microns per pixel, and
is therefore comparable between scanners. One pass over the pixels measures all nuclei of a tile.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled
from histonuc.corrections.shapes import SHAPES
from histonuc.models.model import Model
from histonuc.nuclei import CLASS_TRUST, Nuclei

STAIN_OD = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density of haematoxylin, eosin and DAB in red, green, blue: Ruifrok and Johnston,
Quantification of histochemical staining by color deconvolution, 2001."""
ENTROPY_BINS, ENTROPY_RANGE = 16, 2.0
"""Bins of the haematoxylin densities 0 to `ENTROPY_RANGE` whose entropy is the texture."""
FEATURES = (
    *SHAPES,
    "red_od",
    "green_od",
    "blue_od",
    "haematoxylin_od",
    "haematoxylin_std_od",
    "haematoxylin_contrast_od",
    "haematoxylin_entropy_bits",
    "eosin_od",
)
"""Names of the columns, in order; the docs say what each one is."""


def list_features(model: Model) -> tuple[str, ...]:
    """Names of the features that the nuclei of a model's results have, in order."""
    return FEATURES if model.trust is None else (*FEATURES, CLASS_TRUST)


def measure_features(
    labels: NDArray[np.int32], image: NDArray[np.uint8], nuclei: Nuclei, mpp: float
) -> dict[str, NDArray[np.float32]]:
    """Features of the nuclei of one tile.

    The perimeter is Crofton's from crossings in four directions, unbiased over orientations; axes
    are those of the ellipse with the nucleus's second moments, each pixel taken as a unit square.

    Args:
        labels: int32 (H, W), label i + 1 is nucleus i.
        image: RGB uint8 (H, W, 3).
        nuclei: the contours of those labels, in pixels of the image.
        mpp: microns per pixel of the image.

    Returns:
        Each of `FEATURES` as float32 (n,). Densities are base-10 and start at 0 for a white pixel;
        orientation is the major axis's angle in degrees, -90 to 90, from the x axis towards y
        (clockwise on the screen); contrast is the mean absolute difference of the haematoxylin
        density between neighbouring pixels; entropy is in bits.
    """
    n = len(nuclei)
    density = -np.log10(np.maximum(np.arange(256), 1) / 255)
    unmix = np.linalg.inv(np.array(STAIN_OD) / np.linalg.norm(STAIN_OD, axis=1, keepdims=True))
    stain_density = unmix[:, 0] * density[:, None]
    counts, sums, bins = _sums(
        labels, image, density, stain_density, n, ENTROPY_BINS, ENTROPY_BINS / ENTROPY_RANGE
    )
    values = (*_measure_shapes(counts, nuclei, mpp), *_measure_stains(counts, sums, bins, unmix))
    return {name: value.astype(np.float32) for name, value in zip(FEATURES, values, strict=True)}


def _measure_shapes(
    counts: NDArray[np.int64], nuclei: Nuclei, mpp: float
) -> tuple[NDArray[np.float64], ...]:
    """The features of the outlines, each (n,): `FEATURES` up to the solidity.

    Args:
        counts: (n, 9), the whole sums of `_sums`.
        nuclei: the contours.
        mpp: microns per pixel of the image.
    """
    (count, x2, y, xx, yy, xy2, runs, below, diagonal) = counts.T
    x, y, xy = x2 / 2 / count, y / count, xy2 / 2
    # What two neighbours share is the boundary of neither.
    sides, diagonals = 2 * runs + 2 * (count - below), 4 * count - 2 * diagonal
    # 1/12 is the variance of a pixel's own square: a single pixel has an extent.
    x_var, y_var = xx / count - x * x + 1 / 12, yy / count - y * y + 1 / 12
    covariance = xy / count - x * y
    mean, half = (x_var + y_var) / 2, (x_var - y_var) / 2
    spread = np.hypot(half, covariance)
    large, small = mean + spread, np.maximum(mean - spread, 0)
    perimeter = np.pi / 8 * (sides + diagonals / np.sqrt(2))
    tops, bottoms = nuclei.box[:, 1].astype(np.int64), nuclei.box[:, 3].astype(np.int64)
    most = int((bottoms - tops).max(initial=0)) + 1
    hulls = _hull_areas(nuclei.points, nuclei.offsets, tops, most)
    return (
        perimeter * mpp,
        4 * np.sqrt(large) * mpp,
        4 * np.sqrt(small) * mpp,
        np.degrees(np.arctan2(covariance, half)) / 2,
        np.sqrt(1 - small / large),
        np.minimum(4 * np.pi * count / perimeter**2, 1),
        nuclei.area_px / hulls,
    )


def _measure_stains(
    counts: NDArray[np.int64],
    sums: NDArray[np.float64],
    bins: NDArray[np.int64],
    unmix: NDArray[np.float64],
) -> tuple[NDArray[np.float64], ...]:
    """The features of colour and texture, each (n,): `FEATURES` after the solidity.

    Args:
        counts: (n, 9), the whole sums of `_sums`.
        sums: (n, 6), its sums of densities.
        bins: (n, bins), its histogram of haematoxylin.
        unmix: (3, 3), each stain's share in red, green and blue density, by column.
    """
    count, runs, below = counts[:, 0], counts[:, 6], counts[:, 7]
    (red, green, blue, stain, stain_squared, difference) = sums.T
    pairs = count - runs + below
    eosin = red * unmix[0, 1] + green * unmix[1, 1] + blue * unmix[2, 1]
    share = bins / count[:, None]
    entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(1)
    haematoxylin = stain / count
    variance = np.maximum(stain_squared / count - haematoxylin**2, 0)
    return (
        red / count,
        green / count,
        blue / count,
        haematoxylin,
        np.sqrt(variance),
        difference / np.maximum(pairs, 1),
        entropy,
        eosin / count,
    )


@compiled
def _hull_areas(
    points: NDArray[np.float64], offsets: NDArray[np.int64], tops: NDArray[np.int64], most: int
) -> NDArray[np.float64]:
    """Area (n,) of the convex hull of each outline of pixel corners, in time linear in its points.

    The corners farthest left and right in each row come sorted, so each side of the hull is one
    pass of Andrew's monotone chain (Inf. Proc. Letters 9, 1979).

    Args:
        points: of all outlines.
        offsets: see `Nuclei`.
        tops: of each outline.
        most: corners one above the other at most.
    """
    areas = np.zeros(len(tops))
    farthest, chain = np.empty((2, most)), np.empty((most, 2))
    for i in range(len(tops)):
        rows = _find_farthest(points[offsets[i] : offsets[i + 1]], tops[i], farthest)
        for side in range(2):
            count = 0
            for row in range(rows):
                x = farthest[side, row]
                if x == -np.inf:  # no corner in this row: its sides run straight through
                    continue
                while count >= 2:
                    left, above = chain[count - 2, 0], chain[count - 2, 1]
                    run, fall = chain[count - 1, 0] - left, chain[count - 1, 1] - above
                    if run * (row - above) > (x - left) * fall:
                        break
                    count -= 1
                chain[count, 0], chain[count, 1] = x, row
                count += 1
            for k in range(1, count):
                width = (chain[k, 0] + chain[k - 1, 0]) / 2
                areas[i] += width * (chain[k, 1] - chain[k - 1, 1])
    return areas


@compiled
def _find_farthest(ring: NDArray[np.float64], top: int, farthest: NDArray[np.float64]) -> int:
    """Write the corners farthest right (x) and left (-x) of each row from `top` on; how many rows.

    Vertices between rows are those where a nucleus touches itself, which lie inside its hull.
    """
    farthest[:] = -np.inf
    rows = 0
    for x, y in ring:
        row = int(y) - top
        if y == top + row:
            rows = max(rows, row + 1)
            farthest[0, row] = max(farthest[0, row], x)
            farthest[1, row] = max(farthest[1, row], -x)
    return rows


@compiled
def _sums(
    labels: NDArray[np.int32],
    image: NDArray[np.uint8],
    density: NDArray[np.float64],
    stain_density: NDArray[np.float64],
    n: int,
    num_bins: int,
    bins_per_density: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Whole sums (n, 9), sums (n, 6) and histogram (n, bins) over the pixels of each nucleus.

    Rows are taken a run of one nucleus at a time. Whole sums: pixels, 2x, y, x², y², 2xy (relative
    to the first pixel met), runs, pairs of a pixel and the one below, of a pixel and those below it
    diagonally. Sums: density of red, green, blue, haematoxylin and its square, its differences to
    the left and upper neighbour. `stain_density` (256, 3) is what each colour value adds to it.
    """
    height, width = labels.shape
    counts = np.zeros((n, 9), np.int64)
    sums = np.zeros((n, 6))
    bins = np.zeros((n, num_bins), np.int64)
    first = np.full((n, 2), -1)
    stains = np.zeros((2, width))
    for i in range(height):
        here, before = stains[i % 2], stains[1 - i % 2]
        above = labels[max(i - 1, 0)]
        end = 0
        while end < width:
            start = end
            label = labels[i, start]
            end += 1
            if label == 0:
                continue
            while end < width and labels[i, end] == label:
                end += 1
            k = label - 1
            if first[k, 0] < 0:
                first[k, 0], first[k, 1] = i, start
            _add_run(counts[k], start - first[k, 1], end - first[k, 1], i - first[k, 0])
            colours = image[i, start:end]
            _add_colours(sums[k], colours, density, stain_density, here[start:end])
            for j in range(start, end):
                bins[k, min(max(int(here[j] * bins_per_density), 0), num_bins - 1)] += 1
            for j in range(max(start - 1, 0), min(end + 1, width) if i > 0 else 0):
                if above[j] == label:
                    counts[k, 8] += (start < j) + (j < end - 1)
                    if start <= j < end:
                        counts[k, 7] += 1
                        sums[k, 5] += abs(here[j] - before[j])
    return counts, sums, bins


@compiled
def _add_run(counts: NDArray[np.int64], x0: int, x1: int, y: int) -> None:
    """Add the moments of the pixels ``x0 <= x < x1`` of row y."""
    size = x1 - x0
    double = size * (x0 + x1 - 1)
    counts[0] += size
    counts[1] += double
    counts[2] += size * y
    counts[3] += (x1 * (x1 - 1) * (2 * x1 - 1) - x0 * (x0 - 1) * (2 * x0 - 1)) // 6
    counts[4] += size * y * y
    counts[5] += double * y
    counts[6] += 1


@compiled
def _add_colours(
    sums: NDArray[np.float64],
    colours: NDArray[np.uint8],
    density: NDArray[np.float64],
    stain_density: NDArray[np.float64],
    stains: NDArray[np.float64],
) -> None:
    """Add the densities of the pixels (k, 3) of a run, whose haematoxylin goes into `stains`."""
    red, green, blue, total, squared, difference = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(len(colours)):
        r, g, b = colours[j, 0], colours[j, 1], colours[j, 2]
        stain = stain_density[r, 0] + stain_density[g, 1] + stain_density[b, 2]
        red += density[r]
        green += density[g]
        blue += density[b]
        total += stain
        squared += stain * stain
        if j > 0:
            difference += abs(stain - stains[j - 1])
        stains[j] = stain
    sums[0] += red
    sums[1] += green
    sums[2] += blue
    sums[3] += total
    sums[4] += squared
    sums[5] += difference
