"""HoVer maps: targets by hand, round trips, agreement with the published decoder, the loss."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

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
from histonuc.representations.kernels.regions import tidy

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
    scores = [panoptic_counts(a.astype(np.int32), b.astype(np.int32)).image_pq[0] for a, b in pairs]
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
    assert mean_pq(clean) > 0.99
    assert mean_pq(noisy) > 0.97


def test_real_tiles_come_back(shared_data: Path) -> None:
    tiles = real_labels(shared_data)
    clean = [(labels, HOVER.decode(perfect_maps(labels)).labels) for labels in tiles]
    noisy = [(labels, HOVER.decode(noisy_maps(labels, 0)).labels) for labels in tiles]
    assert mean_pq(clean) > 0.96
    assert mean_pq(noisy) > 0.94


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """benchmarks/reference_decoders.py, which is no package."""
    path = Path(__file__).parents[2] / "benchmarks/reference_decoders.py"
    spec = importlib.util.spec_from_file_location("reference_decoders", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def marked_only(labels: np.ndarray, reference_labels: np.ndarray) -> np.ndarray:
    """Without the nuclei that the published decoder drops for want of a marker."""
    kept = np.unique(labels[reference_labels > 0])
    return np.searchsorted(np.union1d(kept, 0), np.where(np.isin(labels, kept), labels, 0))


@pytest.mark.parametrize(("published", "exact", "quality"), [(False, 0.9, 0.999), (True, 0.4, 0.9)])
def test_same_nuclei_as_the_reference(
    reference: ModuleType, published: bool, exact: float, quality: float
) -> None:
    """The same watershed; the published opening of the markers leaves some out or splits them."""
    opening = reference.PUBLISHED_OPENING if published else np.ones((3, 3), np.uint8)
    pairs = []
    for seed in range(40):
        maps = noisy_maps(drawn_labels(seed), seed)
        theirs = reference.hover_labels(*maps[:3], opening=opening)
        theirs = tidy(theirs.astype(np.int32), HOVER.min_area_px)[0]
        ours = marked_only(HOVER.decode(maps).labels, theirs)
        if theirs.any():
            pairs.append((theirs, ours))
    assert np.mean([np.array_equal(a, b) for a, b in pairs]) > exact
    assert mean_pq(pairs) > quality


def test_touching_nuclei_are_parted() -> None:
    labels = np.zeros((40, 60), np.int32)
    labels[8:32, 6:30], labels[8:32, 30:54] = 1, 2
    decoded = HOVER.decode(perfect_maps(labels))
    assert decoded.types.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(decoded.labels, labels)
    assert decoded.score == pytest.approx([1, 1])


def test_nuclei_without_a_marker_are_kept() -> None:
    labels = np.zeros((40, 60), np.int32)
    labels[5:30, 5:30] = 1
    labels[10:14, 40:44] = 2
    maps = perfect_maps(labels)
    maps[1:3, 10:14, 40:44] = 0
    np.testing.assert_array_equal(HOVER.decode(maps).labels, labels)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (64, 64)])
@pytest.mark.parametrize("nucleus", [0.0, 1.0])
def test_empty_and_full_tiles(shape: tuple[int, int], nucleus: float) -> None:
    maps = np.zeros((5, *shape), np.float32)
    maps[0], maps[3] = nucleus, 1
    decoded = Hover(num_classes=2, min_area_px=1).decode(maps)
    assert len(decoded.score) == int(nucleus)
    assert np.all(decoded.labels == int(nucleus))


@pytest.mark.parametrize("corner", [(0, 0), (0, 31), (31, 0), (31, 31), (15, 15)])
def test_single_pixels_and_nuclei_at_the_edge(corner: tuple[int, int]) -> None:
    pixel = np.zeros((32, 32), np.int32)
    pixel[corner] = 1
    decoded = Hover(num_classes=2, min_area_px=1).decode(perfect_maps(pixel))
    np.testing.assert_array_equal(decoded.labels, pixel)
    assert len(HOVER.decode(perfect_maps(pixel)).score) == 0
    block = np.zeros((32, 32), np.int32)
    block[max(corner[0] - 9, 0) : corner[0] + 10, max(corner[1] - 9, 0) : corner[1] + 10] = 1
    np.testing.assert_array_equal(HOVER.decode(perfect_maps(block)).labels, block)


def test_ten_thousand_nuclei_again_and_again() -> None:
    """Touching squares of 12 px, each its own nucleus."""
    y, x = np.mgrid[:1200, :1200]
    labels = 1 + y // 12 * 100 + x // 12
    maps = perfect_maps(labels)
    decoded = HOVER.decode(maps)
    assert len(decoded.score) == 10_000
    assert mean_pq([(labels, decoded.labels)]) > 0.98
    np.testing.assert_array_equal(HOVER.decode(maps).labels, decoded.labels)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", [0, 1, 4])
def test_bad_maps_are_refused(value: float, channel: int) -> None:
    maps = np.zeros((5, 16, 16), np.float32)
    maps[channel, 3, 4] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        HOVER.decode(maps)
    with pytest.raises(ValueError, match=r"expected maps \(5, H, W\), got \(4, 16, 16\)"):
        HOVER.decode(np.zeros((4, 16, 16), np.float32))
    with pytest.raises(ValueError, match="expected 2 weights"):
        build_representation("hover", 2, class_weights=(1.0,))


def perfect_logits(labels: np.ndarray) -> torch.Tensor:
    maps = torch.from_numpy(perfect_maps(labels))
    maps[[0, 3, 4]] = 40 * maps[[0, 3, 4]] - 20
    return maps.unsqueeze(0)


def batch(tile: TileLabels) -> dict[str, torch.Tensor]:
    return {k: torch.from_numpy(v).unsqueeze(0) for k, v in HOVER.encode(tile).items()}


def test_loss_of_perfect_logits_is_nothing_and_grows_with_error() -> None:
    labels = drawn_labels(3)
    logits = perfect_logits(labels)
    targets = batch(as_tile(labels))
    losses = [float(HOVER.loss(logits * share, targets)[0]) for share in (0, 0.25, 0.5, 1)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-3
    activated = HOVER.activate(logits)[0].numpy()
    np.testing.assert_allclose(activated[1:3], perfect_maps(labels)[1:3])
    assert HOVER.decode(activated).labels.max() > 0


def test_gradient_loss_by_hand() -> None:
    """Constant errors cost no slope; errors that grow along a map's direction do, others do not."""
    labels = np.zeros((20, 20), np.int32)
    labels[6:14, 6:14] = 1
    targets = batch(as_tile(labels))
    right = torch.arange(20.0).expand(20, 20)

    def gradient(horizontal: torch.Tensor, vertical: torch.Tensor) -> float:
        logits = perfect_logits(labels)
        logits[0, 1] += horizontal
        logits[0, 2] += vertical
        return float(HOVER.loss(logits, targets)[1]["gradient"])

    flat = torch.ones(20, 20)
    assert gradient(flat, flat) == pytest.approx(0, abs=1e-9)
    assert gradient(right.T, right) == pytest.approx(0, abs=1e-9)
    # A slope of 1 times Σ x² / (x² + y²) over 5×5, which is half of its 24 pixels' 1, in one map.
    assert gradient(right, 0 * flat) == pytest.approx(12**2 / 2)
    assert gradient(0 * flat, -right.T) == pytest.approx(12**2 / 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert gradient(0.1 * right, 0 * flat) == pytest.approx(1.2**2 / 2)


def test_loss_leaves_unknown_pixels_alone() -> None:
    labels = np.zeros((24, 24), np.int32)
    labels[4:20, 4:20] = 1
    ignore = np.zeros((24, 24), bool)
    ignore[:, 12:] = True
    targets = batch(as_tile(labels, ignore))
    logits = perfect_logits(labels)
    wrong = logits.clone()
    wrong[..., 12:] += torch.randn(logits[..., 12:].shape, generator=torch.manual_seed(0))
    assert float(HOVER.loss(wrong, targets)[0]) == float(HOVER.loss(logits, targets)[0])
    everything = batch(as_tile(labels, np.ones((24, 24), bool)))
    assert float(HOVER.loss(wrong, everything)[0]) == 0
