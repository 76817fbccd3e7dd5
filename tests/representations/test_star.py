"""The star representation: round trip, invariances, awkward inputs, agreement with plain NMS."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from skimage.draw import polygon

from histonuc.data.synthetic import draw_tile
from histonuc.metrics.panoptic import panoptic_counts
from histonuc.nuclei import TileLabels
from histonuc.representations import build_representation
from histonuc.representations.kernels.polygons import DIRECTIONS, suppress
from histonuc.representations.star import Star

STAR = Star(num_classes=2, min_area_px=4)


def tile(labels: np.ndarray) -> TileLabels:
    _, dense = np.unique(np.append(0, labels), return_inverse=True)
    instances = dense[1:].reshape(labels.shape).astype(np.int32)
    candidates = np.array([0, *(1 << i % 2 for i in range(instances.max()))], np.uint32)
    return TileLabels(
        instances=instances, candidates=candidates, ignore=np.zeros(labels.shape, bool)
    )


def perfect_maps(labels: TileLabels) -> np.ndarray:
    targets = STAR.encode(labels)
    sets = targets["candidates"]
    return np.concatenate(
        [[sets > 0], targets["geometry"], [sets & 1, (sets >> 1) & 1]], dtype=np.float32
    )


def noisy_maps(labels: TileLabels, seed: int = 0) -> np.ndarray:
    """Maps blurred by 1 px, with 5 % noise; no two scores tie."""
    maps = np.stack([cv2.GaussianBlur(m, (0, 0), 1) for m in perfect_maps(labels)])
    noise = np.random.default_rng(seed).standard_normal(maps.shape).astype(np.float32)
    return maps + 0.05 * noise * maps.max((1, 2), keepdims=True)


def bpq(truth: np.ndarray, found: np.ndarray) -> float:
    return float(panoptic_counts(truth, found).image_pq[0])


def discs(side: int, pitch: int, radius: int) -> np.ndarray:
    labels = np.zeros((side * pitch, side * pitch), np.int32)
    for i in range(side * side):
        centre = (pitch // 2 + pitch * (i % side), pitch // 2 + pitch * (i // side))
        cv2.circle(labels, centre, radius, i + 1, -1)
    return labels


def test_synthetic_tiles_come_back() -> None:
    clean, noisy = [], []
    for seed in range(6):
        _, mask = draw_tile(np.random.default_rng(seed), "Breast")
        labels = tile(mask[..., :5].max(-1))
        if labels.instances.max():
            clean.append(bpq(labels.instances, STAR.decode(perfect_maps(labels)).labels))
            noisy.append(bpq(labels.instances, STAR.decode(noisy_maps(labels)).labels))
    assert len(clean) > 3
    assert np.mean(clean) > 0.97
    assert np.mean(noisy) > 0.9


def test_real_tiles_come_back(shared_data: Path) -> None:
    clean, noisy = [], []
    for name in ("train_1", "train_10", "train_11"):
        path = shared_data / "consep" / "instances" / f"{name}.png"
        labels = tile(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:256, :256])
        clean.append(bpq(labels.instances, STAR.decode(perfect_maps(labels)).labels))
        noisy.append(bpq(labels.instances, STAR.decode(noisy_maps(labels)).labels))
    assert np.mean(clean) > 0.97
    assert np.mean(noisy) > 0.92


def test_rays_of_a_rectangle() -> None:
    labels = np.zeros((20, 30), np.int32)
    labels[4:13, 5:20] = 1
    targets = STAR.encode(tile(labels))
    rays = targets["geometry"][:, 8, 12]
    assert rays[[0, 8, 16, 24]].tolist() == [7.5, 4.5, 7.5, 4.5]
    assert rays[4] == pytest.approx(4.5 * np.sqrt(2))
    assert targets["geometry"][16, 8, 5] == 0.5
    assert targets["depth"][8, 12] == 1
    assert targets["depth"][4, 5] == pytest.approx(0.5 / 4.5)
    assert not targets["geometry"][:, labels == 0].any()


@settings(max_examples=10)
@given(st.permutations(range(1, 17)))
def test_permuting_ids_changes_nothing(order: list[int]) -> None:
    labels = discs(4, 14, 8)  # later discs cut into earlier ones
    permuted = np.array([0, *order])[labels].astype(np.int32)
    before = STAR.encode(tile(labels))
    after = STAR.encode(tile(permuted))
    assert np.array_equal(before["geometry"], after["geometry"])
    assert np.array_equal(before["depth"], after["depth"])


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_turning_maps_turns_nuclei(turns: int, mirror: bool) -> None:
    def moved(maps: np.ndarray) -> np.ndarray:
        maps = maps[..., ::-1] if mirror else maps
        return np.rot90(maps, turns, (-2, -1)).copy()

    _, mask = draw_tile(np.random.default_rng(1), "Breast")
    labels = tile(mask[..., :5].max(-1))
    rays = np.arange(32)
    rays = (16 - rays) % 32 if mirror else rays  # +x becomes -x
    sources = np.argsort((rays - 8 * turns) % 32)  # rot90 turns +x to -y
    channels = np.concatenate([[0], 1 + sources, [33, 34]])
    upright = perfect_maps(labels)
    turned = perfect_maps(tile(moved(labels.instances)))
    assert np.array_equal(moved(upright)[channels], turned)

    maps = noisy_maps(labels)
    expected = moved(STAR.decode(maps).labels)
    found = STAR.decode(moved(maps)[channels]).labels
    assert expected.max() == found.max() > 10
    assert bpq(expected, found) > 0.999  # a pixel on a polygon's edge may change sides


def test_directions_are_exact_under_quarter_turns_and_mirrors() -> None:
    y, x = DIRECTIONS.T
    assert np.array_equal(np.roll(y, -8), x)
    assert np.array_equal(np.roll(x, -8), -y)
    assert np.array_equal(y[-np.arange(32)], -y)
    assert np.allclose(np.hypot(y, x), 1)


def test_decode_is_deterministic() -> None:
    maps = noisy_maps(tile(discs(4, 14, 8)))
    first, second = STAR.decode(maps), STAR.decode(maps)
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.score, second.score)


def test_awkward_tiles() -> None:
    empty = STAR.decode(perfect_maps(tile(np.zeros((9, 7), np.int32))))
    assert len(empty.score) == 0
    assert not empty.labels.any()
    full = STAR.decode(perfect_maps(tile(np.ones((40, 30), np.int32))))
    assert (full.labels == 1).all()
    single = np.zeros((9, 7), np.int32)
    single[3, 6] = 1
    maps = perfect_maps(tile(single))
    assert np.array_equal(Star(num_classes=2, min_area_px=1).decode(maps).labels, single)
    assert not STAR.decode(maps).labels.any()  # below min_area_px
    corner = np.zeros((64, 64), np.int32)
    cv2.circle(corner, (0, 0), 12, 1, -1)
    cv2.circle(corner, (63, 30), 10, 2, -1)
    assert bpq(corner, STAR.decode(perfect_maps(tile(corner))).labels) > 0.97


def test_ten_thousand_nuclei() -> None:
    labels = discs(100, 10, 4)
    found = STAR.decode(perfect_maps(tile(labels))).labels
    assert found.max() == 10_000
    assert bpq(labels, found) > 0.99


def test_small_nucleus_beside_a_large_one_is_kept() -> None:
    labels = np.zeros((64, 64), np.int32)
    cv2.circle(labels, (28, 32), 20, 1, -1)
    cv2.circle(labels, (50, 32), 4, 2, -1)
    assert STAR.decode(noisy_maps(tile(labels))).labels.max() == 2


def test_a_bent_nucleus_keeps_what_its_polygon_misses() -> None:
    labels = np.zeros((64, 64), np.int32)
    cv2.ellipse(labels, (32, 40), (20, 20), 0, 190, 350, 1, 9)
    found = STAR.decode(perfect_maps(tile(labels))).labels
    assert ((found > 0) == (labels > 0)).mean() > 0.99


def plain_nms(masks: list[np.ndarray], overlap: float) -> list[int]:
    """What greedy suppression by intersection over the smaller area accepts, in order."""
    accepted: list[int] = []
    for index, mask in enumerate(masks):
        limits = [overlap * min(mask.sum(), masks[other].sum()) for other in accepted]
        common = [(mask & masks[other]).sum() for other in accepted]
        if all(c <= limit for c, limit in zip(common, limits, strict=True)):
            accepted.append(index)
    return accepted


@given(st.integers(0, 10_000))
def test_suppression_agrees_with_plain_nms(seed: int) -> None:
    """Two pairs of discs far from each other, at every degree of overlap."""
    rng = np.random.default_rng(seed)
    shape = (60, 120)
    first = np.array([[30, 30], [30, 90]])
    centres = np.concatenate(
        [first, first + rng.choice([-1, 1], (2, 2)) * rng.integers(3, 14, (2, 2))]
    )
    radii = rng.uniform(5, 11, 4)
    rays = np.zeros((32, *shape), np.float32)
    masks = [np.zeros(shape, bool) for _ in centres]
    for (y, x), radius, mask in zip(centres, radii, masks, strict=True):
        rays[:, y - 1 : y + 2, x - 1 : x + 2] = radius
        mask[polygon(*(np.array([[y], [x]]) + radius * DIRECTIONS.T), shape)] = True
    order = np.ravel_multi_index(tuple(centres.T), shape).astype(np.int32)
    labels, area = suppress(order, rays, np.ones(shape, bool), 0.4)
    assert area[0] == labels.max() >= 2
    # Pixels on an edge are drawn differently: near the limit either answer is right.
    assume(plain_nms(masks, 0.37) == plain_nms(masks, 0.43))
    expected = [masks[index].sum() for index in plain_nms(masks, 0.4)]
    assert area[1 : area[0] + 1].tolist() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bad_maps_are_refused(value: float) -> None:
    maps = perfect_maps(tile(discs(2, 14, 5)))
    maps[7, 3, 3] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        STAR.decode(maps)


def test_bad_options_and_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected maps \(35, H, W\), got \(2, 4, 4\)"):
        STAR.decode(np.zeros((2, 4, 4), np.float32))
    with pytest.raises(ValueError, match="expected 2 weights, got 1"):
        Star(num_classes=2, class_weights=(1.0,))
    assert build_representation("star", 2, overlap=0.3).channels == 35


def test_wild_maps_decode() -> None:
    maps = np.random.default_rng(0).standard_normal((35, 40, 50)).astype(np.float32) * 1e6
    assert STAR.decode(maps).labels.shape == (40, 50)


def test_loss_is_zero_for_the_truth_and_activation_gives_the_maps() -> None:
    torch = pytest.importorskip("torch")
    labels = tile(discs(3, 20, 7))
    targets = {k: torch.from_numpy(v)[None] for k, v in STAR.encode(labels).items()}
    maps = torch.from_numpy(perfect_maps(labels))[None]
    logits = maps.clone()
    logits[:, 1:33] /= 8
    logits[:, [0, 33, 34]] = (maps[:, [0, 33, 34]] * 2 - 1) * 20
    total, terms = STAR.loss(logits, targets)
    assert float(total) < 1e-2
    assert set(terms) == {"bce", "dice", "class", "rays"}
    activated = STAR.activate(logits)
    assert torch.allclose(activated[:, :33], maps[:, :33], atol=1e-4)

    longer = logits.clone()
    longer[:, 1:33] += 0.5
    assert float(STAR.loss(longer, targets)[1]["rays"]) == pytest.approx(0.5, abs=1e-5)
    elsewhere = logits.clone()
    elsewhere[:, 1:33][:, :, labels.instances == 0] += 9  # the background's rays do not count
    assert float(STAR.loss(elsewhere, targets)[1]["rays"]) == pytest.approx(0, abs=1e-5)


def test_unknown_pixels_take_no_part() -> None:
    labels = tile(discs(2, 14, 5))
    labels.ignore[:14] = True
    targets = STAR.encode(labels)
    assert not targets["depth"][:14].any()
    assert targets["depth"][14:].any()
