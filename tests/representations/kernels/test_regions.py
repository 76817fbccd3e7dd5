"""Tidy labels against a slow, obvious version."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from histonuc.representations.kernels.regions import Runs, tidy, tidy_runs

labels_of_any_kind = hnp.arrays(
    np.int32,
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    elements=st.sampled_from([0, 0, 1, 1, 2, 7]),
)


def _plain_tidy(labels: np.ndarray, min_area_px: int) -> np.ndarray:
    out = np.zeros(labels.shape, int)
    for label in np.unique(labels[labels > 0]):
        pieces, num = ndimage.label(labels == label)
        area = np.bincount(pieces.ravel())[1:]
        for piece in range(num):
            if area[piece] >= min_area_px and 2 * area[piece] >= area.max():
                out[pieces == piece + 1] = out.max() + 1
    background, num = ndimage.label(out == 0, np.ones((3, 3)))
    framed = np.pad(background, 1, constant_values=-1)
    for hole in range(1, num + 1):
        ring = ndimage.binary_dilation(framed == hole) & (framed != hole)
        around = np.unique(np.pad(out, 1, constant_values=-1)[ring])
        if len(around) == 1 and around[0] > 0:
            out[background == hole] = around[0]
    return out


def _same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    one_to_one = len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    return one_to_one and np.array_equal(a == 0, b == 0)


@settings(max_examples=300, deadline=None)
@given(labels_of_any_kind, st.integers(1, 5))
def test_equals_the_plain_version(labels: np.ndarray, min_area_px: int) -> None:
    clean, num = tidy(labels, min_area_px)
    assert _same_partition(clean, _plain_tidy(labels, min_area_px))
    first = [np.flatnonzero(clean.ravel() == label)[0] for label in range(1, num + 1)]
    assert first == sorted(first)
    assert clean.max(initial=0) == num


@settings(max_examples=100, deadline=None)
@given(labels_of_any_kind)
def test_turning_and_flipping_the_input_turns_and_flips_the_result(labels: np.ndarray) -> None:
    clean, _ = tidy(labels, 2)
    for turns in range(4):
        for flip in (slice(None), slice(None, None, -1)):
            turned, _ = tidy(np.rot90(labels, turns)[:, flip], 2)
            assert _same_partition(turned, np.rot90(clean, turns)[:, flip])


def test_a_hole_between_two_nuclei_stays_open_and_a_nucleus_in_a_nucleus_stays() -> None:
    labels = np.ones((9, 9), np.int32)
    labels[:, 5:] = 2
    labels[4, 4:6] = 0
    labels[2, 2] = 0
    labels[6:8, 1:3] = 3
    clean, num = tidy(labels, 1)
    assert num == 3
    assert (clean[4, 4:6] == 0).all()
    assert clean[2, 2] == clean[0, 0]
    assert clean[6, 1] not in (0, clean[0, 0])


def test_nothing_at_all() -> None:
    clean, num = tidy(np.zeros((3, 4), np.int32), 1)
    assert num == 0
    assert clean.shape == (3, 4)


def test_runs_tell_where_pieces_came_from_and_which_pixels_were_lost() -> None:
    runs = Runs(
        start=np.array([0, 2, 4, 0, 2, 0], np.int32),  # 7 7 0 0 9
        end=np.array([2, 4, 5, 2, 5, 5], np.int32),  # 7 7 0 0 0
        value=np.array([7, 0, 9, 7, 0, 5], np.int32),  # 5 5 5 5 5
        begin=np.array([0, 3, 5, 6], np.int32),
        shape=(3, 5),
    )
    clean, origin, lost = tidy_runs(runs, 2)
    assert clean.tolist() == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [2, 2, 2, 2, 2]]
    assert origin.tolist() == [7, 5]
    assert lost.tolist() == [4]
