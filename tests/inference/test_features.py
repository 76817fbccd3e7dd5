"""Shape, stain and texture against what is known of simple figures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from histonuc.inference.features import FEATURES, STAIN_OD, measure_features
from histonuc.nuclei import Instances, Nuclei
from histonuc.representations.kernels.regions import tidy
from histonuc.taxonomy import NUCLEUS


def measure(labels: np.ndarray, image: np.ndarray | None = None, mpp: float = 0.5):
    n = int(labels.max(initial=0))
    instances = Instances(
        labels=labels.astype(np.int32),
        class_probabilities=np.ones((n, 1), np.float32),
        score=np.ones(n, np.float32),
    )
    if image is None:
        image = np.full((*labels.shape, 3), 255, np.uint8)
    nuclei = Nuclei.from_instances(instances, NUCLEUS)
    return measure_features(instances.labels, image, nuclei, mpp)


def ellipse(long: float, short: float, degrees: float, size: int = 160) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    angle = np.radians(degrees)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return ((along / long) ** 2 + (across / short) ** 2 <= 1).astype(np.int32)


@given(st.integers(-80, 80))
def test_an_ellipse_has_its_axes_perimeter_and_angle(degrees):
    found = {name: float(values[0]) for name, values in measure(ellipse(50, 30, degrees)).items()}
    assert found["major_axis_um"] == pytest.approx(50, rel=0.01)  # 100 px at 0.5 mpp
    assert found["minor_axis_um"] == pytest.approx(30, rel=0.01)
    assert found["orientation_deg"] == pytest.approx(degrees, abs=1)
    assert found["eccentricity"] == pytest.approx(0.8, abs=0.01)
    assert found["perimeter_um"] == pytest.approx(255.3 * 0.5, rel=0.04)
    assert found["solidity"] > 0.97


def test_circles_squares_and_crescents_differ():
    disc = ellipse(40, 40, 0)
    crescent = disc * (1 - np.roll(disc, 25, axis=1))
    lone = np.zeros((160, 160), np.int32)
    lone[3, 5] = 1
    round_, hollow, pixel = (measure(labels) for labels in (disc, crescent, lone))
    assert round_["circularity"][0] > 0.97
    assert hollow["circularity"][0] < 0.6
    assert hollow["solidity"][0] < 0.8
    assert pixel["major_axis_um"][0] == pytest.approx(4 * np.sqrt(1 / 12) * 0.5)
    assert all(np.isfinite(values).all() for values in pixel.values())


@given(st.integers(0, 10_000))
def test_solidity_is_the_area_over_that_of_the_convex_hull(seed):
    rng = np.random.default_rng(seed)
    labels = (cv2.GaussianBlur(rng.random((40, 50)), (0, 0), 1.5) > 0.5).astype(np.int32)
    labels = np.kron(tidy(labels, 1)[0], np.ones((1, 2), np.int32)).astype(np.int32)
    if not labels.any():
        return
    found = measure(labels)["solidity"]
    for number, solidity in enumerate(found, 1):
        y, x = np.nonzero(labels == number)
        corners = [np.stack([x + right, y + down], 1) for down in (0, 1) for right in (0, 1)]
        hull = shapely.MultiPoint(np.concatenate(corners)).convex_hull
        assert solidity == pytest.approx(len(x) / hull.area, rel=1e-6)


@pytest.mark.parametrize("amount", [0.2, 0.6])
def test_stain_amounts_are_found_back(amount):
    norm = np.linalg.norm(STAIN_OD, axis=1, keepdims=True)
    hematoxylin, eosin = (np.array(STAIN_OD) / norm)[:2]
    labels = ellipse(30, 30, 0)
    density = np.where(labels[..., None] == 1, amount * hematoxylin + 0.1 * eosin, 0)
    image = np.round(255 * 10.0**-density).astype(np.uint8)
    found = measure(labels, image)
    assert found["haematoxylin_od"][0] == pytest.approx(amount, abs=0.01)
    assert found["eosin_od"][0] == pytest.approx(0.1, abs=0.01)
    assert found["haematoxylin_std_od"][0] == pytest.approx(0, abs=1e-4)
    assert found["haematoxylin_contrast_od"][0] == pytest.approx(0, abs=1e-6)
    assert found["haematoxylin_entropy_bits"][0] == 0
    assert found["red_od"][0] == pytest.approx(density[80, 80, 0], abs=0.01)


def test_a_chequered_nucleus_has_contrast_and_one_bit_of_entropy():
    labels = ellipse(30, 30, 0)
    dark = np.indices(labels.shape).sum(0) % 2 == 0
    image = np.where(dark[..., None], (90, 60, 140), (200, 190, 220)).astype(np.uint8)
    found = measure(labels, image)
    assert found["haematoxylin_contrast_od"][0] == pytest.approx(
        2 * found["haematoxylin_std_od"][0], 0.01
    )
    assert found["haematoxylin_entropy_bits"][0] == pytest.approx(1, abs=0.01)


@given(st.integers(0, 2**32 - 1))
def test_each_nucleus_is_measured_for_itself(seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (160, 320, 3), np.uint8)
    left, right = ellipse(40, 25, 30), ellipse(20, 18, 0)
    both = measure(np.concatenate([2 * left, right], axis=1), image)
    alone = [measure(right, image[:, 160:]), measure(left, image[:, :160])]
    assert tuple(both) == FEATURES
    for name, values in both.items():
        np.testing.assert_array_equal(values, [part[name][0] for part in alone])


def test_no_nuclei():
    found = measure(np.zeros((8, 8), np.int32))
    assert tuple(found) == FEATURES
    assert all(values.shape == (0,) for values in found.values())


@given(st.integers(0, 2**32 - 1))
def test_sums_are_those_of_plain_numpy(seed):
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 4, (6, 9)).astype(np.int32)
    labels = np.kron(tidy(raw, 1)[0], np.ones((2, 3), np.int32)).astype(np.int32)
    image = rng.integers(0, 256, (*labels.shape, 3), np.uint8)
    found = measure(labels, image)
    density = -np.log10(np.maximum(image, 1) / 255)
    norm = np.linalg.norm(STAIN_OD, axis=1, keepdims=True)
    stains = density @ np.linalg.inv(np.array(STAIN_OD) / norm)
    padded = np.pad(labels, 1)
    for i in range(labels.max(initial=0)):
        mine = labels == i + 1
        y, x = np.nonzero(mine)
        haematoxylin = stains[mine][:, 0]
        bins = np.bincount((haematoxylin * 8).astype(int).clip(0, 15), minlength=16) / mine.sum()
        entropy = -(bins[bins > 0] * np.log2(bins[bins > 0])).sum()
        steps = [
            abs(stains[down:, right:, 0] - stains[: len(mine) - down, : mine.shape[1] - right, 0])[
                mine[down:, right:] & mine[: len(mine) - down, : mine.shape[1] - right]
            ]
            for down, right in ((0, 1), (1, 0))
        ]
        out = {
            (dy, dx): (padded[y + 1 + dy, x + 1 + dx] != i + 1).sum()
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        }
        sides = sum(count for step, count in out.items() if 0 in step)
        corners = sum(count for step, count in out.items() if 0 not in step)
        variances = np.linalg.eigvalsh(np.cov([x, y], bias=True) + np.eye(2) / 12)
        wanted = {
            "perimeter_um": np.pi / 8 * (sides + corners / np.sqrt(2)) * 0.5,
            "major_axis_um": 2 * np.sqrt(variances[1]),
            "minor_axis_um": 2 * np.sqrt(variances[0]),
            "green_od": density[mine][:, 1].mean(),
            "haematoxylin_od": haematoxylin.mean(),
            "haematoxylin_std_od": haematoxylin.std(),
            "haematoxylin_contrast_od": np.concatenate(steps).mean(),
            "haematoxylin_entropy_bits": entropy,
            "eosin_od": stains[mine][:, 1].mean(),
        }
        assert {name: found[name][i] for name in wanted} == pytest.approx(wanted, abs=1e-5)
