"""PanNuke's official scores: against the published script written out, and where it fails."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from histonuc.data.flatten import find_covered, flatten_mask
from histonuc.data.synthetic import draw_tile
from histonuc.metrics.counts import nanmean
from histonuc.metrics.matching import contingency, match_classes
from histonuc.metrics.official import flatten_channels, official_counts
from histonuc.metrics.overlaps import add_covered
from histonuc.metrics.panoptic import PanopticCounts, panoptic_counts, panoptic_counts_from

_masks = arrays(np.int32, (8, 9, 4), elements=st.sampled_from([0, 0, 0, 1, 2, 5]))


def binarize(mask: np.ndarray) -> np.ndarray:
    out, count = np.zeros(mask.shape[:2]), 1
    for channel in range(mask.shape[2]):
        ids = [value for value in np.unique(mask[..., channel]).tolist() if value]
        for value in ids:
            own = mask[..., channel] == value
            out *= 1 - own
            out += count * own
            count += 1
    return out.astype("int32")


def remap(labels: np.ndarray) -> np.ndarray:
    """The script does so for classes only; for `binarize` it changes nothing but closes gaps."""
    new = np.zeros(labels.shape, np.int32)
    for index, value in enumerate([value for value in np.unique(labels) if value]):
        new[labels == value] = index + 1
    return new


def get_fast_pq(true: np.ndarray, pred: np.ndarray) -> float:
    num_true, num_pred = int(true.max()), int(pred.max())
    if num_true == 0:
        return math.nan
    pairwise = np.zeros((num_true, num_pred))
    for t in range(1, num_true + 1):
        t_mask = np.array(true == t, np.uint8)
        for p in np.unique(pred[t_mask > 0]):
            if p:
                p_mask = np.array(pred == p, np.uint8)
                inter = (t_mask * p_mask).sum()
                pairwise[t - 1, p - 1] = inter / ((t_mask + p_mask).sum() - inter)
    iou = pairwise[pairwise > 0.5]
    tp = len(iou)
    fp, fn = num_pred - tp, num_true - tp
    return (tp / (tp + 0.5 * fp + 0.5 * fn)) * (iou.sum() / (tp + 1.0e-6))


def published(true: np.ndarray, pred: np.ndarray, num_classes: int) -> tuple[float, list[float]]:
    true, pred = true[..., :num_classes], pred[..., :num_classes]
    binary = get_fast_pq(remap(binarize(true)), remap(binarize(pred)))
    by_class = [get_fast_pq(remap(true[..., j]), remap(pred[..., j])) for j in range(num_classes)]
    return binary, by_class


def disturb(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Every channel moved by itself, so channels overlap; a few nuclei lost."""
    moved = np.zeros_like(mask)
    for channel in range(5):
        own = np.roll(mask[..., channel], rng.integers(-2, 3, 2), (0, 1))
        own[np.isin(own, rng.choice(np.unique(mask), 2))] = 0
        moved[..., channel] = own
    return moved


def scores_of(counts: PanopticCounts) -> np.ndarray:
    return np.where(counts.image_count > 0, counts.image_pq, np.nan)


def test_drawn_tiles_score_as_published_per_tissue_and_class() -> None:
    tissues = ["Breast", "Colon", "Skin", "Breast", "Colon", "Breast", "Skin", "Breast"]
    by_tissue: dict[str, PanopticCounts] = {}
    rows: list[tuple[str, float, list[float]]] = []
    for tile, tissue in enumerate(tissues):
        rng = np.random.default_rng((3, tile))
        true = draw_tile(rng, tissue, 128)[1]
        pred = disturb(rng, true)
        counts = official_counts(true.astype(np.float64), pred.astype(np.float64))
        binary, by_class = published(true, pred, 5)
        np.testing.assert_allclose(scores_of(counts), [binary, *by_class], atol=1e-9)
        by_tissue[tissue] = by_tissue.get(tissue, PanopticCounts.zero(5)) + counts
        rows.append((tissue, binary, by_class))
    for tissue, counts in by_tissue.items():
        own = [row for row in rows if row[0] == tissue]
        assert counts.image_pq[0] == pytest.approx(nanmean([row[1] for row in own]), abs=1e-6)
        expected = nanmean([nanmean(row[2]) for row in own])
        assert counts.image_mpq == pytest.approx(expected, abs=1e-6)
    total = sum(by_tissue.values(), PanopticCounts.zero(5))
    for j in range(5):
        expected = nanmean([row[2][j] for row in rows])
        assert total.image_pq[1 + j] == pytest.approx(expected, abs=1e-6, nan_ok=True)


