"""Draw one H&E-like tile: stroma, glands, nests, nuclei of five classes, and their exact masks.

Everything is painted as optical density of haematoxylin and eosin and turned into RGB by Beer's
law at the end, so that overlapping nuclei darken as they do on glass. Sizes are pixels at 0.25 mpp.
Densities of the classes overlap on purpose: size, shape, texture and neighbourhood tell them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

NEOPLASTIC, INFLAMMATORY, CONNECTIVE, DEAD, EPITHELIAL = range(5)


@dataclass(frozen=True, kw_only=True)
class NucleusStyle:
    """How nuclei of a class look.

    Attributes:
        radius: mean and relative spread of the radius in pixels.
        elongation: range of the long axis over the short one.
        roughness: amplitude of the outline's irregularity, relative to the radius.
        density: range of the haematoxylin density.
        chromatin: amplitude of the texture.
        nucleoli: range of the number of dark spots.
        rim: extra density at the membrane.
    """

    radius: tuple[float, float]
    elongation: tuple[float, float]
    roughness: float
    density: tuple[float, float]
    chromatin: float
    nucleoli: tuple[int, int]
    rim: float


STYLES = (
    NucleusStyle(
        radius=(12.5, 0.24),
        elongation=(1.0, 1.7),
        roughness=0.11,
        density=(0.45, 0.95),
        chromatin=0.30,
        nucleoli=(0, 3),
        rim=0.22,
    ),
    NucleusStyle(
        radius=(7.0, 0.10),
        elongation=(1.0, 1.25),
        roughness=0.04,
        density=(0.75, 1.15),
        chromatin=0.16,
        nucleoli=(0, 0),
        rim=0.05,
    ),
    NucleusStyle(
        radius=(7.5, 0.18),
        elongation=(2.2, 4.2),
        roughness=0.06,
        density=(0.55, 1.0),
        chromatin=0.14,
        nucleoli=(0, 0),
        rim=0.08,
    ),
    NucleusStyle(
        radius=(5.5, 0.25),
        elongation=(1.0, 1.5),
        roughness=0.16,
        density=(1.0, 1.5),
        chromatin=0.05,
        nucleoli=(0, 0),
        rim=0.0,
    ),
    NucleusStyle(
        radius=(9.5, 0.12),
        elongation=(1.2, 1.9),
        roughness=0.05,
        density=(0.45, 0.9),
        chromatin=0.18,
        nucleoli=(0, 1),
        rim=0.15,
    ),
)
"""By class, in the order of the official channels."""

_HAEMATOXYLIN = np.array([0.650, 0.704, 0.286])
_EOSIN = np.array([0.072, 0.990, 0.105])
_MARGIN = 24
"""Canvas around the tile: nuclei at its border are cut, as in real tiles."""


def _blur(field: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma), np.float32)


class TileCanvas:
    """A tile while it is being drawn.

    Args:
        rng: source of all randomness.
        tile_px: side of the finished tile.

    Attributes:
        haematoxylin, eosin: float32 densities with a margin around the tile.
        masks: int32 (5, H, W), ids per class.
        fibre: direction of the stroma's fibres in radians.
    """

    def __init__(self, rng: np.random.Generator, tile_px: int) -> None:
        self.rng = rng
        self.tile_px = tile_px
        self.size = tile_px + 2 * _MARGIN
        self.fibre = rng.uniform(0, np.pi)
        self.masks = np.zeros((5, self.size, self.size), np.int32)
        self._any = np.zeros((self.size, self.size), bool)
        self._count = 0
        self.haematoxylin = (0.04 + 0.05 * self.noise(24)).astype(np.float32)
        self.eosin = self._stroma()

    def noise(self, grain: float, angle: float | None = None) -> NDArray[np.float32]:
        """Smooth noise in about -1..1; stretched along `angle` when one is given."""
        cells = max(int(self.size / grain) + 3, 4)
        if angle is None:
            coarse = self.rng.standard_normal((cells, cells)).astype(np.float32)
            field = cv2.resize(coarse, (self.size, self.size), interpolation=cv2.INTER_CUBIC)
            return np.asarray(np.clip(field, -2, 2) / 2, np.float32)
        big = int(self.size * 1.5)
        cells_along = int(big / grain / 7) + 3
        coarse = self.rng.standard_normal((int(big / grain), cells_along)).astype(np.float32)
        field = cv2.resize(coarse, (big, big), interpolation=cv2.INTER_CUBIC)
        turn = cv2.getRotationMatrix2D((big / 2, big / 2), -float(np.degrees(angle)), 1.0)
        turn[:, 2] = turn[:, 2] - (big - self.size) / 2
        turned = cv2.warpAffine(field, turn, (self.size, self.size), borderMode=cv2.BORDER_REFLECT)
        return np.asarray(np.clip(turned, -2, 2) / 2, np.float32)

    def _stroma(self) -> NDArray[np.float32]:
        """Eosin of wavy fibres with pale gaps."""
        fibres = self.noise(5, self.fibre) + 0.6 * self.noise(11, self.fibre + 0.2)
        density = 0.34 + 0.16 * fibres + 0.10 * self.noise(40)
        gaps = self.noise(9, self.fibre) > self.rng.uniform(0.35, 0.7)
        density[gaps] *= 0.35
        return np.clip(density, 0.02, None)

    def paint_region(self, region: NDArray[np.bool_], eosin: float, haematoxylin: float) -> None:
        """Replace the stroma of a region by cytoplasm."""
        soft = _blur(region.astype(np.float32), 2.5)
        self.eosin += soft * (eosin + 0.07 * self.noise(7) - self.eosin)
        self.haematoxylin += soft * (haematoxylin + 0.05 * self.noise(5) - self.haematoxylin)

    def clear(self, centre: tuple[float, float], axes: tuple[float, float], angle: float) -> None:
        """A lumen: almost glass."""
        hole = np.zeros((self.size, self.size), np.float32)
        middle = (round(centre[0]), round(centre[1]))
        size = (max(round(axes[0]), 1), max(round(axes[1]), 1))
        cv2.ellipse(hole, middle, size, float(np.degrees(angle)), 0, 360, 1.0, -1)
        hole = _blur(hole, 1.5)
        self.eosin *= 1 - 0.93 * hole
        self.haematoxylin *= 1 - 0.9 * hole

    def add_nucleus(self, kind: int, x: float, y: float, angle: float | None = None) -> bool:
        """Draw one nucleus; returns False where it would overlap others too much."""
        rng, style = self.rng, STYLES[kind]
        radius = max(style.radius[0] * (1 + style.radius[1] * rng.standard_normal()), 3.0)
        stretch = float(np.sqrt(rng.uniform(*style.elongation)))
        angle = rng.uniform(0, np.pi) if angle is None else angle
        reach = int(radius * stretch * 1.4) + 3
        left, top = round(x) - reach, round(y) - reach
        side = 2 * reach + 1
        if left < 0 or top < 0 or left + side > self.size or top + side > self.size:
            return False
        patch = np.s_[top : top + side, left : left + side]
        shape = self._shape(reach, radius * stretch, radius / stretch, angle, style.roughness)
        area = int(shape.sum())
        if area < 25 or (self._any[patch] & shape).sum() > 0.15 * area:
            return False
        free = shape & (self.masks[kind][patch] == 0)  # within a class the earlier nucleus keeps
        self._count += 1
        self.masks[kind][patch][free] = self._count
        self._any[patch] |= shape
        self._stain(kind, patch, shape, side)
        return True

    def _shape(
        self, reach: int, long: float, short: float, angle: float, roughness: float
    ) -> NDArray[np.bool_]:
        theta = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        ripple = np.ones_like(theta)
        for wave in (2, 3, 4, 5):
            phase = self.rng.uniform(0, 2 * np.pi)
            ripple += (
                roughness * self.rng.standard_normal() / wave**0.7 * np.cos(wave * theta + phase)
            )
        u, v = long * np.cos(theta) * ripple, short * np.sin(theta) * ripple
        points = np.stack(
            [u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)], 1
        )
        mask = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
        cv2.fillPoly(mask, [np.rint(points + reach).astype(np.int32)], 1)
        count, parts = cv2.connectedComponents(mask, connectivity=4)
        if count > 2:  # a thin spindle may fall apart when drawn in pixels
            mask = (parts == 1 + np.bincount(parts.ravel())[1:].argmax()).astype(np.uint8)
        return mask.astype(bool)

    def _stain(
        self, kind: int, patch: tuple[slice, slice], shape: NDArray[np.bool_], side: int
    ) -> None:
        rng, style = self.rng, STYLES[kind]
        density = rng.uniform(*style.density)
        grain = rng.standard_normal((side // 3 + 2, side // 3 + 2)).astype(np.float32)
        texture = cv2.resize(grain, (side, side), interpolation=cv2.INTER_CUBIC) * style.chromatin
        inside = cv2.distanceTransform(shape.astype(np.uint8), cv2.DIST_L2, 3)
        ink = density * (1 + texture) + style.rim * np.exp(-((inside - 1.5) ** 2) / 2)
        ys, xs = np.nonzero(inside > 3)
        for _ in range(int(rng.integers(style.nucleoli[0], style.nucleoli[1] + 1))):
            if len(ys) == 0:
                break
            spot = int(rng.integers(len(ys)))
            blob = np.zeros((side, side), np.float32)
            cv2.circle(blob, (int(xs[spot]), int(ys[spot])), int(rng.integers(1, 3)), 1.0, -1)
            ink = ink + 0.55 * blob
        ink = np.clip(ink, 0.15, 2.0)
        soft = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 0.7)
        self.haematoxylin[patch] += soft * ink
        self.eosin[patch] *= 1 - 0.55 * soft
        if kind == DEAD:  # shrunken: an eosinophilic, retracted halo and fragments of chromatin
            wide = cv2.dilate(shape.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(np.float32)
            halo = cv2.GaussianBlur(wide, (0, 0), 1.5) * ~shape
            self.eosin[patch] += 0.35 * halo

    def add_red_cells(self, number: int) -> None:
        """Erythrocytes: round, eosin only, no nucleus: distractors."""
        for _ in range(number):
            x, y = self.rng.uniform(8, self.size - 8, 2)
            disc = np.zeros((self.size, self.size), np.float32)
            cv2.circle(disc, (round(x), round(y)), int(self.rng.integers(8, 11)), 1.0, -1)
            disc = _blur(disc, 1.0)
            self.eosin += disc * (self.rng.uniform(0.6, 0.9) - self.eosin) * (self._any == 0)

    def finish(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """Image uint8 (S, S, 3) and masks int32 (S, S, 6); channel 5 is 1 where no nucleus is."""
        rng = self.rng
        inner = np.s_[_MARGIN : _MARGIN + self.tile_px, _MARGIN : _MARGIN + self.tile_px]
        stains = np.stack([_HAEMATOXYLIN, _EOSIN]) * (1 + 0.12 * rng.standard_normal((2, 3)))
        strength = rng.uniform(0.75, 1.25, 2)
        density = self.haematoxylin[inner][..., None] * stains[0] * strength[0] * 1.25
        density = density + self.eosin[inner][..., None] * stains[1] * strength[1] * 0.85
        light = rng.uniform(235, 252) * (1 - np.array([0.0, 0.012, 0.004]))
        image = light * np.exp(-np.clip(density, 0, None))
        image = cv2.GaussianBlur(
            image, (0, 0), rng.choice([0.5, 0.7, 0.9, 1.5], p=[0.4, 0.3, 0.2, 0.1])
        )
        image = image + rng.normal(0, rng.uniform(1, 5), image.shape)
        pixels = np.clip(image, 0, 255).astype(np.uint8)
        if rng.random() < 0.5:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(55, 95))]
            decoded = cv2.imdecode(cv2.imencode(".jpg", pixels, quality)[1], cv2.IMREAD_COLOR)
            assert decoded is not None
            pixels = np.asarray(decoded, np.uint8)
        masks = self.masks[(slice(None), *inner)]
        background = (masks == 0).all(0).astype(np.int32)
        return pixels, np.moveaxis(np.concatenate([masks, background[None]]), 0, -1)
