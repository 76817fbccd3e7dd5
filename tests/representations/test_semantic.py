"""The semantic representation: round trip, refusals, and what it cannot do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.nuclei import Instances, TileLabels
from histonuc.representations import build_representation
from histonuc.representations.semantic import Semantic


def one_hot(targets: dict[str, np.ndarray], channels: int) -> np.ndarray:
    return np.stack([(targets["candidates"] >> c) & 1 for c in range(channels)]).astype(np.float32)


def tile(labels: np.ndarray, types: list[int]) -> TileLabels:
    return TileLabels(
        instances=labels.astype(np.int32),
        candidates=np.array([0, *(1 << t for t in types)], np.uint32),
        ignore=np.zeros(labels.shape, bool),
    )


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@st.composite
def separated_tiles(draw: st.DrawFn) -> TileLabels:
    """Rectangles on a grid, one pixel apart, with random classes."""
    labels = np.zeros((40, 52), np.int32)
    types = []
    for top in range(0, 40, 10):
        for left in range(0, 52, 13):
            if draw(st.booleans()):
                types.append(draw(st.integers(0, 2)))
                h, w = draw(st.integers(4, 9)), draw(st.integers(4, 12))
                labels[top : top + h, left : left + w] = len(types)
    return tile(labels, types)


@given(separated_tiles())
def test_separate_nuclei_come_back(labels: TileLabels) -> None:
    representation = Semantic(num_classes=3)
    decoded = representation.decode(one_hot(representation.encode(labels), 4))
    assert same_partition(decoded.labels, labels.instances)
    for value in range(1, len(labels.candidates)):
        found = decoded.labels[labels.instances == value][0]
        assert 1 << (decoded.types[found] - 1) == labels.candidates[value]
    assert np.all(decoded.score == 1)


@given(separated_tiles(), st.integers(0, 3))
def test_rotating_maps_rotates_nuclei(labels: TileLabels, turns: int) -> None:
    representation = Semantic(num_classes=3)
    maps = one_hot(representation.encode(labels), 4)
    upright = representation.decode(maps).labels
    turned = representation.decode(np.rot90(maps, turns, (1, 2)).copy()).labels
    assert same_partition(np.rot90(upright, turns), turned)


def test_touching_nuclei_of_one_class_merge() -> None:
    """The known limit that the instance representations exist to lift."""
    representation = Semantic(num_classes=3)
    labels = np.zeros((10, 20), np.int32)
    labels[2:8, 2:10], labels[2:8, 10:18] = 1, 2
    merged = representation.decode(one_hot(representation.encode(tile(labels, [1, 1])), 4))
    apart = representation.decode(one_hot(representation.encode(tile(labels, [1, 2])), 4))
    assert len(merged.score) == 1
    assert len(apart.score) == 2


def test_holes_are_filled_but_not_other_nuclei() -> None:
    representation = Semantic(num_classes=3, min_area_px=1)
    labels = np.zeros((12, 12), np.int32)
    labels[1:11, 1:11] = 1
    labels[3:5, 3:5] = 0
    labels[6:9, 6:9] = 2
    decoded = representation.decode(one_hot(representation.encode(tile(labels, [0, 2])), 4))
    assert (decoded.labels == 0).sum() == 144 - 100
    assert sorted(np.bincount(decoded.labels.ravel())[1:]) == [9, 91]


def test_small_specks_are_dropped_and_pooling_is_a_mean() -> None:
    representation = Semantic(num_classes=2, min_area_px=4)
    maps = np.zeros((3, 6, 6), np.float32)
    maps[0] = 1
    maps[:, 0, 0] = (0.2, 0.8, 0.0)
    maps[:, 2:4, 2:4] = np.array([0.2, 0.6, 0.2])[:, None, None]
    maps[:, 2, 2] = (0.4, 0.6, 0.0)
    decoded = representation.decode(maps)
    assert decoded.labels[0, 0] == 0
    assert len(decoded.score) == 1
    assert decoded.score[0] == pytest.approx((3 * 0.8 + 0.6) / 4)
    assert decoded.class_probabilities[0, 0] == pytest.approx((4 * 0.6) / (3 * 0.8 + 0.6))


def test_a_nucleus_of_doubtful_class_is_found() -> None:
    maps = np.zeros((3, 8, 8), np.float32)
    maps[0] = 1
    maps[:, 2:6, 2:6] = np.array([0.4, 0.29, 0.31])[:, None, None]
    decoded = Semantic(num_classes=2).decode(maps)
    assert decoded.types.tolist() == [0, 2]
    assert decoded.score[0] == pytest.approx(0.6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_empty_and_full_tiles(value: float) -> None:
    maps = np.zeros((2, 9, 9), np.float32)
    maps[0], maps[1] = 1 - value, value
    decoded: Instances = Semantic(num_classes=1).decode(maps)
    assert len(decoded.score) == int(value)
    assert (decoded.labels == int(value)).all()


def test_an_ambiguous_nucleus_keeps_its_whole_candidate_set() -> None:
    labels = TileLabels(
        instances=np.array([[0, 1]], np.int32),
        candidates=np.array([0, 0b10001], np.uint32),
        ignore=np.zeros((1, 2), bool),
    )
    targets = Semantic(num_classes=5).encode(labels)
    assert targets["candidates"].tolist() == [[1, 0b100010]]


def test_bad_maps_are_refused() -> None:
    representation = Semantic(num_classes=2)
    with pytest.raises(ValueError, match=r"expected maps \(3, H, W\), got \(2, 4, 4\)"):
        representation.decode(np.zeros((2, 4, 4), np.float32))
    with pytest.raises(ValueError, match="NaN or infinite"):
        representation.decode(np.full((3, 4, 4), np.nan, np.float32))
    with pytest.raises(ValueError, match="expected 3 weights"):
        Semantic(num_classes=2, class_weights=(1.0, 2.0))
    with pytest.raises(ValueError, match="unknown representation 'hoover'"):
        build_representation("hoover", 2)
    with pytest.raises(ValueError, match="min_area"):
        build_representation("semantic", 2, min_area=3)


def test_classes_in_doubt_do_not_break_a_nucleus_up() -> None:
    """Sub-pixels of a shuffled map each lean to another class; a neighbour is sure of its own."""
    maps = np.zeros((3, 24, 40), np.float32)
    maps[0] = 1
    maps[:, 4:20, 4:20] = np.array([0.1, 0.46, 0.44], np.float32)[:, None, None]
    maps[1:, 4:20:2, 5:20:2] = np.array([0.44, 0.46], np.float32)[:, None, None]
    maps[:, 4:20, 20:34] = np.array([0.1, 0.0, 0.9], np.float32)[:, None, None]
    found = Semantic(num_classes=2).decode(maps)
    assert len(found.score) == 2
    assert (found.labels > 0).sum() == 16 * 30
    assert found.types.tolist() == [0, 1, 2]