@given(true=_masks, pred=_masks)
def test_overlapping_channels_score_as_published(true: np.ndarray, pred: np.ndarray) -> None:
    binary, by_class = published(true, pred, 4)
    counts = official_counts(true, pred, num_classes=4)
    np.testing.assert_allclose(scores_of(counts), [binary, *by_class], atol=1e-9)


@given(true=_masks, pred=_masks)
def test_the_stores_flat_map_and_overlaps_score_as_the_masks(
    true: np.ndarray, pred: np.ndarray
) -> None:
    true, pred = (np.append(m, np.zeros((8, 9, 1), np.int32), axis=2) for m in (true, pred))
    flat = flatten_mask(true)
    types = np.append(0, flat.channels + 1).astype(np.int32)
    channels, ids = np.append(-1, flat.channels), np.append(0, flat.original_ids)
    each = np.arange(1, 5, dtype=np.int32)
    covered = find_covered(flat.overlaps, channels, ids, types, each, width=9)
    labels, rest = flatten_channels(pred, 4)
    table = contingency(flat.instances, labels)
    matches = match_classes(
        table,
        types if covered is None else covered.types,
        rest.types,
        num_classes=4,
        whole=add_covered(table, flat.instances, labels, covered, rest),
    )
    expected = official_counts(true, pred, num_classes=4)
    assert panoptic_counts_from(matches).to_dict() == expected.to_dict()


def test_a_nucleus_that_binarize_covers_wholly_leaves_a_gap_and_no_crash() -> None:
    true = np.zeros((6, 6, 6))
    true[:2, :2, 0] = 3  # covered wholly by the next
    true[:3, :3, 1] = 3
    true[4:, 4:, 1] = 9
    assert np.unique(binarize(true[..., :5])).tolist() == [0, 2, 3]  # the script's masks[3] fails
    counts = official_counts(true, true)
    assert counts.tp[:3].tolist() == [2, 1, 2]
    np.testing.assert_allclose(counts.image_pq[:3], 1, atol=1e-5)


def test_strict_scores_charge_classes_that_the_image_lacks() -> None:
    true, pred = np.zeros((2, 8, 8, 6))
    true[:3, :3, 0] = pred[:3, :3, 0] = 1
    pred[5:, 5:, 3] = 2  # a Dead nucleus that is not there, in an image without any
    counts = official_counts(true, pred)
    assert counts.image_mpq == pytest.approx(1, abs=2e-6)
    assert counts.strict_mpq == pytest.approx((1 + 0) / 2, abs=1e-6)
    empty = official_counts(true * 0, pred)
    assert math.isnan(empty.image_pq[0])
    assert empty.strict_pq[0] == 0
    assert empty.strict_mpq == 0


def test_huge_ids_and_any_number_type_score_alike() -> None:
    true = draw_tile(np.random.default_rng(0), "Breast", 96)[1]
    pred = disturb(np.random.default_rng(1), true)
    expected = official_counts(true, pred).to_dict()
    huge = np.where(pred > 0, pred.astype(np.int64) * 10_000_019, 0)
    for other in (huge, pred.astype(np.uint16), pred.astype(np.float32)):
        assert official_counts(true, other).to_dict() == expected
    labels, rest = flatten_channels(pred, 5)
    true_labels, true_rest = flatten_channels(true, 5)
    if not len(rest) and not len(true_rest):
        flat = panoptic_counts(true_labels, labels, true_rest.types, rest.types, num_classes=5)
        assert flat.to_dict() == expected


@pytest.mark.parametrize("bad", [0.5, -1.0, math.nan, math.inf])
def test_what_is_no_id_is_refused(bad: float) -> None:
    mask = np.zeros((4, 4, 5))
    mask[1, 1, 2] = bad
    with pytest.raises(ValueError, match="whole numbers from 0"):
        flatten_channels(mask, 5)
    with pytest.raises(ValueError, match="one channel a class, got"):
        flatten_channels(mask[..., 0], 5)
