"""HoVer maps: targets by hand, round trips, agreement with the published decoder, the loss."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from histonuc.data.synthetic import draw_tile
from histonuc.metrics.panoptic import panoptic_counts
from histonuc.nuclei import TileLabels
from histonuc.representations import build_representation
from histonuc.representations.hover import Hover

HOVER = Hover(num_classes=2, min_area_px=10)


def as_tile(labels: np.ndarray, ignore: np.ndarray | None = None) -> TileLabels:
    """Nuclei of classes 0, 1, 0, 1, ..."""
    return TileLabels(
        instances=labels.astype(np.int32),
        candidates=np.array([0, *(1 << (i % 2) for i in range(labels.max()))], np.uint32),
        ignore=np.zeros(labels.shape, bool) if ignore is None else ignore,
    )


def perfect_maps(labels: np.ndarray) -> np.ndarray:
    targets = HOVER.encode(as_tile(labels))
    nucleus = targets["candidates"] != 0
    classes = [(targets["candidates"] >> c) & 1 for c in range(2)]
    return np.stack([nucleus, *targets["geometry"], *classes]).astype(np.float32)


def noisy_maps(labels: np.ndarray, seed: int) -> np.ndarray:
    """Blurred by 1 px, with 5 % noise."""
    maps = perfect_maps(labels)
    for channel in maps[:3]:
        cv2.GaussianBlur(channel, (0, 0), 1, dst=channel)
    maps[:3] += 0.05 * np.random.default_rng(seed).standard_normal(maps[:3].shape)
    return maps


def drawn_labels(seed: int) -> np.ndarray:
    """Instances of a synthetic tile, consecutive ids."""
    _, mask = draw_tile(np.random.default_rng(seed), "Colon")
    ids = mask[..., :5].max(2)
    return np.unique(np.append(ids, 0), return_inverse=True)[1][:-1].reshape(ids.shape)


def real_labels(folder: Path) -> list[np.ndarray]:
    """Every 12th 256² tile of CoNSeP."""
    tiles = []
    for path in sorted((folder / "consep/instances").glob("*.png")):
        whole = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.int32)
        for y in range(0, 768, 256):
            for x in range(0, 768, 256):
                ids = whole[y : y + 256, x : x + 256]
                present = np.unique(np.append(ids, 0))
                tiles.append(np.searchsorted(present, ids).astype(np.int32))
    return [tile for tile in tiles[::12] if tile.any()]


def mean_pq(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    scores = [
        panoptic_counts(a.astype(np.int32), b.astype(np.int32)).image_pq[0] for a, b in pairs
    ]
    return float(np.nanmean(scores))


def moved(maps: np.ndarray, flip: bool, turns: int) -> np.ndarray:
    """Maps of the tile flipped left to right and then turned anticlockwise."""
    if flip:
        maps = maps[..., ::-1].copy()
        maps[1] *= -1
    for _ in range(turns):
        maps = np.rot90(maps, 1, (1, 2)).copy()
        maps[1], maps[2] = maps[2].copy(), -maps[1]
    return np.ascontiguousarray(maps)


def moved_labels(labels: np.ndarray, flip: bool, turns: int) -> np.ndarray:
    return np.rot90(labels[:, ::-1] if flip else labels, turns).copy()


def test_targets_by_hand() -> None:
    labels = np.zeros((5, 9), np.int32)
    labels[1:4, 2:7] = 1  # 5 wide, 3 high
    labels[3, 6] = 0  # 14 pixels: the centre moves
    labels[0, 8] = 2
    horizontal, vertical = HOVER.encode(as_tile(labels))["geometry"]
    centre_x = (3 * (2 + 3 + 4 + 5) + 2 * 6) / 14
    centre_y = (5 * (1 + 2) + 4 * 3) / 14
    left, right = centre_x - 2, 6 - centre_x
    expected = [(2 - centre_x) / left, (3 - centre_x) / left, (4 - centre_x) / right]
    assert horizontal[1, 2:7] == pytest.approx([*expected, (5 - centre_x) / right, 1])
    assert vertical[1:4, 2] == pytest.approx([-1, (2 - centre_y) / (3 - centre_y), 1])
    assert horizontal[0, 8] == vertical[0, 8] == 0
    assert np.all(horizontal[labels == 0] == 0)


@given(st.integers(0, 200), st.booleans(), st.integers(0, 3))
def test_targets_flip_turn_and_ignore_ids(seed: int, flip: bool, turns: int) -> None:
    labels = drawn_labels(seed)[:96, :128]
    labels = np.unique(np.append(labels, 0), return_inverse=True)[1][:-1].reshape(labels.shape)
    maps = perfect_maps(labels)[:3]
    np.testing.assert_array_equal(
        perfect_maps(moved_labels(labels, flip, turns))[:3], moved(maps, flip, turns)
    )
    order = np.random.default_rng(seed).permutation(labels.max()) + 1
    shuffled = np.concatenate([[0], order])[labels]
    np.testing.assert_array_equal(perfect_maps(shuffled)[:3], maps)


@given(st.integers(0, 200), st.booleans(), st.integers(0, 3))
def test_decoding_flips_and_turns(seed: int, flip: bool, turns: int) -> None:
    """But for single pixels: rounding differs when sums run the other way."""
    maps = noisy_maps(drawn_labels(seed), seed)
    upright = HOVER.decode(maps)
    other = HOVER.decode(moved(maps, flip, turns))
    assert len(upright.score) == len(other.score)
    if len(upright.score):
        expected = np.ascontiguousarray(moved_labels(upright.labels, flip, turns))
        assert mean_pq([(expected, other.labels)]) > 0.999


def test_drawn_tiles_come_back() -> None:
    tiles = [labels for labels in map(drawn_labels, range(40)) if labels.any()]
    clean = [(labels, HOVER.decode(perfect_maps(labels)).labels) for labels in tiles]
    noisy = [(labels, HOVER.decode(noisy_maps(labels, 0)).labels) for labels in tiles]
    print(mean_pq(clean), mean_pq(noisy))
    assert mean_pq(clean) > 0.9
    assert mean_pq(noisy) > 0.9


def test_real_tiles_come_back(shared_data: Path) -> None:
    tiles = real_labels(shared_data)
    clean = [(labels, HOVER.decode(perfect_maps(labels)).labels) for labels in tiles]
    noisy = [(labels, HOVER.decode(noisy_maps(labels, 0)).labels) for labels in tiles]
    print(mean_pq(clean), mean_pq(noisy))
    assert mean_pq(clean) > 0.9
    assert mean_pq(noisy) > 0.9
