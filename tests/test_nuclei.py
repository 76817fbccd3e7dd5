"""Nuclei: contours are exact, selections and joins keep rows together."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from histonuc.contours import find_centroids, trace_contours
from histonuc.data.classes import open_classes
from histonuc.nuclei import Instances, Nuclei, make_consecutive
from histonuc.taxonomy import NUCLEUS


def consecutive(labels: np.ndarray) -> np.ndarray:
    """Largest 4-connected, hole-free part of each id, renumbered 1..n: what a decoder gives."""
    import cv2

    out = np.zeros_like(labels, dtype=np.int32)
    for count, value in enumerate(np.unique(labels[labels > 0]), start=1):
        num, parts, stats, _ = cv2.connectedComponentsWithStats(
            (labels == value).astype(np.uint8), connectivity=4
        )
        part = parts == 1 + stats[1:, cv2.CC_STAT_AREA].argmax() if num > 1 else parts == 1
        out[part] = count
    return out


def as_instances(labels: np.ndarray, classes: int = 1) -> Instances:
    num = int(labels.max(initial=0))
    rng = np.random.default_rng(num)
    probabilities = rng.dirichlet(np.ones(classes), num).astype(np.float32).reshape(num, classes)
    return Instances(
        labels=labels, class_probabilities=probabilities, score=np.linspace(0, 1, num, dtype="f4")
    )


label_images = arrays(
    np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4)
)

CONSEP = open_classes("consep").label_space


def test_contour_of_an_l_shape_is_its_pixel_edges() -> None:
    labels = np.array([[1, 0], [1, 1]], np.int32)
    points, offsets = trace_contours(labels, 1)
    assert points.tolist() == [[0, 0], [1, 0], [1, 1], [2, 1], [2, 2], [0, 2]]
    assert offsets.tolist() == [0, 6]


def test_a_nucleus_that_touches_itself_has_a_ring_that_does_not() -> None:
    labels = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], np.int32)  # the corners of (1, 2), (2, 1)
    nuclei = Nuclei.from_instances(as_instances(labels), NUCLEUS)
    ring = nuclei.contour(0)
    assert len(np.unique(ring, axis=0)) == len(ring) == 10 + 4
    assert nuclei.area_px.tolist() == [7]
    # The upper pixel gives a square at the corner away, and gains one to the left of its side.
    parted = [[2.125, 2], [2.125, 1.875], [1.875, 1.875], [1.875, 1.75], [2, 1.75]]
    assert parted in [ring[i : i + 5].tolist() for i in range(len(ring))]


@given(label_images, st.sampled_from([0.1, 0.25, 1.0, 1.996]))
def test_contours_are_simple_rings_with_sides_level_and_upright_by_turns(
    raw: np.ndarray, scale: float
) -> None:
    labels = consecutive(raw)
    points, offsets = trace_contours(labels, int(labels.max(initial=0)))
    for start, end in itertools.pairwise(offsets):
        ring = points[start:end]
        sides = np.roll(ring, -1, axis=0) - ring
        assert not sides[::2, 1].any()
        assert not sides[1::2, 0].any()
        assert shapely.Polygon(ring).is_valid
        # As text formats round them, in the pixels of a finer or coarser scan.
        assert shapely.Polygon(np.round(ring * scale + 10_000.123, 2)).is_valid


@given(label_images)
def test_filling_a_contour_gives_back_its_pixels(raw: np.ndarray) -> None:
    labels = consecutive(raw)
    nuclei = Nuclei.from_instances(as_instances(labels), NUCLEUS)
    filled = nuclei.to_labels(*labels.shape)
    for value in range(1, len(nuclei) + 1):
        own = labels == value
        # Holes are filled and may hold other nuclei, which are drawn over it if they come later.
        assert np.all((filled[own] == value) | (filled[own] > value))
        assert nuclei.area_px[value - 1] >= own.sum()


@given(label_images)
def test_area_equals_pixel_count_without_holes(raw: np.ndarray) -> None:
    labels = consecutive(raw)
    nuclei = Nuclei.from_instances(as_instances(labels), NUCLEUS)
    counts = np.bincount(labels.ravel(), minlength=len(nuclei) + 1)[1:]
    boxes = nuclei.box
    for i in range(len(nuclei)):
        x0, y0, x1, y1 = boxes[i].astype(int)
        own = np.pad(labels[y0:y1, x0:x1] == i + 1, 1)
        import cv2

        num_background = cv2.connectedComponents((~own).astype(np.uint8), connectivity=8)[0] - 1
        if num_background == 1:
            assert nuclei.area_px[i] == counts[i]


@given(label_images, st.integers(0, 3))
def test_rotating_the_image_rotates_the_contours(raw: np.ndarray, turns: int) -> None:
    labels = consecutive(raw)
    num = int(labels.max(initial=0))
    area = Nuclei.from_instances(as_instances(labels), NUCLEUS).area_px
    turned = Nuclei.from_instances(as_instances(np.rot90(labels, turns).copy()), NUCLEUS).area_px
    assert num == len(area)
    np.testing.assert_array_equal(area, turned)


def test_real_consep_labels_round_trip(shared_data) -> None:
    import cv2

    raw = cv2.imread(
        str(shared_data / "consep" / "instances" / "train_1.png"), cv2.IMREAD_UNCHANGED
    )
    labels = consecutive(raw.astype(np.int32))
    nuclei = Nuclei.from_instances(as_instances(labels), NUCLEUS)
    assert (
        nuclei.to_labels(*labels.shape) != labels
    ).mean() < 1e-4  # nuclei within holes of others


def test_far_from_the_origin_areas_stay_exact() -> None:
    nuclei = Nuclei.from_instances(as_instances(np.ones((3, 5), np.int32)), NUCLEUS)
    far = replace(nuclei, points=nuclei.points + np.array([3e5 + 0.25, 2e5]))
    assert far.area_px[0] == 15


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int64", "uint16", "float64"])
@given(label_images)
def test_ids_become_consecutive_in_their_order(dtype: str, raw: np.ndarray) -> None:
    gaps = np.array([0, 3, 7, 200, 250]).astype(dtype)
    dense, ids = make_consecutive(gaps[raw])
    assert dense.dtype == np.int32
    assert ids.tolist() == sorted({int(gaps[i]) for i in np.unique(raw)} - {0})
    np.testing.assert_array_equal(np.concatenate([[0], ids])[dense], gaps[raw])


def test_ids_too_large_for_a_list_become_consecutive_as_well() -> None:
    dense, ids = make_consecutive(np.array([[0, 2**40], [5, 2**40]]))
    assert (dense.tolist(), ids.tolist()) == ([[0, 2], [1, 2]], [5, 2**40])
    assert make_consecutive(np.zeros((0, 4), np.int32))[0].shape == (0, 4)


def test_centroids_are_means_of_pixel_centres() -> None:
    labels = np.zeros((5, 6), np.int32)
    labels[1:3, 2:5], labels[4, 0] = 2, 1
    expected = [[0.5, 4.5], [(2.5 + 3.5 + 4.5) / 3, (1.5 + 2.5) / 2]]
    assert find_centroids(labels, 2).tolist() == expected


def test_select_and_concat_keep_rows_together() -> None:
    labels = np.array([[1, 1, 0, 2], [0, 0, 0, 2], [3, 0, 4, 4]], np.int32)
    nuclei = Nuclei.from_instances(as_instances(labels, 4), CONSEP)
    parts = [nuclei.select([i]) for i in range(4)]
    joined = Nuclei.concat(parts)
    for name in ("points", "offsets", "centroid", "class_probabilities", "score"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(nuclei, name))
    backwards = nuclei.select(np.array([3, 1]))
    np.testing.assert_array_equal(backwards.contour(0), nuclei.contour(3))
    np.testing.assert_array_equal(backwards.area_px, nuclei.area_px[[3, 1]])
    assert len(nuclei.select(np.zeros(4, bool))) == 0


def test_concat_refuses_mixed_label_spaces() -> None:
    with pytest.raises(ValueError, match="one label space"):
        Nuclei.concat([Nuclei.empty(CONSEP), Nuclei.empty(NUCLEUS)])


def test_a_missing_label_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected labels 1\.\.2 to occur"):
        trace_contours(np.array([[2]], np.int32), 2)
