"""Whatever a decoder finds, its outlines are rings that other programs take, of the same area."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st

from histonuc.nuclei import Nuclei
from histonuc.representations import build_representation
from histonuc.taxonomy import LabelSpace

TWO = LabelSpace(name="two", classes=("a", "b"), colours=((1, 2, 3), (4, 5, 6)))
OPTIONS = {"semantic": {}, "hover": {"min_area_px": 4}, "star": {"min_area_px": 4}}
OPTIONS["offset"] = {"min_area_px": 4}
GEOMETRY = {"hover": 4.0, "star": 8.0, "offset": 30.0}


def smooth(rng: np.random.Generator, num: int, sigma: float) -> np.ndarray:
    """Maps (num, 40, 48) of blobs about `sigma` pixels wide."""
    noise = rng.standard_normal((num, 40, 48)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in noise])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits)
    return powers / powers.sum(0)


def random_maps(name: str, channels: int, rng: np.random.Generator) -> np.ndarray:
    """What no network would give: nuclei of all shapes, with bends, gaps and corners that touch."""
    if name == "semantic":
        return softmax(10 * smooth(rng, channels, 1.5))
    nucleus = 1 / (1 + np.exp(-20 * smooth(rng, 1, 1.2)))
    geometry = GEOMETRY[name] * smooth(rng, channels - 3, 2)
    if name == "star":
        geometry = np.abs(geometry) + rng.uniform(0, 6, geometry.shape)
    return np.concatenate([nucleus, geometry, softmax(5 * smooth(rng, 2, 2))])


def gaps_of(labels: np.ndarray, label: int) -> list[np.ndarray]:
    """Pixels (H, W) of each part of the image that a nucleus encloses."""
    around = np.pad(labels != label, 1, constant_values=True).astype(np.uint8)
    num, parts = cv2.connectedComponents(around, connectivity=8)
    outside = {0, int(parts[0, 0])}  # the nucleus itself, and what is around it
    return [parts[1:-1, 1:-1] == part for part in range(num) if part not in outside]


@pytest.mark.parametrize("name", OPTIONS)
@given(seed=st.integers(0, 2**32 - 1))
@example(seed=194)  # of hover: a gap with a nucleus and background
@settings(max_examples=40)
def test_outlines_are_simple_and_as_large_as_their_pixels(name: str, seed: int) -> None:
    representation = build_representation(name, 2, **OPTIONS[name])
    maps = random_maps(name, representation.channels, np.random.default_rng(seed))
    found = representation.decode(np.ascontiguousarray(maps, np.float32))
    nuclei = Nuclei.from_instances(found, TWO)
    rings = [shapely.LinearRing(nuclei.contour(i)) for i in range(len(nuclei))]
    assert shapely.is_simple(rings).all()
    assert shapely.is_valid([shapely.Polygon(ring) for ring in rings]).all()
    pixels = np.bincount(found.labels.ravel(), minlength=len(nuclei) + 1)[1:]
    for i in np.flatnonzero(nuclei.area_px != pixels):  # only one that lies around others
        gaps = gaps_of(found.labels, i + 1)
        assert all(found.labels[gap].any() for gap in gaps), "a hole without a nucleus"
        assert nuclei.area_px[i] == pixels[i] + sum(gap.sum() for gap in gaps)
