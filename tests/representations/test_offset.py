"""Offset maps: round trip, symmetry, odd inputs, loss."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from histonuc.data.synthetic import draw_tile
from histonuc.metrics.panoptic import panoptic_counts
from histonuc.nuclei import Instances, TileLabels
from histonuc.representations.offset import Offset
from histonuc.representations.voting import _nearest

REAL = Path(__file__).parents[3] / "shared/data/consep/instances"
OFFSET = Offset(num_classes=2, min_area_px=10)


def _labels(instances: np.ndarray) -> TileLabels:
    instances = instances.astype(np.int32)
    num = int(instances.max(initial=0))
    kinds = 1 + np.arange(num + 1, dtype=np.uint32) % 2
    kinds[0] = 0
    return TileLabels(instances=instances, candidates=kinds, ignore=np.zeros(instances.shape, bool))


def _perfect_maps(instances: np.ndarray) -> np.ndarray:
    labels = _labels(instances)
    targets = OFFSET.encode(labels)
    kinds = labels.candidates[labels.instances]
    return np.stack([labels.instances > 0, *targets["geometry"], kinds == 1, kinds == 2]).astype(
        np.float32
    )


def _noisy_maps(instances: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    maps = _perfect_maps(instances)
    maps[:3] = [cv2.GaussianBlur(channel, (0, 0), 1) for channel in maps[:3]]
    maps[0] += 0.05 * rng.standard_normal(instances.shape)
    maps[1:3] += 0.7 * rng.standard_normal((2, *instances.shape))
    return maps


def _drawn(seed: int) -> np.ndarray:
    _, mask = draw_tile(np.random.default_rng(seed), "Breast")
    return np.unique(mask[:, :, :5].max(2), return_inverse=True)[1].reshape(mask.shape[:2])


def _discs(size: int, step: int, radius: int) -> np.ndarray:
    instances = np.zeros((size, size), np.int32)
    centres = range(step // 2, size - radius, step)
    for number, (y, x) in enumerate((y, x) for y in centres for x in centres):
        cv2.circle(instances, (x, y), radius, number + 1, -1)
    return instances


def _pq(truth: np.ndarray, found: np.ndarray) -> float:
    return float(panoptic_counts(truth, found).image_pq[0])


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_round_trip_of_drawn_tissue(seed: int) -> None:
    instances = _drawn(seed)
    found = OFFSET.decode(_perfect_maps(instances))
    assert _pq(instances, found.labels) > 0.99
    assert _pq(instances, OFFSET.decode(_noisy_maps(instances)).labels) > 0.93


@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/data/consep is not on this machine")
def test_round_trip_of_real_tissue() -> None:
    clean, noisy = [], []
    for path in sorted(REAL.glob("*.png"))[:3]:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        crop = np.unique(image[200:456, 200:456], return_inverse=True)[1].reshape(256, 256)
        clean.append(_pq(crop, OFFSET.decode(_perfect_maps(crop)).labels))
        noisy.append(_pq(crop, OFFSET.decode(_noisy_maps(crop)).labels))
    assert np.mean(clean) > 0.985
    assert np.mean(noisy) > 0.94


def test_classes_and_scores_come_from_a_nucleus_s_pixels() -> None:
    instances = _discs(64, 20, 6)
    found = OFFSET.decode(_perfect_maps(instances))
    for label in range(1, len(found.score) + 1):
        true = np.bincount(instances[found.labels == label]).argmax()
        assert found.types[label] == 1 + true % 2
    assert found.score == pytest.approx(1, abs=1e-6)
    assert found.class_probabilities.sum(1) == pytest.approx(1)


def test_temperature_flattens_class_probabilities() -> None:
    maps = _perfect_maps(_discs(64, 20, 6))
    maps[3:] = np.array([0.8, 0.2], np.float32)[:, None, None]
    sharp = OFFSET.decode(maps).class_probabilities[0]
    flat = Offset(num_classes=2, temperature=2.0).decode(maps).class_probabilities[0]
    assert sharp == pytest.approx([0.8, 0.2])
    assert flat == pytest.approx([2 / 3, 1 / 3])


def test_doubtful_nuclei_are_dropped_and_the_others_renumbered() -> None:
    instances = _discs(64, 20, 6)
    maps = _perfect_maps(instances)
    maps[0][instances == 2] = 0.6
    every = Offset(num_classes=2).decode(maps)
    sure = Offset(num_classes=2, min_score=0.8).decode(maps)
    assert len(every.score) == instances.max()
    assert len(sure.score) == instances.max() - 1
    assert set(np.unique(sure.labels)) == set(range(instances.max()))
    assert not sure.labels[instances == 2].any()


def test_a_large_nucleus_with_scattered_votes_stays_whole() -> None:
    instances = np.zeros((96, 96), np.int32)
    cv2.ellipse(instances, (48, 48), (40, 14), 20, 0, 360, 1, -1)
    maps = _perfect_maps(instances)
    # Networks are least sure of the longest vectors, and wrong in patches, not pixel by pixel.
    rough = np.random.default_rng(0).standard_normal((2, 96, 96)).astype(np.float32)
    rough = np.stack([cv2.GaussianBlur(error, (0, 0), 5) for error in rough]) * 40
    maps[1:3] += rough * np.hypot(*maps[1:3]) / 40
    assert len(OFFSET.decode(maps).score) == 1


def test_small_neighbours_stay_apart() -> None:
    instances = np.zeros((32, 32), np.int32)
    cv2.circle(instances, (12, 16), 4, 1, -1)
    cv2.circle(instances, (20, 16), 4, 2, -1)
    assert _pq(instances, OFFSET.decode(_noisy_maps(instances)).labels) > 0.8


def test_a_nucleus_whose_centre_lies_on_its_rim_is_found() -> None:
    instances = _drawn(12)  # one lies in the bend of another
    found = panoptic_counts(
        instances.astype(np.int32), OFFSET.decode(_noisy_maps(instances)).labels
    )
    assert found.fn[0] == found.fp[0] == 0


def test_renumbering_the_nuclei_changes_nothing() -> None:
    instances = _drawn(5)
    order = np.concatenate([[0], 1 + np.random.default_rng(1).permutation(instances.max())])
    renumbered = order[instances].astype(np.int32)
    first, second = (OFFSET.encode(_labels(i))["geometry"] for i in (instances, renumbered))
    assert np.array_equal(first, second)


def _assert_same(first: Instances, second: Instances) -> None:
    for name in ("labels", "score", "class_probabilities"):
        assert np.array_equal(getattr(first, name), getattr(second, name)), name


@pytest.mark.parametrize("seed", [0, 5])
def test_decoding_again_gives_the_same(seed: int) -> None:
    maps = _noisy_maps(_drawn(seed))
    first = OFFSET.decode(maps)
    _assert_same(first, OFFSET.decode(maps))
    _assert_same(first, Offset(num_classes=2, min_area_px=10).decode(maps.copy()))


def test_the_true_ids_leave_no_trace_in_what_is_decoded() -> None:
    instances = _drawn(5)
    order = np.concatenate([[0], 1 + np.random.default_rng(2).permutation(instances.max())])
    maps, renumbered = _noisy_maps(instances), _noisy_maps(order[instances])
    renumbered[3:] = maps[3:]  # `_labels` gives classes by id
    _assert_same(OFFSET.decode(maps), OFFSET.decode(renumbered))


@pytest.mark.parametrize("size", [(96, 96), (95, 70)])
def test_turning_and_flipping_the_maps_turns_and_flips_the_result(size: tuple[int, int]) -> None:
    instances = _drawn(7)
    maps = _noisy_maps(instances)[:, : size[0], : size[1]]
    expected = OFFSET.decode(maps).labels
    for turns in range(4):
        for flip in (False, True):
            found = OFFSET.decode(_transform_maps(maps, turns, flip)).labels
            back = found[:, ::-1] if flip else found
            assert _pq(expected, np.rot90(back, -turns)) == pytest.approx(1, abs=1e-5)


def _transform_maps(maps: np.ndarray, turns: int, flip: bool) -> np.ndarray:
    out = maps.copy()
    for _ in range(turns):  # rot90 takes (y, x) to (-x, y)
        out = np.rot90(out, axes=(1, 2)).copy()
        out[1], out[2] = -out[2].copy(), out[1].copy()
    if flip:
        out = out[:, :, ::-1].copy()
        out[2] *= -1
    return out


def test_odd_inputs() -> None:
    empty = np.zeros((5, 40, 30), np.float32)
    assert len(OFFSET.decode(empty).score) == 0
    full = _perfect_maps(np.ones((40, 30), np.int32))
    assert OFFSET.decode(full).labels.min() == 1
    single = np.zeros((5, 1, 1), np.float32)
    single[0] = 1
    assert Offset(num_classes=2, min_area_px=1).decode(single).labels.tolist() == [[1]]
    edge = np.zeros((32, 32), np.int32)
    edge[:6, :6], edge[-6:, 10:20] = 1, 2
    assert _pq(edge, OFFSET.decode(_perfect_maps(edge)).labels) == pytest.approx(1, abs=1e-5)
    wild = _perfect_maps(edge)
    wild[1:3] *= 1e6  # votes far outside the image
    assert OFFSET.decode(wild).labels.shape == (32, 32)


@pytest.mark.parametrize("num", [0, 1, 3, 60])
def test_guessed_centres_are_the_nearest_ones(num: int) -> None:
    rng = np.random.default_rng(num)
    centres, points = (rng.random((n, 2)).astype(np.float32) * 99 for n in (num, 2000))
    away = ((points[:, None] - centres[None]) ** 2).sum(2)
    expected = away.argmin(1) + 1 if num else np.zeros(2000, int)
    found = _nearest(points, centres, (100, 100))
    near = away.min(1, initial=np.inf) < 32**2  # farther centres may be missed
    assert np.array_equal(found[near], expected[near])
    assert (found > 0).any() == (num > 0)


def test_ten_thousand_nuclei() -> None:
    instances = _discs(1200, 12, 4)
    assert instances.max() >= 9_800
    assert len(OFFSET.decode(_perfect_maps(instances)).score) == instances.max()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", range(5))
def test_diverged_maps_are_refused(value: float, channel: int) -> None:
    maps = np.ones((5, 8, 8), np.float32)
    maps[channel, 3, 3] = value
    with pytest.raises(ValueError, match="network diverged"):
        OFFSET.decode(maps)


def test_wrong_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected maps \(5, H, W\), got \(4, 8, 8\)"):
        OFFSET.decode(np.zeros((4, 8, 8), np.float32))
    with pytest.raises(ValueError, match="class_weights: expected 2 weights, got 3"):
        Offset(num_classes=2, class_weights=(1, 1, 1))


def test_a_bent_nucleus_points_to_a_pixel_of_its_own() -> None:
    instances = np.zeros((40, 40), np.int32)
    cv2.ellipse(instances, (20, 20), (14, 14), 0, 0, 180, 1, 4)
    y, x = np.nonzero(instances)
    geometry = OFFSET.encode(_labels(instances))["geometry"]
    target = np.rint([y + geometry[0, y, x], x + geometry[1, y, x]]).astype(int)
    assert (instances[target[0], target[1]] == 1).all()


def _perfect_logits(instances: np.ndarray) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    labels = _labels(instances)
    targets = {k: torch.from_numpy(v)[None] for k, v in OFFSET.encode(labels).items()}
    maps = torch.from_numpy(_perfect_maps(instances))[None]
    logits = torch.cat([40 * maps[:, :1] - 20, maps[:, 1:3] / 8, 40 * maps[:, 3:]], 1)
    return logits, targets


def test_the_loss_vanishes_for_perfect_logits_and_no_others() -> None:
    logits, targets = _perfect_logits(_discs(64, 20, 6))
    total, terms = OFFSET.loss(logits, targets)
    assert float(total) < 1e-3
    assert set(terms) == {"bce", "dice", "class", "offset"}
    for channel, term in ((0, "bce"), (1, "offset"), (2, "offset"), (3, "class")):
        worse = logits.clone()
        worse[:, channel] *= -1
        assert float(OFFSET.loss(worse, targets)[1][term]) > 0.01


def test_what_is_to_be_ignored_is_ignored() -> None:
    logits, targets = _perfect_logits(_discs(64, 20, 6))
    instances = _discs(64, 20, 6)
    labels = TileLabels(
        instances=instances,
        candidates=_labels(instances).candidates,
        ignore=np.ones(instances.shape, bool),
    )
    targets = {k: torch.from_numpy(v)[None] for k, v in OFFSET.encode(labels).items()}
    assert float(OFFSET.loss(-logits, targets)[0]) == 0


def test_activation_gives_the_maps_that_decode_takes() -> None:
    instances = _discs(64, 20, 6)
    logits, _ = _perfect_logits(instances)
    maps = OFFSET.activate(logits)[0].numpy()
    assert _pq(instances, OFFSET.decode(maps).labels) == pytest.approx(1, abs=1e-5)
    probabilities = OFFSET.pixel_probabilities(maps)
    assert probabilities.shape == (3, 64, 64)
    assert probabilities.sum(0) == pytest.approx(1, abs=1e-5)
