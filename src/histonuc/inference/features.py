"""What a pathologist would measure on each nucleus: shape, stain and texture.

Everything is measured on the image that the network saw, so at the model's microns per pixel, and
is therefore comparable between scanners. One pass over the pixels measures all nuclei of a tile.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled
from histonuc.nuclei import Nuclei

STAIN_OD = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density of haematoxylin, eosin and DAB in red, green, blue: Ruifrok and Johnston,
Quantification of histochemical staining by color deconvolution, 2001."""
ENTROPY_BINS, ENTROPY_RANGE = 16, 2.0
"""Bins of the haematoxylin densities 0 to `ENTROPY_RANGE` whose entropy is the texture."""
FEATURES = (
    "perimeter_um",
    "major_axis_um",
    "minor_axis_um",
    "orientation_deg",
    "eccentricity",
    "circularity",
    "solidity",
    "od_red",
    "od_green",
    "od_blue",
    "haematoxylin",
    "haematoxylin_std",
    "haematoxylin_contrast",
    "haematoxylin_entropy",
    "eosin",
)
"""Names of the columns, in order; the docs say what each one is."""


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
    sums, bins = _sums(
        np.pad(labels - 1, 1, constant_values=-1),
        image,
        density,
        unmix,
        n,
        ENTROPY_BINS,
        ENTROPY_RANGE,
    )
    (count, x, y, xx, yy, xy, sides, diagonals, red, green, blue) = sums[:11]
    (stain, stain_squared, difference, pairs, eosin) = sums[11:]
    x, y = x / count, y / count
    # 1/12 is the variance of a pixel's own square: a single pixel has an extent.
    x_var, y_var = xx / count - x * x + 1 / 12, yy / count - y * y + 1 / 12
    covariance = xy / count - x * y
    mean, half = (x_var + y_var) / 2, (x_var - y_var) / 2
    spread = np.hypot(half, covariance)
    large, small = mean + spread, np.maximum(mean - spread, 0)
    perimeter = np.pi / 8 * (sides + diagonals / np.sqrt(2))
    share = bins / count[:, None]
    entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(1)
    haematoxylin = stain / count
    variance = np.maximum(stain_squared / count - haematoxylin**2, 0)
    values = (
        perimeter * mpp,
        4 * np.sqrt(large) * mpp,
        4 * np.sqrt(small) * mpp,
        np.degrees(np.arctan2(covariance, half)) / 2,
        np.sqrt(1 - small / large),
        np.minimum(4 * np.pi * count / perimeter**2, 1),
        nuclei.area_px / _hull_areas(nuclei.points, nuclei.offsets),
        red / count,
        green / count,
        blue / count,
        haematoxylin,
        np.sqrt(variance),
        difference / np.maximum(pairs, 1),
        entropy,
        eosin / count,
    )
    return {name: value.astype(np.float32) for name, value in zip(FEATURES, values, strict=True)}


@compiled
def _hull_areas(points: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Area (n,) of the convex hull of each outline of pixel corners, in time linear in its points.

    The corners farthest left and right in each row come sorted, so each side of the hull is one
    pass of Andrew's monotone chain (Inf. Proc. Letters 9, 1979).
    """
    areas = np.zeros(len(offsets) - 1)
    most = 1
    for i in range(len(areas)):
        heights = points[offsets[i] : offsets[i + 1], 1]
        most = max(most, int(heights.max() - heights.min()) + 1)
    farthest, chain = np.empty((2, most)), np.empty((most, 2))
    for i in range(len(areas)):
        ring = points[offsets[i] : offsets[i + 1]]
        top = ring[:, 1].min()
        rows = int(ring[:, 1].max() - top) + 1
        farthest[:, :rows] = -np.inf
        for k in range(len(ring)):
            row = int(ring[k, 1] - top)
            farthest[0, row] = max(farthest[0, row], ring[k, 0])
            farthest[1, row] = max(farthest[1, row], -ring[k, 0])
        for side in range(2):
            count = 0
            for row in range(rows):
                x = farthest[side, row]
                if x == -np.inf:  # no corner in this row: its sides run straight through
                    continue
                while count >= 2:
                    a, b = chain[count - 2], chain[count - 1]
                    if (b[0] - a[0]) * (row - a[1]) > (x - a[0]) * (b[1] - a[1]):
                        break
                    count -= 1
                chain[count, 0], chain[count, 1] = x, row
                count += 1
            for k in range(1, count):
                width = (chain[k, 0] + chain[k - 1, 0]) / 2
                areas[i] += width * (chain[k, 1] - chain[k - 1, 1])
    return areas


@compiled
def _sums(
    padded: NDArray[np.int32],
    image: NDArray[np.uint8],
    density: NDArray[np.float64],
    unmix: NDArray[np.float64],
    n: int,
    num_bins: int,
    most_density: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums (16, n) over the pixels of each nucleus, and its histogram (n, bins).

    `padded` holds the number of the nucleus, -1 elsewhere, with a border of one pixel.

    Rows: pixels, x, y, x², y², xy (relative to the first pixel met), sides and diagonals that lead
    out, density of red, green, blue, haematoxylin and its square, its differences to the left and
    upper neighbour, their number, eosin.
    """
    height, width = image.shape[:2]
    sums = np.zeros((16, n))
    bins = np.zeros((n, num_bins))
    first = np.full((n, 2), -1)
    stains = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            k = padded[i + 1, j + 1]
            if k < 0:
                continue
            if first[k, 0] < 0:
                first[k, 0], first[k, 1] = i, j
            y, x = float(i - first[k, 0]), float(j - first[k, 1])
            sums[0, k] += 1
            sums[1, k] += x
            sums[2, k] += y
            sums[3, k] += x * x
            sums[4, k] += y * y
            sums[5, k] += x * y
            above, here, below = padded[i], padded[i + 1], padded[i + 2]
            sides = (above[j + 1] != k) + (below[j + 1] != k) + (here[j] != k) + (here[j + 2] != k)
            corners = (above[j] != k) + (above[j + 2] != k) + (below[j] != k) + (below[j + 2] != k)
            sums[6, k] += sides
            sums[7, k] += corners
            red = density[image[i, j, 0]]
            green = density[image[i, j, 1]]
            blue = density[image[i, j, 2]]
            stain = red * unmix[0, 0] + green * unmix[1, 0] + blue * unmix[2, 0]
            stains[i, j] = stain
            sums[8, k] += red
            sums[9, k] += green
            sums[10, k] += blue
            sums[11, k] += stain
            sums[12, k] += stain * stain
            if here[j] == k:
                sums[13, k] += abs(stain - stains[i, j - 1])
                sums[14, k] += 1
            if above[j + 1] == k:
                sums[13, k] += abs(stain - stains[i - 1, j])
                sums[14, k] += 1
            sums[15, k] += red * unmix[0, 1] + green * unmix[1, 1] + blue * unmix[2, 1]
            bins[k, min(max(int(stain / most_density * num_bins), 0), num_bins - 1)] += 1
    return sums, bins
