"""What all representations share: options, pooling in bands, probabilities and their temperature."""

from __future__ import annotations

import numpy as np
import pytest

from histonuc.representations import REPRESENTATIONS, Representation, build_representation
from histonuc.representations.pooling import pool_means

EACH = pytest.mark.parametrize("name", list(REPRESENTATIONS))


def one_nucleus(representation: Representation) -> np.ndarray:
    """Maps of a nucleus of 10 x 10 pixels whose class probabilities are 0.8 and 0.2."""
    maps = np.zeros((representation.channels, 20, 20), np.float32)
    inside = np.s_[5:15, 5:15]
    if representation.channels == 3:  # semantic: background and two classes
        maps[0] = 1
        maps[0][inside] = 0
    else:
        maps[0][inside] = 1
        if representation.channels > 5:  # star: rays long enough to hold each other
            maps[1:-2][:, 5:15, 5:15] = 5
    maps[-2][inside], maps[-1][inside] = 0.8, 0.2
    return maps


@pytest.mark.parametrize("shape", [(1, 1), (700, 300), (3, 100_000)])
def test_pooling_in_bands_reads_every_row_once(shape: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).random((1, *shape)).astype(np.float32)
    mean = pool_means(np.ones(shape, np.int32), 1, maps, [0])
    assert mean[0, 0] == pytest.approx(maps.mean(dtype=float))
    maps[0, -1, -1] = np.nan
    with pytest.raises(ValueError, match="network diverged"):
        pool_means(np.zeros(shape, np.int32), 0, maps, [0])


def test_pooling_is_the_mean_over_each_label() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (11, 7)).astype(np.int32)
    maps = rng.random((2, 11, 7)).astype(np.float32)
    mean = pool_means(labels, 3, maps, [1, 0])
    for label in range(1, 4):
        assert mean[label - 1] == pytest.approx(maps[::-1, labels == label].mean(1))
    assert pool_means(labels * 0, 0, maps, [0, 1]).shape == (0, 2)


@EACH
def test_the_temperature_sharpens_or_flattens_the_classes(name: str) -> None:
    sharp = build_representation(name, 2, temperature=0.5, min_area_px=4)
    found = sharp.decode(one_nucleus(sharp))
    expected = 0.8**2 / (0.8**2 + 0.2**2)
    assert found.class_probabilities[0] == pytest.approx([expected, 1 - expected])
    flat = sharp.with_options(temperature=2.0)
    expected = 0.8**0.5 / (0.8**0.5 + 0.2**0.5)
    again = flat.decode(one_nucleus(flat))
    assert again.class_probabilities[0] == pytest.approx([expected, 1 - expected])
    np.testing.assert_array_equal(again.labels, found.labels)
    assert (flat.temperature, sharp.temperature) == (2.0, 0.5)


@pytest.mark.parametrize("name", ["hover", "offset", "star"])
def test_a_calibrated_score_keeps_nuclei_and_is_the_sigmoid_of_its_logit(name: str) -> None:
    plain = build_representation(name, 2, min_area_px=4, min_score=0.5)
    maps = one_nucleus(plain)
    maps[0] *= 0.9
    found = plain.decode(maps)
    mended = plain.with_options(score_scale=0.5, score_shift=-2.0).decode(maps)
    np.testing.assert_array_equal(mended.labels, found.labels)  # also below `min_score`
    odds = (found.score / (1 - found.score)) ** 0.5 * np.exp(-2.0)
    assert mended.score == pytest.approx(odds / (1 + odds), rel=1e-4)
    with pytest.raises(ValueError, match=r"score-scale: expected above 0"):
        build_representation(name, 2, score_scale=0.0)


@EACH
def test_other_options_make_another_one_and_leave_the_first(name: str) -> None:
    first = build_representation(name, 2, min_area_px=4)
    second = first.with_options(min_area_px=101)
    assert (first.num_classes, second.num_classes) == (2, 2)
    assert len(first.decode(one_nucleus(first)).score) == 1
    assert len(second.decode(one_nucleus(second)).score) == 0
    assert first.with_options() == first


@EACH
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("class_weight", [1.0, 1.0], r"class_weight \(did you mean class_weights\?\); known are"),
        ("temperature", 0, "--representation-options.temperature: expected above 0, got 0"),
        ("min_area_px", "many", "--representation-options.min-area-px: expected a whole number"),
        ("class_weights", ["a"], "--representation-options.class-weights: expected a number"),
        ("class_weights", 3, "class_weights: expected . weights.*, got 1"),
    ],
)
def test_a_bad_option_says_what_there_is(
    name: str, option: str, value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_representation(name, 2, **{option: value})
