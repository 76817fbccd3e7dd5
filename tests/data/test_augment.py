"""Augmentation: seeded, labels follow the image, nothing outside the source becomes a nucleus."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.data.augment import (
    AugmentConfig,
    change_pixels,
    jitter_stain,
    random_crop,
    transfer_stain,
)

GEOMETRY = AugmentConfig(elastic=1.0, scale=0.3)


def coloured_labels(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red channel says which nucleus a pixel is of (8 grey levels each)."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.int32)
    for value in range(1, 25):
        y, x = rng.integers(0, height - 14), rng.integers(0, width - 14)
        labels[y : y + 14, x : x + 14] = value
    image = np.repeat((labels * 10).astype(np.uint8)[..., None], 3, axis=2)
    return image, labels


@given(st.integers(0, 1000), st.sampled_from([0.5, 1.0, 1.6]))
def test_labels_follow_the_image(seed: int, zoom: float) -> None:
    image, labels = coloured_labels(90, 110)
    crop, moved, ignore = random_crop(
        image, labels, np.random.default_rng(seed), GEOMETRY, tile_px=64, zoom=zoom
    )
    assert crop.shape == (64, 64, 3)
    # Away from borders, where interpolation mixes, the pixel still says its nucleus.
    inner = ~ignore
    for axis in (0, 1):
        for shift in (-2, -1, 1, 2):
            inner &= np.roll(moved, shift, axis) == moved
            inner &= ~np.roll(ignore, shift, axis)
    inner[:3] = inner[-3:] = inner[:, :3] = inner[:, -3:] = False
    difference = np.abs(crop[..., 0].astype(int) - moved * 10)[inner]
    assert difference.size == 0 or np.mean(difference > 5) < 0.02
    assert set(np.unique(moved)) <= set(np.unique(labels))


@given(st.integers(0, 1000))
def test_outside_the_source_is_ignored_and_holds_no_nucleus(seed: int) -> None:
    image, labels = np.full((20, 30, 3), 99, np.uint8), np.ones((20, 30), np.int32)
    crop, moved, ignore = random_crop(
        image, labels, np.random.default_rng(seed), AugmentConfig.off(), tile_px=40, zoom=1.0
    )
    assert (~ignore).sum() == 20 * 30
    assert (moved[~ignore] == 1).all()
    assert (moved[ignore] == 0).all()
    assert (crop == 99).all()  # reflected, not black


def test_switched_off_it_is_a_plain_crop() -> None:
    image, labels = coloured_labels(80, 80)
    rng = np.random.default_rng(5)
    crop, moved, ignore = random_crop(image, labels, rng, AugmentConfig.off(), tile_px=80, zoom=1.0)
    np.testing.assert_array_equal(crop, image)
    np.testing.assert_array_equal(moved, labels)
    assert not ignore.any()
    np.testing.assert_array_equal(change_pixels(image, rng, AugmentConfig.off()), image)


def test_flips_and_turns_reach_all_eight_poses() -> None:
    image, labels = coloured_labels(48, 48)
    config = AugmentConfig(scale=0, elastic=0)
    poses = {
        random_crop(image, labels, np.random.default_rng(s), config, tile_px=48, zoom=1.0)[
            1
        ].tobytes()
        for s in range(80)
    }
    expected = {np.rot90(m, k).tobytes() for m in (labels, labels[::-1]) for k in range(4)}
    assert poses == expected


@given(st.integers(0, 100))
def test_the_same_seed_gives_the_same_crop(seed: int) -> None:
    image, labels = coloured_labels(90, 70)
    config = AugmentConfig(blur=1, noise=1, jpeg=1, elastic=1)
    results = []
    for _ in range(2):
        rng = np.random.default_rng(seed)
        crop, moved, _ = random_crop(image, labels, rng, config, tile_px=50, zoom=1.1)
        results.append((change_pixels(crop, rng, config), moved))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_every_pixel_change_changes_pixels() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(60, 200, (64, 64, 3), np.uint8)
    for name in ("blur", "noise", "jpeg", "brightness", "stain"):
        value = 0.2 if name in ("brightness", "stain") else 1.0
        off = {f: 0.0 for f in ("blur", "noise", "jpeg", "brightness", "stain")}
        config = AugmentConfig(**{**off, name: value})
        changed = change_pixels(image, np.random.default_rng(1), config)
        assert changed.dtype == np.uint8
        assert np.mean(changed != image) > 0.3, name


def test_stain_jitter_leaves_glass_white() -> None:
    glass = np.full((8, 8, 3), 255, np.uint8)
    for seed in range(20):
        assert jitter_stain(glass, np.random.default_rng(seed), 0.3).min() >= 253


def test_stain_jitter_of_nothing_is_identity() -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    same = jitter_stain(image, np.random.default_rng(0), 0.0).astype(int)
    assert np.abs(same - image).max() <= 1


def test_stain_transfer_moves_towards_the_reference(shared_data) -> None:
    import cv2

    def read(path) -> np.ndarray:
        return cv2.imread(str(path))[:256, :256, ::-1].copy()

    image = read(shared_data / "consep" / "images" / "train_1.jpg")
    reference = read(next((shared_data / "tnbc" / "images").glob("*.jpg")))
    changed = transfer_stain(image, reference)

    def distance(a, b) -> float:
        return float(np.abs(a.mean((0, 1)) - b.mean((0, 1))).sum())

    assert distance(changed, reference) < 0.6 * distance(image, reference)


def test_stain_transfer_leaves_blank_tiles() -> None:
    blank = np.full((32, 32, 3), 250, np.uint8)
    np.testing.assert_array_equal(transfer_stain(blank, blank), blank)


@pytest.mark.parametrize(
    ("bad", "flag"),
    [
        ({"blur": 1.5}, "--augment.blur"),
        ({"scale": 1.0}, "--augment.scale"),
        ({"elastic_px": -1.0}, "--augment.elastic-px"),
        ({"stain_transfer": -0.1}, "--augment.stain-transfer"),
    ],
)
def test_bad_ranges_name_the_flag(bad, flag) -> None:
    with pytest.raises(ValueError, match=flag):
        AugmentConfig(**bad)
